//! Providers: how each stands, since when and why, what it does; and forms that take one out by hand.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};

use super::door::see_other;
use super::fields::{Fields, encoded};
use super::layout::{Place, Told, Trouble, View};
use super::session::Notice;
use super::show::{Tone, badge, dash, duration, moment_and_span, number, plural};
use crate::admin::{
    Fault, Operator, OrderBody, ProviderStatus, QuotaStatus, Shared, Standing, providers as orders, status,
};
use crate::delivery::OrderKind;
use crate::mail::Timestamp;

pub fn routes() -> Router<Shared> {
    Router::new().route("/providers", get(page)).route("/providers/{name}/{act}", post(act))
}

async fn page(State(deps): State<Shared>, view: View) -> Result<Markup, Trouble> {
    let status = status::of(&deps).await?;
    Ok(view.page(
        Place::Providers,
        "Providers",
        &html! {
            h1 { "Providers " span.muted { (status.providers.len()) } }
            @if status.providers.is_empty() { p.none { "The configuration names none." } }
            div.cards { @for provider in &status.providers { (card(&view, provider, status.now)) } }
        },
    ))
}

/// Where a provider's card is on its page.
pub fn anchor(name: &str) -> String {
    format!("p-{}", encoded(name))
}

pub fn tone(provider: &ProviderStatus) -> Tone {
    if provider.is_failing() { Tone::Warn } else { state_tone(provider.state) }
}

fn state_tone(state: Standing) -> Tone {
    match state {
        Standing::Open | Standing::HalfOpen => Tone::Bad,
        Standing::Paused | Standing::Drill | Standing::QuotaSpent | Standing::Throttled => Tone::Warn,
        Standing::Closed => Tone::Good,
    }
}

pub fn state_badge(provider: &ProviderStatus) -> Markup {
    if provider.is_failing() {
        return badge(Tone::Warn, "failing");
    }
    destination_badge(provider.state)
}

fn destination_badge(state: Standing) -> Markup {
    let word = match state {
        Standing::Paused => "paused",
        Standing::Drill => "drill",
        Standing::Open => "out",
        Standing::HalfOpen => "probing",
        Standing::QuotaSpent => "quota spent",
        Standing::Throttled => "throttled",
        Standing::Closed => "in use",
    };
    badge(state_tone(state), word)
}

pub fn is_trouble(provider: &ProviderStatus) -> bool {
    match provider.state {
        Standing::Paused
        | Standing::Drill
        | Standing::Open
        | Standing::HalfOpen
        | Standing::QuotaSpent
        | Standing::Throttled => true,
        Standing::Closed => provider.destinations_out > 0 || provider.is_failing(),
    }
}

/// What a headline says of it, behind its name.
pub fn predicate(provider: &ProviderStatus) -> String {
    match provider.state {
        Standing::Paused => "is paused".to_owned(),
        Standing::Drill => "plays an outage".to_owned(),
        Standing::Open => "is out".to_owned(),
        Standing::HalfOpen => "is out, and being probed".to_owned(),
        Standing::QuotaSpent => "has spent its quota".to_owned(),
        Standing::Throttled => "asked for a pause".to_owned(),
        Standing::Closed if provider.is_failing() => {
            format!("is failing: its last {} attempts found it out", provider.failures_in_row)
        }
        Standing::Closed => format!("cannot reach {}", plural(provider.destinations_out as u64, "destination")),
    }
}

/// What comes at the time that `until` says.
pub fn until_what(state: Standing) -> &'static str {
    match state {
        Standing::Open | Standing::HalfOpen => "Next probe",
        Standing::Paused | Standing::Drill => "Ends",
        Standing::QuotaSpent => "Counts anew",
        Standing::Throttled => "Goes on",
        Standing::Closed => "Until",
    }
}

pub fn why(provider: &ProviderStatus, now: Timestamp) -> Markup {
    html! {
        @if let Some(order) = &provider.order {
            (order.kind) " by " (order.by)
            @if !order.reason.is_empty() { ": " (order.reason) }
            @if provider.last_error.is_some() { br; }
        }
        @if let Some(error) = &provider.last_error {
            span.break { (error.text) }
            " " span.muted { (error.outcome) @if let Some(domain) = &error.destination { " at " (domain) } ", " (moment_and_span(error.at, now)) }
        } @else if provider.order.is_none() { (dash()) }
    }
}

/// Of an attempt's length.
pub fn seconds(seconds: Option<f64>) -> Markup {
    html! {
        @match seconds {
            Some(s) if s < 1.0 => (format!("{:.0} ms", s * 1000.0)),
            Some(s) => (format!("{s:.1} s")),
            None => (dash()),
        }
    }
}

pub fn outcomes(provider: &ProviderStatus) -> Markup {
    let recent = &provider.recent;
    html! {
        @if recent.outcomes.is_empty() { (dash()) }
        @for (n, (outcome, count)) in recent.outcomes.iter().enumerate() {
            @if n > 0 { ", " } (number(*count)) " " (outcome)
        }
    }
}

