//! What two tables decide differently, over any mail: probes, or what came in in the last days. It is asked piece by piece, so
//! that a million pieces need no more memory than one.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::{Decision, Facts, Table};
use crate::config::{Action, Route, Tier};

/// Examples that are shown of a kind of difference.
const SAMPLES: usize = 5;
/// Examples that are counted, of all kinds together, to find the most frequent ones.
const COUNTED: usize = 50_000;

/// Asks both tables.
pub struct Comparer<'t> {
    old: &'t Table,
    new: &'t Table,
    asked: u64,
    untold: u64,
    groups: Groups,
}

/// What is decided otherwise, kind by kind.
#[derive(Default)]
pub(super) struct Groups {
    /// What a pair of decisions comes to: none, or the number of its group.
    pairs: HashMap<(Key, Key), Option<usize>>,
    list: Vec<Group>,
    /// Where the example of a group stands that is known by this number.
    samples: HashMap<(usize, u64), usize>,
}

/// Decisions that are the same one: by the route itself, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Route(usize),
    NoRoute,
}

/// What was found. Its serialized form is that of `--json`, and stable.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// By weight: mail that both were asked of.
    pub asked: u64,
    /// Mail that is decided otherwise.
    pub differ: u64,
    /// Of that, mail that goes the same way, by a route of another name.
    pub same_way: u64,
    /// Mail of which they cannot tell: its header is not known, and a route asks for it.
    pub untold: u64,
    /// What most mail takes comes first.
    pub groups: Vec<Group>,
}

/// Mail that went one way and goes another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    pub old: Decided,
    pub new: Decided,
    pub count: u64,
    /// The way is the same: only the route that leads there is another one.
    pub same_way: bool,
    /// The most frequent ones first.
    pub samples: Vec<Sample>,
}

/// What a table says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// `null`: none takes it.
    pub route: Option<String>,
    /// `deliver`, `reject`, `hold`, `discard`; `refuse` where no route takes it.
    pub action: &'static str,
    /// The chain, the refusal, or the reason of a hold.
    pub way: String,
}

/// A piece of mail, as an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// `null` is the null reverse-path.
    pub sender: Option<String>,
    pub recipient: String,
    pub listener: String,
    pub client: Option<String>,
    pub user: Option<String>,
    /// Fields that stand in its header.
    pub header: Option<String>,
    pub size: Option<u64>,
    /// Pieces of mail that are just so.
    pub count: u64,
}

impl<'t> Comparer<'t> {
    pub fn new(old: &'t Table, new: &'t Table) -> Self {
        Self { old, new, asked: 0, untold: 0, groups: Groups::default() }
    }

    /// Asks both tables of mail that stands for so many pieces.
    pub fn ask(&mut self, facts: &Facts<'_>, weight: u64) {
        self.asked += weight;
        let (old, new) = (self.old.route(facts), self.new.route(facts));
        match self.groups.of(&old, &new) {
            None => self.untold += weight,
            Some(None) => {}
            Some(Some(number)) => self.groups.add(number, weight, None, || Sample::of(facts)),
        }
    }

    pub fn done(self) -> Comparison {
        self.groups.done(self.asked, self.untold)
    }
}

impl Groups {
    /// Where mail of these decisions belongs: nowhere, if they are the same. `None`: they depend on what is not known.
    pub(super) fn of(&mut self, old: &Decision, new: &Decision) -> Option<Option<usize>> {
        let pair = (key(old)?, key(new)?);
        let list = &mut self.list;
        Some(*self.pairs.entry(pair).or_insert_with(|| {
            list.push(group(old, new)?);
            Some(list.len() - 1)
        }))
    }

    /// Counts mail of a group. `known`: a number that this example has, however often it comes; without, it is one by itself.
    pub(super) fn add(&mut self, number: usize, weight: u64, known: Option<u64>, sample: impl FnOnce() -> Sample) {
        let Some(group) = self.list.get_mut(number) else { return };
        group.count += weight;
        let at = known.and_then(|known| self.samples.get(&(number, known)));
        if let Some(there) = at.and_then(|&at| group.samples.get_mut(at)) {
            there.count += weight;
            return;
        }
        let has_room = match known {
            Some(_) => self.samples.len() < COUNTED,
            None => group.samples.len() < SAMPLES,
        };
        if has_room || group.samples.len() < SAMPLES {
            group.samples.push(Sample { count: weight, ..sample() });
            if let Some(known) = known {
                self.samples.insert((number, known), group.samples.len() - 1);
            }
        }
    }

