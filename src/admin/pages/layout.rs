//! What all pages share: the frame around them, and what stands there when something went wrong.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::door::{Door, LIVE};
use super::session::{Notice, Session};
use crate::admin::Fault;
use crate::alerts::Alerts;

/// The places of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Overview,
    Providers,
    Routes,
    Queue,
    Trail,
    Alerts,
}

const PLACES: [(Place, &str, &str); 6] = [
    (Place::Overview, "/", "Overview"),
    (Place::Providers, "/providers", "Providers"),
    (Place::Routes, "/routes", "Routes"),
    (Place::Queue, "/queue", "Queue"),
    (Place::Trail, "/trail", "Trail"),
    (Place::Alerts, "/alerts", "Alerts"),
];

/// Somebody who looks at a page.
#[derive(Debug, Clone)]
pub struct View {
    session: Session,
    /// The page is there already, and wants its live parts anew.
    live: bool,
    notice: Option<Notice>,
    /// That are on.
    alerts: usize,
}

impl<S: Send + Sync> FromRequestParts<S> for View {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Trouble> {
        let session = parts.extensions.get::<Session>().cloned().ok_or_else(|| Trouble(Fault::unauthorized()))?;
        let live = parts.headers.contains_key(LIVE);
        let door = parts.extensions.get::<Arc<Door>>();
        let notice = door.filter(|_| !live).and_then(|door| door.sessions.take_notice(&session.id));
        let alerts = parts.extensions.get::<Alerts>().map_or(0, Alerts::count);
        Ok(Self { session, live, notice, alerts })
    }
}

impl View {
    /// A whole page; of one that is there already, `main` alone: its script takes the elements with `data-live` from it.
    pub fn page(&self, place: Place, title: &str, main: &Markup) -> Markup {
        if self.live {
            return html! { (main) (self.alerts_on()) };
        }
        frame(
            title,
            html! {
                a.skip href="#main" { "Skip to the content" }
                header.bar {
                    a.brand href="/" { "waypost" }
                    nav aria-label="Pages" {
                        ul {
                            @for (of, path, name) in PLACES {
                                li { a href=(path) aria-current=[(of == place).then_some("page")] { (name) @if of == Place::Alerts { (self.alerts_on()) } } }
                            }
                        }
                    }
                    form.out method="post" action="/sign-out" {
                        (self.form_token())
                        span.who title="Who you signed in as" { (self.session.operator.0) }
                        button type="submit" { "Sign out" }
                    }
                }
                main #main tabindex="-1" {
                    @if let Some(Notice { good, text }) = &self.notice {
                        p.notice.good[*good].bad[!*good] role="status" { (text) }
                    }
                    (main)
                }
                footer {
                    span { "waypost " (env!("CARGO_PKG_VERSION")) }
                    span #live-state.muted hidden { }
                }
            },
        )
    }

    /// How many alerts are on, beside the place's name.
    fn alerts_on(&self) -> Markup {
        html! {
            span #alerts-on data-live {
                @if self.alerts > 0 { " " span.count { (self.alerts) span.hidden { " on" } } }
            }
        }
    }

    /// Only what is marked `data-live` is wanted.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// To be in each form that does something.
    pub fn form_token(&self) -> Markup {
        html! { input type="hidden" name="form_token" value=(self.session.form_token); }
    }
}

/// Where what was done is told: by the next page that the session looks at.
#[derive(Debug)]
pub struct Told(Arc<Door>, Arc<str>);

impl<S: Send + Sync> FromRequestParts<S> for Told {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Trouble> {
        let both = parts.extensions.get::<Arc<Door>>().zip(parts.extensions.get::<Session>());
        let (door, session) = both.ok_or_else(|| Trouble(Fault::unauthorized()))?;
        Ok(Self(door.clone(), session.id.clone()))
    }
}

impl Told {
    pub fn tell(&self, notice: Notice) {
        self.0.sessions.tell(&self.1, notice);
    }
}

/// A page without navigation.
pub fn bare(title: &str, main: Markup) -> Markup {
    frame(title, html! { main.bare #main { (main) } })
}

fn frame(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) " \u{b7} waypost" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                link rel="icon" href=(assets::ICON) type="image/svg+xml";
                link rel="stylesheet" href=(assets::STYLE);
                script src=(assets::SCRIPT) defer { }
            }
            body { (body) }
        }
    }
}

/// What a page shows that cannot be shown.
#[derive(Debug)]
pub struct Trouble(pub Fault);

impl<E: Into<Fault>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let Self(fault) = self;
        let title = match fault.status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::UNAUTHORIZED => "Signed out",
            StatusCode::FORBIDDEN => "Refused",
            StatusCode::BAD_REQUEST => "That cannot be",
            _ => "Something went wrong",
        };
        let page = bare(
            title,
            html! {
                div.sign-in {
                    h1 { (title) }
                    p role="alert" { (fault.message) }
                    p { a href="/" { "To the overview" } }
                }
            },
        );
        (fault.status, page).into_response()
    }
}
