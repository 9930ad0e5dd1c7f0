//! Which alerts are on: from what holds now to what is told. Pure; time is an argument.
//!
//! Promises:
//! - an alert is told once when it begins and once when it is over, in turns;
//! - it is over when its condition was gone for `settle`; what comes and goes is damped: each further begin within an hour
//!   doubles that, up to half an hour, so that a provider that flaps is a handful of messages an hour;
//! - what was on when the relay stopped is on when it starts, and is not told again. A start knows less than the run before
//!   it (breakers begin closed), so nothing that was on is over before `AFTER_START`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::belief::Believed;
use super::rules::{Finding, Key, Told};
use super::span::{after, since};
use crate::mail::Timestamp;

const LONGEST_SETTLE: Duration = Duration::from_secs(30 * 60);
/// Begins within this span count as flapping.
const MEMORY: Duration = Duration::from_secs(3600);
/// What was on before the start gets so much time to show whether it still is.
const AFTER_START: Duration = Duration::from_secs(120);

/// Alerts that are over are shown for so long, and the newest of them.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
const MOST_ENDED: usize = 50;

/// An alert that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub key: Key,
    /// Since when the condition holds.
    pub since: Timestamp,
    /// When it began to be an alert.
    pub began: Timestamp,
    /// As it is now; its last words, once the condition is gone.
    pub told: Told,
    /// The condition is gone since then: it is over if it stays so.
    pub gone: Option<Timestamp>,
}

/// One alert of all times: of a key there is one at a time, so that the begin tells it from the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Which {
    pub key: Key,
    pub began: Timestamp,
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.key.rule.name(), self.began.as_millisecond(), self.key.subject)
    }
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    pub key: Key,
    pub since: Timestamp,
    /// When it began to be an alert.
    pub began: Timestamp,
    /// `Some`: it is over since then.
    pub over: Option<Timestamp>,
    /// Over since nobody looks at it any more: its rule, or what it is about, has left the configuration.
    pub withdrawn: bool,
    pub told: Told,
}

impl News {
    pub fn which(&self) -> Which {
        Which { key: self.key.clone(), began: self.began }
    }
}

impl Running {
    /// Its begin.
    pub fn news(&self) -> News {
        let Self { key, since, began, told, gone: _ } = self.clone();
        News { key, since, began, over: None, withdrawn: false, told }
    }

    pub fn which(&self) -> Which {
        Which { key: self.key.clone(), began: self.began }
    }
}

impl Ended {
    /// Its end.
    pub fn news(&self) -> News {
        let Self { key, since, began, over, withdrawn, told } = self.clone();
        News { key, since, began, over: Some(over), withdrawn, told }
    }

    pub fn which(&self) -> Which {
        Which { key: self.key.clone(), began: self.began }
    }
}

/// An alert that was on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub key: Key,
    pub since: Timestamp,
    pub began: Timestamp,
    pub over: Timestamp,
    pub withdrawn: bool,
    /// Its last words.
    pub told: Told,
}

/// All that must survive a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub running: Vec<Running>,
    /// When alerts began, of the last hour.
    pub begun: Vec<(Key, Timestamp)>,
    #[serde(default)]
    pub ended: Vec<Ended>,
    /// Which targets were told. `None`, in older files: all of all that is on.
    #[serde(default)]
    pub told: Option<Vec<Believed>>,
}

#[derive(Debug)]
pub struct Book {
    settle: Duration,
    running: BTreeMap<Key, Running>,
    begun: BTreeMap<Key, Vec<Timestamp>>,
    /// The newest last.
    ended: Vec<Ended>,
    started: Timestamp,
}

impl Book {
    pub fn new(settle: Duration, kept: Kept, now: Timestamp) -> Self {
        let mut begun: BTreeMap<Key, Vec<Timestamp>> = BTreeMap::new();
        for (key, at) in kept.begun {
            begun.entry(key).or_default().push(at);
        }
        let running = kept.running.into_iter().map(|one| (one.key.clone(), one)).collect();
        Self { settle, running, begun, ended: kept.ended, started: now }
    }

    pub fn set_settle(&mut self, settle: Duration) {
        self.settle = settle;
    }

    pub fn running(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }

