//! The score: which messages the relay has accepted, and which ones came to whom. Counted by their numbers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Score(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Messages that got a 250.
    accepted: Vec<u64>,
    /// How often each message came, whoever took it.
    came: HashMap<u64, u64>,
    /// Messages taken by each provider.
    taken: HashMap<&'static str, u64>,
    /// Messages that came without a number: nobody's.
    strange: u64,
    refused: u64,
}

/// Counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) accepted: u64,
    pub(super) primary: u64,
    pub(super) secondary: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    accepted: u64,
    refused: u64,
    taken: Vec<(&'static str, u64)>,
    lost: u64,
    twice: u64,
    strange: u64,
}

impl Score {
    pub(super) fn accept(&self, number: u64) {
        self.counts().accepted.push(number);
    }

    /// The relay took a message of the traffic in with something else than 250.
    pub(super) fn refuse(&self) {
        self.counts().refused += 1;
    }

    pub(super) fn take(&self, provider: &'static str, number: Option<u64>) {
        let mut counts = self.counts();
        *counts.taken.entry(provider).or_default() += 1;
        match number {
            Some(number) => *counts.came.entry(number).or_default() += 1,
            None => counts.strange += 1,
        }
    }

    pub(super) fn taken(&self, provider: &str) -> u64 {
        self.counts().taken.get(provider).copied().unwrap_or(0)
    }

    pub(super) fn now(&self) -> Now {
        let counts = self.counts();
        let taken = |name: &str| counts.taken.get(name).copied().unwrap_or(0);
        Now {
            accepted: counts.accepted.len() as u64,
            primary: taken(super::PRIMARY),
            secondary: taken(super::SECONDARY),
        }
    }

    pub(super) fn sum(&self) -> Sum {
        let counts = self.counts();
        let came = |number: &u64| counts.came.get(number).copied().unwrap_or(0);
        Sum {
            accepted: counts.accepted.len() as u64,
            refused: counts.refused,
            taken: [super::PRIMARY, super::SECONDARY]
                .map(|name| (name, counts.taken.get(name).copied().unwrap_or(0)))
                .to_vec(),
            lost: counts.accepted.iter().filter(|number| came(number) == 0).count() as u64,
            twice: counts.came.values().filter(|times| **times > 1).count() as u64,
            strange: counts.strange,
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sum {
    /// All that was accepted has come.
    pub(super) fn is_complete(&self) -> bool {
        self.lost == 0
    }

    pub(super) fn is_good(&self) -> bool {
        self.lost == 0 && self.twice == 0
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("  {:>6} messages were accepted (250) by the relay", self.accepted)];
        lines.extend(self.taken.iter().map(|(name, taken)| format!("  {taken:>6} came out at {name}")));
        lines.push(format!("  {:>6} lost", self.lost));
        lines.push(format!("  {:>6} came twice", self.twice));
        if self.refused > 0 {
            lines.push(format!("  {:>6} were refused, and their sender was told", self.refused));
        }
        if self.strange > 0 {
            lines.push(format!("  {:>6} more were none of the senders'", self.strange));
        }
        lines.push("counted by the stand-ins, by the number in each message".to_owned());
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_and_what_came_twice_is_seen() {
        let score = Score::default();
        for number in 0..5 {
            score.accept(number);
        }
        for number in [0, 1, 2, 2] {
            score.take(crate::cli::demo::PRIMARY, Some(number));
        }
        assert_eq!((score.sum().lost, score.sum().twice), (2, 1));
        score.take(crate::cli::demo::SECONDARY, Some(3));
        assert!(!score.sum().is_complete());
        score.take(crate::cli::demo::SECONDARY, Some(4));
        assert!(score.sum().is_complete() && !score.sum().is_good(), "one came twice");
        assert_eq!(score.now(), Now { accepted: 5, primary: 4, secondary: 2 });
    }
}
