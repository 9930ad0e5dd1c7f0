//! `waypost status`: how the running relay stands, for somebody who was paged at night: what is out, since when, why, where its
//! mail goes now, how much waits. 80 columns.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::remote::Remote;
use crate::admin::{ListenerStatus, ProviderStatus, RouteStatus, Standing, Status};
use crate::mail::Timestamp;

/// Columns of a line.
const WIDTH: usize = 80;
/// Columns of a name.
const NAMES: usize = 18;

/// Print how the running relay stands: what is out, since when, why, where its mail goes, how much waits
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Fails where the relay takes no mail, or some of it can go nowhere.
pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let status: Status = Remote::find(directory)?.get("/status")?;
    let mut out = super::say::out();
    if args.json {
        writeln!(out, "{:#}", serde_json::to_value(&status)?)?;
    } else {
        write!(out, "{}", text(&status))?;
    }
    let bad = !status.ready || status.queue.unreadable.is_some() || status.routes.iter().any(is_stuck);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Its mail waits, since no provider of it may be tried.
fn is_stuck(route: &RouteStatus) -> bool {
    route.action == "deliver" && route.goes_to.is_empty() && route.waiting > 0
}

pub(super) fn text(status: &Status) -> String {
    let mut page = String::new();
    let now = status.now;
    let up = age(now, status.started);
    line(&mut page, 0, &format!("waypost {}, up {up}, {}", status.version, status.configuration));
    let queue = &status.queue;
    let mut about = format!("{} queued ({})", messages(queue.messages), octets(queue.size));
    if let Some(oldest) = queue.oldest {
        let _ = write!(about, ", the oldest waits since {} ({})", clock(now, oldest), age(now, oldest));
    }
    if queue.held > 0 {
        let _ = write!(about, ", {} held", queue.held);
    }
    line(&mut page, 0, &about);
    if let Some(why) = &queue.unreadable {
        line(&mut page, 0, &format!("THE QUEUE CANNOT BE READ, what waits by route is not known: {why}"));
    }
    for reason in &status.not_ready_because {
        line(&mut page, 0, &format!("NEW MAIL IS NOT TAKEN: {reason}"));
    }

    if let Some((why, at)) = status.last_reload.as_ref().and_then(|reload| Some((reload.refusal()?, reload.at))) {
        line(&mut page, 0, &format!("THE CONFIGURATION WAS CHANGED AND IS NOT IN FORCE, at {}: {why}", clock(now, at)));
    }

    let troubled: Vec<&ProviderStatus> = status.providers.iter().filter(|provider| is_troubled(provider)).collect();
    if troubled.is_empty() {
        page.push_str("\nAll providers are well.\n");
    }
    for provider in troubled {
        page.push('\n');
        trouble(&mut page, status, provider);
    }

    let width = width(status.providers.iter().map(|provider| provider.name.as_str()));
    let _ = writeln!(page, "\n{:<width$} state        now/max     rate  p50/p99      last 5 minutes", "Providers");
    for provider in &status.providers {
        provider_row(&mut page, width, provider);
    }
    let width = self::width(status.routes.iter().map(|route| route.name.as_str()));
    let _ = writeln!(page, "\n{:<width$}     in      out  bounced  waiting  oldest  goes to", "Routes");
    for route in &status.routes {
        route_row(&mut page, width, now, route);
    }
    let width = self::width(status.listeners.iter().map(|listener| listener.name.as_str()));
    let _ = writeln!(
        page,
        "\n{:<width$} address               connected  TLS   taken  refused  failed logins",
        "Listeners"
    );
    for listener in &status.listeners {
        listener_row(&mut page, width, listener);
    }
    page
}

/// Of a column of names: as wide as the longest, within bounds.
fn width<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0).clamp(9, NAMES)
}

/// A name in its column; what does not fit is cut, and `--json` has it whole.
fn cut(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return format!("{name:<width$}");
    }
    name.chars().take(width - 1).chain(['\u{2026}']).collect()
}

fn is_troubled(provider: &ProviderStatus) -> bool {
    provider.state != Standing::Closed || provider.destinations_out > 0 || provider.is_failing()
}

