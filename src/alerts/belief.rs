//! Which target takes which alert to be on: what is worth telling it. Pure.
//!
//! A target that has taken a begin is owed the end of it; to one that has not, an end means nothing, and a begin whose alert is
//! over is stale. What is told is therefore decided when it is sent, not when it was news.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::book::{News, Which};

/// That these targets, by name, take an alert to be on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Believed {
    pub which: Which,
    pub by: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub struct Beliefs {
    on: BTreeSet<Which>,
    /// Of alerts that are on, and of those over that some target takes to be on.
    told: BTreeMap<Which, BTreeSet<String>>,
    /// Whose begin was given up, of this run: the end is all that these can still hear. After a restart they are told of what is on.
    given_up: BTreeMap<Which, BTreeSet<String>>,
    is_changed: bool,
}

impl Beliefs {
    pub fn load(&mut self, kept: Vec<Believed>) {
        self.told = kept.into_iter().map(|one| (one.which, one.by)).collect();
    }

    /// To be written down, once after each change.
    pub fn changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    pub fn kept(&self) -> Vec<Believed> {
        self.told.iter().map(|(which, by)| Believed { which: which.clone(), by: by.clone() }).collect()
    }

    /// What is on now. `ended`: what was; of all others nothing is left to be told.
    pub fn stand(&mut self, on: impl Iterator<Item = Which>, ended: impl Iterator<Item = Which>) {
        self.on = on.collect();
        let ended: BTreeSet<Which> = ended.collect();
        for known in [&mut self.told, &mut self.given_up] {
            known.retain(|which, by| !by.is_empty() && (self.on.contains(which) || ended.contains(which)));
        }
    }

    /// A target that counts as told of all that is on.
    pub fn assume(&mut self, target: &str) {
        for which in &self.on {
            self.told.entry(which.clone()).or_default().insert(target.to_owned());
        }
        self.is_changed = true;
    }

    pub fn believes(&self, target: &str, which: &Which) -> bool {
        self.told.get(which).is_some_and(|by| by.contains(target))
    }

    /// Whether this is worth telling it now.
    pub fn is_news(&self, target: &str, news: &News) -> bool {
        let which = news.which();
        match news.over {
            None => self.on.contains(&which) && !self.believes(target, &which),
            Some(_) => self.believes(target, &which) || self.given_up.get(&which).is_some_and(|by| by.contains(target)),
        }
    }

    /// What of all begins and ends it is still to be told.
    pub fn owed(&self, target: &str, all: &[News]) -> Vec<News> {
        all.iter().filter(|news| self.is_news(target, news)).cloned().collect()
    }

    /// The target has taken it.
    pub fn took(&mut self, target: &str, news: &News) {
        let by = self.told.entry(news.which()).or_default();
        match news.over {
            None => by.insert(target.to_owned()),
            Some(_) => {
                if let Some(by) = self.given_up.get_mut(&news.which()) {
                    by.remove(target);
                }
                by.remove(target)
            }
        };
        self.is_changed = true;
    }

    /// It could not be told to the target, and is not tried again.
    pub fn gave_up(&mut self, target: &str, news: &News) {
        if news.over.is_none() {
            self.given_up.entry(news.which()).or_default().insert(target.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Key, Rule, Told};
    use super::*;
    use crate::mail::Timestamp;

    #[test]
    fn a_restart_knows_who_is_still_to_be_told_what() {
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let news = |subject: &str, over: bool| {
            let told = Told { summary: subject.to_owned(), details: Vec::new() };
            let key = Key::new(Rule::Breaker, subject);
            News { key, since: at(0), began: at(0), over: over.then(|| at(9)), withdrawn: false, told }
        };
        let which = |subject: &str| news(subject, false).which();
        let (on, ended) = (|| ["a", "b"].map(which).into_iter(), || ["c"].map(which).into_iter());
        let mut before = Beliefs::default();
        before.stand(["a", "b", "c"].map(which).into_iter(), std::iter::empty());
        for (target, subject) in [("hook", "a"), ("ops", "a"), ("ops", "b"), ("ops", "c")] {
            before.took(target, &news(subject, false));
        }
        before.stand(on(), ended());
        assert!(before.changed() && !before.changed());

        let kept = serde_json::to_string(&before.kept()).unwrap();
        let mut after = Beliefs::default();
        after.load(serde_json::from_str(&kept).unwrap());
        after.stand(on(), ended());
        let all = [news("a", false), news("b", false), news("c", true)];
        assert_eq!(after.owed("hook", &all), [news("b", false)], "the begin that it did not take");
        assert_eq!(after.owed("ops", &all), [news("c", true)], "the end of what it believes");
        after.assume("hook");
        assert_eq!(after.owed("hook", &all), []);
        // Who could not be told of a begin still hears of the end, in the same run.
        assert!(!after.is_news("pager", &news("c", true)));
        after.gave_up("pager", &news("c", false));
        assert!(after.is_news("pager", &news("c", true)));
        after.took("pager", &news("c", true));
        assert!(!after.is_news("pager", &news("c", true)));
        // What nobody remembers is told to nobody.
        after.stand(on(), std::iter::empty());
        assert_eq!(after.owed("ops", &all), []);
    }
}
