//! What became of notes: which target was told of which alert, and whether that worked. The last ones, since the start. Pure.

use std::collections::VecDeque;

use super::book::Which;
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
    of: Vec<(Which, bool)>,
    to: Vec<Telling>,
    /// What some target was not told of it.
    left_out: Vec<(Which, Telling)>,
}

#[derive(Debug, Default)]
pub struct Ledger(VecDeque<Sent>);

impl Ledger {
    /// A note that targets of these names and kinds get now.
    pub fn begin(
        &mut self,
        id: &str,
        of: Vec<(Which, bool)>,
        to: impl Iterator<Item = (String, &'static str)>,
        at: Timestamp,
    ) {
        let text = "on its way".to_owned();
        let to = to.map(|(target, kind)| Telling { target, kind, over: false, at, ok: None, text: text.clone() });
        self.0.push_back(Sent { id: id.to_owned(), of, to: to.collect(), left_out: Vec::new() });
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

    /// It was no news to the target any more when it was to be sent.
    pub fn left_out(
        &mut self,
        id: &str,
        (target, kind): (&str, &'static str),
        which: &Which,
        over: bool,
        at: Timestamp,
    ) {
        if let Some(sent) = self.0.iter_mut().rev().find(|sent| sent.id == id) {
            let text = "not sent: it was over before it was told".to_owned();
            let telling = Telling { target: target.to_owned(), kind, over, at, ok: Some(false), text };
            sent.left_out.push((which.clone(), telling));
        }
    }

    /// Who was told of an alert: of its begin, and then of its end.
    pub fn of(&self, which: &Which) -> Vec<Telling> {
        let mut told = Vec::new();
        for sent in &self.0 {
            for (_, over) in sent.of.iter().filter(|(of, _)| of == which) {
                told.extend(sent.to.iter().map(|one| {
                    let is_it = |out: &&(Which, Telling)| {
                        out.0 == *which && (&out.1.target, out.1.kind, out.1.over) == (&one.target, one.kind, *over)
                    };
                    let left_out = sent.left_out.iter().find(is_it).map(|(_, telling)| telling.clone());
                    left_out.unwrap_or_else(|| Telling { over: *over, ..one.clone() })
                }));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Key, Rule};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn which(subject: &str, began: i64) -> Which {
        Which { key: Key::new(Rule::Breaker, subject), began: at(began) }
    }

    fn targets() -> impl Iterator<Item = (String, &'static str)> {
        [("hook".to_owned(), "webhook"), ("ops".to_owned(), "mail")].into_iter()
    }

    /// Target, of the end, worked, text.
    fn told(ledger: &Ledger, which: &Which) -> Vec<(String, bool, Option<bool>, String)> {
        ledger.of(which).into_iter().map(|one| (one.target, one.over, one.ok, one.text)).collect()
    }

    #[test]
    fn each_alert_has_the_notes_of_its_own_begin_and_end() {
        let (a, b, next) = (which("a", 1), which("b", 1), which("a", 20));
        let mut ledger = Ledger::default();
        ledger.begin("1", vec![(a.clone(), false), (b.clone(), false)], targets(), at(1));
        ledger.came("1", ("hook", "webhook"), None, "503 Busy; again in 1 s", at(2));
        ledger.came("1", ("hook", "webhook"), Some(true), "200 OK", at(3));
        ledger.came("1", ("ops", "mail"), Some(false), "no way", at(3));
        ledger.came("none", ("ops", "mail"), Some(true), "not ours", at(3));
        let one = |target: &str, over, ok, text: &str| (target.to_owned(), over, ok, text.to_owned());
        let begin = [one("hook", false, Some(true), "200 OK"), one("ops", false, Some(false), "no way")];
        assert_eq!(told(&ledger, &a), begin);
        assert_eq!(told(&ledger, &b), begin);
        ledger.begin("2", vec![(a.clone(), true)], targets(), at(10));
        let way = "on its way";
        let end = [one("hook", true, None, way), one("ops", true, None, way)];
        assert_eq!(told(&ledger, &a), [begin.clone(), end.clone()].concat());
        // The next one knows nothing of the one before.
        assert_eq!(told(&ledger, &next), []);
        ledger.begin("3", vec![(next.clone(), false)], targets(), at(20));
        assert_eq!(told(&ledger, &next), [one("hook", false, None, way), one("ops", false, None, way)]);
        // What one target was not told is said of that one and that alert alone.
        ledger.left_out("1", ("ops", "mail"), &b, false, at(21));
        let left = one("ops", false, Some(false), "not sent: it was over before it was told");
        assert_eq!(told(&ledger, &b), [begin[0].clone(), left]);
        assert_eq!(told(&ledger, &a), [begin, end].concat());
    }

    #[test]
    fn the_oldest_notes_are_forgotten() {
        let mut ledger = Ledger::default();
        for n in 0..NOTES as i64 + 10 {
            ledger.begin(&n.to_string(), vec![(which("a", 0), false)], targets(), at(n));
        }
        assert_eq!((ledger.0.len(), ledger.0.front().map(|sent| sent.id.as_str())), (NOTES, Some("10")));
    }
}
