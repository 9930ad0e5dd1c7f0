//! What waits: found by a filter, a part at a time, so that a million rows are as quick as ten.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use maud::{Markup, html};

use super::acts;
use super::fields::{Fields, link};
use super::layout::{Place, Trouble, View};
use super::show::{Tone, badge, dash, moment, number, path, plural, relative, size};
use crate::admin::{Shared, waiting};
use crate::delivery::operate::{self, Entry, Filter};
use crate::mail::Timestamp;
use crate::queue::Depth;
use crate::routing::Table;

/// Entries of a part.
const PART: usize = 50;
/// Names that a field offers.
const OFFERED: usize = 500;

pub fn routes() -> Router<Shared> {
    Router::new().route("/queue", get(page))
}

/// The filter of a query or a form; and what in it makes no sense.
pub fn filter(asked: &Fields) -> Result<Filter, Trouble> {
    let state = match asked.get("state") {
        None => None,
        Some("waiting") => Some(operate::State::Waiting),
        Some("held") => Some(operate::State::Held),
        Some(other) => {
            return Err(
                crate::admin::Fault::bad_request(format!("state: '{other}' is neither waiting nor held")).into()
            );
        }
    };
    Ok(Filter {
        route: asked.owned("route"),
        provider: asked.owned("provider"),
        sender: asked.owned("sender"),
        recipient: asked.owned("recipient"),
        older: asked.owned("older"),
        newer: asked.owned("newer"),
        state,
        reason: asked.owned("reason"),
    })
}

/// The names and values of a filter, for links and forms.
pub fn pairs(filter: &Filter) -> [(&'static str, Option<&str>); 8] {
    let Filter { route, provider, sender, recipient, older, newer, state, reason } = filter;
    [
        ("route", route.as_deref()),
        ("provider", provider.as_deref()),
        ("sender", sender.as_deref()),
        ("recipient", recipient.as_deref()),
        ("older", older.as_deref()),
        ("newer", newer.as_deref()),
        ("state", state.map(state_word)),
        ("reason", reason.as_deref()),
    ]
}

pub fn state_word(state: operate::State) -> &'static str {
    match state {
        operate::State::Waiting => "waiting",
        operate::State::Held => "held",
    }
}

pub fn state_badge(state: operate::State, in_hand: bool) -> Markup {
    match state {
        operate::State::Held => badge(Tone::Warn, "held"),
        operate::State::Waiting if in_hand => badge(Tone::Good, "in attempt"),
        operate::State::Waiting => badge(Tone::Calm, "waiting"),
    }
}

async fn page(State(deps): State<Shared>, RawQuery(query): RawQuery, view: View) -> Result<Markup, Trouble> {
    let depth = deps.queue.depth().await?;
    if view.is_live() {
        // The list stays as somebody looks at it; what is found anew is asked for.
        return Ok(view.page(Place::Queue, "Queue", &summary(depth)));
    }
    let asked = Fields::read(query.unwrap_or_default().as_bytes());
    let filter = filter(&asked)?;
    let after = asked.get("after");
    let part = waiting::list(&deps, &filter, after, PART).await?;
    let (table, now) = (deps.operator.table(), deps.clock.wall());
    let next =
        part.next.as_deref().map(|next| link("/queue", pairs(&filter).into_iter().chain([("after", Some(next))])));
    Ok(view.page(
        Place::Queue,
        "Queue",
        &html! {
            h1 { "Queue" }
            (summary(depth))
            (filter_form(&filter, &table))
            @if part.entries.is_empty() {
                p.none {
                    @if after.is_some() { "That was all." }
                    @else if filter.is_empty() { "Nothing is queued." }
                    @else { "Nothing that is queued matches." }
                }
            } @else {
                form method="post" action="/queue/confirm" {
                    (view.form_token())
                    (acts::hidden(&filter))
                    (listed(&part.entries, now))
                    (acts::choice(&filter))
                }
            }
            nav.parts aria-label="Parts of the list" {
                @if after.is_some() { a href=(link("/queue", pairs(&filter))) { "First" } }
                @if let Some(next) = &next { a href=(next) rel="next" { "Next " (PART) } }
            }
        },
    ))
}

fn summary(depth: Depth) -> Markup {
    html! {
        p #queue-summary data-live {
            strong { (plural(depth.messages, "message")) } " queued"
            span.muted {
                ", in " (plural(depth.waiting, "part")) " that wait" @if depth.waiting == 1 { "s" }
                " and " (number(depth.held)) " held"
            }
        }
    }
}

