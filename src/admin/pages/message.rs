//! One message: its envelope, its header, and what each of its parts waits for.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use maud::{Markup, html};

use super::acts;
use super::layout::{Place, Trouble, View};
use super::queue::state_badge;
use super::show::{Tone, badge, moment_and_span, path, plural, size};
use super::trail;
use crate::admin::{Fault, Shared, waiting};
use crate::delivery::operate::{self, LegShown, Message, OperateError, RecipientShown};
use crate::mail::Timestamp;

/// Recipients of one part that are named.
const NAMED: usize = 200;

pub fn routes() -> Router<Shared> {
    Router::new().route("/message/{mid}", get(page))
}

async fn page(State(deps): State<Shared>, Path(mid): Path<String>, view: View) -> Result<Markup, Trouble> {
    let queued = match waiting::message(&deps, &mid).await {
        Ok(message) => Ok(message),
        Err(error @ OperateError::NoMessage(_)) => Err(error),
        Err(error) => return Err(error.into()),
    };
    let events = trail::of_message(&deps, &mid).await?.unwrap_or_default();
    if let (Err(error), true) = (&queued, events.is_empty()) {
        return Err(Fault::not_found(error.to_string()).into());
    }
    let now = deps.clock.wall();
    Ok(view.page(
        Place::Queue,
        &format!("Message {mid}"),
        &html! {
            h1 { "Message " code.break { (mid) } }
            @match &queued {
                Ok(message) => {
                    (acts::choice_of_one(&view, &message.mid))
                    section aria-labelledby="envelope" {
                        h2 #envelope { "Envelope" }
                        (envelope(message, now))
                    }
                }
                Err(_) => {
                    p { (badge(Tone::Calm, "done")) " Nothing of it is queued any more." }
                }
            }
            div #legs data-live {
                @if let Ok(message) = &queued {
                    section aria-labelledby="waits" {
                        h2 #waits { "What waits, and for what" }
                        @for leg in &message.legs { (part(leg, now)) }
                    }
                }
                @if !events.is_empty() {
                    section aria-labelledby="trail" {
                        h2 #trail { "What became of it" }
                        div.card { (trail::timeline(&events)) }
                    }
                }
            }
            @if let Ok(message) = &queued {
                section aria-labelledby="header" {
                    h2 #header { "Header" }
                    @match &message.header {
                        Some(header) => pre.header tabindex="0" { (header.trim_end()) },
                        None => p.notice.bad { "The header cannot be read from the queue." },
                    }
                }
            }
        },
    ))
}

fn envelope(message: &Message, now: Timestamp) -> Markup {
    let Message {
        mid: _, from, accepted, size: octets, listener, client, helo, user, ret, envid, smtputf8, body, ..
    } = message;
    html! {
        dl.facts.card {
            dt { "From" } dd { (path(from.as_deref())) }
            dt { "Accepted" } dd { (moment_and_span(*accepted, now)) }
            dt { "Size" } dd { (size(*octets)) @if *octets >= 1024 { span.muted { " (" (plural(*octets, "octet")) ")" } } ", " (body) @if *smtputf8 { ", SMTPUTF8" } }
            dt { "Came by" }
            dd {
                "listener " (listener)
                @if let Some(client) = client { ", client " (client) }
                @if let Some(helo) = helo { " " span.muted { "(" (helo) ")" } }
                @if let Some(user) = user { ", user " (user) }
            }
            @if ret.is_some() || envid.is_some() {
                dt { "DSN" }
                dd {
                    @if let Some(ret) = ret { "RET " (ret) " " }
                    @if let Some(envid) = envid { "ENVID " code { (envid) } }
                }
            }
            @if message.settled > 0 { dt { "Done with" } dd { (plural(message.settled, "recipient")) } }
        }
    }
}

fn part(leg: &LegShown, now: Timestamp) -> Markup {
    html! {
        div.card {
            p { (state_badge(leg.state, leg.in_hand)) " " (leg.waits) }
            dl.facts {
                dt { "Route" }
                dd {
                    (leg.route)
                    @if let Some(destination) = &leg.destination { " to " (destination) }
                    @if leg.moved_to_route { span.muted { " (an operator chose it)" } }
                }
                @if let Some(provider) = &leg.moved_to_provider { dt { "Moved to" } dd { "provider " (provider) } }
                @if !leg.released_from.is_empty() { dt { "Released from" } dd { (leg.released_from.join(", ")) } }
                dt { "Tries" }
                dd {
                    (leg.attempts)
                    @if let (Some(provider), Some(at)) = (&leg.last_provider, leg.last_attempt) {
                        ", last by " (provider) " " (moment_and_span(at, now))
                    }
                }
                // Held mail waits for a person, whatever its time.
                @match leg.state {
                    operate::State::Held => {}
                    operate::State::Waiting => {
                        dt { "Due" }
                        dd {
                            @match leg.until {
                                _ if leg.due > now => (moment_and_span(leg.due, now)),
                                Some(until) if until > now => (moment_and_span(until, now)),
                                Some(_) | None => "now",
                            }
                        }
                    }
                }
                @if let Some(expires) = leg.expires { dt { "Given up" } dd { (moment_and_span(expires, now)) } }
                @if !leg.passed.is_empty() {
                    dt { "Passed over" }
                    dd {
                        @for passed in &leg.passed {
                            span.member {
                                (passed.provider)
                                @if passed.for_good { span.muted { " cannot carry it" } } @else { span.muted { " this round" } }
                            } " "
                        }
                    }
                }
            }
            div.scroll tabindex="0" role="region" aria-label="Recipients" {
                table.stack {
                    caption.hidden { "Recipients" }
                    thead { tr { th scope="col" { "Recipient" } th scope="col" { "Last reply" } } }
                    tbody { @for recipient in leg.recipients.iter().take(NAMED) { (row(recipient)) } }
                }
            }
            @if leg.recipients.len() > NAMED {
                p.muted { "and " (plural((leg.recipients.len() - NAMED) as u64, "recipient")) " more" }
            }
        }
    }
}

fn row(recipient: &RecipientShown) -> Markup {
    html! {
        tr {
            th.break scope="row" {
                (recipient.address)
                @if let Some(notify) = &recipient.notify { span.muted.small { " NOTIFY=" (notify) } }
            }
            td.break.empty[recipient.last.is_none()] data-name="Last reply" { (recipient.last.as_deref().unwrap_or("")) }
        }
    }
}
