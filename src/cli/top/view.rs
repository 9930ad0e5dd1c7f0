//! What `waypost top` shows: a state, and the lines that it comes to on a screen of some size. Pure.

use std::cmp::Reverse;

use super::keys::Key;
use super::rates::{Flow, Rates};
use super::table::{Cell, Column, Kind, Line, Look, cell, clean, cut, piece, table, width};
use crate::admin::{ListenerStatus, ProviderStatus, RouteStatus, Standing, Status};
use crate::cli::status::{age, clock, messages, octets, seconds, word};
use crate::mail::Timestamp;
use crate::routing::Count;

/// All that the screen shows.
#[derive(Debug, Default)]
pub struct View {
    status: Option<Status>,
    rates: Option<Rates>,
    /// Since when the relay gives no answer, and what came in its place.
    silent: Option<(Timestamp, String)>,
    pub paused: bool,
    order: Order,
    /// Lines of the tables that are above the screen.
    scrolled: usize,
    /// `every 1s`.
    pace: String,
}

/// What stands first in each table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Order {
    /// As the configuration has it.
    #[default]
    Given,
    Busiest,
    Worst,
}

impl Order {
    fn next(self) -> Self {
        match self {
            Self::Given => Self::Busiest,
            Self::Busiest => Self::Worst,
            Self::Worst => Self::Given,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Given => "as given",
            Self::Busiest => "busiest",
            Self::Worst => "worst",
        }
    }
}

impl View {
    pub fn new(pace: String) -> Self {
        Self { pace, ..Self::default() }
    }

    /// What a key does on a screen of so many lines; `false`: it is the end.
    pub fn pressed(&mut self, key: Key, height: usize) -> bool {
        let page = height.saturating_sub(6).max(1);
        match key {
            Key::Quit => return false,
            Key::Pause => self.paused = !self.paused,
            Key::Sort => self.order = self.order.next(),
            Key::Up => self.scrolled = self.scrolled.saturating_sub(1),
            Key::PageUp => self.scrolled = self.scrolled.saturating_sub(page),
            Key::Home => self.scrolled = 0,
            // What is too far is put right when it is shown.
            Key::Down => self.scrolled = self.scrolled.saturating_add(1),
            Key::PageDown => self.scrolled = self.scrolled.saturating_add(page),
            Key::End => self.scrolled = usize::MAX,
        }
        true
    }

    pub fn answered(&mut self, status: Status) {
        self.rates = self.status.as_ref().and_then(|before| Rates::between(before, &status));
        self.status = Some(status);
        self.silent = None;
    }

    pub fn not_answered(&mut self, at: Timestamp, why: String) {
        let since = self.silent.take().map_or(at, |(since, _)| since);
        self.silent = Some((since, why));
        self.rates = None;
    }

    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    pub fn rates(&self) -> Option<&Rates> {
        self.rates.as_ref()
    }

    /// The whole screen: at most `height` lines, none wider than `wide`. `now` is this host's time.
    pub fn screen(&mut self, wide: usize, height: usize, now: Timestamp) -> Vec<Line> {
        let mut lines = self.head(wide, now);
        let body = self.tables(wide);
        let room = height.saturating_sub(lines.len() + 2);
        let most = body.len().saturating_sub(room);
        self.scrolled = self.scrolled.min(most);
        lines.push(Line::new());
        lines.truncate(height.saturating_sub(1));
        let seen = body.len().min(self.scrolled + room);
        lines.extend(body.iter().skip(self.scrolled).take(room).cloned());
        lines.resize(height.saturating_sub(1).max(lines.len()), Line::new());
        let place = (most > 0 && room > 0).then(|| format!("lines {}-{seen} of {}", self.scrolled + 1, body.len()));
        lines.push(self.foot(wide, place));
        lines.truncate(height);
        lines
    }

    /// One frame without keys and bounds of height.
    pub fn page(&self, wide: usize, now: Timestamp) -> Vec<Line> {
        let mut lines = self.head(wide, now);
        lines.push(Line::new());
        lines.extend(self.tables(wide));
        lines
    }

