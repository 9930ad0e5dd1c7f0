//! The queue against a model of it in memory, under any sequence of calls and restarts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::disk::Disk;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Accept { legs: Vec<(usize, i64, bool)>, size: usize },
    Claim { lane: usize, now: i64, most: usize },
    ClaimOne { nth: usize },
    Settle { nth: usize, part: bool, again: Option<(usize, i64, bool)> },
    Release { nth: usize },
    Restart { cut: bool },
}

const LANES: [&str; 4] = ["a", "a/x.example", "b", "a/xx.example"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leg = || (0..LANES.len(), 0..20i64, prop::bool::weighted(0.2));
    let step = prop_oneof![
        4 => (prop::collection::vec(leg(), 1..4), prop_oneof![Just(0usize), 1..9000usize, 65_000..140_000usize])
            .prop_map(|(legs, size)| Step::Accept { legs, size }),
        4 => (0..LANES.len(), 0..25i64, 1..5usize).prop_map(|(lane, now, most)| Step::Claim { lane, now, most }),
        1 => (0..20usize).prop_map(|nth| Step::ClaimOne { nth }),
        4 => (0..20usize, any::<bool>(), prop::option::of(leg()))
            .prop_map(|(nth, part, again)| Step::Settle { nth, part, again }),
        2 => (0..20usize).prop_map(|nth| Step::Release { nth }),
        1 => any::<bool>().prop_map(|cut| Step::Restart { cut }),
    ];
    prop::collection::vec(step, 1..50)
}

fn model_leg((lane, due, is_held): (usize, i64, bool), recipients: &[u32]) -> Leg {
    let state = if is_held { held("", &[]).state } else { LegState::Waiting };
    Leg { state, ..leg(LANES[lane], due, recipients) }
}

#[derive(Default)]
struct Model {
    legs: BTreeMap<(Mid, u32), Leg>,
    leased: BTreeSet<(Mid, u32)>,
    next: u128,
}

impl Model {
    fn waiting(&self) -> impl Iterator<Item = (&(Mid, u32), &Leg)> {
        self.legs.iter().filter(|(_, leg)| leg.state == LegState::Waiting)
    }

    fn claim(&mut self, lane: &Lane, now: Timestamp, most: usize) -> (Vec<(Mid, u32)>, Option<Timestamp>) {
        let free = self.waiting().filter(|(id, leg)| leg.lane == *lane && !self.leased.contains(id));
        let mut free: Vec<_> = free.map(|(id, leg)| (leg.due, *id)).collect();
        free.sort_unstable();
        let due = free.iter().take_while(|(due, _)| *due <= now).count().min(most);
        let claims: Vec<_> = free[..due].iter().map(|(_, id)| *id).collect();
        self.leased.extend(&claims);
        (claims, free.get(due).map(|(due, _)| *due))
    }

    fn lanes(&self) -> Vec<(Lane, Timestamp)> {
        let mut lanes = BTreeMap::new();
        for (_, leg) in self.waiting() {
            let first = lanes.entry(leg.lane.clone()).or_insert(leg.due);
            *first = leg.due.min(*first);
        }
        lanes.into_iter().collect()
    }

    fn settle(&mut self, settled: &Settled) {
        let last = self.legs.range((settled.mid, 0)..=(settled.mid, u32::MAX)).next_back().unwrap().0.1;
        let id = (settled.mid, settled.number);
        let leg = self.legs.get_mut(&id).unwrap();
        leg.recipients.retain(|recipient| !settled.recipients.contains(&recipient.index));
        if leg.recipients.is_empty() {
            self.legs.remove(&id);
            self.leased.remove(&id);
        }
        for (n, leg) in (last + 1..).zip(&settled.legs) {
            self.legs.insert((settled.mid, n), leg.clone());
        }
    }

    fn nth_leased(&self, nth: usize) -> Option<(Mid, u32)> {
        self.leased.iter().nth(nth % self.leased.len().max(1)).copied()
    }
}

