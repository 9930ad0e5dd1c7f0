//! The transcript: a table of rates, and between its lines what happens.

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use super::score::Now;

pub(super) struct Teller(Instant);

impl Teller {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn line(&self, text: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    pub(super) fn head(&self) -> anyhow::Result<()> {
        self.line("  time   accepted/s   primary/s  secondary/s   in the queue")
    }

    pub(super) fn rates(&self, before: Now, now: Now, span: Duration, queued: u64) -> anyhow::Result<()> {
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / span.as_secs_f64();
        self.line(&format!(
            "{}  {:>10.1}  {:>10.1}  {:>11.1}   {queued:>12}",
            self.time(),
            rate(before.accepted, now.accepted),
            rate(before.primary, now.primary),
            rate(before.secondary, now.secondary),
        ))
    }

    pub(super) fn event(&self, text: &str) -> anyhow::Result<()> {
        self.line(&format!("{}  {text}", self.time()))
    }

    fn time(&self) -> String {
        let seconds = self.0.elapsed().as_secs();
        format!("{:>3}:{:02}", seconds / 60, seconds % 60)
    }
}
