//! `waypost diff --replay`: how much of the last days' mail would go another way, counted from the audit trail.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::SignedDuration;
use serde::Serialize;

use super::load;
use super::remote::Remote;
use super::trace::path;
use crate::admin::WantedBlocks;
use crate::audit::{AuditError, Key, Mails, Trail, shown};
use crate::config::ShowDuration;
use crate::mail::Timestamp;
use crate::routing::{Comparison, Count, Replay, Replayed, Table};

/// Octets of the trail that are in memory at a time.
const PAGE: usize = 4 << 20;

/// Where the trail is.
pub struct Where<'a> {
    /// The trail's file, or the folder that it lies in.
    pub trail: Option<&'a Path>,
    /// The configuration of the relay that keeps it.
    pub directory: &'a Path,
}

/// What was counted. Its serialized form is that of `--json`, and stable.
#[derive(Debug, Serialize)]
pub struct Counted {
    /// From then on.
    since: Timestamp,
    #[serde(skip)]
    span: Duration,
    /// Messages; the rest counts recipients.
    messages: u64,
    #[serde(flatten)]
    found: Replayed,
    /// When the trail begins, where that is later than `since`.
    begins: Option<Timestamp>,
    /// When the last record of the trail became true; null: it has none of the span, and none shortly before.
    ends: Option<Timestamp>,
    /// Records of the trail that do not read back.
    unreadable_records: u64,
}

/// Asks both tables of the mail that came in since `span` before `now`.
pub fn replay(tables: (&Table, &Table), span: Duration, of: &Where<'_>, now: Timestamp) -> anyhow::Result<Counted> {
    let back = SignedDuration::try_from(span).context("--replay: too long a span")?;
    let since = now.saturating_sub(back).unwrap_or(Timestamp::MIN);
    let (source, file) = Source::open(of)?;
    let key = Key::beside(&file)?;
    let mut replay = Replay::new(tables.0, tables.1, &key);
    let mut mails = Mails::since(since);
    let mut after = None;
    loop {
        let page = source.page(since, after)?;
        let next = mails.read(&page, |past| replay.ask(past));
        match next.with_context(|| format!("the audit trail {} cannot be read", file.display()))? {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(Counted {
        since,
        span,
        messages: mails.messages,
        found: replay.done(),
        begins: mails.begins_late(),
        ends: mails.ends(),
        unreadable_records: mails.unreadable,
    })
}

/// The file itself where no relay runs, else the relay.
enum Source {
    File(Trail),
    Relay(Box<Remote>),
}

impl Source {
    /// With the path of the trail, beside which its key lies.
    fn open(of: &Where<'_>) -> anyhow::Result<(Self, PathBuf)> {
        let file = match of.trail {
            Some(given) if given.is_dir() => given.join("audit.redb"),
            Some(given) => given.to_owned(),
            None => match load::to_steer(Some(of.directory))?.audit {
                Some(audit) => audit.path,
                None => bail!(
                    "no trail is kept that could be replayed: `audit: off` is in {}",
                    of.directory.join("waypost.yaml").display()
                ),
            },
        };
        if !file.exists() {
            bail!(
                "there is no audit trail {}: name the configuration of the relay that keeps it with --config, or a copy \
                 of it with --trail",
                file.display()
            );
        }
        let source = match Trail::open_to_read(&file) {
            Ok(trail) => Self::File(trail),
            Err(busy @ AuditError::Busy { .. }) if of.trail.is_none() => {
                Self::Relay(Box::new(Remote::find(Some(of.directory)).context(busy)?))
            }
            Err(busy @ AuditError::Busy { .. }) => {
                return Err(anyhow::Error::new(busy)
                    .context("name the running relay's configuration with --config, in place of --trail"));
            }
            Err(error) => return Err(error.into()),
        };
        Ok((source, file))
    }

    fn page(&self, since: Timestamp, after: Option<u64>) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::File(trail) => Ok(trail.blocks(since, after, PAGE)?),
            Self::Relay(remote) => Ok(remote.octets(&path("/trace/blocks", &WantedBlocks { since, after })?)?.into()),
        }
    }
}

