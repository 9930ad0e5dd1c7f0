//! `/metrics`: what is counted, in Prometheus' text form. Without a token on loopback alone.
//!
//! The counters are plain atomic numbers that their owners hold (`metrics`): a message costs some additions and no look-up in a
//! registry, and a scrape reads them. Labels are names of the configuration and words of closed sets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::OpenApi;

use super::gate::operators_only;
use super::{Gate, Shared};
use crate::delivery::{OUTCOMES, ProviderMeter, ProviderSnapshot, ProviderState, RouteMeter, Snapshot};
use crate::ingress::{ListenerCounts, REASONS};
use crate::mail::{ProviderName, RouteName, Timestamp};
use crate::metrics::{Counter, Spread};
use crate::queue::{Depth, RouteDepth};

const FORM: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(OpenApi)]
#[openapi(paths(metrics))]
pub(super) struct Described;

pub(super) fn routes(gate: &Arc<Gate>) -> Router<Shared> {
    let routes = Router::new().route("/metrics", get(metrics));
    if gate.is_loopback() { routes } else { routes.route_layer(from_fn_with_state(gate.clone(), operators_only)) }
}

/// What is counted, in Prometheus' text form; without a token on loopback alone
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(deps): State<Shared>) -> impl IntoResponse {
    // What cannot be told now is left out: the rest is worth having all the more.
    let queue = (deps.queue.depth().await.ok(), deps.queue.routes().await.unwrap_or_default());
    let snapshot = deps.control.snapshot().await.ok();
    ([(CONTENT_TYPE, FORM)], page(&deps, queue, snapshot.as_ref()))
}

/// One page of metrics on its way.
#[derive(Default)]
struct Page(String);

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (nth, (label, value)) in labels.iter().enumerate() {
            self.0.push(if nth == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The same of each, by name.
    fn each<K: ToString, V>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        all: &[(K, V)],
        value: impl Fn(&V) -> u64,
    ) {
        self.metric(name, kind, help);
        for (key, of) in all {
            self.sample(name, &[(label, &key.to_string())], value(of));
        }
    }

    fn spread<K: ToString, V>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        all: &[(K, V)],
        spread: impl Fn(&V) -> &Spread,
    ) {
        self.metric(name, "histogram", help);
        let [bucket, sum, count] = ["bucket", "sum", "count"].map(|part| format!("{name}_{part}"));
        for (key, of) in all {
            let (key, now) = (key.to_string(), spread(of).now());
            for (end, below) in &now.buckets {
                let end = if end.is_finite() { end.to_string() } else { "+Inf".to_owned() };
                self.sample(&bucket, &[(label, &key), ("le", &end)], below);
            }
            self.sample(&sum, &[(label, &key)], now.sum);
            self.sample(&count, &[(label, &key)], now.count);
        }
    }
}

