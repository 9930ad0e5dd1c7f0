//! What was: how much waited over the last minutes, and which share of mail bounced over the last day. Time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use super::facts::{Counts, Facts};
use super::span::since;
use crate::mail::Timestamp;

/// Samples of the queue in its span.
const STEPS: u32 = 50;
/// Between two samples of what bounced, and how long they are kept.
const STEP: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What counts as now, of what bounced.
pub const LATELY: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
pub struct History {
    within: Duration,
    /// Oldest first; at most `STEPS` and a few.
    depths: VecDeque<(Timestamp, u64)>,
    counts: VecDeque<(Timestamp, Counts)>,
    last: Counts,
}

/// What bounced lately, and usually.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounces {
    pub bounced: u64,
    pub of: u64,
    /// Percent.
    pub share: f64,
    pub usual: f64,
}

impl History {
    /// `within`: the span over which growth is seen.
    pub fn new(within: Duration) -> Self {
        Self { within, depths: VecDeque::new(), counts: VecDeque::new(), last: Counts::default() }
    }

    pub fn take(&mut self, facts: &Facts, now: Timestamp) {
        push(&mut self.depths, facts.queue.messages, self.within / STEPS, self.within, now);
        push(&mut self.counts, facts.counts, STEP, DAY, now);
        self.last = facts.counts;
    }

    /// By how many messages the queue has grown since the begin of the span, and the moment of that begin. A burst that is
    /// gone a tenth of the span later is no growth.
    pub fn growth(&self, now: Timestamp) -> Option<(u64, Timestamp)> {
        let (begin, then) = *self.depths.front()?;
        if since(begin, now) < self.within / 5 {
            return None;
        }
        let lately = self.depths.iter().rev().take_while(|(at, _)| since(*at, now) <= self.within / 10);
        let least = lately.map(|(_, depth)| *depth).min()?;
        Some((least.saturating_sub(then), begin))
    }

    pub fn bounces(&self, now: Timestamp) -> Option<Bounces> {
        let first = self.counts.front()?.1;
        let before = self.counts.iter().take_while(|(at, _)| since(*at, now) > LATELY).last();
        let before = before.map_or(first, |(_, counts)| *counts);
        let (bounced, of) = between(before, self.last);
        let (usually, of_usual) = between(first, before);
        // Of a handful of mail, no share is usual.
        let usual = if of_usual >= 100 { percent(usually, of_usual) } else { 0.0 };
        (of > 0).then(|| Bounces { bounced, of, share: percent(bounced, of), usual })
    }
}

fn push<T>(samples: &mut VecDeque<(Timestamp, T)>, sample: T, step: Duration, keep: Duration, now: Timestamp) {
    if samples.back().is_none_or(|(last, _)| since(*last, now) >= step) {
        samples.push_back((now, sample));
    }
    while samples.len() > 1 && samples.front().is_some_and(|(first, _)| since(*first, now) > keep) {
        samples.pop_front();
    }
}

fn between(from: Counts, to: Counts) -> (u64, u64) {
    let bounced = to.bounced.saturating_sub(from.bounced);
    (bounced, bounced + to.delivered.saturating_sub(from.delivered))
}

fn percent(part: u64, of: u64) -> f64 {
    part as f64 * 100.0 / of as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn facts(messages: u64, delivered: u64, bounced: u64) -> Facts {
        let mut facts = Facts { counts: Counts { delivered, bounced }, ..Facts::default() };
        facts.queue.messages = messages;
        facts
    }

    #[test]
    fn what_stays_is_growth_and_a_burst_is_none() {
        let mut history = History::new(Duration::from_secs(600));
        let growth = |history: &History, now| history.growth(at(now)).map(|(by, _)| by);
        for second in (0..600).step_by(2) {
            history.take(&facts(if second == 300 { 50_000 } else { 10 }, 0, 0), at(second));
            assert!(growth(&history, second).is_none_or(|by| by == 0), "{second}");
        }
        for second in (600..1200).step_by(2) {
            history.take(&facts(10 + (second - 600) as u64 * 10, 0, 0), at(second));
        }
        assert!(growth(&history, 1199).unwrap() > 5_000);
        assert!(history.depths.len() <= STEPS as usize + 2, "{}", history.depths.len());
        for second in (1200..2400).step_by(2) {
            history.take(&facts(6_000, 0, 0), at(second));
        }
        assert_eq!(growth(&history, 2399), Some(0), "it is large, and grows no more");
    }

    #[test]
    fn the_usual_share_is_told_from_the_share_of_now() {
        let mut history = History::new(Duration::from_secs(600));
        let (mut delivered, mut bounced) = (0, 0);
        assert_eq!(history.bounces(at(0)), None);
        for minute in 0..24 * 60 {
            (delivered, bounced) = (delivered + 98, bounced + 2);
            history.take(&facts(0, delivered, bounced), at(minute * 60));
        }
        let usual = history.bounces(at(24 * 3600)).unwrap();
        assert!((usual.usual - 2.0).abs() < 0.1 && (usual.share - 2.0).abs() < 0.1, "{usual:?}");
        for minute in 24 * 60..24 * 60 + 15 {
            (delivered, bounced) = (delivered + 70, bounced + 30);
            history.take(&facts(0, delivered, bounced), at(minute * 60));
        }
        let now = history.bounces(at((24 * 60 + 15) * 60)).unwrap();
        assert!(now.share > 25.0 && now.usual < 3.0, "{now:?}");
        assert!(history.counts.len() <= 24 * 60 + 2);
    }
}
