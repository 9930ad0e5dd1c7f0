//! The relay at a glance: what is out, since when, why, where its mail goes now, how much waits; and the last hours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};

use super::chart::{self, Around, Layer};
use super::fields::{Fields, link};
use super::layout::{Place, Trouble, View};
use super::past::Past;
use super::providers::{self, is_trouble};
use super::show::{Tone, badge, between, dash, duration, moment_and_span, number, plural};
use crate::admin::history::{Counts, OTHERS, Span};
use crate::admin::{ListenerStatus, ProviderStatus, RouteStatus, Shared, Status, status};
use crate::alerts::Running;

/// Rows of the table of routes.
const ROUTES: usize = 40;
/// Names that are told apart in charts.
const NAMED: usize = chart::COLOURS - 1;
/// Hours, bars, and minutes of each.
const SPANS: [(&str, usize, i64); 3] = [("1", 60, 1), ("3", 36, 5), ("6", 72, 5)];

pub fn routes() -> Router<Shared> {
    Router::new().route("/", get(page))
}

const HOUR: Duration = Duration::from_secs(3600);

/// What is looked at.
struct Asked {
    hours: &'static str,
    parts: usize,
    minutes: i64,
    by_provider: bool,
}

impl Asked {
    /// Where nothing is said: as much as there is to see.
    fn read(query: Option<String>, up: Duration) -> Self {
        let fields = Fields::read(query.unwrap_or_default().as_bytes());
        let known = SPANS.iter().find(|(hours, _, _)| fields.get("hours") == Some(hours));
        let (hours, parts, minutes) = *known.unwrap_or(if up < HOUR { &SPANS[0] } else { &SPANS[1] });
        Self { hours, parts, minutes, by_provider: fields.get("by") == Some("provider") }
    }
}

async fn page(
    State(deps): State<Shared>,
    Extension(past): Extension<Past>,
    RawQuery(query): RawQuery,
    view: View,
) -> Result<Markup, Trouble> {
    let status = status::of(&deps).await?;
    let asked = Asked::read(query, between(status.started, status.now));
    let (span, minute) =
        past.read(|history| (history.span(asked.parts, asked.minutes, status.now), history.span(2, 1, status.now)));
    Ok(view.page(
        Place::Overview,
        "Overview",
        &html! {
            div #overview data-live {
                (headline(&status))
                (alerts_on(&deps.alerts.running()))
                (kpis(&status, &minute))
                (charts(&asked, &span))
                (providers_table(&status))
                (routes_table(&status))
                (listeners(&status.listeners))
                p.muted.small {
                    "Configuration: " span.break { (status.configuration) } ". Started " (moment_and_span(status.started, status.now)) ". Times are UTC."
                }
            }
        },
    ))
}

fn headline(status: &Status) -> Markup {
    let out: Vec<&ProviderStatus> = status.providers.iter().filter(|provider| is_trouble(provider)).collect();
    html! {
        section aria-label="State" {
            div.headline {
                @if !status.ready { (badge(Tone::Bad, "Not ready")) h1 { "New mail is not taken" } }
                @else if let [one] = out[..] {
                    (providers::state_badge(one))
                    h1 { (one.name) " " (providers::predicate(one)) }
                }
                @else if !out.is_empty() { (badge(Tone::Bad, "Look here")) h1 { (plural(out.len() as u64, "provider")) " of " (status.providers.len()) " in trouble" } }
                @else { (badge(Tone::Good, "Well")) h1 { "All " (plural(status.providers.len() as u64, "provider")) " take mail" } }
            }
            @for reason in &status.not_ready_because { p.notice.bad role="alert" { (reason) } }
            @for provider in out { (outage(provider, status)) }
        }
    }
}

/// The alerts that are on: what the headline does not know is among them.
fn alerts_on(running: &[Running]) -> Markup {
    const NAMED: usize = 5;
    html! {
        @if !running.is_empty() {
            section aria-label="Alerts" {
                div.notice.bad {
                    a href="/alerts" { strong { (plural(running.len() as u64, "alert")) " on" } }
                    ul { @for alert in running.iter().take(NAMED) { li.break { (alert.told.summary) } } }
                    @if running.len() > NAMED { "and " (running.len() - NAMED) " more" }
                }
            }
        }
    }
}