fn page(deps: &Shared, (depth, queued): (Option<Depth>, Vec<RouteDepth>), snapshot: Option<&Snapshot>) -> String {
    let mut page = Page::default();
    page.metric("waypost_build_info", "gauge", "The version that runs; always 1.");
    page.sample("waypost_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let started = deps.started.as_second();
    page.one("waypost_start_time_seconds", "gauge", "When the relay was started, in seconds since 1970.", started);
    let ready = u8::from(super::health::reasons(deps).is_empty());
    page.one("waypost_ready", "gauge", "1 where new mail is taken, as /readyz has it.", ready);
    let lost = (deps.lost_lines)();
    page.one(
        "waypost_log_lines_lost_total",
        "counter",
        "Lines that the log lost since whoever reads it was too slow.",
        lost,
    );
    if let Some(traces) = &deps.traces {
        let name = "waypost_telemetry_spans_total";
        page.metric(name, "counter", "Spans of traces, by what became of them.");
        page.sample(name, &[("outcome", "exported")], traces.exported.get());
        page.sample(name, &[("outcome", "lost")], traces.lost.get());
    }
    doors(&mut page, &deps.counts.listeners.all());
    routes_in_and_out(&mut page, &deps.counts.routes.all(), &deps.meter.routes.all());
    attempts(&mut page, &deps.meter.providers.all());
    let doubles = deps.meter.possible_duplicates();
    page.one(
        "waypost_possible_duplicates_total",
        "counter",
        "Recipients sent to once more although a provider may have had the message.",
        doubles,
    );
    queue(&mut page, depth, deps.queue.size(), &queued, snapshot, deps.clock.now());
    if let Some(snapshot) = snapshot {
        providers(&mut page, &snapshot.providers);
    }
    page.0
}

fn doors(page: &mut Page, listeners: &[(String, Arc<ListenerCounts>)]) {
    let mut each = |name: &str, kind: &str, help: &str, value: fn(&ListenerCounts) -> u64| {
        page.each((name, kind, help), "listener", listeners, |of| value(of));
    };
    each("waypost_messages_accepted_total", "counter", "Messages taken, by listener.", |of| of.accepted.get());
    each("waypost_messages_refused_total", "counter", "Messages refused once their content was in.", |of| {
        of.refused.get()
    });
    each("waypost_connections", "gauge", "Clients that are connected.", |of| of.connections.get());
    each("waypost_tls_connections", "gauge", "Clients that are connected under TLS.", |of| of.tls.get());
    each("waypost_connections_total", "counter", "Connections taken.", |of| of.connected.get());
    each("waypost_connections_turned_away_total", "counter", "Connections that a limit turned away.", |of| {
        of.turned_away.get()
    });
    each("waypost_logins_total", "counter", "Logins that succeeded.", |of| of.logins.get());
    each("waypost_failed_logins_total", "counter", "Logins that failed.", |of| of.failed_logins.get());
    each("waypost_listener_up", "gauge", "1 where the listener listens.", |of| of.up.get());
    let name = "waypost_recipients_refused_total";
    page.metric(name, "counter", "Recipients, and senders, refused before there was content, by reason.");
    for (listener, of) in listeners {
        for (reason, count) in REASONS.iter().zip(&of.refused_for) {
            page.sample(name, &[("listener", listener), ("reason", reason)], count.get());
        }
    }
    let about = ("waypost_accept_duration_seconds", "From the end of the content to its 250, on disk by then.");
    page.spread(about, "listener", listeners, |of| &of.took);
}

fn routes_in_and_out(page: &mut Page, taken: &[(RouteName, Arc<Counter>)], out: &[(RouteName, Arc<RouteMeter>)]) {
    page.each(
        ("waypost_recipients_accepted_total", "counter", "Recipients taken in, by route."),
        "route",
        taken,
        |of| of.get(),
    );
    let mut each = |name: &str, help: &str, value: fn(&RouteMeter) -> u64| {
        page.each((name, "counter", help), "route", out, |of| value(of));
    };
    each("waypost_recipients_delivered_total", "Recipients delivered, by route.", |of| of.delivered.get());
    each("waypost_recipients_deferred_total", "Recipients that an attempt put off or moved on.", |of| {
        of.deferred.get()
    });
    each("waypost_recipients_bounced_total", "Recipients bounced, by route.", |of| of.bounced.get());
    each("waypost_recipients_held_total", "Recipients held for a person by delivery.", |of| of.held.get());
    let about = ("waypost_queue_time_seconds", "From acceptance to delivery, by route.");
    page.spread(about, "route", out, |of| &of.queued);
}

fn attempts(page: &mut Page, providers: &[(ProviderName, Arc<ProviderMeter>)]) {
    let name = "waypost_attempts_total";
    let help = "Attempts that ended so; one whose recipients fared differently counts for each outcome.";
    page.metric(name, "counter", help);
    for (provider, of) in providers {
        for (outcome, count) in OUTCOMES.iter().zip(&of.outcomes) {
            page.sample(name, &[("provider", provider.as_str()), ("outcome", outcome)], count.get());
        }
    }
    page.spread(("waypost_attempt_duration_seconds", "How long attempts take."), "provider", providers, |of| &of.took);
}

fn queue(
    page: &mut Page,
    depth: Option<Depth>,
    size: u64,
    queued: &[RouteDepth],
    snapshot: Option<&Snapshot>,
    now: Timestamp,
) {
    if let Some(depth) = depth {
        page.one("waypost_messages_queued", "gauge", "Messages in the queue.", depth.messages);
    }
    page.one("waypost_queue_size_bytes", "gauge", "Content in the queue.", size);
    // Routes of the table have a value even while nothing of theirs waits.
    let mut routes: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for route in snapshot.iter().flat_map(|snapshot| &snapshot.routes) {
        routes.insert(route.name.as_str(), (0, 0, 0));
    }
    for of in queued {
        let age = of.oldest.map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0).unsigned_abs());
        routes.insert(of.route.as_str(), (of.waiting, of.held, age));
    }
    let routes: Vec<_> = routes.into_iter().collect();
    let mut each = |name: &str, help: &str, value: fn(&(u64, u64, u64)) -> u64| {
        page.each((name, "gauge", help), "route", &routes, value);
    };
    each("waypost_queue_waiting", "Parts of messages that wait, by route.", |of| of.0);
    each("waypost_queue_held", "Parts of messages that are held for a person, by route.", |of| of.1);
    each("waypost_queue_oldest_seconds", "Age of the oldest that waits, by route; up to 10 s too much.", |of| of.2);
}

fn providers(page: &mut Page, providers: &[ProviderSnapshot]) {
    const STATES: [(ProviderState, &str); 7] = [
        (ProviderState::Closed, "closed"),
        (ProviderState::Open, "open"),
        (ProviderState::HalfOpen, "half-open"),
        (ProviderState::Throttled, "throttled"),
        (ProviderState::QuotaSpent, "quota-spent"),
        (ProviderState::Paused, "paused"),
        (ProviderState::Drill, "drill"),
    ];
    let name = "waypost_provider_state";
    page.metric(name, "gauge", "1 for the state that the provider is in; closed is well.");
    for provider in providers {
        for (state, word) in STATES {
            let is = u8::from(provider.state == state);
            page.sample(name, &[("provider", provider.name.as_str()), ("state", word)], is);
        }
    }
    let all: Vec<_> = providers.iter().map(|provider| (&provider.name, provider)).collect();
    let mut each = |name: &str, help: &str, value: fn(&ProviderSnapshot) -> u64| {
        page.each((name, "gauge", help), "provider", &all, |of| value(of));
    };
    each("waypost_provider_attempts_under_way", "Attempts under way.", |of| of.under_way as u64);
    each("waypost_provider_attempts_allowed", "Attempts that may be under way now.", |of| of.allowed as u64);
    each("waypost_provider_destinations_out", "Destinations that are out or throttled.", |of| {
        of.destinations_out as u64
    });
    let limited: Vec<_> = all.into_iter().filter_map(|(name, of)| Some((name, of.quota?))).collect();
    let about = ("waypost_provider_quota_left", "gauge", "What is left of the quota.");
    page.each(about, "provider", &limited, |now| now.quota.messages.saturating_sub(now.used));
    let about = ("waypost_provider_quota_limit", "gauge", "The quota.");
    page.each(about, "provider", &limited, |now| now.quota.messages);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted() {
        let mut page = Page::default();
        page.sample("a", &[("b", "x\"y\\z\n"), ("c", "d")], 1.5);
        assert_eq!(page.0, "a{b=\"x\\\"y\\\\z\\n\",c=\"d\"} 1.5\n");
    }
}