    fn head(&self, wide: usize, now: Timestamp) -> Vec<Line> {
        let mut lines = Vec::new();
        if let Some(status) = &self.status {
            let at = status.now;
            let up = age(at, status.started);
            let title = format!("waypost {}, up {up}, {}", status.version, clean(&status.configuration));
            lines.push(both(&title, &clock(at, at), wide, Look::Bold));
            lines.push(self.flow(wide));
            let queue = &status.queue;
            let mut about = vec![format!("{} queued ({})", messages(queue.messages), octets(queue.size))];
            about.extend(queue.oldest.map(|oldest| format!("the oldest waits {}", age(at, oldest))));
            about.push(format!("{} held", queue.held));
            lines.push(vec![piece(Look::Plain, cut(&about.join(", "), wide))]);
            let mut bad = |text: String| lines.push(vec![piece(Look::Bad, cut(&clean(&text), wide))]);
            queue.unreadable.iter().for_each(|why| bad(format!("THE QUEUE CANNOT BE READ: {why}")));
            status.not_ready_because.iter().for_each(|why| bad(format!("NEW MAIL IS NOT TAKEN: {why}")));
            if let Some(reload) = status.last_reload.as_ref().filter(|reload| !reload.applied) {
                bad(format!(
                    "THE CHANGED CONFIGURATION HAS ERRORS, {} of them: `waypost check`",
                    reload.problems.len()
                ));
            }
        }
        match &self.silent {
            Some((since, why)) => {
                let (at, span) = (clock(now, *since), age(now, *since));
                let text = format!("NO ANSWER since {at} ({span}), asking on: {}", clean(why));
                lines.push(vec![piece(Look::Bad, cut(&text, wide))]);
            }
            None if self.status.is_none() => lines.push(vec![piece(Look::Plain, cut("asking the relay …", wide))]),
            None => {}
        }
        lines
    }

    /// What moves a second, as much of it as fits.
    fn flow(&self, wide: usize) -> Line {
        let flow = self.rates.as_ref().map(|rates| rates.all);
        let parts = [
            ("in", flow.map(|flow| flow.accepted), Look::Plain),
            ("delivered", flow.map(|flow| flow.delivered), Look::Plain),
            ("deferred", flow.map(|flow| flow.deferred), Look::Odd),
            ("bounced", flow.map(|flow| flow.bounced), Look::Bad),
        ];
        let (mut line, mut left) = (Line::new(), wide);
        for (name, value, look) in parts {
            let gap = if line.is_empty() { "" } else { "   " };
            let text = format!("{gap}{name} {}/s", value.map_or_else(|| "-".to_owned(), rate));
            if width(&text) > left {
                break;
            }
            left -= width(&text);
            let look = if value.is_some_and(|value| value > 0.0) { look } else { Look::Plain };
            line.push(piece(look, text));
        }
        line
    }

    fn foot(&self, wide: usize, place: Option<String>) -> Line {
        let pause = if self.paused { "p go on" } else { "p pause" };
        let keys = format!("q quit  {pause}  s sort: {}  ↑↓ scroll", self.order.name());
        let pace = if self.paused { "PAUSED" } else { self.pace.as_str() };
        let right = match place {
            None => pace.to_owned(),
            // Where both have no room beside some of the keys, the place counts.
            Some(place) if wide < width(&place) + width(pace) + 24 => place,
            Some(place) => format!("{place}  {pace}"),
        };
        both(&keys, &right, wide, Look::Dim)
    }

    fn tables(&self, wide: usize) -> Vec<Line> {
        let Some(status) = &self.status else { return Vec::new() };
        let mut lines = self.providers(status, wide);
        lines.push(Line::new());
        lines.extend(self.routes(status, wide));
        lines.push(Line::new());
        lines.extend(self.listeners(status, wide));
        lines
    }