    /// The newest last.
    pub fn ended(&self) -> &[Ended] {
        &self.ended
    }

    pub fn kept(&self, told: Vec<Believed>) -> Kept {
        let begun = self.begun.iter().flat_map(|(key, at)| at.iter().map(|at| (key.clone(), *at)));
        Kept {
            running: self.running.values().cloned().collect(),
            begun: begun.collect(),
            ended: self.ended.clone(),
            told: Some(told),
        }
    }

    /// Those that nobody looks at any more are over, whatever became of them.
    pub fn withdraw(&mut self, is_watched: impl Fn(&Key) -> bool, now: Timestamp) -> Vec<News> {
        let gone: Vec<Key> = self.running.keys().filter(|key| !is_watched(key)).cloned().collect();
        gone.into_iter().filter_map(|key| self.end(&key, now, true)).collect()
    }

    /// Takes what holds at `now`, and gives what is to be told.
    pub fn look(&mut self, findings: Vec<Finding>, now: Timestamp) -> Vec<News> {
        for begun in self.begun.values_mut() {
            begun.retain(|at| since(*at, now) < MEMORY);
        }
        self.begun.retain(|_, begun| !begun.is_empty());
        let mut news = Vec::new();
        let mut holding = std::collections::BTreeSet::new();
        for finding in findings {
            holding.insert(finding.key.clone());
            self.found(finding, now, &mut news);
        }
        let mut over = Vec::new();
        for running in self.running.values_mut().filter(|running| !holding.contains(&running.key)) {
            let gone = *running.gone.get_or_insert(now);
            let begun = self.begun.get(&running.key).map_or(1, Vec::len).max(1);
            let patient = running.began < self.started && now < after(self.started, AFTER_START);
            if !patient && since(gone, now) >= settle(self.settle, begun) {
                over.push((running.key.clone(), gone));
            }
        }
        news.extend(over.into_iter().filter_map(|(key, gone)| self.end(&key, gone, false)));
        self.ended.retain(|ended| since(ended.over, now) < REMEMBERED);
        news
    }

    fn end(&mut self, key: &Key, over: Timestamp, withdrawn: bool) -> Option<News> {
        let Running { key, since, began, told, gone: _ } = self.running.remove(key)?;
        let ended = Ended { key: key.clone(), since, began, over, withdrawn, told: told.clone() };
        self.ended.push(ended);
        let surplus = self.ended.len().saturating_sub(MOST_ENDED);
        self.ended.drain(..surplus);
        Some(News { key, since, began, over: Some(over), withdrawn, told })
    }

    fn found(&mut self, finding: Finding, now: Timestamp, news: &mut Vec<News>) {
        let Finding { key, since, fires, told } = finding;
        if let Some(running) = self.running.get_mut(&key) {
            running.gone = None;
            running.told = told;
            return;
        }
        if fires {
            self.begun.entry(key.clone()).or_default().push(now);
            let running = Running { key: key.clone(), since, began: now, told: told.clone(), gone: None };
            self.running.insert(key.clone(), running);
            news.push(News { key, since, began: now, over: None, withdrawn: false, told });
        }
    }
}

