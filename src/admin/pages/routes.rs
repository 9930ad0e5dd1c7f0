//! The routing table as it is in force, and a form that says which route takes a mail, and why.

use std::net::{IpAddr, Ipv4Addr};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use bytes::Bytes;
use maud::{Markup, html};

use super::fields::{Fields, link};
use super::layout::{Place, View};
use super::show::{Tone, badge, number, path, plural};
use crate::admin::Shared;
use crate::config::Size;
use crate::mail::{Address, HeaderSection};
use crate::routing::{Description, Explanation, Facts, Limits, Member, Table};

/// Routes on one page.
const PART: usize = 100;
/// Earlier routes of an explanation that are told one by one.
const PASSED: usize = 100;

pub fn routes() -> Router<Shared> {
    Router::new().route("/routes", get(page))
}

async fn page(State(deps): State<Shared>, RawQuery(query): RawQuery, view: View) -> Markup {
    let asked = Fields::read(query.unwrap_or_default().as_bytes());
    let table = deps.operator.table();
    let explained = (asked.get("to").is_some() || asked.get("from").is_some()).then(|| explain(&table, &asked));
    let from = asked.get("after").and_then(|from| from.parse().ok()).unwrap_or(0usize);
    let all = table.routes().count();
    view.page(
        Place::Routes,
        "Routes",
        &html! {
            h1 { "Routes " span.muted { (number(all as u64)) } }
            section aria-labelledby="explain" {
                h2 #explain { "Where would it go?" }
                (form(&asked))
                @match &explained {
                    None => {}
                    Some(Ok(explanation)) => (told(explanation)),
                    Some(Err(wrong)) => { p.notice.bad role="alert" { (wrong) } }
                }
            }
            section aria-labelledby="table" {
                h2 #table { "The table in force" }
                p.muted { "The first route whose match holds takes a recipient." }
                (listed(&table, from))
                (parts(from, all))
            }
        },
    )
}

fn form(asked: &Fields) -> Markup {
    let field = |name: &str, label: &str, hint: &str| {
        html! {
            div {
                label for={ "f-" (name) } { (label) }
                input id={ "f-" (name) } name=(name) value=[asked.get(name)] placeholder=(hint);
            }
        }
    };
    html! {
        form.fields method="get" action="/routes" {
            (field("from", "Sender", "app@corp.example"))
            div {
                label for="f-to" { "Recipient" }
                input #f-to name="to" required value=[asked.get("to")] placeholder="a@customer.example";
            }
            (field("listener", "Listener", "the name of one"))
            (field("user", "User", "nobody"))
            (field("client", "Client", "127.0.0.1"))
            (field("size", "Size", "1KiB"))
            (field("header", "Header field", "X-Mail-Class: bulk"))
            div.act { button.primary type="submit" { "Explain" } }
        }
    }
}

fn explain(table: &Table, asked: &Fields) -> Result<Explanation, String> {
    let address = |name: &str, text: &str| text.parse::<Address>().map_err(|error| format!("{name}: {error}"));
    let bare = |text: Option<&str>| text.map(|text| text.trim_matches(['<', '>']).to_owned()).filter(|t| !t.is_empty());
    let sender = bare(asked.get("from")).map(|from| address("Sender", &from)).transpose()?;
    let recipient = bare(asked.get("to")).ok_or("Recipient: say one")?;
    let recipient = address("Recipient", &recipient)?;
    let client = match asked.get("client") {
        Some(client) => client.parse::<IpAddr>().map_err(|error| format!("Client: {error}"))?,
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let size = match asked.get("size") {
        Some(size) => size.parse::<Size>().map_err(|error| format!("Size: {error}"))?,
        None => Size(1024),
    };
    let mut section = String::new();
    for field in asked.all("header").filter(|field| !field.trim().is_empty()) {
        let (name, value) = field.split_once(':').ok_or("Header field: write NAME: VALUE")?;
        section.push_str(&format!("{}: {}\r\n", name.trim(), value.trim()));
    }
    section.push_str("\r\n");
    let header = HeaderSection::new(Bytes::from(section));
    Ok(table.explain(&Facts {
        sender: sender.as_ref(),
        recipient: &recipient,
        listener: asked.get("listener").unwrap_or_default(),
        client: Some(client),
        user: asked.get("user"),
        header: Some(&header),
        size: Some(size.0),
    }))
}

fn told(explanation: &Explanation) -> Markup {
    let Explanation { recipient, sender, route, place, action, reply, chain, limits, passed } = explanation;
    html! {
        div.card #explanation aria-live="polite" {
            p { (path(sender.as_deref())) " to " strong { (recipient) } }
            @match (route, place) {
                (Some(route), Some(place)) => {
                    p.answer { "takes route " strong { (route) } " " span.muted { (place) } }
                }
                _ => { p.answer { (badge(Tone::Bad, "No route")) " takes it: it is refused at RCPT" } }
            }
            @if let Some(reply) = reply { p { @if let Some(action) = action { (action) ": " } code { (reply) } } }
            @else if let Some(action @ "discard") = action { p { (action) } }
            @if !chain.is_empty() { (tiers(chain)) }
            @if let Some(limits) = limits { p.muted { (limits) } }
            @if !passed.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Earlier routes" {
                    table {
                        caption { "Why each earlier route does not" }
                        thead { tr { th scope="col" { "Route" } th scope="col" { "Key" } th scope="col" { "Why" } } }
                        tbody {
                            @for passed in passed.iter().rev().take(PASSED).rev() {
                                tr {
                                    th scope="row" title=(passed.place) { (passed.route) }
                                    td { code { (passed.key) } }
                                    td { (passed.why) }
                                }
                            }
                        }
                    }
                }
                @if passed.len() > PASSED {
                    p.muted { (plural((passed.len() - PASSED) as u64, "route")) " before these are left out." }
                }
            }
        }
    }
}

