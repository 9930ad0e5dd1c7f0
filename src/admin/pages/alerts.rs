//! Alerts: what is wrong now, with its cause and who was told; what was; and the targets.

use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};

use super::door::see_other;
use super::fields::link;
use super::layout::{Place, Told, Trouble, View};
use super::providers::anchor;
use super::session::Notice;
use super::show::{Tone, badge, between, dash, duration, moment_and_span, plural};
use crate::admin::{AlertEnded, AlertList, AlertStatus, AlertTargetStatus, AlertTold, Operator, Shared, alerts};
use crate::mail::{Mid, Timestamp};

pub fn routes() -> Router<Shared> {
    Router::new().route("/alerts", get(page)).route("/alerts/test", post(test))
}

async fn page(State(deps): State<Shared>, view: View) -> Result<Markup, Trouble> {
    let list = alerts::of(&deps);
    let now = deps.clock.wall();
    Ok(view.page(
        Place::Alerts,
        "Alerts",
        &html! {
            div #alerts data-live {
                (headline(&list))
                @for (n, alert) in list.alerts.iter().enumerate() { (card(alert, n, (deps.started, now))) }
                (ended(&list.ended, now))
                (targets(&list.targets, now))
            }
            @if !list.targets.is_empty() {
                form.acts method="post" action="/alerts/test" {
                    (view.form_token())
                    button type="submit" title="Past the queue, and at once" { "Send each target a test" }
                }
            }
        },
    ))
}

/// Where an alert is about something that has a place of its own.
fn about(rule: &str, subject: &str) -> Option<String> {
    match rule {
        "breaker" | "paused" | "quota" => Some(format!("/providers#{}", anchor(subject))),
        "oldest" => Some(link("/queue", [("route", Some(subject)), ("state", Some("waiting"))])),
        "growth" | "full" => Some("/queue".to_owned()),
        _ => None,
    }
}

fn headline(list: &AlertList) -> Markup {
    html! {
        div.headline {
            @if !list.watching {
                (badge(Tone::Calm, "Off")) h1 { "Alerts are off" }
            } @else if list.alerts.is_empty() {
                (badge(Tone::Good, "Well")) h1 { "No alert is on" }
            } @else {
                (badge(Tone::Bad, "Look here")) h1 { (plural(list.alerts.len() as u64, "alert")) " on" }
            }
        }
        @if !list.watching { p.notice.warn { code { "alerts: off" } " in waypost.yaml: nothing is watched, and nobody is told." } }
    }
}

fn card(alert: &AlertStatus, n: usize, (started, now): (Timestamp, Timestamp)) -> Markup {
    let id = format!("alert-{n}");
    html! {
        article.card.bad aria-labelledby=(id) {
            div.headline {
                h2.break id=(id) { (alert.summary) }
                (badge(Tone::Bad, &alert.rule))
            }
            dl.facts {
                dt { "About" }
                dd { @match about(&alert.rule, &alert.subject) { Some(path) => a href=(path) { (alert.subject) }, None => (alert.subject) } }
                dt { "Since" } dd { (moment_and_span(alert.since, now)) }
                @if let Some(gone) = alert.gone {
                    dt { "Gone" } dd { (badge(Tone::Warn, "over, if it stays so")) " since " (moment_and_span(gone, now)) }
                }
                @for (name, text) in alert.details.iter().filter(|(name, _)| *name != "since") {
                    dt { (capital(&name.replace('_', " "))) } dd { (text.as_str().unwrap_or_default()) }
                }
                dt { "Told" }
                dd {
                    @if alert.told.is_empty() {
                        @if alert.began < started { span.muted { "before the last start of the relay, " (moment_and_span(alert.began, now)) } }
                        @else { span.muted { "the log alone, " (moment_and_span(alert.began, now)) } }
                    }
                    @for told in &alert.told { div { (telling(told, now)) } }
                }
            }
        }
    }
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn telling(told: &AlertTold, now: Timestamp) -> Markup {
    let tone = match told.ok {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Warn,
    };
    let state = badge(tone, told.came());
    html! { (state) " " (told.kind) " " strong { (told.target) } ": " span.break { (answer(&told.text)) } " " span.muted { (moment_and_span(told.at, now)) } }
}

/// What was answered; a message that is queued can be looked at.
fn answer(text: &str) -> Markup {
    let mid = text.rsplit(' ').next().filter(|word| word.parse::<Mid>().is_ok());
    html! {
        @match mid.and_then(|mid| Some((text.strip_suffix(mid)?, mid))) {
            Some((before, mid)) => { (before) a href={ "/message/" (mid) } { (mid) } }
            None => (text)
        }
    }
}

fn ended(list: &[AlertEnded], now: Timestamp) -> Markup {
    html! {
        section aria-labelledby="ended" {
            h2 #ended { "Over" }
            @if list.is_empty() { p.muted { "None in the last days." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Alerts that are over" {
                    table.stack {
                        caption.hidden { "Alerts that are over" }
                        thead { tr { th scope="col" { "Alert" } th scope="col" { "Over" } th scope="col" { "Lasted" } th scope="col" { "It was" } th scope="col" { "Told" } } }
                        tbody {
                            @for alert in list {
                                tr {
                                    th scope="row" { (alert.rule) " " (alert.subject) }
                                    td data-name="Over" { (moment_and_span(alert.ended, now)) ": " (alert.summary) }
                                    td.nowrap data-name="Lasted" { (duration(between(alert.since, alert.ended))) }
                                    td.break data-name="It was" { (alert.was) }
                                    td data-name="Told" {
                                        @if alert.told.is_empty() { (dash()) }
                                        @for told in &alert.told { div { (told.event) ", " (telling(told, now)) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn targets(list: &[AlertTargetStatus], now: Timestamp) -> Markup {
    html! {
        section aria-labelledby="targets" {
            h2 #targets { "Who is told" }
            @if list.is_empty() {
                p.muted { "Nobody but the log: waypost.yaml names no target under " code { "alerts: {to: [\u{2026}]}" } "." }
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Targets" {
                    table.stack {
                        caption.hidden { "Targets" }
                        thead { tr { th scope="col" { "Target" } th scope="col" { "Kind" } th scope="col" { "Last message" } th.num scope="col" { "Waiting" } } }
                        tbody {
                            @for of in list {
                                tr {
                                    th scope="row" { (of.name) }
                                    td data-name="Kind" { (of.kind) }
                                    td data-name="Last message" {
                                        @match &of.last {
                                            Some(last) => {
                                                @if last.ok { (badge(Tone::Good, "arrived")) } @else { (badge(Tone::Bad, "failed")) }
                                                " " span.break { (answer(&last.text)) } " " span.muted { (moment_and_span(last.at, now)) }
                                            }
                                            None => span.muted { "none since the start" }
                                        }
                                    }
                                    td.num data-name="Waiting" { (of.waiting) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

async fn test(
    State(deps): State<Shared>,
    Extension(operator): Extension<Operator>,
    told: Told,
) -> Result<Response, Trouble> {
    tracing::info!(by = %operator.0, "a test of the alerts' targets");
    let tested = alerts::tested(&deps).await;
    let failed: Vec<&str> = tested.iter().filter(|one| !one.ok).map(|one| one.target.as_str()).collect();
    let text = match &failed[..] {
        [] => format!("{} took the test.", plural(tested.len() as u64, "target")),
        some => format!("The test failed at {}.", some.join(", ")),
    };
    told.tell(Notice { good: failed.is_empty(), text });
    Ok(see_other("/alerts"))
}
