//! What was counted in the last hours, minute by minute, for the charts of the pages. Pure: time is an argument. Bounded: so many
//! minutes, and of each so many names; what is beyond is counted together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::mail::Timestamp;

/// Six hours.
pub const MINUTES: i64 = 360;
/// Routes, and providers, that one minute tells apart.
const NAMES: usize = 32;
/// What stands for the rest of them. No route or provider is called so: names have no spaces.
pub const OTHERS: &str = "all others";

/// Recipients of one route or provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub delivered: u64,
    pub deferred: u64,
    pub bounced: u64,
}

impl Counts {
    fn map(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            accepted: of(self.accepted, other.accepted),
            delivered: of(self.delivered, other.delivered),
            deferred: of(self.deferred, other.deferred),
            bounced: of(self.bounced, other.bounced),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.map(other, u64::saturating_add)
    }

    pub fn total(self) -> u64 {
        self.accepted.saturating_add(self.delivered).saturating_add(self.deferred).saturating_add(self.bounced)
    }
}

/// What the relay's counters say at one moment: since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    pub routes: Vec<(Arc<str>, Counts)>,
    pub providers: Vec<(Arc<str>, Counts)>,
    /// Messages in the queue.
    pub queued: u64,
    /// Age of the oldest that waits.
    pub oldest: Duration,
}

type Named = BTreeMap<Arc<str>, Counts>;

/// What came in one minute.
#[derive(Debug, Default)]
struct Minute {
    nth: i64,
    routes: Named,
    providers: Named,
    /// The highest of the minute.
    queued: u64,
    oldest: Duration,
}

/// The last hours.
#[derive(Debug, Default)]
pub struct History {
    /// Oldest first; a minute in which nobody looked is not there.
    minutes: VecDeque<Minute>,
    routes: Named,
    providers: Named,
    begun: bool,
}

/// A span of it, in equal parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// When its first part begins.
    pub start: Timestamp,
    /// How long each is, in minutes.
    pub minutes: i64,
    pub parts: usize,
    /// By name, part by part.
    pub routes: BTreeMap<Arc<str>, Vec<Counts>>,
    pub providers: BTreeMap<Arc<str>, Vec<Counts>>,
    /// The highest of each part; `None`: nothing is known of it.
    pub queued: Vec<Option<u64>>,
    pub oldest: Vec<Option<Duration>>,
}

impl History {
    /// Takes what came since the reading before. The first one is where counting begins.
    pub fn take(&mut self, reading: &Reading, now: Timestamp) {
        let nth = minute(now);
        if self.minutes.back().is_none_or(|last| last.nth < nth) {
            self.minutes.push_back(Minute { nth, ..Minute::default() });
        }
        while self.minutes.front().is_some_and(|first| first.nth <= nth - MINUTES) {
            self.minutes.pop_front();
        }
        let Some(last) = self.minutes.back_mut() else { return };
        // Nothing was before the first reading but the relay's own start.
        let first = !std::mem::replace(&mut self.begun, true);
        add(&mut last.routes, &mut self.routes, &reading.routes, first);
        add(&mut last.providers, &mut self.providers, &reading.providers, first);
        last.queued = last.queued.max(reading.queued);
        last.oldest = last.oldest.max(reading.oldest);
    }

