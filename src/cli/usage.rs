//! What was given on the command line cannot be meant: exit status 2, as for what clap finds.

use std::fmt;
use std::time::Duration;

use crate::config;

/// An error of whoever typed it.
#[derive(Debug)]
pub struct Usage(anyhow::Error);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Usage {}

impl Usage {
    pub fn error(what: impl Into<anyhow::Error>) -> anyhow::Error {
        Self(what.into()).into()
    }
}

pub trait OrUsage<T> {
    /// The error is one of usage.
    fn or_usage(self) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrUsage<T> for Result<T, E> {
    fn or_usage(self) -> anyhow::Result<T> {
        self.map_err(Usage::error)
    }
}

/// For clap: a span such as 4h, as it was written.
pub fn span(text: &str) -> Result<String, String> {
    config::parse_duration(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// How long an order holds.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// For clap: how long an order of `waypost provider` is to hold.
pub fn order_span(text: &str) -> Result<String, String> {
    match config::parse_duration(text).map_err(|error| error.to_string())? {
        Duration::ZERO => Err("for no time at all nothing would happen".to_owned()),
        span if span > LONGEST => Err("an order holds for 30d at most".to_owned()),
        _ => Ok(text.to_owned()),
    }
}