/// What is out, since when, why, until when, and where its mail goes.
fn trouble(page: &mut String, status: &Status, provider: &ProviderStatus) {
    let now = status.now;
    let since = provider.since.map(|since| format!(" since {} ({})", clock(now, since), age(now, since)));
    let since = since.unwrap_or_default();
    let name = &provider.name;
    let what = match provider.state {
        Standing::Paused => format!("{name} is PAUSED{since}"),
        Standing::Drill => format!("{name} is in a DRILL{since}"),
        Standing::Open => format!("{name} is OUT{since}"),
        Standing::HalfOpen => format!("{name} is OUT{since}, being probed now"),
        Standing::QuotaSpent => format!("{name} has SPENT ITS QUOTA"),
        Standing::Throttled => format!("{name} is THROTTLED{since}"),
        Standing::Closed if provider.is_failing() => {
            format!("{name} is FAILING: its last {} attempts found it out", provider.failures_in_row)
        }
        Standing::Closed if provider.destinations_out == 1 => {
            format!("{name}: 1 destination is in trouble, its mail waits")
        }
        Standing::Closed => {
            format!("{name}: {} destinations are in trouble, their mail waits", provider.destinations_out)
        }
    };
    line(page, 0, &what);
    if let Some(order) = &provider.order {
        let reason = if order.reason.is_empty() { "no reason was given" } else { &order.reason };
        line(page, 2, &format!("by {}: {reason}", order.by));
    }
    if let (Some(error), true) = (&provider.last_error, provider.state != Standing::Closed || provider.is_failing()) {
        line(page, 2, &format!("{} at {}: {}", error.outcome, clock(now, error.at), error.text));
    }
    if let Some(until) = provider.until {
        let what = match provider.state {
            Standing::Open => "next probe at",
            Standing::Paused | Standing::Drill => "ends by itself at",
            Standing::HalfOpen | Standing::QuotaSpent | Standing::Throttled | Standing::Closed => "until",
        };
        line(page, 2, &format!("{what} {} ({})", clock(now, until), ahead(now, until)));
    }
    for one in &provider.destinations {
        let since = one.since.map(|since| format!(" since {}", clock(now, since))).unwrap_or_default();
        let why = one.last_error.as_deref().unwrap_or("no reason is known");
        line(page, 2, &format!("{}{since}: {why}", one.domain));
    }
    if provider.destinations_out > provider.destinations.len() {
        line(page, 2, &format!("and {} more", provider.destinations_out - provider.destinations.len()));
    }
    for route in status.routes.iter().filter(|route| route.chain.iter().flatten().any(|of| of == name)) {
        let waits = match route.waiting {
            0 => "nothing waits".to_owned(),
            1 => "1 waits".to_owned(),
            many => format!("{many} wait"),
        };
        let goes = if route.goes_to.is_empty() {
            let on = route.waits_for.join(", ");
            match route.waits_until {
                Some(until) if until <= now => {
                    format!("its mail WAITS for {on}: the next message that is due tries it")
                }
                Some(until) => format!("its mail WAITS for {on} until {}", clock(now, until)),
                None => "its mail WAITS".to_owned(),
            }
        } else {
            format!("its mail goes to {}", route.goes_to.join(", "))
        };
        if provider.state == Standing::Closed && !provider.is_failing() {
            // Whose mail goes to the destinations in trouble is not counted.
            if route.waiting > 0 {
                line(page, 2, &format!("route {}: {waits}, to whatever destination", route.name));
            }
            continue;
        }
        line(page, 2, &format!("route {}: {goes}; {waits}", route.name));
    }
}

fn provider_row(page: &mut String, width: usize, provider: &ProviderStatus) {
    let recent = &provider.recent;
    let took = match (recent.p50, recent.p99) {
        (Some(p50), Some(p99)) => format!("{}/{}", seconds(p50), seconds(p99)),
        _ => "-".to_owned(),
    };
    let mut outcomes: Vec<_> = recent.outcomes.iter().collect();
    outcomes.sort_by(|a, b| b.1.cmp(a.1));
    let mut outcomes: Vec<String> = outcomes.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
    if outcomes.is_empty() {
        outcomes.push("no attempt".to_owned());
    }
    let slots = format!("{}/{}", provider.under_way, provider.allowed);
    let row = format!(
        "{} {:<12} {slots:>7} {:>6.1}/s  {took:<11}  {}",
        cut(&provider.name, width),
        word(provider),
        provider.rate,
        outcomes.join(", ")
    );
    line_at(page, &row, 2);
    let mut limits = Vec::new();
    if provider.allowed < provider.concurrency {
        limits.push(format!("comes back slowly: {} at a time, of {}", provider.allowed, provider.concurrency));
    }
    limits.extend(provider.limit.as_ref().map(|limit| format!("at most {limit}")));
    if let Some(quota) = &provider.quota {
        limits.push(format!("{} of {} used, {} left of the quota", quota.used, quota.messages, quota.left));
    }
    if !limits.is_empty() {
        line(page, 2, &limits.join("; "));
    }
}