/// How long a condition must be gone: doubles with each begin of the last hour.
fn settle(usual: Duration, begun: usize) -> Duration {
    let doublings = u32::try_from(begun.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    usual.saturating_mul(1 << doublings).min(LONGEST_SETTLE.max(usual))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rules::Rule;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn holds(subject: &str, second: i64, fires: bool) -> Finding {
        let told = Told { summary: format!("{subject} at {second}"), details: Vec::new() };
        Finding { key: Key::new(Rule::Breaker, subject), since: at(second), fires, told }
    }

    fn book() -> Book {
        // Long since started.
        Book::new(Duration::from_secs(60), Kept::default(), at(-10_000))
    }

    fn told(news: &[News]) -> Vec<(&str, bool)> {
        news.iter().map(|news| (news.key.subject.as_str(), news.over.is_some())).collect()
    }

    #[test]
    fn one_begin_and_one_end_with_the_last_words_in_it() {
        let mut book = book();
        assert_eq!(book.look(vec![holds("a", 0, false)], at(0)), [], "not yet");
        assert_eq!(told(&book.look(vec![holds("a", 0, true)], at(60))), [("a", false)]);
        for second in 61..600 {
            // It is an alert as long as the condition holds at all.
            assert_eq!(book.look(vec![holds("a", second, second % 2 == 0)], at(second)), []);
        }
        assert_eq!(book.running().map(|one| one.gone).collect::<Vec<_>>(), [None]);
        for second in 600..660 {
            assert_eq!(book.look(vec![], at(second)), [], "{second}");
            assert_eq!(book.running().map(|one| one.gone).collect::<Vec<_>>(), [Some(at(600))]);
        }
        let over = book.look(vec![], at(660));
        assert_eq!(told(&over), [("a", true)]);
        assert_eq!((over[0].since, over[0].over), (at(0), Some(at(600))));
        assert_eq!(over[0].told.summary, "a at 599");
        assert_eq!(book.running().count(), 0);
        let [ended] = book.ended() else { panic!("{:?}", book.ended()) };
        assert_eq!((ended.since, ended.began, ended.over, ended.withdrawn), (at(0), at(60), at(600), false));
        book.look(vec![], at(660 + 8 * 24 * 3600));
        assert_eq!(book.ended(), []);
    }

    #[test]
    fn what_is_not_watched_any_more_ends_at_once_and_as_that() {
        let mut book = book();
        book.look(vec![holds("a", 0, true), holds("b", 0, true)], at(0));
        assert_eq!(book.withdraw(|_| true, at(1)), []);
        let news = book.withdraw(|key| key.subject != "a", at(2));
        assert_eq!((told(&news), news[0].withdrawn, news[0].over), (vec![("a", true)], true, Some(at(2))));
        assert!(book.ended()[0].withdrawn);
        let on: Vec<_> = book.running().map(|one| one.key.subject.as_str()).collect();
        assert_eq!(on, ["b"]);
        // The flood of a week is bounded.
        for n in 0..100 {
            book.look(vec![holds(&format!("n{n}"), 3, true)], at(3));
        }
        book.withdraw(|_| false, at(4));
        assert_eq!(book.ended().len(), MOST_ENDED);
    }

    #[test]
    fn a_restart_repeats_nothing_and_forgets_nothing() {
        let mut before = book();
        assert_eq!(told(&before.look(vec![holds("a", 0, true), holds("b", 0, true)], at(0))).len(), 2);
        let record = serde_json::to_string(&before.kept(Vec::new())).unwrap();
        let mut after = Book::new(Duration::from_secs(1), serde_json::from_str(&record).unwrap(), at(100));
        // Breakers begin closed.
        assert_eq!(after.look(vec![], at(100)), []);
        assert_eq!(after.look(vec![], at(150)), []);
        assert_eq!(after.look(vec![holds("a", 140, false)], at(219)), []);
        let news = after.look(vec![holds("a", 140, false)], at(220));
        assert_eq!(told(&news), [("b", true)]);
        assert_eq!(news[0].over, Some(at(100)));
        let still: Vec<_> = after.running().map(|one| (one.key.subject.as_str(), one.since)).collect();
        assert_eq!(still, [("a", at(0))], "since the first time, whatever a breaker of this run says");
    }

    proptest! {
        /// Whatever comes and goes, begins and ends alternate, and an hour of it is a handful of messages.
        #[test]
        fn flapping_is_damped(turns in proptest::collection::vec((any::<bool>(), 1i64..120), 1..200)) {
            let mut book = book();
            let (mut now, mut on, mut begins) = (0, false, Vec::new());
            for (holding, lasts) in turns {
                for _ in 0..lasts {
                    let findings = if holding { vec![holds("a", now, true)] } else { vec![] };
                    for news in book.look(findings, at(now)) {
                        prop_assert_eq!(news.over.is_some(), on, "begins and ends take turns");
                        on = !on;
                        if on {
                            begins.push(now);
                        }
                    }
                    now += 5;
                }
            }
            for (nth, begin) in begins.iter().enumerate() {
                let within = begins[nth..].iter().take_while(|other| **other < begin + 3600).count();
                prop_assert!(within <= 7, "{within} begins within an hour: {begins:?}");
            }
        }
    }
}