    fn providers(&self, status: &Status, wide: usize) -> Vec<Line> {
        const COLUMNS: [Column; 7] = [
            Column { head: "PROVIDER", kind: Kind::Name(18), rank: 0 },
            Column { head: "STATE", kind: Kind::Word, rank: 1 },
            Column { head: "SINCE", kind: Kind::Number, rank: 3 },
            Column { head: "RATE/S", kind: Kind::Number, rank: 2 },
            Column { head: "P50/P99", kind: Kind::Number, rank: 5 },
            Column { head: "NOW/MAX", kind: Kind::Number, rank: 4 },
            Column { head: "LAST ERROR", kind: Kind::Rest(14), rank: 6 },
        ];
        let mut providers: Vec<&ProviderStatus> = status.providers.iter().collect();
        match self.order {
            Order::Given => {}
            Order::Busiest => providers.sort_by(|a, b| b.rate.total_cmp(&a.rate)),
            Order::Worst => providers.sort_by_key(|of| (gravity(of), Reverse(of.destinations_out))),
        }
        let rows: Vec<Vec<Cell>> = providers.into_iter().map(|of| provider(of, status.now)).collect();
        table(&COLUMNS, &rows, wide)
    }

    fn routes(&self, status: &Status, wide: usize) -> Vec<Line> {
        const COLUMNS: [Column; 7] = [
            Column { head: "ROUTE", kind: Kind::Name(18), rank: 0 },
            Column { head: "IN/S", kind: Kind::Number, rank: 2 },
            Column { head: "OUT/S", kind: Kind::Number, rank: 3 },
            Column { head: "QUEUED", kind: Kind::Number, rank: 1 },
            Column { head: "HELD", kind: Kind::Number, rank: 6 },
            Column { head: "OLDEST", kind: Kind::Number, rank: 4 },
            Column { head: "GOES TO", kind: Kind::Rest(12), rank: 5 },
        ];
        let flow = |route: &RouteStatus| self.rates.as_ref().and_then(|rates| rates.routes.get(&route.name));
        let mut routes: Vec<&RouteStatus> = status.routes.iter().collect();
        match self.order {
            Order::Given => {}
            Order::Busiest => {
                let of = |route: &RouteStatus| flow(route).map_or(0.0, |flow| flow.accepted + flow.delivered);
                routes.sort_by(|a, b| of(b).total_cmp(&of(a)));
            }
            Order::Worst => routes.sort_by_key(|of| (!is_stuck(of), Reverse(of.waiting + of.held))),
        }
        let rows: Vec<Vec<Cell>> = routes.into_iter().map(|of| route(of, flow(of), status.now)).collect();
        table(&COLUMNS, &rows, wide)
    }

    fn listeners(&self, status: &Status, wide: usize) -> Vec<Line> {
        const COLUMNS: [Column; 7] = [
            Column { head: "LISTENER", kind: Kind::Name(18), rank: 0 },
            Column { head: "ADDRESS", kind: Kind::Word, rank: 3 },
            Column { head: "CONNECTED", kind: Kind::Number, rank: 1 },
            Column { head: "TLS", kind: Kind::Number, rank: 6 },
            Column { head: "TAKEN", kind: Kind::Number, rank: 4 },
            Column { head: "REFUSED", kind: Kind::Number, rank: 2 },
            Column { head: "FAILED LOGINS", kind: Kind::Number, rank: 5 },
        ];
        let mut listeners: Vec<&ListenerStatus> = status.listeners.iter().collect();
        match self.order {
            Order::Given => {}
            Order::Busiest => listeners.sort_by_key(|of| Reverse(of.connections)),
            Order::Worst => listeners.sort_by_key(|of| (of.listening, Reverse(of.refused + of.failed_logins))),
        }
        let rows: Vec<Vec<Cell>> = listeners.into_iter().map(listener).collect();
        table(&COLUMNS, &rows, wide)
    }
}

/// One text at the left and one at the right, which goes where there is no room.
fn both(left: &str, right: &str, wide: usize, look: Look) -> Line {
    let room = wide.checked_sub(width(right) + 2).filter(|room| *room >= width(left).min(20));
    let Some(room) = room else { return vec![piece(look, cut(left, wide))] };
    let left = cut(left, room);
    let blanks = wide - width(right) - width(&left);
    vec![piece(look, left), piece(Look::Dim, format!("{}{right}", " ".repeat(blanks)))]
}

fn rate(value: f64) -> String {
    // Whole below any number that a screen has room for.
    if value < 9.95 { format!("{value:.1}") } else { Count(value.round() as u64).to_string() }
}