fn route_row(page: &mut String, width: usize, now: Timestamp, route: &RouteStatus) {
    let goes = match route.action.as_str() {
        "deliver" if route.goes_to.is_empty() => "NOWHERE: it waits".to_owned(),
        "deliver" => route.goes_to.join(", "),
        "gone" => "this route is gone: routed anew".to_owned(),
        other => format!("({other})"),
    };
    let held_back = if route.held_back_by.is_empty() {
        String::new()
    } else {
        format!(", held back by its {}", route.held_back_by.join(" and "))
    };
    let held = if route.held > 0 { format!(", {} held", route.held) } else { String::new() };
    let oldest = route.oldest.map_or_else(|| "-".to_owned(), |oldest| age(now, oldest));
    let row = format!(
        "{} {:>6} {:>8} {:>8} {:>8} {oldest:>7}  {goes}{held_back}{held}",
        cut(&route.name, width),
        route.accepted,
        route.delivered,
        route.bounced,
        route.waiting
    );
    line_at(page, &row, 2);
}

fn listener_row(page: &mut String, width: usize, listener: &ListenerStatus) {
    let connected = format!("{}/{}", listener.connections, listener.max_connections);
    let down = if listener.listening { "" } else { "  DOWN" };
    let row = format!(
        "{} {:<21} {connected:>9} {:>4} {:>7} {:>8} {:>14}{down}",
        cut(&listener.name, width),
        listener.address,
        listener.tls_connections,
        listener.accepted,
        listener.refused,
        listener.failed_logins
    );
    line_at(page, &row, 2);
}

pub(super) fn word(provider: &ProviderStatus) -> &'static str {
    match provider.state {
        Standing::Paused => "paused",
        Standing::Drill => "drill",
        Standing::Open => "OUT",
        Standing::HalfOpen => "being probed",
        Standing::QuotaSpent => "quota spent",
        Standing::Throttled => "throttled",
        Standing::Closed if provider.is_failing() => "failing",
        Standing::Closed => "well",
    }
}

/// A text on as many lines as it takes, each behind so many blanks; those that follow the first stand two further in.
fn line(page: &mut String, indent: usize, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            page.push('\n');
            column = 0;
        } else if column > 0 {
            page.push(' ');
            column += 1;
        }
        if column == 0 {
            let blanks = if page.ends_with('\n') && !text.starts_with(word) { indent + 2 } else { indent };
            page.push_str(&" ".repeat(blanks));
            column = blanks;
        }
        page.push_str(word);
        column += width;
    }
    page.push('\n');
}

/// A row of a table: its columns are kept, and what is too long goes on below.
fn line_at(page: &mut String, row: &str, indent: usize) {
    if row.chars().count() <= WIDTH {
        page.push_str(row.trim_end());
        page.push('\n');
        return;
    }
    let fits: String = row.chars().take(WIDTH).collect();
    let cut = fits.rfind(' ').unwrap_or(fits.len());
    let (first, rest) = row.split_at(cut);
    page.push_str(first.trim_end());
    page.push('\n');
    line(page, indent, rest);
}

pub(super) fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

pub(super) fn octets(count: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| count >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", count as f64 / *unit as f64),
        None => format!("{count} octets"),
    }
}

/// The time of day in UTC, with the day where it is not today's.
pub(super) fn clock(now: Timestamp, at: Timestamp) -> String {
    let (today, at) = (jiff::tz::Offset::UTC.to_datetime(now), jiff::tz::Offset::UTC.to_datetime(at));
    if today.date() == at.date() {
        at.strftime("%H:%M:%SZ").to_string()
    } else {
        at.strftime("%Y-%m-%d %H:%MZ").to_string()
    }
}

pub(super) fn age(now: Timestamp, since: Timestamp) -> String {
    span(now.duration_since(since).as_secs())
}

fn ahead(now: Timestamp, until: Timestamp) -> String {
    let left = until.duration_since(now).as_secs();
    if left > 0 { format!("in {}", span(left)) } else { "due".to_owned() }
}

/// The two largest units.
fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

