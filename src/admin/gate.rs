//! Who may look at the relay and steer it: whoever has the token, or shows a certificate of `client_ca`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::warn;

use super::Fault;
use crate::config::Secret;

/// What says who asks, where the token does not tell one person from another. It is believed as far as the token is.
pub const OPERATOR: &str = "x-waypost-operator";
/// A wrong token is answered this much later, one after the other.
const LATE: Duration = Duration::from_millis(200);
const LONGEST_NAME: usize = 64;
/// Between two lines in the log about wrong tokens from one address.
const EVERY: Duration = Duration::from_secs(60);
/// An address that was told of so long ago is a new one.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Addresses that are told apart.
const ADDRESSES: usize = 256;

/// The door's keeper.
#[derive(Debug)]
pub struct Gate {
    token: Secret,
    /// It listens on loopback: then nobody has business there under another name (DNS rebinding).
    loopback: bool,
    /// Where those stand in line who gave a wrong token: guesses in parallel are no faster.
    turned_away: Semaphore,
    wrong: Mutex<Wrong>,
}

/// Wrong tokens by address: the log tells of each address once a minute.
#[derive(Debug, Default)]
struct Wrong(HashMap<Option<IpAddr>, Told>);

#[derive(Debug)]
struct Told {
    at: Instant,
    /// Since then.
    more: u64,
}

impl Wrong {
    /// So many came since the last line, this one included; `None`: it is not time for another line.
    fn tell(&mut self, address: Option<IpAddr>, now: Instant) -> Option<u64> {
        self.0.retain(|_, told| now.duration_since(told.at) < FORGOTTEN);
        // One that is one too many shares a line with others of its kind.
        let known = self.0.len() < ADDRESSES || self.0.contains_key(&address);
        let told = self.0.entry(address.filter(|_| known));
        let told = match told {
            Entry::Vacant(new) => {
                new.insert(Told { at: now, more: 0 });
                return Some(1);
            }
            Entry::Occupied(told) => told.into_mut(),
        };
        told.more += 1;
        (now.duration_since(told.at) >= EVERY).then(|| {
            told.at = now;
            std::mem::take(&mut told.more)
        })
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: IpAddr,
    /// The name in the certificate that it showed.
    pub certificate: Option<Arc<str>>,
}

/// Who asks, as far as that is known: for the log and the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(pub String);

impl Gate {
    pub fn new(token: Secret, loopback: bool) -> Self {
        Self { token, loopback, turned_away: Semaphore::new(1), wrong: Mutex::default() }
    }

    /// What follows a wrong token: a line in the log, if it is time for one, and time that passes.
    pub async fn turn_away(&self, peer: Option<&Peer>, path: &str) {
        let client = peer.map(|peer| peer.address);
        let told = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).tell(client, Instant::now());
        if let Some(times) = told {
            let client = client.map(tracing::field::display);
            warn!(client, path, times, "the admin server was asked with a wrong token");
        }
        let turn = self.turned_away.acquire().await;
        tokio::time::sleep(LATE).await;
        drop(turn);
    }

    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Whether it is the token; the time that takes does not tell how much of it is right.
    pub fn fits(&self, token: &str) -> bool {
        verify_slices_are_equal(self.token.expose().as_bytes(), token.as_bytes()).is_ok()
    }