fn filter_form(filter: &Filter, table: &Table) -> Markup {
    let field = |name: &str, label: &str, value: &Option<String>, hint: &str, list: Option<&str>| {
        html! {
            div {
                label for={ "q-" (name) } { (label) }
                input id={ "q-" (name) } name=(name) value=[value.as_deref()] placeholder=(hint) list=[list];
            }
        }
    };
    let held = filter.state.map(state_word);
    html! {
        form.fields.filter method="get" action="/queue" role="search" aria-label="Filter" {
            (field("route", "Route", &filter.route, "any", Some("names-route")))
            (field("provider", "Provider", &filter.provider, "any", Some("names-provider")))
            (field("sender", "Sender", &filter.sender, "*@shop.example, <>", None))
            (field("recipient", "Recipient", &filter.recipient, "customer.example", None))
            (field("older", "Older than", &filter.older, "4h", None))
            (field("newer", "Newer than", &filter.newer, "30m", None))
            div {
                label for="q-state" { "State" }
                select #q-state name="state" {
                    option value="" { "any" }
                    @for state in ["waiting", "held"] { option value=(state) selected[held == Some(state)] { (state) } }
                }
            }
            (field("reason", "Reason or reply", &filter.reason, "450", None))
            div.act {
                button.primary type="submit" { "Find" }
                @if !filter.is_empty() { " " a href="/queue" { "All" } }
            }
            (names(table))
        }
    }
}

/// What fields of routes and providers offer.
pub fn names(table: &Table) -> Markup {
    let mut providers: Vec<_> = table.providers().map(|provider| provider.name.as_str()).collect();
    providers.sort_unstable();
    html! {
        datalist #names-route { @for route in table.routes().take(OFFERED) { option value=(route.name) {} } }
        datalist #names-provider { @for name in providers.iter().take(OFFERED) { option value=(name) {} } }
    }
}

fn listed(entries: &[Entry], now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Queued mail" {
            table.stack.mail {
                caption.hidden { "Queued mail, oldest first" }
                thead {
                    tr {
                        th scope="col" { span.hidden { "Tick" } }
                        th scope="col" { "Accepted" }
                        th scope="col" { "From" }
                        th scope="col" { "To" }
                        th scope="col" { "Route" }
                        th scope="col" { "State" }
                        th scope="col" { "Due" }
                        th.num scope="col" { "Tries" }
                        th.num scope="col" { "Size" }
                        th scope="col" { "Reason or last reply" }
                    }
                }
                tbody { @for entry in entries { (row(entry, now)) } }
            }
        }
    }
}

fn row(entry: &Entry, now: Timestamp) -> Markup {
    let Entry {
        mid,
        number: _,
        from,
        to,
        recipients,
        route,
        destination: _,
        provider,
        moved_to_provider: _,
        state,
        in_hand,
        due,
        attempts,
        accepted,
        size: octets,
        reason,
        waits,
        until,
    } = entry;
    let waits = waits.as_ref().map(|waits| format!("waits {waits}"));
    let why = [waits.as_ref(), reason.as_ref()].into_iter().flatten().map(String::as_str).collect::<Vec<_>>();
    let why = why.join("; last: ");
    let more = recipients.saturating_sub(1);
    html! {
        tr {
            td { input type="checkbox" name="mid" value=(mid) aria-label={ "Message " (mid) }; }
            th.nowrap scope="row" { a href={ "/message/" (mid) } title=(mid) { (moment(*accepted, now)) } }
            td.cut.line data-name="From" title=(from.as_deref().unwrap_or("<>")) { (path(from.as_deref())) }
            td.cut.line data-name="To" title=(to.join(", ")) {
                (to.first().map_or("", String::as_str))
                @if more > 0 { span.muted { " and " (number(more)) " more" } }
            }
            td.nowrap data-name="Route" {
                (route)
                @if let Some(provider) = provider { br; span.muted.small { " by " (provider) } }
            }
            td data-name="State" { (state_badge(*state, *in_hand)) }
            td.nowrap.wordy data-name="Due" title=(until.unwrap_or(*due)) {
                @match state {
                    operate::State::Held => (dash()),
                    operate::State::Waiting if *due <= now => @match until.filter(|until| *until > now) {
                        Some(until) => (relative(until, now)),
                        None => "now",
                    },
                    operate::State::Waiting => (relative(*due, now)),
                }
            }
            td.num.wordy data-name="Tries" { (attempts) }
            td.num data-name="Size" { (size(*octets)) }
            td.cut.line.empty[why.is_empty()] data-name="Reason" title=[Some(&why).filter(|why| !why.is_empty())] { (why) }
        }
    }
}