    pub(super) fn done(self, asked: u64, untold: u64) -> Comparison {
        let mut groups = self.list;
        groups.retain(|group| group.count > 0);
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        for group in &mut groups {
            group.samples.sort_by_key(|sample| std::cmp::Reverse(sample.count));
            group.samples.truncate(SAMPLES);
        }
        let count = |same: bool| groups.iter().filter(|group| !same || group.same_way).map(|group| group.count).sum();
        Comparison { asked, differ: count(false), same_way: count(true), untold, groups }
    }
}

/// `None`: it depends on what is not known.
fn key(decision: &Decision) -> Option<Key> {
    match decision {
        Decision::Route(route) => Some(Key::Route(Arc::as_ptr(route).addr())),
        Decision::NoRoute => Some(Key::NoRoute),
        Decision::Undecided => None,
    }
}

/// How the two differ, if they do.
fn group(old: &Decision, new: &Decision) -> Option<Group> {
    let (old, new) = (decided(old), decided(new));
    let same_way = old.action == new.action && old.way == new.way;
    (!same_way || old.route != new.route).then_some(Group { old, new, count: 0, same_way, samples: Vec::new() })
}

fn decided(decision: &Decision) -> Decided {
    match decision {
        Decision::Route(route) => of_route(route),
        Decision::NoRoute | Decision::Undecided => {
            Decided { route: None, action: "refuse", way: "no route takes it".to_owned() }
        }
    }
}

fn of_route(route: &Route) -> Decided {
    let (action, way) = match &route.action {
        Action::Deliver(chain) => ("deliver", chain.iter().map(tier).collect::<Vec<_>>().join(", ")),
        Action::Reject(no) => ("reject", format!("{} {} {}", no.code, no.status, no.text)),
        Action::Hold { reason } => ("hold", reason.clone()),
        Action::Discard => ("discard", String::new()),
    };
    Decided { route: Some(route.name.to_string()), action, way }
}

/// `mailgun 80 + ses 20`; of one alone its name.
fn tier(tier: &Tier) -> String {
    match &tier.0[..] {
        [(only, _)] => only.to_string(),
        all => all.iter().map(|(name, weight)| format!("{name} {weight}")).collect::<Vec<_>>().join(" + "),
    }
}

impl Sample {
    fn of(facts: &Facts<'_>) -> Self {
        let header = facts.header.map(|header| String::from_utf8_lossy(header.octets()).trim().replace("\r\n", "; "));
        Self {
            sender: facts.sender.map(ToString::to_string),
            recipient: facts.recipient.to_string(),
            listener: facts.listener.to_owned(),
            client: facts.client.map(|client| client.to_string()),
            user: facts.user.map(str::to_owned),
            header: header.filter(|header| !header.is_empty()),
            size: facts.size,
            count: 1,
        }
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(route) = &self.route else { return f.write_str("refused, no route takes it") };
        match (self.action, self.way.as_str()) {
            ("deliver", way) => write!(f, "'{route}' by {way}"),
            (action, "") => write!(f, "'{route}', {action}"),
            (action, way) => write!(f, "'{route}', {action}: {way}"),
        }
    }
}

/// `a@shop.example to b@customer.example`, and what else tells it from others.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.sender.as_deref().unwrap_or("<>"), self.recipient)?;
        if let Some(user) = &self.user {
            write!(f, ", user {user}")?;
        }
        if let Some(header) = &self.header {
            write!(f, ", with {header}")?;
        }
        write!(f, ", at {}", self.listener)?;
        if let Some(client) = &self.client {
            write!(f, " from {client}")?;
        }
        if let Some(size) = self.size {
            write!(f, ", {size} octets")?;
        }
        if self.count > 1 {
            write!(f, " ({} times)", Count(self.count))?;
        }
        Ok(())
    }
}

/// A number in groups of three digits: `1,204,331`.
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (n, digit) in digits.chars().enumerate() {
            if n > 0 && (digits.len() - n).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// The groups, each with its examples.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            let what = if group.same_way { ", the same way" } else { "" };
            writeln!(f, "{} → {}{what}: {}", group.old, group.new, Count(group.count))?;
            for sample in &group.samples {
                writeln!(f, "    {sample}")?;
            }
            let more = group.count.saturating_sub(group.samples.iter().map(|sample| sample.count).sum());
            if more > 0 {
                writeln!(f, "    and {} more", Count(more))?;
            }
        }
        Ok(())
    }
}