/// What an outage means for the mail.
fn outage(provider: &ProviderStatus, status: &Status) -> Markup {
    let tone = providers::tone(provider);
    let touched: Vec<&RouteStatus> =
        status.routes.iter().filter(|route| route.chain.iter().flatten().any(|name| *name == provider.name)).collect();
    let waiting: u64 = touched.iter().map(|route| route.waiting).sum();
    let oldest = touched.iter().filter_map(|route| route.oldest).min();
    html! {
        article class={ "card " (tone.class()) } aria-label={ "Trouble of " (provider.name) } {
            h2 {
                a href={ "/providers#" (providers::anchor(&provider.name)) } { (provider.name) } " "
                (providers::state_badge(provider)) " "
                @if let Some(since) = provider.since { span.muted { "since " (moment_and_span(since, status.now)) } }
            }
            dl.facts {
                dt { "Why" } dd { (providers::why(provider, status.now)) }
                @if let Some(until) = provider.until { dt { (providers::until_what(provider.state)) } dd { (moment_and_span(until, status.now)) } }
                dt { "Its mail" }
                dd {
                    @if touched.is_empty() { span.muted { "no route leads to it" } }
                    @for route in touched.iter().take(8) {
                        div { "route " strong { (route.name) } ": " (goes_now(route, status)) }
                    }
                    @if touched.len() > 8 { div.muted { "and " (plural((touched.len() - 8) as u64, "route")) " more" } }
                }
                dt { "Waiting" }
                dd {
                    (number(waiting)) " on these routes"
                    @if let Some(oldest) = oldest { ", the oldest for " (duration(between(oldest, status.now))) }
                }
            }
        }
    }
}

/// Where a route's mail goes at this moment.
fn goes_now(route: &RouteStatus, status: &Status) -> Markup {
    html! {
        @if !route.goes_to.is_empty() {
            "goes by "
            @for (n, name) in route.goes_to.iter().enumerate() { @if n > 0 { ", " } span.member { (name) } }
        } @else if let Some(until) = route.waits_until {
            (badge(Tone::Warn, "waits")) " for " (route.waits_for.join(", "))
            @if until > status.now { " until " (moment_and_span(until, status.now)) }
            @else { ": the next message that is due tries it" }
        } @else { span.muted { (route.action) } }
        @if !route.held_back_by.is_empty() { span.muted { ", held back by its " (route.held_back_by.join(" and ")) } }
    }
}

fn kpis(status: &Status, minute: &Span) -> Markup {
    let last =
        |of: fn(&Counts) -> u64| -> u64 { minute.routes.values().filter_map(|parts| parts.first()).map(of).sum() };
    let rate = |name: &str, of: fn(&Counts) -> u64| {
        html! { div { dt { (name) } dd { (number(last(of))) } dd.sub { "in the last full minute" } } }
    };
    html! {
        dl.kpis {
            div { dt { "Queued" } dd { (number(status.queue.messages)) } dd.sub { (super::show::size(status.queue.size)) } }
            div {
                dt { "Oldest that waits" }
                dd { @match status.queue.oldest { Some(at) => (duration(between(at, status.now))), None => (dash()) } }
                dd.sub { (number(status.queue.held)) " held" }
            }
            (rate("Accepted", |counts| counts.accepted))
            (rate("Delivered", |counts| counts.delivered))
            (rate("Deferred", |counts| counts.deferred))
            (rate("Bounced", |counts| counts.bounced))
        }
    }
}

fn charts(asked: &Asked, span: &Span) -> Markup {
    let times: Vec<String> = (0..asked.parts).map(|part| clock(span, part)).collect();
    let by = if asked.by_provider { &span.providers } else { &span.routes };
    let named = told_apart(by);
    let each = if asked.minutes == 1 { "each minute".to_owned() } else { format!("each {} min", asked.minutes) };
    let around = |id, title| Around { id, title, note: &each, times: &times };
    let bars = |id, title, of: fn(&Counts) -> u64| chart::bars(around(id, title), &layers(by, &named, asked.parts, of));
    let seconds: Vec<Option<u64>> = span.oldest.iter().map(|age| age.map(|age| age.as_secs())).collect();
    let names: Vec<(String, Option<usize>)> =
        named.iter().enumerate().map(|(n, name)| (name.to_string(), Some(n))).collect();
    let more = by.len() > named.len();
    html! {
        section aria-labelledby="hours" {
            div.headline {
                h2 #hours { "The last " (if asked.hours == "1" { "hour".to_owned() } else { format!("{} hours", asked.hours) }) }
                (choice("Span", SPANS.map(|(hours, _, _)| (format!("{hours} h"), hours == asked.hours, to(hours, asked.by_provider)))))
                (choice("By", [("by route".to_owned(), !asked.by_provider, to(asked.hours, false)), ("by provider".to_owned(), asked.by_provider, to(asked.hours, true))]))
            }
            div.charts {
                @if !asked.by_provider { (bars("accepted", "Accepted", |counts| counts.accepted)) }
                (bars("delivered", "Delivered", |counts| counts.delivered))
                (bars("deferred", "Deferred", |counts| counts.deferred))
                (bars("bounced", if asked.by_provider { "Rejected" } else { "Bounced" }, |counts| counts.bounced))
                (chart::line(Around { note: "", ..around("depth", "Queued") }, &span.queued, number))
                (chart::line(Around { note: "", ..around("age", "Oldest that waits") }, &seconds, |s| duration(Duration::from_secs(s))))
            }
            (chart::legend(&names.into_iter().chain(more.then(|| (OTHERS.to_owned(), None))).collect::<Vec<_>>()))
            details #figures {
                summary { "The same in figures" }
                (figures(by, asked.by_provider))
            }
        }
    }
}

