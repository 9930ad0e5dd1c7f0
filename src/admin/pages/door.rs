//! Signing in and out, and what stands before each page.
//!
//! Promises:
//! - no page without a session; one is had for the token, or for a certificate of `client_ca`;
//! - nothing is done for another site: a cookie that it cannot send (`SameSite=Strict`), an `Origin` or `Sec-Fetch-Site` that
//!   gives it away, and a token in each form that it cannot read, each enough by itself;
//! - a wrong token is told in the log, and costs time that guesses in parallel do not share.

use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Form, Query, Request, State};
use axum::http::header::{COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use tracing::info;

use super::fields::Fields;
use super::layout::{self, Trouble};
use super::session::{LASTS, Session, Sessions};
use crate::admin::{Fault, Gate, Operator, Peer, Shared};
use crate::os::Clock;

/// Octets of a form.
const FORM: usize = 1 << 20;
/// How a page asks for its live parts alone.
pub const LIVE: &str = "x-waypost-live";

/// The keeper of the pages' door.
#[derive(Debug)]
pub struct Door {
    gate: Arc<Gate>,
    pub sessions: Sessions,
    clock: Clock,
    /// Under TLS.
    secure: bool,
    /// Cookies know no ports: each relay of a host has a name of its own.
    cookie: String,
}

impl Door {
    pub fn new(gate: Arc<Gate>, clock: Clock, secure: bool, port: u16) -> Self {
        // `__Host-`: no other host may have set it (RFC 6265bis, 4.1.3.2).
        let cookie = format!("{}waypost-{port}", if secure { "__Host-" } else { "" });
        Self { gate, sessions: Sessions::default(), clock, secure, cookie }
    }

    fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let id = pairs.find(|(name, _)| *name == self.cookie)?.1;
        self.sessions.of(id, self.clock.now())
    }

    fn set_cookie(&self, session: Option<&Session>) -> HeaderValue {
        let (id, age) = session.map_or(("", 0), |session| (&*session.id, LASTS.as_secs()));
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}", self.cookie);
        // Name and id are of our own making.
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn let_in(&self, operator: Operator, next: &str) -> Response {
        info!(operator = operator.0, "signed in at the admin pages");
        let session = self.sessions.begin(operator, self.clock.now());
        let mut response = see_other(next);
        response.headers_mut().insert(SET_COOKIE, self.set_cookie(Some(&session)));
        response
    }

    /// Whether the request comes from a page of this server. Browsers say so themselves; what says nothing is none, and has no
    /// cookies that somebody else's page could use.
    fn is_own(&self, headers: &HeaderMap) -> bool {
        if let Some(site) = headers.get("sec-fetch-site") {
            return matches!(site.as_bytes(), b"same-origin" | b"none");
        }
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let scheme = if self.secure { "https" } else { "http" };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        origin.as_bytes().eq_ignore_ascii_case(format!("{scheme}://{host}").as_bytes())
    }
}

/// What needs no session.
pub fn open(door: &Arc<Door>) -> Router<Shared> {
    Router::new().route("/sign-in", get(ask).post(sign_in)).layer(Extension(door.clone()))
}

/// What needs one, and no page.
pub fn closed() -> Router<Shared> {
    Router::new().route("/sign-out", post(sign_out))
}