impl Counted {
    /// Recipients whose mail would go another way.
    pub fn differ(&self) -> u64 {
        self.found.comparison.differ
    }

    pub fn show(&self, out: &mut impl Write) -> io::Result<()> {
        let Comparison { asked, differ, same_way, untold, .. } = self.found.comparison;
        let told = asked - untold;
        let span = Last(self.span);
        if asked == 0 {
            writeln!(out, "the audit trail has no mail of the last {span}")?;
        } else {
            write!(out, "of {} recipients in the last {span}, ", Count(asked))?;
            match differ - same_way {
                0 if told == 0 => write!(out, "none can be told")?,
                0 if untold > 0 => write!(out, "none of the {} that can be told would go another way", Count(told))?,
                0 => write!(out, "all would go the same way")?,
                other => write!(out, "{} ({}) would go another way", Count(other), Share(other, asked))?,
            }
            match same_way {
                0 => writeln!(out)?,
                same => writeln!(out, "; {} ({}) the same way by another route", Count(same), Share(same, asked))?,
            }
        }
        if differ > 0 {
            write!(out, "{}", self.found.comparison)?;
        }
        write!(out, "{}", self.found.untold_for)?;
        if self.found.otherwise > 0 {
            let many = Count(self.found.otherwise);
            writeln!(out, "{many} took another route then than the old table says: another one was in force")?;
        }
        if let Some(begins) = self.begins {
            writeln!(out, "the trail goes back to {} only", shown(begins))?;
        }
        if self.unreadable_records > 0 {
            let many = Count(self.unreadable_records);
            writeln!(out, "{many} records of the trail do not read back: `waypost trace --verify` tells more")?;
        }
        match self.ends {
            Some(ends) if asked == 0 => writeln!(out, "its last record is of {}", shown(ends)),
            Some(_) | None => Ok(()),
        }
    }
}

/// `7 days`, behind "the last".
struct Last(Duration);

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        for (name, unit) in [("day", 86_400), ("hour", 3600), ("minute", 60)] {
            match seconds / unit {
                1 if seconds == unit => return f.write_str(name),
                many if many > 1 && seconds.is_multiple_of(unit) => return write!(f, "{many} {name}s"),
                _ => {}
            }
        }
        write!(f, "{}", ShowDuration(self.0))
    }
}

/// Per cent; what is there at all is never shown as nothing, and what is not all never as all.
struct Share(u64, u64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.0 as f64 / self.1.max(1) as f64;
        match share {
            _ if self.0 == self.1 => f.write_str("100%"),
            share if share < 0.01 => f.write_str("below 0.01%"),
            share if share > 99.99 => f.write_str("above 99.99%"),
            share if share < 10.0 => write!(f, "{share:.2}%"),
            share => write!(f, "{share:.1}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_is_not_said_to_go_the_same_way() {
        let shown = |asked, untold| {
            let comparison = Comparison { asked, untold, ..Comparison::default() };
            let counted = Counted {
                since: Timestamp::MIN,
                span: Duration::from_secs(3600),
                messages: asked,
                found: Replayed { comparison, ..Replayed::default() },
                begins: None,
                ends: None,
                unreadable_records: 0,
            };
            let mut out = Vec::new();
            counted.show(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(5, 0), "of 5 recipients in the last hour, all would go the same way\n");
        assert_eq!(
            shown(5, 2),
            "of 5 recipients in the last hour, none of the 3 that can be told would go another way\n"
        );
        assert_eq!(shown(5, 5), "of 5 recipients in the last hour, none can be told\n");
    }

    #[test]
    fn spans_and_shares_read_well() {
        for (seconds, words) in
            [(604_800, "7 days"), (86_400, "day"), (7200, "2 hours"), (3600, "hour"), (60, "minute"), (90, "1m30s")]
        {
            assert_eq!(Last(Duration::from_secs(seconds)).to_string(), words);
        }
        for (part, of, words) in [
            (3120, 1_204_331, "0.26%"),
            (1, 1_000_000, "below 0.01%"),
            (999_999, 1_000_000, "above 99.99%"),
            (5, 5, "100%"),
            (1, 3, "33.3%"),
        ] {
            assert_eq!(Share(part, of).to_string(), words);
        }
    }
}