fn card(view: &View, provider: &ProviderStatus, now: Timestamp) -> Markup {
    let id = anchor(&provider.name);
    let tone = if is_trouble(provider) && provider.state == Standing::Closed { Tone::Warn } else { tone(provider) };
    html! {
        section class={ "card " (tone.class()) } id=(id) data-live aria-labelledby={ (id) "-name" } {
            div.headline {
                h2 id={ (id) "-name" } { (provider.name) }
                (state_badge(provider))
                span.muted { (provider.transport) @if let Some(since) = provider.since { ", since " (moment_and_span(since, now)) } }
            }
            dl.facts {
                @if let Some(until) = provider.until { dt { (until_what(provider.state)) } dd { (moment_and_span(until, now)) } }
                dt { @if is_trouble(provider) { "Why" } @else { "Last error" } } dd { (why(provider, now)) }
                dt { "Under way" }
                dd {
                    (provider.under_way) " of " (provider.allowed)
                    @if provider.allowed != provider.concurrency { span.muted { " (" (provider.concurrency) " when it is well)" } }
                }
                dt { "Rate" }
                dd {
                    (format!("{:.1}/s", provider.rate)) span.muted { " in the last minute" }
                    @if let Some(limit) = &provider.limit { ", at most " (limit) }
                }
                @if let Some(quota) = &provider.quota { dt { "Quota" } dd { (self::quota(quota, now)) } }
                dt { "Attempts" }
                dd {
                    (number(provider.recent.attempts))
                    span.muted { " in " (duration(std::time::Duration::from_secs(provider.recent.span))) }
                    ": p50 " (seconds(provider.recent.p50)) ", p99 " (seconds(provider.recent.p99))
                }
                dt { "Outcomes" } dd { (outcomes(provider)) }
            }
            @if provider.destinations_out > 0 { (destinations(provider, now)) }
            (forms(view, provider, &id))
        }
    }
}

fn quota(quota: &QuotaStatus, now: Timestamp) -> Markup {
    html! {
        (number(quota.used)) " of " (number(quota.messages)) " used, " (number(quota.left)) " left"
        @if let Some(until) = quota.until { span.muted { ", anew " (moment_and_span(until, now)) } }
        meter.meter min="0" max=(quota.messages.max(1)) value=(quota.used) aria-label="Quota used" {}
    }
}

fn destinations(provider: &ProviderStatus, now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Destinations in trouble" {
            table.stack {
                caption { (plural(provider.destinations_out as u64, "destination")) " in trouble" }
                thead { tr { th scope="col" { "Destination" } th scope="col" { "State" } th scope="col" { "Since" } th scope="col" { "Until" } th scope="col" { "Last error" } } }
                tbody {
                    @for of in &provider.destinations {
                        tr {
                            th scope="row" { (of.domain) }
                            td data-name="State" { (destination_badge(of.state)) }
                            td data-name="Since" { @match of.since { Some(at) => (moment_and_span(at, now)), None => (dash()) } }
                            td data-name="Until" { @match of.until { Some(at) => (moment_and_span(at, now)), None => (dash()) } }
                            td.break data-name="Last error" { (of.last_error.as_deref().unwrap_or("")) }
                        }
                    }
                }
            }
        }
        @if provider.destinations.len() < provider.destinations_out {
            p.muted { "and " (plural((provider.destinations_out - provider.destinations.len()) as u64, "destination")) " more" }
        }
    }
}

fn forms(view: &View, provider: &ProviderStatus, id: &str) -> Markup {
    let path = format!("/providers/{}", encoded(&provider.name));
    html! {
        @if provider.order.is_some() {
            form.acts method="post" action={ (path) "/resume" } {
                (view.form_token())
                div { label for={ (id) "-why" } { "Why (it is recorded)" } input id={ (id) "-why" } name="reason" maxlength="200" autocomplete="off"; }
                button.primary type="submit" { "Resume" }
            }
        }
        details id={ (id) "-acts" } data-form {
            summary { @if provider.order.is_some() { "Another order" } @else { "Take it out by hand" } }
            form method="post" {
                (view.form_token())
                div.fields {
                    div { label for={ (id) "-for" } { "For (ends by itself)" } input id={ (id) "-for" } name="for" value="1h" required; }
                    div { label for={ (id) "-reason" } { "Why (it is recorded)" } input id={ (id) "-reason" } name="reason" maxlength="200" autocomplete="off"; }
                }
                div.acts {
                    button type="submit" formaction={ (path) "/pause" } title="Its mail goes to the next of the chain, or waits" { "Pause" }
                    button type="submit" formaction={ (path) "/drill" } title="Attempts fail without being made, as in an outage" { "Drill an outage" }
                }
            }
        }
    }
}

async fn act(
    State(deps): State<Shared>,
    Path((name, act)): Path<(String, String)>,
    Extension(operator): Extension<Operator>,
    Extension(fields): Extension<Fields>,
    told: Told,
) -> Result<Response, Trouble> {
    let body = OrderBody { span: fields.owned("for"), reason: fields.owned("reason").unwrap_or_default() };
    let done = match act.as_str() {
        "pause" => orders::order(&deps, &operator, &name, OrderKind::Pause, body).await.map(|_| "is paused"),
        "drill" => orders::order(&deps, &operator, &name, OrderKind::Drill, body).await.map(|_| "plays an outage"),
        "resume" => orders::end(&deps, &operator, &name, body).await.map(|_| "is in use again"),
        _ => return Err(Fault::not_found("that is nothing that can be done with a provider").into()),
    };
    let notice = match done {
        Ok(is) => Notice { good: true, text: format!("{name} {is}.") },
        Err(fault) => Notice { good: false, text: fault.message },
    };
    told.tell(notice);
    Ok(see_other(&format!("/providers#{}", anchor(&name))))
}