async fn take(queue: &Queue, model: &mut Model, step: Step) {
    match step {
        Step::Accept { legs, size } => {
            model.next += 1;
            let legs: Vec<_> = (0u32..).zip(legs).map(|(n, leg)| model_leg(leg, &[2 * n, 2 * n + 1])).collect();
            let message = message(model.next, size, legs.clone());
            model.legs.extend((0u32..).zip(legs).map(|(n, leg)| ((message.mid, n), leg)));
            queue.accept(message).await.unwrap();
        }
        Step::Claim { lane: at, now, most } => {
            let expected = model.claim(&lane(LANES[at]), t(now), most);
            let claimed = claim_due(queue, &lane(LANES[at]), t(now), most).await.unwrap();
            let ids = claimed.claims.iter().map(|claim| (claim.mid, claim.number)).collect();
            assert_eq!((ids, claimed.next_due), expected);
            for claim in claimed.claims {
                assert_eq!(model.legs[&(claim.mid, claim.number)], claim.leg);
            }
        }
        Step::ClaimOne { nth } => {
            let Some(&(mid, number)) = model.legs.keys().nth(nth % model.legs.len().max(1)) else { return };
            let claimed = queue.claim_one(mid, number).await.unwrap();
            assert_eq!(claimed.is_some(), model.leased.insert((mid, number)));
        }
        Step::Settle { nth, part, again } => {
            let Some((mid, number)) = model.nth_leased(nth) else { return };
            let mut recipients: Vec<_> = model.legs[&(mid, number)].recipients.iter().map(|r| r.index).collect();
            if part {
                recipients.truncate(1);
            }
            let legs = again.map(|leg| model_leg(leg, &recipients)).into_iter().collect();
            let settled =
                Settled { mid, number, recipients, legs, notices: Vec::new(), counters: Vec::new(), note: Vec::new() };
            model.settle(&settled);
            queue.settle(settled).await.unwrap();
        }
        Step::Release { nth } => {
            let Some(id) = model.nth_leased(nth) else { return };
            model.leased.remove(&id);
            queue.release(id.0, id.1);
        }
        Step::Restart { .. } => unreachable!("the caller does it"),
    }
}

async fn compare(queue: &Queue, model: &Model) {
    let mut lanes: Vec<_> = queue.lanes().await.unwrap().into_iter().map(|due| (due.lane, due.due)).collect();
    lanes.sort();
    assert_eq!(lanes, model.lanes());
    let walked = queue.walk(None, t(1), usize::MAX).await.unwrap();
    let walked: Vec<_> = walked.into_iter().map(|claim| ((claim.mid, claim.number), claim.leg)).collect();
    let free = model.legs.iter().filter(|(id, _)| !model.leased.contains(id));
    assert_eq!(walked, free.map(|(id, leg)| (*id, leg.clone())).collect::<Vec<_>>());
    let messages: BTreeSet<_> = model.legs.keys().map(|id| id.0).collect();
    let waiting = model.waiting().count() as u64;
    let held = model.legs.len() as u64 - waiting;
    let mut routes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for leg in model.legs.values() {
        let (waiting, held) = routes.entry(leg.lane.route.to_string()).or_default();
        *(if leg.state == LegState::Waiting { waiting } else { held }) += 1;
    }
    let kept = queue.routes().await.unwrap().into_iter().map(|of| (of.route.to_string(), (of.waiting, of.held)));
    assert_eq!(kept.collect::<BTreeMap<_, _>>(), routes);
    assert_eq!(queue.depth().await.unwrap(), Depth { messages: messages.len() as u64, waiting, held });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_queue_does_as_its_model(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let disk = Disk::default();
            let mut queue = on(&disk).unwrap();
            let mut model = Model::default();
            for step in steps {
                if let Step::Restart { cut } = step {
                    // All that was answered is on disk: the power may go as well.
                    if cut { disk.cut_power(7) } else { queue.close().await }
                    queue = on(&disk).unwrap();
                    model.leased.clear();
                } else {
                    take(&queue, &mut model, step).await;
                }
                compare(&queue, &model).await;
            }
            queue.close().await;
            crash::tables_agree(&disk, 0);
        });
    }
}