    /// The last `parts` times `minutes`, up to now.
    pub fn span(&self, parts: usize, minutes: i64, now: Timestamp) -> Span {
        let minutes = minutes.max(1);
        // Parts begin where the clock's do, so that a bar does not change while time goes on.
        let end = (minute(now).div_euclid(minutes) + 1) * minutes;
        let begin = end - minutes * i64::try_from(parts).unwrap_or(0);
        let mut span = Span {
            start: Timestamp::from_second(begin * 60).unwrap_or(Timestamp::UNIX_EPOCH),
            minutes,
            parts,
            routes: BTreeMap::new(),
            providers: BTreeMap::new(),
            queued: vec![None; parts],
            oldest: vec![None; parts],
        };
        for minute in self.minutes.iter().filter(|minute| minute.nth >= begin) {
            let part = usize::try_from((minute.nth - begin) / minutes).unwrap_or(usize::MAX);
            if part >= parts {
                continue;
            }
            for (of, into) in [(&minute.routes, &mut span.routes), (&minute.providers, &mut span.providers)] {
                for (name, counts) in of {
                    let parts = into.entry(name.clone()).or_insert_with(|| vec![Counts::default(); parts]);
                    parts[part] = parts[part].plus(*counts);
                }
            }
            span.queued[part] = span.queued[part].max(Some(minute.queued));
            span.oldest[part] = span.oldest[part].max(Some(minute.oldest));
        }
        span
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

fn add(minute: &mut Named, before: &mut Named, now: &[(Arc<str>, Counts)], first: bool) {
    for (name, counts) in now {
        let known = before.get(name).copied();
        if known == Some(*counts) {
            continue;
        }
        before.insert(name.clone(), *counts);
        // A counter that fell back began anew.
        let came = counts.map(known.unwrap_or_default(), |now, before| now.checked_sub(before).unwrap_or(now));
        if first || came == Counts::default() {
            continue;
        }
        let own = minute.contains_key(name) || minute.len() < NAMES;
        let sum = minute.entry(if own { name.clone() } else { OTHERS.into() }).or_default();
        *sum = sum.plus(came);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14 22:13:00 and so many seconds.
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_699_999_980 + second).unwrap()
    }

    fn delivered(count: u64) -> Counts {
        Counts { delivered: count, ..Counts::default() }
    }

    fn reading(routes: &[(&str, u64)], queued: u64) -> Reading {
        let routes = routes.iter().map(|(name, count)| ((*name).into(), delivered(*count))).collect();
        Reading { routes, queued, oldest: Duration::from_secs(queued), ..Reading::default() }
    }

    #[test]
    fn each_minute_has_what_came_in_it() {
        let mut history = History::default();
        for (second, count, queued) in [(0, 100, 0), (10, 103, 5), (59, 104, 2), (60, 110, 7), (180, 111, 1)] {
            history.take(&reading(&[("a", count)], queued), at(second));
        }
        let span = history.span(4, 1, at(200));
        assert_eq!(span.start, at(0));
        assert_eq!(span.routes["a"].iter().map(|counts| counts.delivered).collect::<Vec<_>>(), [4, 6, 0, 1]);
        assert_eq!(span.queued, [Some(5), Some(7), None, Some(1)]);
        assert_eq!(span.oldest[1], Some(Duration::from_secs(7)));
        let wider = history.span(2, 5, at(200));
        // Fives of the clock: from 22:10 and from 22:15.
        assert_eq!(wider.start, at(-180));
        assert_eq!(wider.routes["a"].iter().map(|counts| counts.delivered).collect::<Vec<_>>(), [10, 1]);
    }

    #[test]
    fn a_name_that_comes_later_counts_from_nothing_and_one_that_began_anew_too() {
        let mut history = History::default();
        history.take(&reading(&[("a", 5)], 0), at(0));
        history.take(&reading(&[("a", 5), ("b", 3)], 0), at(1));
        history.take(&reading(&[("a", 2), ("b", 3)], 0), at(2));
        let span = history.span(1, 1, at(2));
        assert_eq!((span.routes["a"][0], span.routes["b"][0]), (delivered(2), delivered(3)));
    }

    #[test]
    fn what_is_six_hours_old_is_forgotten() {
        let mut history = History::default();
        for n in 0..1000 {
            history.take(&reading(&[("a", n)], 0), at(n as i64 * 60));
        }
        assert_eq!(history.minutes.len() as i64, MINUTES);
        let span = history.span(360, 1, at(999 * 60));
        assert_eq!(span.routes["a"].iter().map(|counts| counts.delivered).sum::<u64>(), 360);
        assert!(history.span(60, 1, at(100_000 * 60)).routes.is_empty(), "nobody has looked since");
    }

    #[test]
    fn ten_thousand_routes_take_no_more_room_than_some() {
        let mut history = History::default();
        let all = |count| -> Vec<(Arc<str>, Counts)> {
            (0..10_000).map(|n| (format!("route-{n}").into(), delivered(count))).collect()
        };
        history.take(&Reading { routes: all(0), ..Reading::default() }, at(0));
        history.take(&Reading { routes: all(1), ..Reading::default() }, at(1));
        let span = history.span(1, 1, at(1));
        assert_eq!(span.routes.len(), NAMES + 1);
        assert_eq!(span.routes[OTHERS][0], delivered(10_000 - NAMES as u64));
    }
}
