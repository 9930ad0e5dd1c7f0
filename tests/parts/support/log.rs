//! The relay's log: JSON, a line an event.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::{BOUND, until};

#[derive(Debug, Clone)]
pub struct Line(Value);

impl Line {
    /// A field of the event; tracing puts them beside the message or into an object of their own.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.0.get("fields").and_then(|fields| fields.get(name)).or_else(|| self.0.get(name))
    }

    /// A field as text, numbers too.
    pub fn text(&self, name: &str) -> Option<String> {
        self.field(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name).and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
    }

    pub fn at(&self) -> Timestamp {
        self.text("timestamp").and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time in {self:?}"))
    }

    pub fn message(&self) -> String {
        self.text("message").unwrap_or_default()
    }

    pub fn is_attempt(&self) -> bool {
        self.field("outcome").is_some() && self.field("provider").is_some() && self.field("mid").is_some()
    }

    pub fn is_accepted(&self) -> bool {
        ["mid", "listener", "from", "recipients", "size"].iter().all(|name| self.field(name).is_some())
    }

    /// A change of a provider's breaker: `open` or `closed`; a failed probe is no change.
    pub fn is_breaker(&self, provider: &str, state: &str) -> bool {
        self.is("provider", provider) && self.is("breaker", state) && self.message().starts_with("breaker ")
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.text(name).as_deref() == Some(value)
    }
}

/// The log's file.
#[derive(Debug, Clone)]
pub struct Log(PathBuf);

impl Log {
    pub fn of(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub fn raw(&self) -> String {
        std::fs::read(&self.0).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default()
    }

    /// All whole lines so far that are events.
    pub fn lines(&self) -> Vec<Line> {
        self.raw().lines().filter_map(|line| serde_json::from_str(line).ok()).map(Line).collect()
    }

    pub fn attempts(&self) -> Vec<Line> {
        self.lines().into_iter().filter(Line::is_attempt).collect()
    }

    /// All lines, once one of them is as wanted: the relay writes its log in a thread of its own, a moment after the event.
    pub fn once(&self, what: &str, wanted: impl Fn(&Line) -> bool) -> Vec<Line> {
        until(&format!("the log tells {what}"), BOUND, || {
            let lines = self.lines();
            lines.iter().any(&wanted).then_some(lines)
        })
    }

    /// The same for a piece of its text.
    pub fn once_it_says(&self, text: &str) -> String {
        until(&format!("the log says '{text}'"), BOUND, || Some(self.raw()).filter(|raw| raw.contains(text)))
    }

    /// The attempts, once there are so many.
    pub fn attempts_once(&self, count: usize) -> Vec<Line> {
        until(&format!("the log tells {count} attempts"), BOUND, || {
            Some(self.attempts()).filter(|attempts| attempts.len() >= count)
        })
    }

    pub fn accepted(&self) -> Vec<Line> {
        self.lines().into_iter().filter(Line::is_accepted).collect()
    }

    pub fn breaker(&self, provider: &str, state: &str) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.is_breaker(provider, state)).collect()
    }
}