/// Goes on elsewhere by GET.
pub fn see_other(to: &str) -> Response {
    let to = HeaderValue::from_str(to).unwrap_or_else(|_| HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response()
}

#[derive(Debug, Deserialize)]
struct Wish {
    next: Option<String>,
}

/// A page of this server, and no other place.
fn own_path(next: Option<&str>) -> &str {
    let own = |path: &&str| {
        path.starts_with('/') && !path.starts_with("//") && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    next.filter(own).unwrap_or("/")
}

/// What the way back is called in a link.
fn with_next(path: &str) -> String {
    if path == "/" {
        return "/sign-in".to_owned();
    }
    format!("/sign-in?next={}", super::fields::encoded(path))
}

async fn ask(
    Extension(door): Extension<Arc<Door>>,
    Query(wish): Query<Wish>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    let next = own_path(wish.next.as_deref());
    if door.session(&headers).is_some() {
        return see_other(next);
    }
    if let Some(name) = peer.and_then(|Extension(peer)| peer.certificate) {
        return door.let_in(Operator(name.to_string()), next);
    }
    form(next, None).into_response()
}

#[derive(Deserialize)]
struct Credentials {
    token: String,
    #[serde(default)]
    name: String,
    next: Option<String>,
}

async fn sign_in(
    Extension(door): Extension<Arc<Door>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Form(given): Form<Credentials>,
) -> Response {
    if !door.is_own(&headers) {
        return foreign().into_response();
    }
    let next = own_path(given.next.as_deref());
    if !door.gate.fits(given.token.trim()) {
        let peer = peer.as_ref().map(|Extension(peer)| peer);
        door.gate.turn_away(peer, "/sign-in").await;
        let text = "That is not the token. It is in the file admin.token beside the queue, or what admin.token of \
                    waypost.yaml says.";
        return (StatusCode::UNAUTHORIZED, form(next, Some(text))).into_response();
    }
    door.let_in(Operator::called(&given.name), next)
}

async fn sign_out(Extension(door): Extension<Arc<Door>>, Extension(session): Extension<Session>) -> Response {
    door.sessions.end(&session.id);
    let mut response = see_other("/sign-in");
    response.headers_mut().insert(SET_COOKIE, door.set_cookie(None));
    response
}

fn form(next: &str, wrong: Option<&str>) -> Markup {
    layout::bare(
        "Sign in",
        html! {
            form.sign-in method="post" action="/sign-in" {
                h1 { "waypost" }
                @if let Some(wrong) = wrong { p.notice.bad #wrong role="alert" { (wrong) } }
                input type="hidden" name="next" value=(next);
                label for="name" { "Your name " span.muted { "(optional: it is recorded with what you do)" } }
                input #name name="name" maxlength="64" autocomplete="username";
                label for="token" { "Admin token" }
                input #token name="token" type="password" required autofocus autocomplete="current-password"
                    aria-describedby=[wrong.map(|_| "wrong")];
                button.primary type="submit" { "Sign in" }
                p.muted { "The token is in " code { "admin.token" } " beside the queue." }
            }
        },
    )
}

fn foreign() -> Trouble {
    Trouble(Fault::new(
        StatusCode::FORBIDDEN,
        "foreign",
        "This was not sent by a page of this relay: nothing was done. Open the page here and try again.",
    ))
}

/// Lets those on who have a session. What they send by a form is read here, so that none gets on without the form's token.
pub async fn signed_in_only(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let is_get = parts.method == Method::GET || parts.method == Method::HEAD;
    let Some(session) = door.session(&parts.headers) else {
        if parts.headers.contains_key(LIVE) || !is_get {
            let text = "Your session has ended: sign in again.";
            return Trouble(Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", text)).into_response();
        }
        return see_other(&with_next(parts.uri.path_and_query().map_or("/", |path| path.as_str())));
    };
    let mut body = body;
    if !is_get {
        if !door.is_own(&parts.headers) {
            return foreign().into_response();
        }
        let Ok(octets) = to_bytes(body, FORM).await else {
            let text = "The form is too large.";
            return Trouble(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)).into_response();
        };
        let fields = Fields::read(&octets);
        if !fields.get("form_token").is_some_and(|token| same(token, &session.form_token)) {
            return foreign().into_response();
        }
        parts.extensions.insert(fields);
        body = axum::body::Body::empty();
    }
    parts.extensions.insert(session.operator.clone());
    parts.extensions.insert(session);
    parts.extensions.insert(door);
    next.run(Request::from_parts(parts, body)).await
}

fn same(a: &str, b: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn door(secure: bool) -> Door {
        let gate = Arc::new(Gate::new(Secret::new("t".to_owned()), true));
        Door::new(gate, Clock::system(), secure, 8025)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn only_a_page_of_this_server_is_its_own() {
        let host = ("host", "127.0.0.1:8025");
        for (given, own) in [
            (vec![host], true),
            (vec![host, ("origin", "http://127.0.0.1:8025")], true),
            (vec![host, ("origin", "http://127.0.0.1:9999")], false),
            (vec![host, ("origin", "https://127.0.0.1:8025")], false),
            (vec![host, ("origin", "http://evil.example")], false),
            (vec![host, ("origin", "null")], false),
            (vec![host, ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("sec-fetch-site", "none")], true),
            (vec![host, ("sec-fetch-site", "same-site")], false),
            (vec![host, ("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:8025")], false),
        ] {
            assert_eq!(door(false).is_own(&headers(&given)), own, "{given:?}");
        }
        assert!(door(true).is_own(&headers(&[host, ("origin", "https://127.0.0.1:8025")])));
    }

    #[test]
    fn the_way_back_leads_nowhere_else() {
        for (next, path) in [
            ("/queue?route=a&state=held", "/queue?route=a&state=held"),
            ("//evil.example/", "/"),
            ("https://evil.example/", "/"),
            ("/\\evil.example", "/"),
            ("queue", "/"),
            ("/a b", "/"),
            ("/\r\nSet-Cookie: x", "/"),
            ("", "/"),
        ] {
            assert_eq!(own_path(Some(next)), path, "{next}");
        }
        assert_eq!(own_path(None), "/");
        assert_eq!(with_next("/queue?a=b&c=d"), "/sign-in?next=%2Fqueue%3Fa%3Db%26c%3Dd");
    }

    #[test]
    fn the_cookie_is_kept_from_scripts_other_sites_and_the_clear() {
        let door = door(true);
        let session = door.sessions.begin(Operator("a".to_owned()), door.clock.now());
        let text = door.set_cookie(Some(&session)).to_str().unwrap().to_owned();
        assert_eq!(
            text,
            format!("__Host-waypost-8025={}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure", session.id)
        );
        let sent = headers(&[("cookie", &format!("other=1; __Host-waypost-8025={}", session.id))]);
        assert_eq!(door.session(&sent).unwrap().id, session.id);
        assert!(door.session(&headers(&[("cookie", "__Host-waypost-8025=x")])).is_none());
        assert!(!super::tests::door(false).set_cookie(None).to_str().unwrap().contains("Secure"));
    }
}