fn listed(table: &Table, from: usize) -> Markup {
    let described = table.routes().enumerate().skip(from).take(PART).map(|(n, route)| (n, table.describe(route)));
    html! {
        div.scroll tabindex="0" role="region" aria-label="Routes" {
            table.wide {
                caption.hidden { "Routes in their order" }
                thead {
                    tr {
                        th.num scope="col" { "#" }
                        th scope="col" { "Route" }
                        th scope="col" { "Takes" }
                        th scope="col" { "Then" }
                        th scope="col" { "Limits" }
                    }
                }
                tbody { @for (n, route) in described { (row(n, &route)) } }
            }
        }
    }
}

fn row(n: usize, route: &Description) -> Markup {
    html! {
        tr {
            td.num { (n + 1) }
            th scope="row" {
                a href=(link("/queue", [("route", Some(&*route.route))])) title="Its queue" { (route.route) }
                br;
                span.muted.small { (route.place) }
            }
            td {
                @if route.conditions.is_empty() { span.muted { "all mail" } }
                @for (key, wants) in &route.conditions { div { code { (key) } " " (wants) } }
            }
            td {
                @match route.action {
                    "deliver" => (tiers(&route.chain)),
                    action => {
                        (badge(Tone::Calm, action))
                        @if let Some(reply) = &route.reply { " " (reply) }
                    }
                }
            }
            td.small { @if let Some(limits) = &route.limits { (short(limits)) } }
        }
    }
}

fn tiers(chain: &[Vec<Member>]) -> Markup {
    html! {
        ol.chain {
            @for tier in chain {
                li {
                    @for (n, member) in tier.iter().enumerate() {
                        @if n > 0 { " " }
                        span.member title={ (member) } {
                            (member.provider)
                            @if tier.len() > 1 { " " span.muted { (member.weight) } }
                        }
                    }
                }
            }
        }
    }
}

/// What differs from the relay's own settings.
fn short(limits: &Limits) -> Markup {
    let Limits { rate, burst, concurrency, priority, residency, tls, retry, expire, on_throttle, on_unknown, sticky } =
        limits;
    let mut said: Vec<String> = Vec::new();
    if let (Some(rate), Some(burst)) = (rate, burst) {
        said.push(format!("{rate}, burst {burst}"));
    }
    said.extend(concurrency.map(|most| format!("concurrency {most}")));
    said.extend((*priority != "normal").then(|| format!("priority {priority}")));
    said.extend(residency.as_ref().map(|region| format!("residency {region}")));
    said.extend(tls.map(|floor| format!("tls {floor}")));
    said.extend(retry.as_ref().map(|pauses| format!("retry {}", pauses.join(" "))));
    said.extend(expire.as_ref().map(|expire| format!("expire {expire}")));
    said.extend((*on_throttle != "wait").then(|| format!("on_throttle {on_throttle}")));
    said.extend((*on_unknown != "next").then(|| format!("on_unknown {on_unknown}")));
    said.extend((*sticky != "message").then(|| format!("sticky {sticky}")));
    html! {
        @if said.is_empty() { span.muted { "none of its own" } }
        @for one in said { div { (one) } }
    }
}

fn parts(from: usize, all: usize) -> Markup {
    html! {
        @if all > PART {
            nav.parts aria-label="Parts of the table" {
                @if from > 0 { a href={ "/routes?after=" (from.saturating_sub(PART)) } { "Earlier" } }
                span.muted { (number(from as u64 + 1)) "\u{2013}" (number((from + PART).min(all) as u64)) " of " (number(all as u64)) }
                @if from + PART < all { a href={ "/routes?after=" (from + PART) } { "Later" } }
            }
        }
    }
}
