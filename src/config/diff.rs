//! What changes from one configuration to another, key by key and in words. Pure; no secret is ever told, only that it
//! changed.

mod alerts;
mod facts;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

use super::Config;
use facts::{Facts, Said};

/// One change. Its serialized form, with the text beside it (`ChangeJson`), is that of `--json`, and stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub kind: Kind,
    /// Of the route, provider, listener or user; `None` for the relay itself.
    pub name: Option<String>,
    pub what: What,
    /// The key that changed, as the files have it: `rate`, `match.recipient_domain`, `queue.retry`.
    pub key: Option<String>,
    /// As it was; `None`: it was not there, or is a secret.
    pub old: Option<String>,
    pub new: Option<String>,
    /// A running relay goes on with the old one until it is restarted.
    pub restart: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Relay,
    Listener,
    User,
    #[serde(rename = "alert target")]
    AlertTarget,
    Provider,
    Route,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    Added,
    Removed,
    /// One of its keys.
    Changed,
    /// A route: it stands elsewhere in the table.
    Moved,
}

/// The stable form of `--json`.
#[derive(Debug, Serialize)]
pub struct ChangeJson<'a> {
    #[serde(flatten)]
    change: &'a Change,
    text: String,
}

/// All changes: the relay's own first, then those of listeners, users, targets of alerts, providers and routes.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let alerts = (&old.server.alerts, &new.server.alerts);
    let rules = alerts::are_on(alerts.0) && alerts::are_on(alerts.1);
    let facts = (server::relay(&old.server, rules), server::relay(&new.server, rules));
    compare(Kind::Relay, None, facts, &mut changes);
    named(
        Kind::Listener,
        &old.server.listeners,
        &new.server.listeners,
        |l| l.name.clone(),
        server::listener,
        &mut changes,
    );
    named(Kind::User, &old.server.users, &new.server.users, |u| u.name.clone(), server::user, &mut changes);
    let targets = (&alerts.0.targets, &alerts.1.targets);
    named(Kind::AlertTarget, targets.0, targets.1, |t| t.name().to_owned(), alerts::target, &mut changes);
    named(
        Kind::Provider,
        &old.providers,
        &new.providers,
        |provider| provider.name.to_string(),
        |provider| facts::provider(provider),
        &mut changes,
    );
    named(Kind::Route, &old.routes, &new.routes, |r| r.name.to_string(), |route| facts::route(route), &mut changes);
    moved(old, new, &mut changes);
    changes
}

/// Things that have names: those gone, those new, and the keys of those that stay.
fn named<T>(
    kind: Kind,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> String,
    facts: impl Fn(&T) -> Facts,
    into: &mut Vec<Change>,
) {
    let before: HashMap<String, &T> = old.iter().map(|thing| (name(thing), thing)).collect();
    let after: HashMap<String, &T> = new.iter().map(|thing| (name(thing), thing)).collect();
    let whole = |thing: &T, what| Change {
        kind,
        name: Some(name(thing)),
        what,
        key: None,
        old: None,
        new: None,
        restart: false,
    };
    into.extend(old.iter().filter(|thing| !after.contains_key(&name(thing))).map(|thing| whole(thing, What::Removed)));
    for thing in new {
        match before.get(&name(thing)) {
            None => into.push(whole(thing, What::Added)),
            Some(before) => compare(kind, Some(&name(thing)), (facts(before), facts(thing)), into),
        }
    }
}

fn compare(kind: Kind, name: Option<&str>, (old, new): (Facts, Facts), into: &mut Vec<Change>) {
    let (old, mut new): (Vec<_>, BTreeMap<_, _>) =
        (old.list, new.list.into_iter().enumerate().map(|(n, (key, said))| (key, (n, said))).collect());
    let mut found: Vec<(usize, String, Option<Said>, Option<Said>)> = Vec::new();
    for (n, (key, before)) in old.into_iter().enumerate() {
        match new.remove(&key) {
            Some((_, after)) if after == before => {}
            Some((_, after)) => found.push((n, key, Some(before), Some(after))),
            None => found.push((n, key, Some(before), None)),
        }
    }
    found.extend(new.into_iter().map(|(key, (n, after))| (n, key, None, Some(after))));
    found.sort_by_key(|(n, ..)| *n);
    into.extend(found.into_iter().map(|(_, key, before, after)| {
        let (old, new) = facts::told(before.as_ref(), after.as_ref());
        let restart = kind == Kind::Relay && server::RESTART.contains(&key.as_str());
        Change { kind, name: name.map(str::to_owned), what: What::Changed, key: Some(key), old, new, restart }
    }));
}

/// Routes that stay, and stand in another order: as few as explain the new order.
fn moved(old: &Config, new: &Config, into: &mut Vec<Change>) {
    let place: HashMap<&str, usize> =
        old.routes.iter().enumerate().map(|(n, route)| (route.name.as_str(), n)).collect();
    let kept: Vec<(&str, usize)> =
        new.routes.iter().filter_map(|route| Some((route.name.as_str(), *place.get(route.name.as_str())?))).collect();
    let still = longest_rising(&kept.iter().map(|(_, n)| *n).collect::<Vec<_>>());
    let mut still = still.into_iter().peekable();
    for (n, (name, _)) in kept.iter().enumerate() {
        if still.next_if_eq(&n).is_some() {
            continue;
        }
        let before = n.checked_sub(1).and_then(|n| kept.get(n));
        let where_to = before.map_or_else(|| "before all others".to_owned(), |(name, _)| format!("behind '{name}'"));
        into.push(Change {
            kind: Kind::Route,
            name: Some((*name).to_owned()),
            what: What::Moved,
            key: None,
            old: None,
            new: Some(where_to),
            restart: false,
        });
    }
}

/// The places of a longest rising subsequence.
fn longest_rising(values: &[usize]) -> Vec<usize> {
    // For each length the place of the least value that ends a sequence of it; for each place the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(values.len());
    for (n, value) in values.iter().enumerate() {
        let length = ends.partition_point(|end| values.get(*end).is_some_and(|known| known < value));
        before.push(length.checked_sub(1).and_then(|length| ends.get(length).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = n,
            None => ends.push(n),
        }
    }
    let mut places = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(n) = next {
        places.push(n);
        next = before.get(n).copied().flatten();
    }
    places.reverse();
    places
}

impl Change {
    pub fn json(&self) -> ChangeJson<'_> {
        ChangeJson { change: self, text: self.to_string() }
    }
}

/// `route 'eu-customers': chain mailgun-eu, ses-eu → ses-eu`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.kind) {
            (Some(name), kind) => write!(f, "{} '{}'", kind.name(), name.escape_debug())?,
            (None, _) => f.write_str("relay")?,
        }
        match self.what {
            What::Added => return f.write_str(" added"),
            What::Removed => return f.write_str(" removed"),
            What::Moved => return write!(f, " moved {}", self.new.as_deref().unwrap_or_default()),
            What::Changed => {}
        }
        write!(f, ": {}", self.key.as_deref().unwrap_or_default())?;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, " {old} → {new}")?,
            (None, Some(new)) => write!(f, " {new}, was not set")?,
            (Some(old), None) => write!(f, " no longer set, was {old}")?,
            (None, None) => f.write_str(" changed")?,
        }
        if self.restart { f.write_str(" (needs a restart)") } else { Ok(()) }
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Listener => "listener",
            Self::User => "user",
            Self::AlertTarget => "alert target",
            Self::Provider => "provider",
            Self::Route => "route",
        }
    }
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Moved => "moved",
        }
    }
}
