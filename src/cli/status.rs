//! `waypost status`: how the running relay stands, for somebody who was paged at night: what is out, since when, why, where its
//! mail goes now, how much waits. 80 columns.

use std::fmt::Write as _;
use std::io::{self, Write as _};
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
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", serde_json::to_value(&status)?)?;
    } else {
        write!(out, "{}", text(&status))?;
    }
    let bad = !status.ready || status.routes.iter().any(is_stuck);
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
    for reason in &status.not_ready_because {
        line(&mut page, 0, &format!("NEW MAIL IS NOT TAKEN: {reason}"));
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
    let _ = writeln!(page, "\n{:<width$} state        now/most   rate  p50/p99    last 5 minutes", "Providers");
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
    provider.state != Standing::Closed || provider.destinations_out > 0
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
        Standing::Closed => format!("{name}: {} destination(s) in trouble", provider.destinations_out),
    };
    line(page, 0, &what);
    if let Some(order) = &provider.order {
        let reason = if order.reason.is_empty() { "no reason was given" } else { &order.reason };
        line(page, 2, &format!("by {}: {reason}", order.by));
    }
    if let (Some(error), true) = (&provider.last_error, provider.state != Standing::Closed) {
        line(page, 2, &format!("{} at {}: {}", error.outcome, clock(now, error.at), error.text));
    }
    if let Some(until) = provider.until {
        let what = match provider.state {
            Standing::Open => "next probe",
            Standing::Paused | Standing::Drill => "ends by itself",
            Standing::HalfOpen | Standing::QuotaSpent | Standing::Throttled | Standing::Closed => "until",
        };
        line(page, 2, &format!("{what} at {} ({})", clock(now, until), ahead(now, until)));
    }
    for one in &provider.destinations {
        let since = one.since.map(|since| format!(" since {}", clock(now, since))).unwrap_or_default();
        let why = one.last_error.as_deref().unwrap_or("no reason is known");
        line(page, 2, &format!("{}{since}: {why}", one.domain));
    }
    if provider.destinations_out > provider.destinations.len() {
        line(page, 2, &format!("and {} more", provider.destinations_out - provider.destinations.len()));
    }
    if provider.state == Standing::Closed {
        return;
    }
    for route in status.routes.iter().filter(|route| route.chain.iter().flatten().any(|of| of == name)) {
        let waits = match route.waiting {
            0 => "nothing waits".to_owned(),
            1 => "1 waits".to_owned(),
            many => format!("{many} wait"),
        };
        let goes = if route.goes_to.is_empty() {
            let until = route.waits_until.map(|until| format!(" until {}", clock(now, until))).unwrap_or_default();
            format!("its mail WAITS{until}, for there is no other way")
        } else {
            format!("its mail goes to {}", route.goes_to.join(", "))
        };
        line(page, 2, &format!("route {}: {goes}; {waits}", route.name));
    }
}

fn provider_row(page: &mut String, width: usize, provider: &ProviderStatus) {
    let recent = &provider.recent;
    let took = match (recent.p50, recent.p99) {
        (Some(p50), Some(p99)) => format!("{}/{}", seconds(p50), seconds(p99)),
        _ => "-".to_owned(),
    };
    let mut outcomes: Vec<String> = recent.outcomes.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if outcomes.is_empty() {
        outcomes.push("no attempt".to_owned());
    }
    let rate = match &provider.limit {
        Some(limit) => format!("{:.1} of {limit}", provider.rate),
        None => format!("{:.1}/s", provider.rate),
    };
    let slots = if provider.allowed < provider.concurrency {
        format!("{}/{} of {}", provider.under_way, provider.allowed, provider.concurrency)
    } else {
        format!("{}/{}", provider.under_way, provider.concurrency)
    };
    let row = format!(
        "{} {:<12} {slots:>8} {rate:>6}  {took:<9}  {}",
        cut(&provider.name, width),
        word(provider.state),
        outcomes.join(", ")
    );
    line_at(page, &row, 2);
    if let Some(quota) = &provider.quota {
        line(page, 2, &format!("quota: {} of {} used, {} left", quota.used, quota.messages, quota.left));
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

fn word(state: Standing) -> &'static str {
    match state {
        Standing::Paused => "paused",
        Standing::Drill => "drill",
        Standing::Open => "OUT",
        Standing::HalfOpen => "being probed",
        Standing::QuotaSpent => "quota spent",
        Standing::Throttled => "throttled",
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

fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

fn octets(count: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| count >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", count as f64 / *unit as f64),
        None => format!("{count} octets"),
    }
}

/// The time of day in UTC, with the day where it is not today's.
fn clock(now: Timestamp, at: Timestamp) -> String {
    let (today, at) = (jiff::tz::Offset::UTC.to_datetime(now), jiff::tz::Offset::UTC.to_datetime(at));
    if today.date() == at.date() {
        at.strftime("%H:%M:%SZ").to_string()
    } else {
        at.strftime("%Y-%m-%d %H:%MZ").to_string()
    }
}

fn age(now: Timestamp, since: Timestamp) -> String {
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

fn seconds(span: f64) -> String {
    if span < 1.0 { format!("{:.0}ms", span * 1000.0) } else { format!("{span:.1}s") }
}