fn to(hours: &str, by_provider: bool) -> String {
    link("/", [("hours", Some(hours)), ("by", by_provider.then_some("provider"))])
}

fn choice<const N: usize>(label: &str, of: [(String, bool, String); N]) -> Markup {
    html! {
        nav.choice aria-label=(label) {
            @for (name, is_it, to) in of { a href=(to) aria-current=[is_it.then_some("true")] { (name) } }
        }
    }
}

/// When a part begins: `14:05`.
fn clock(span: &Span, part: usize) -> String {
    let seconds = 60 * span.minutes * i64::try_from(part).unwrap_or(0);
    let at = span.start.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(span.start);
    at.strftime("%H:%M").to_string()
}

/// Names with a colour of their own: those with the most traffic, in the order of the alphabet, so that they keep theirs.
fn told_apart(by: &BTreeMap<Arc<str>, Vec<Counts>>) -> Vec<Arc<str>> {
    let of = |parts: &Vec<Counts>| parts.iter().map(|counts| counts.total()).fold(0, u64::saturating_add);
    let mut totals: Vec<(u64, &Arc<str>)> =
        by.iter().filter(|(name, _)| &***name != OTHERS).map(|(name, parts)| (of(parts), name)).collect();
    totals.sort_by(|a, b| b.cmp(a));
    let mut named: Vec<Arc<str>> = totals.into_iter().take(NAMED).map(|(_, name)| name.clone()).collect();
    named.sort_unstable();
    named
}

fn layers<'a>(
    by: &BTreeMap<Arc<str>, Vec<Counts>>,
    named: &'a [Arc<str>],
    parts: usize,
    of: fn(&Counts) -> u64,
) -> Vec<Layer<'a>> {
    let mut layers: Vec<Layer<'a>> = named
        .iter()
        .enumerate()
        .map(|(n, name)| Layer {
            name,
            colour: Some(n),
            values: by.get(name).map_or_else(|| vec![0; parts], |counts| counts.iter().map(of).collect()),
        })
        .collect();
    let mut others = vec![0u64; parts];
    for (_, counts) in by.iter().filter(|(name, _)| !named.contains(name)) {
        for (sum, counts) in others.iter_mut().zip(counts) {
            *sum = sum.saturating_add(of(counts));
        }
    }
    layers.push(Layer { name: OTHERS, colour: None, values: others });
    layers
}

