//! What became of notes: which target was told of which alert, and whether that worked. The last ones, since the start. Pure.

use std::collections::VecDeque;

use super::rules::Key;
use crate::mail::Timestamp;

/// Notes that are remembered.
const NOTES: usize = 200;

/// That a target was told of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    pub target: String,
    /// `webhook` or `mail`.
    pub kind: &'static str,
    /// Of its end, not of its begin.
    pub over: bool,
    /// When it came to what it is now.
    pub at: Timestamp,
    /// `None`: it is tried still.
    pub ok: Option<bool>,
    /// What was answered, or why it did not get there.
    pub text: String,
}

/// A note, what it is about, and how its targets stand.
#[derive(Debug)]
struct Sent {
    id: String,
    at: Timestamp,
    of: Vec<(Key, bool)>,
    to: Vec<Telling>,
}

#[derive(Debug, Default)]
pub struct Ledger(VecDeque<Sent>);

impl Ledger {
    /// A note that targets of these names and kinds get now.
    pub fn begin(
        &mut self,
        id: &str,
        of: &[(Key, bool)],
        to: impl Iterator<Item = (String, &'static str)>,
        at: Timestamp,
    ) {
        let text = "on its way".to_owned();
        let to = to.map(|(target, kind)| Telling { target, kind, over: false, at, ok: None, text: text.clone() });
        self.0.push_back(Sent { id: id.to_owned(), at, of: of.to_vec(), to: to.collect() });
        while self.0.len() > NOTES {
            self.0.pop_front();
        }
    }

    /// What came of it at one of them; `None`: it is tried again.
    pub fn came(&mut self, id: &str, (target, kind): (&str, &str), ok: Option<bool>, text: &str, at: Timestamp) {
        let sent = self.0.iter_mut().rev().find(|sent| sent.id == id);
        let of_it = sent.and_then(|sent| sent.to.iter_mut().find(|one| one.target == target && one.kind == kind));
        if let Some(telling) = of_it {
            (telling.ok, telling.text, telling.at) = (ok, text.to_owned(), at);
        }
    }

    /// Who was told of an alert that began then: of its begin, and then of its end.
    pub fn of(&self, key: &Key, began: Timestamp) -> Vec<Telling> {
        let mut told = Vec::new();
        for sent in self.0.iter().filter(|sent| sent.at >= began) {
            for (_, over) in sent.of.iter().filter(|(of, _)| of == key) {
                // An end with no begin before it is that of the one before.
                let begun = !told.is_empty();
                if *over != begun {
                    continue;
                }
                told.extend(sent.to.iter().map(|one| Telling { over: *over, ..one.clone() }));
                if *over {
                    return told;
                }
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Rule;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn targets() -> impl Iterator<Item = (String, &'static str)> {
        [("hook".to_owned(), "webhook"), ("ops".to_owned(), "mail")].into_iter()
    }

    /// Target, of the end, worked, text.
    fn told(ledger: &Ledger, key: &Key, began: i64) -> Vec<(String, bool, Option<bool>, String)> {
        ledger.of(key, at(began)).into_iter().map(|one| (one.target, one.over, one.ok, one.text)).collect()
    }

    #[test]
    fn each_alert_has_the_notes_of_its_own_begin_and_end() {
        let (a, b) = (Key::new(Rule::Breaker, "a"), Key::new(Rule::Breaker, "b"));
        let mut ledger = Ledger::default();
        ledger.begin("1", &[(a.clone(), false), (b.clone(), false)], targets(), at(1));
        ledger.came("1", ("hook", "webhook"), None, "503 Busy; again in 1 s", at(2));
        ledger.came("1", ("hook", "webhook"), Some(true), "200 OK", at(3));
        ledger.came("1", ("ops", "mail"), Some(false), "no way", at(3));
        ledger.came("none", ("ops", "mail"), Some(true), "not ours", at(3));
        let one = |target: &str, over, ok, text: &str| (target.to_owned(), over, ok, text.to_owned());
        let begin = [one("hook", false, Some(true), "200 OK"), one("ops", false, Some(false), "no way")];
        assert_eq!(told(&ledger, &a, 1), begin);
        assert_eq!(told(&ledger, &b, 1), begin);
        ledger.begin("2", &[(a.clone(), true)], targets(), at(10));
        let way = "on its way";
        let end = [one("hook", true, None, way), one("ops", true, None, way)];
        assert_eq!(told(&ledger, &a, 1), [begin.clone(), end.clone()].concat());
        // The next one knows nothing of the one before, even if that one's end is told late.
        ledger.begin("3", &[(a.clone(), true)], targets(), at(20));
        assert_eq!(told(&ledger, &a, 20), []);
        ledger.begin("4", &[(a.clone(), false)], targets(), at(20));
        assert_eq!(told(&ledger, &a, 20), [one("hook", false, None, way), one("ops", false, None, way)]);
        assert_eq!(told(&ledger, &b, 1), begin);
    }

    #[test]
    fn the_oldest_notes_are_forgotten() {
        let mut ledger = Ledger::default();
        let key = Key::new(Rule::Growth, "queue");
        for n in 0..NOTES as i64 + 10 {
            ledger.begin(&n.to_string(), &[(key.clone(), false)], targets(), at(n));
        }
        assert_eq!((ledger.0.len(), ledger.0.front().map(|sent| sent.at)), (NOTES, Some(at(10))));
    }
}