pub(super) fn seconds(span: f64) -> String {
    if span < 1.0 { format!("{:.0}ms", span * 1000.0) } else { format!("{span:.1}s") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn at(text: &str) -> Timestamp {
        format!("2026-11-26T{text}Z").parse().unwrap()
    }

    /// As the server gives it, with what is usual left out.
    pub fn status(providers: serde_json::Value, routes: serde_json::Value) -> Status {
        let fill = |usual: serde_json::Value, given: serde_json::Value| {
            let mut all = usual.as_object().unwrap().clone();
            all.extend(given.as_object().unwrap().clone());
            serde_json::Value::Object(all)
        };
        let provider = serde_json::json!({
            "transport": "smtp", "state": "closed", "under_way": 0, "allowed": 32, "concurrency": 32, "rate": 0.0,
            "recent": {"span": 300, "attempts": 0, "outcomes": {}}, "destinations_out": 0, "destinations": [],
        });
        let route = serde_json::json!({
            "action": "deliver", "held_back_by": [], "waiting": 0, "held": 0, "accepted": 0, "delivered": 0,
            "deferred": 0, "bounced": 0,
        });
        let list = |usual: &serde_json::Value, given: serde_json::Value| {
            given.as_array().unwrap().iter().map(|one| fill(usual.clone(), one.clone())).collect::<Vec<_>>()
        };
        serde_json::from_value(serde_json::json!({
            "version": "1.2.3", "configuration": "/etc/waypost", "started": at("01:00:00"), "now": at("03:00:00"),
            "ready": true, "not_ready_because": [],
            "queue": {"messages": 12, "size": 5_000_000, "waiting": 11, "held": 1, "oldest": at("02:40:00")},
            "providers": list(&provider, providers), "routes": list(&route, routes),
            "listeners": [{"name": "apps", "address": "127.0.0.1:2525", "tls": "starttls", "listening": true, "connections": 7,
                "max_connections": 1000, "tls_connections": 3, "accepted": 4711, "refused": 8, "turned_away": 0, "logins": 5,
                "failed_logins": 2}],
        }))
        .unwrap()
    }

    #[test]
    fn an_outage_reads_well_at_night() {
        let status = status(
            serde_json::json!([
                {"name": "sendgrid", "state": "open", "since": at("02:39:00"), "until": at("03:00:12"), "rate": 0.1, "limit": "500/s",
                 "last_error": {"at": at("02:59:42"), "outcome": "unavailable",
                    "text": "503 4.4.0 {\"errors\":[{\"message\":\"we are down for maintenance until further notice\"}]} (api.sendgrid.com)"},
                 "quota": {"messages": 100_000, "span": 86_400, "used": 40_000, "left": 60_000},
                 "recent": {"span": 300, "attempts": 9, "outcomes": {"unavailable": 9}, "p50": 0.1, "p99": 10.2}},
                {"name": "ses-of-the-whole-european-union", "under_way": 3, "allowed": 4, "rate": 12.25,
                 "recent": {"span": 300, "attempts": 3600, "outcomes": {"delivered": 3590, "rejected": 8, "deferred": 2}, "p50": 0.05, "p99": 0.3}},
            ]),
            serde_json::json!([
                {"name": "internal", "chain": [["sendgrid"]], "goes_to": [], "waits_for": ["sendgrid"], "waits_until": at("03:00:12"),
                 "waiting": 11, "oldest": at("02:40:00"), "accepted": 20, "delivered": 9},
                {"name": "everything-else", "chain": [["sendgrid"], ["ses-of-the-whole-european-union"]],
                 "goes_to": ["ses-of-the-whole-european-union"], "accepted": 4691, "delivered": 4683, "bounced": 8, "held": 1},
            ]),
        );
        let text = text(&status);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        insta::assert_snapshot!(text, @r#"
        waypost 1.2.3, up 2h00m, /etc/waypost
        12 messages queued (4.8 MiB), the oldest waits since 02:40:00Z (20m00s), 1 held

        sendgrid is OUT since 02:39:00Z (21m00s)
          unavailable at 02:59:42Z: 503 4.4.0 {"errors":[{"message":"we are down for
            maintenance until further notice"}]} (api.sendgrid.com)
          next probe at 03:00:12Z (in 12s)
          route internal: its mail WAITS for sendgrid until 03:00:12Z; 11 wait
          route everything-else: its mail goes to ses-of-the-whole-european-union;
            nothing waits

        Providers          state        now/max     rate  p50/p99      last 5 minutes
        sendgrid           OUT             0/32    0.1/s  100ms/10.2s  9 unavailable
          at most 500/s; 40000 of 100000 used, 60000 left of the quota
        ses-of-the-whole-… well             3/4   12.2/s  50ms/300ms   3590 delivered,
            8 rejected, 2 deferred
          comes back slowly: 4 at a time, of 32

        Routes              in      out  bounced  waiting  oldest  goes to
        internal            20        9        0       11  20m00s  NOWHERE: it waits
        everything-else   4691     4683        8        0       -
            ses-of-the-whole-european-union, 1 held

        Listeners address               connected  TLS   taken  refused  failed logins
        apps      127.0.0.1:2525           7/1000    3    4711        8              2
        "#);
    }

    #[test]
    fn no_text_is_wider_than_the_screen() {
        for indent in [0, 2] {
            let mut page = String::new();
            line(&mut page, indent, &"word ".repeat(100));
            line(&mut page, indent, &format!("{} and more", "x".repeat(70)));
            line(&mut page, indent, "");
            assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
            assert_eq!(page.matches("word").count(), 100);
        }
    }
}