    /// Who has sent this request; `None`: a stranger.
    pub fn operator(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Option<Operator> {
        if let Some(name) = peer.and_then(|peer| peer.certificate.as_ref()) {
            return Some(Operator(name.to_string()));
        }
        let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        (scheme.eq_ignore_ascii_case("bearer") && self.fits(token.trim())).then(|| named(headers))
    }

    fn knows_host(&self, headers: &HeaderMap) -> bool {
        if !self.loopback {
            return true;
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        host.is_some_and(|host| {
            let name = host.host().trim_start_matches('[').trim_end_matches(']');
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        })
    }
}

fn named(headers: &HeaderMap) -> Operator {
    Operator::called(headers.get(OPERATOR).and_then(|name| name.to_str().ok()).unwrap_or_default())
}

impl Operator {
    /// As somebody with the token gives the name; nothing, or what is no name, is nobody in particular.
    pub fn called(name: &str) -> Self {
        let name = name.trim();
        let is_one = !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
        Self(if is_one { name } else { "whoever has the token" }.to_owned())
    }
}

/// Lets operators on, and nobody else.
pub async fn operators_only(
    State(gate): State<Arc<Gate>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Fault> {
    let peer = request.extensions().get::<Peer>();
    match gate.operator(request.headers(), peer) {
        Some(operator) => {
            request.extensions_mut().insert(operator);
            Ok(next.run(request).await)
        }
        None => {
            if request.headers().contains_key(AUTHORIZATION) {
                gate.turn_away(peer, request.uri().path()).await;
            }
            Err(Fault::unauthorized())
        }
    }
}

/// A page of somebody else's must not speak to a server on loopback through its reader's browser, under a name of its own.
pub async fn known_hosts_only(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Result<Response, Fault> {
    if gate.knows_host(request.headers()) {
        return Ok(next.run(request).await);
    }
    let text = "the admin server is on loopback: ask it as localhost or by its address";
    Err(Fault::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", text))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn gate(loopback: bool) -> Gate {
        Gate::new(Secret::new("s3cret-token".to_owned()), loopback)
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        [(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())].into_iter().collect()
    }

    #[test]
    fn only_the_whole_token_opens() {
        for (value, opens) in [
            ("Bearer s3cret-token", true),
            ("bearer s3cret-token", true),
            ("Bearer s3cret-toke", false),
            ("Bearer s3cret-token2", false),
            ("Bearer ", false),
            ("Basic s3cret-token", false),
            ("s3cret-token", false),
        ] {
            let asked = headers("authorization", value);
            assert_eq!(gate(true).operator(&asked, None).is_some(), opens, "{value}");
        }
        assert_eq!(gate(true).operator(&HeaderMap::new(), None), None);
    }

    #[test]
    fn wrong_tokens_are_told_once_a_minute_with_their_number() {
        let (mut wrong, start) = (Wrong::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let one = |last: u32| Some(IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + last)));
        assert_eq!(wrong.tell(one(1), at(0)), Some(1));
        for second in 1..60 {
            assert_eq!(wrong.tell(one(1), at(second)), None, "{second}");
        }
        assert_eq!(wrong.tell(one(2), at(30)), Some(1), "another address is news");
        assert_eq!(wrong.tell(one(1), at(60)), Some(60));
        assert_eq!(wrong.tell(one(1), at(61)), None);
        assert_eq!(wrong.tell(one(1), at(700)), Some(1), "forgotten");
        // Whoever has a thousand addresses gets no thousand lines.
        let lines = (10..2010).filter(|last| wrong.tell(one(*last), at(701)).is_some()).count();
        assert!(lines <= ADDRESSES + 1 && wrong.0.len() <= ADDRESSES + 1, "{lines}");
    }

    #[test]
    fn who_asks_is_said_by_the_certificate_and_else_by_the_header() {
        let mut asked = headers("authorization", "Bearer s3cret-token");
        let name = |asked: &HeaderMap, peer: Option<&Peer>| gate(true).operator(asked, peer).unwrap().0;
        assert_eq!(name(&asked, None), "whoever has the token");
        asked.insert(OPERATOR, HeaderValue::from_static("alice"));
        assert_eq!(name(&asked, None), "alice");
        let bob = Peer { address: "127.0.0.1".parse().unwrap(), certificate: Some("bob".into()) };
        assert_eq!(name(&asked, Some(&bob)), "bob");
        assert_eq!(name(&HeaderMap::new(), Some(&bob)), "bob", "a certificate needs no token");
        let long = "x".repeat(100);
        asked.insert(OPERATOR, HeaderValue::from_str(&long).unwrap());
        assert_eq!(name(&asked, None), "whoever has the token");
    }

    #[test]
    fn on_loopback_no_other_name_is_known() {
        for (host, known) in [
            ("127.0.0.1:8025", true),
            ("127.1.2.3", true),
            ("localhost:8025", true),
            ("LOCALHOST", true),
            ("[::1]:8025", true),
            ("rebound.example:8025", false),
            ("192.0.2.1", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(gate(true).knows_host(&headers("host", host)), known, "{host}");
            assert!(gate(false).knows_host(&headers("host", host)));
        }
        assert!(!gate(true).knows_host(&HeaderMap::new()));
    }
}