fn figures(by: &BTreeMap<Arc<str>, Vec<Counts>>, by_provider: bool) -> Markup {
    let sum = |parts: &[Counts], of: fn(&Counts) -> u64| number(parts.iter().map(of).sum());
    html! {
        @if by.is_empty() { p.none { "Nothing came or went." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Figures" {
                table {
                    caption.hidden { "Totals of the span" }
                    thead {
                        tr {
                            th scope="col" { @if by_provider { "Provider" } @else { "Route" } }
                            @if !by_provider { th.num scope="col" { "Accepted" } }
                            th.num scope="col" { "Delivered" }
                            th.num scope="col" { "Deferred" }
                            th.num scope="col" { @if by_provider { "Rejected" } @else { "Bounced" } }
                        }
                    }
                    tbody {
                        @for (name, parts) in by {
                            tr {
                                th scope="row" { (name) }
                                @if !by_provider { td.num { (sum(parts, |counts| counts.accepted)) } }
                                td.num { (sum(parts, |counts| counts.delivered)) }
                                td.num { (sum(parts, |counts| counts.deferred)) }
                                td.num { (sum(parts, |counts| counts.bounced)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn providers_table(status: &Status) -> Markup {
    html! {
        section aria-labelledby="providers" {
            h2 #providers { a href="/providers" { "Providers" } }
            div.scroll tabindex="0" role="region" aria-label="Providers" {
                table.stack {
                    caption.hidden { "Providers" }
                    thead {
                        tr {
                            th scope="col" { "Provider" } th scope="col" { "State" } th.num scope="col" { "Attempts/s" }
                            th.num scope="col" { "Under way" } th.num scope="col" { "p50" } th.num scope="col" { "p99" }
                            th scope="col" { "Outcomes lately" }
                        }
                    }
                    tbody {
                        @for provider in &status.providers {
                            tr {
                                th scope="row" { a href={ "/providers#" (providers::anchor(&provider.name)) } { (provider.name) } " " span.muted.small { (provider.transport) } }
                                td data-name="State" { (providers::state_badge(provider)) }
                                td.num data-name="Attempts/s" { (format!("{:.1}", provider.rate)) }
                                td.num data-name="Under way" { (provider.under_way) span.muted { " of " (provider.allowed) } }
                                td.num data-name="p50" { (providers::seconds(provider.recent.p50)) }
                                td.num data-name="p99" { (providers::seconds(provider.recent.p99)) }
                                td data-name="Outcomes" { (providers::outcomes(provider)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn routes_table(status: &Status) -> Markup {
    let busy = |route: &&RouteStatus| route.waiting + route.held + route.accepted + route.delivered > 0;
    let mut rows: Vec<&RouteStatus> = status.routes.iter().filter(busy).collect();
    let left_out = rows.len().saturating_sub(ROUTES);
    if left_out > 0 {
        rows.sort_by_key(|route| std::cmp::Reverse((route.waiting, route.held, route.accepted)));
        rows.truncate(ROUTES);
    }
    html! {
        section aria-labelledby="routes" {
            h2 #routes { a href="/routes" { "Routes" } " " span.muted.small { "with traffic since the start" } }
            @if rows.is_empty() { p.none { "No mail has come yet." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Routes" {
                    table.stack {
                        caption.hidden { "Routes" }
                        thead {
                            tr {
                                th scope="col" { "Route" } th scope="col" { "Mail now" } th.num scope="col" { "Waiting" }
                                th.num scope="col" { "Oldest" } th.num scope="col" { "Held" } th.num scope="col" { "Accepted" }
                                th.num scope="col" { "Delivered" } th.num scope="col" { "Deferred" } th.num scope="col" { "Bounced" }
                            }
                        }
                        tbody { @for route in rows { (route_row(route, status)) } }
                    }
                }
            }
            @if left_out > 0 { p.muted { "and " (plural(left_out as u64, "route")) " with less that waits" } }
        }
    }
}

fn route_row(route: &RouteStatus, status: &Status) -> Markup {
    let queued = |n: u64, state: &str| {
        html! {
            @if n == 0 { "0" } @else { a href=(link("/queue", [("route", Some(&*route.name)), ("state", Some(state))])) { (number(n)) } }
        }
    };
    html! {
        tr {
            th scope="row" { (route.name) }
            td data-name="Mail now" { (goes_now(route, status)) }
            td.num data-name="Waiting" { (queued(route.waiting, "waiting")) }
            td.num data-name="Oldest" { @match route.oldest { Some(at) => (duration(between(at, status.now))), None => (dash()) } }
            td.num data-name="Held" { (queued(route.held, "held")) }
            td.num data-name="Accepted" { (number(route.accepted)) }
            td.num data-name="Delivered" { (number(route.delivered)) }
            td.num data-name="Deferred" { (number(route.deferred)) }
            td.num data-name="Bounced" { (number(route.bounced)) }
        }
    }
}

fn listeners(listeners: &[ListenerStatus]) -> Markup {
    html! {
        section aria-labelledby="listeners" {
            h2 #listeners { "Listeners" }
            div.scroll tabindex="0" role="region" aria-label="Listeners" {
                table.stack {
                    caption.hidden { "Listeners" }
                    thead {
                        tr {
                            th scope="col" { "Listener" } th scope="col" { "State" } th.num scope="col" { "Connections" }
                            th.num scope="col" { "Under TLS" } th.num scope="col" { "Accepted" } th.num scope="col" { "Refused" }
                            th.num scope="col" { "Turned away" } th.num scope="col" { "Logins failed" }
                        }
                    }
                    tbody {
                        @for of in listeners {
                            tr {
                                th scope="row" { (of.name) " " span.muted.small { (of.address) } }
                                td data-name="State" { @if of.listening { (badge(Tone::Good, "listens")) } @else { (badge(Tone::Bad, "down")) } }
                                td.num data-name="Connections" { (number(of.connections)) span.muted { " of " (number(of.max_connections as u64)) } }
                                td.num data-name="Under TLS" { (number(of.tls_connections)) }
                                td.num data-name="Accepted" { (number(of.accepted)) }
                                td.num data-name="Refused" { (number(of.refused)) }
                                td.num data-name="Turned away" { (number(of.turned_away)) }
                                td.num data-name="Logins failed" { (number(of.failed_logins)) span.muted { " of " (number(of.logins + of.failed_logins)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
