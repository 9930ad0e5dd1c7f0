//! An API takes or refuses a call as a whole. Where it is one address that it refuses, the call is made again without
//! it, or in halves where the answer does not say which one: a bad address never costs the others their mail.

use crate::transport::{Outcome, Trouble, TroubleKind};

/// How one call ended, for the recipients it was made for.
#[derive(Debug, Clone)]
pub(in crate::transport) enum Done {
    All(Outcome),
    /// Refused for addresses among them; `outcome` is that of those. `named`: places in the batch; empty: not said.
    Address {
        named: Vec<usize>,
        outcome: Outcome,
    },
    /// Refused for their number; `outcome` is that of a single one.
    Fewer(Outcome),
}

/// What is still to be called, and what came of the rest. Pure: the caller makes the calls.
#[derive(Debug)]
pub(in crate::transport) struct Split {
    pending: Vec<Vec<usize>>,
    outcomes: Vec<Option<Outcome>>,
}

impl Split {
    pub(in crate::transport) fn new(recipients: usize) -> Self {
        let all: Vec<usize> = (0..recipients).collect();
        Self { pending: if all.is_empty() { Vec::new() } else { vec![all] }, outcomes: vec![None; recipients] }
    }

    /// The recipients of the next call, by number; `None` when all have their outcome.
    pub(in crate::transport) fn next(&mut self) -> Option<Vec<usize>> {
        self.pending.pop()
    }

    /// Starts over with outcomes for some that need no call, and a call for the others.
    pub(in crate::transport) fn set_aside(&mut self, some: &[usize], outcome: &Outcome, others: Vec<usize>) {
        self.give(some, outcome);
        self.pending = if others.is_empty() { Vec::new() } else { vec![others] };
    }

    /// Takes in what a call for `batch` came to.
    pub(in crate::transport) fn done(&mut self, batch: &[usize], done: Done) {
        match done {
            Done::All(outcome) => {
                self.give(batch, &outcome);
                if let Some(rest) = of_the_uncalled(&outcome) {
                    for batch in std::mem::take(&mut self.pending) {
                        self.give(&batch, &rest);
                    }
                }
            }
            Done::Address { outcome, .. } | Done::Fewer(outcome) if batch.len() <= 1 => self.give(batch, &outcome),
            Done::Address { named, outcome } if named.iter().any(|&place| place < batch.len()) => {
                let (refused, rest): (Vec<_>, Vec<_>) =
                    batch.iter().copied().enumerate().partition(|(place, _)| named.contains(place));
                let numbers = |pairs: Vec<(usize, usize)>| pairs.into_iter().map(|(_, number)| number).collect();
                let (refused, rest): (Vec<_>, Vec<_>) = (numbers(refused), numbers(rest));
                self.give(&refused, &outcome);
                if !rest.is_empty() {
                    self.pending.push(rest);
                }
            }
            Done::Address { .. } | Done::Fewer(_) => {
                let (first, second) = batch.split_at(batch.len() / 2);
                self.pending.push(second.to_vec());
                self.pending.push(first.to_vec());
            }
        }
    }

    /// The outcomes of all, when no call is pending.
    pub(in crate::transport) fn finish(self) -> Vec<Outcome> {
        debug_assert!(self.pending.is_empty() && self.outcomes.iter().all(Option::is_some));
        self.outcomes.into_iter().flatten().collect()
    }

    fn give(&mut self, batch: &[usize], outcome: &Outcome) {
        for &number in batch {
            if let Some(slot) = self.outcomes.get_mut(number) {
                *slot = Some(outcome.clone());
            }
        }
    }
}

/// What becomes of those not yet called for once the provider proves to be out; `None`: go on.
fn of_the_uncalled(outcome: &Outcome) -> Option<Outcome> {
    match outcome {
        Outcome::Throttled { .. } | Outcome::Unavailable(_) | Outcome::Deferred(_) => Some(outcome.clone()),
        // Nothing of theirs was sent.
        Outcome::Unknown(diagnosis) => {
            Some(Outcome::Unavailable(Trouble { kind: TroubleKind::Timeout, diagnosis: diagnosis.clone() }))
        }
        Outcome::Delivered { .. } | Outcome::Rejected(_) | Outcome::Unsupported(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::answer::{permanent, transient};
    use super::*;
    use crate::mail::Diagnosis;

    fn delivered() -> Outcome {
        Outcome::Delivered { diagnosis: Diagnosis::local(permanent(0, 0), "ok"), provider_id: None, dsn: false }
    }

    fn rejected() -> Outcome {
        Outcome::Rejected(Diagnosis::local(permanent(1, 3), "no address"))
    }

    /// A provider that refuses every call with one of `bad` in it.
    fn run(count: usize, bad: &BTreeSet<usize>, names_them: bool) -> (Vec<Outcome>, Vec<Vec<usize>>) {
        let (mut split, mut calls) = (Split::new(count), Vec::new());
        while let Some(batch) = split.next() {
            let named: Vec<usize> = (0..batch.len()).filter(|&place| bad.contains(&batch[place])).collect();
            let done = match named.is_empty() {
                true => Done::All(delivered()),
                false => Done::Address { named: if names_them { named } else { Vec::new() }, outcome: rejected() },
            };
            split.done(&batch, done);
            calls.push(batch);
        }
        (split.finish(), calls)
    }

    proptest! {
        #[test]
        fn bad_addresses_cost_no_other_its_mail(count in 1usize..40, bad in proptest::collection::btree_set(0usize..40, 0..6), names: bool) {
            let (outcomes, calls) = run(count, &bad, names);
            prop_assert_eq!(outcomes.len(), count);
            for (number, outcome) in outcomes.iter().enumerate() {
                let expected = if bad.contains(&number) { rejected() } else { delivered() };
                prop_assert_eq!(outcome, &expected);
                // Taken once: nobody gets it twice.
                let taken = calls.iter().filter(|call| call.contains(&number) && !call.iter().any(|n| bad.contains(n)));
                prop_assert_eq!(taken.count(), usize::from(!bad.contains(&number)));
            }
            if names {
                prop_assert!(calls.len() <= 2);
            }
        }
    }

    #[test]
    fn an_outage_ends_the_calls() {
        let trouble =
            |kind| Outcome::Unavailable(Trouble { kind, diagnosis: Diagnosis::local(transient(3, 0), "out") });
        let unknown = Outcome::Unknown(Diagnosis::local(transient(3, 0), "out"));
        for (end, rest) in
            [(trouble(TroubleKind::Server), trouble(TroubleKind::Server)), (unknown, trouble(TroubleKind::Timeout))]
        {
            let mut split = Split::new(4);
            let batch = split.next().unwrap();
            split.done(&batch, Done::Address { named: Vec::new(), outcome: rejected() });
            let batch = split.next().unwrap();
            assert_eq!(batch, [0, 1]);
            split.done(&batch, Done::All(end.clone()));
            assert_eq!(split.next(), None);
            assert_eq!(split.finish(), [end.clone(), end, rest.clone(), rest]);
        }
    }

    #[test]
    fn too_many_at_once_goes_in_halves() {
        let mut split = Split::new(3);
        let mut calls = Vec::new();
        while let Some(batch) = split.next() {
            let done = if batch.len() > 1 { Done::Fewer(rejected()) } else { Done::All(delivered()) };
            split.done(&batch, done);
            calls.push(batch);
        }
        assert_eq!(calls, [vec![0, 1, 2], vec![0], vec![1, 2], vec![1], vec![2]]);
        assert_eq!(split.finish(), vec![delivered(); 3]);
    }
}