/// The gravest first.
fn gravity(of: &ProviderStatus) -> u8 {
    match of.state {
        Standing::Open => 0,
        Standing::HalfOpen => 1,
        Standing::QuotaSpent => 2,
        Standing::Throttled => 3,
        Standing::Paused | Standing::Drill => 4,
        Standing::Closed if of.is_failing() => 5,
        Standing::Closed => 6,
    }
}

fn is_stuck(of: &RouteStatus) -> bool {
    of.action == "deliver" && of.goes_to.is_empty() && of.waiting > 0
}

fn provider(of: &ProviderStatus, now: Timestamp) -> Vec<Cell> {
    let well = of.state == Standing::Closed && !of.is_failing();
    let look = match of.state {
        Standing::Closed if of.destinations_out == 0 && !of.is_failing() => Look::Good,
        Standing::Open => Look::Bad,
        Standing::Closed
        | Standing::HalfOpen
        | Standing::QuotaSpent
        | Standing::Throttled
        | Standing::Paused
        | Standing::Drill => Look::Odd,
    };
    let state = match of.destinations_out {
        0 => word(of).to_owned(),
        out => format!("{}, {out} out", word(of)),
    };
    let took = match (of.recent.p50, of.recent.p99) {
        (Some(p50), Some(p99)) => format!("{}/{}", seconds(p50), seconds(p99)),
        _ => "-".to_owned(),
    };
    let why = match (&of.order, &of.last_error) {
        (Some(order), _) if order.reason.is_empty() => format!("by {}", order.by),
        (Some(order), _) => format!("by {}: {}", order.by, order.reason),
        (None, Some(error)) => format!("{} ({}, {} ago)", error.text, error.outcome, age(now, error.at)),
        (None, None) => String::new(),
    };
    vec![
        cell(Look::Plain, clean(&of.name)),
        cell(look, state),
        cell(Look::Plain, of.since.map_or_else(|| "-".to_owned(), |since| age(now, since))),
        cell(Look::Plain, rate(of.rate)),
        cell(Look::Plain, took),
        cell(Look::Plain, format!("{}/{}", of.under_way, of.allowed)),
        cell(if well { Look::Dim } else { Look::Plain }, clean(&why)),
    ]
}

fn route(of: &RouteStatus, flow: Option<&Flow>, now: Timestamp) -> Vec<Cell> {
    let per_second = |of: fn(&Flow) -> f64| flow.map_or_else(|| "-".to_owned(), |flow| rate(of(flow)));
    let (look, mut goes) = match of.action.as_str() {
        "deliver" if of.goes_to.is_empty() => {
            let until = of.waits_until.map(|until| format!(" until {}", clock(now, until))).unwrap_or_default();
            (if is_stuck(of) { Look::Bad } else { Look::Odd }, format!("NOWHERE: waits{until}"))
        }
        "deliver" => (Look::Plain, of.goes_to.join(", ")),
        "gone" => (Look::Dim, "route is gone".to_owned()),
        other => (Look::Dim, format!("({other})")),
    };
    if !of.held_back_by.is_empty() {
        goes.push_str(&format!(" (full {})", of.held_back_by.join(" and ")));
    }
    vec![
        cell(Look::Plain, clean(&of.name)),
        cell(Look::Plain, per_second(|flow| flow.accepted)),
        cell(Look::Plain, per_second(|flow| flow.delivered)),
        cell(Look::Plain, Count(of.waiting).to_string()),
        cell(Look::Plain, Count(of.held).to_string()),
        cell(Look::Plain, of.oldest.map_or_else(|| "-".to_owned(), |oldest| age(now, oldest))),
        cell(look, clean(&goes)),
    ]
}

fn listener(of: &ListenerStatus) -> Vec<Cell> {
    let connected = format!("{}/{}", of.connections, of.max_connections);
    vec![
        cell(Look::Plain, clean(&of.name)),
        if of.listening {
            cell(Look::Plain, of.address.clone())
        } else {
            cell(Look::Bad, format!("{} DOWN", of.address))
        },
        cell(Look::Plain, connected),
        cell(Look::Plain, Count(of.tls_connections).to_string()),
        cell(Look::Plain, Count(of.accepted).to_string()),
        cell(Look::Plain, Count(of.refused).to_string()),
        cell(if of.failed_logins > 0 { Look::Odd } else { Look::Plain }, Count(of.failed_logins).to_string()),
    ]
}
