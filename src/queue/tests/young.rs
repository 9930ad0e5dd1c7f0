//! What is claimed before the index has it: the same promises hold, whenever the index takes over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::disk::{Disk, Fault};
use super::*;

#[tokio::test]
async fn what_comes_and_goes_at_once_leaves_nothing() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    for n in 1..=50 {
        queue.accept(message(n, 300, vec![leg("a", 0, &[0, 1]), leg("b", 0, &[2])])).await.unwrap();
        for (name, leg) in [("a", leg("a", 0, &[0, 1])), ("b", leg("b", 0, &[2]))] {
            // Not waited for: mostly the index does not have it yet.
            let claim = queue.claim(&lane(name), t(0), 1).await.unwrap().claims.remove(0);
            assert_eq!((claim.mid, &claim.leg), (mid(n), &leg));
            assert!(queue.claim(&lane(name), t(0), 1).await.unwrap().claims.is_empty(), "it is under lease");
            assert_eq!(queue.content(claim.mid, &claim.envelope).all().await.unwrap(), octets(n, 300));
            let counter = Counter { since: t(0), count: u64::try_from(n).unwrap() };
            let counters = vec![("sent".to_owned(), counter)];
            queue.settle(Settled { counters, ..done(&claim) }).await.unwrap();
            assert!(queue.claim(&lane(name), t(0), 1).await.unwrap().claims.is_empty(), "it is settled");
        }
    }
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
    assert_eq!(queue.counters().await.unwrap()["sent"].count, 50, "counters are kept all the same");
    queue.close().await;
    crash::tables_agree(&disk, 0);
    assert_eq!(on(&disk).unwrap().depth().await.unwrap(), Depth::default());
}

/// Where each recipient is, as far as anybody was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Waiting,
    InHand,
    Done,
}

type Recipients = Arc<Mutex<BTreeMap<(Mid, u32), Is>>>;

fn set(recipients: &Recipients, of: &Claim, which: &[u32], from: Is, to: Is) {
    let mut recipients = recipients.lock().unwrap();
    for index in which {
        let before = recipients.insert((of.mid, *index), to);
        assert_eq!(before, Some(from), "recipient {index} of {:?}", of.mid);
    }
}

/// Settles a claim in one of the ways that delivery has, now or when the index has it.
async fn serve(queue: Queue, recipients: Recipients, claim: Claim, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut left: Vec<u32> = claim.leg.recipients.iter().map(|recipient| recipient.index).collect();
    set(&recipients, &claim, &left, Is::Waiting, Is::InHand);
    loop {
        match random.random_range(0..4) {
            0 => indexed(&queue).await,
            1 => tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await,
            _ => tokio::task::yield_now().await,
        }
        let (now, legs) = match random.random_range(0..10) {
            0 => {
                set(&recipients, &claim, &left, Is::InHand, Is::Waiting);
                return queue.release(claim.mid, claim.number);
            }
            1 if left.len() > 1 => (left.split_off(1), Vec::new()),
            2 => (std::mem::take(&mut left), vec![claim.leg.lane.route.as_str().to_owned()]),
            3 => (std::mem::take(&mut left), vec!["c".to_owned()]),
            _ => (std::mem::take(&mut left), Vec::new()),
        };
        let to = if legs.is_empty() { Is::Done } else { Is::Waiting };
        set(&recipients, &claim, &now, Is::InHand, to);
        let legs = legs.iter().map(|name| leg(name, 0, &now)).collect();
        queue.settle(Settled { recipients: now, legs, ..done(&claim) }).await.unwrap();
        if left.is_empty() {
            return;
        }
    }
}

/// As the scheduler does it: whatever is nudged is claimed until nothing is due.
async fn deliver(queue: Queue, recipients: Recipients, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        for LaneDue { lane, .. } in queue.nudged().await {
            loop {
                // While the index is mended, it cannot be read.
                let Ok(claimed) = queue.claim(&lane, t(100), random.random_range(1..5)).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                for claim in claimed.claims {
                    tasks.spawn(serve(queue.clone(), recipients.clone(), claim, random.random()));
                }
                if claimed.next_due.is_none() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        while let Some(served) = tasks.try_join_next() {
            served.unwrap();
        }
    }
}

async fn world(seed: u64, fault: Option<Fault>) {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    let recipients = Recipients::default();
    let delivery = tokio::spawn(deliver(queue.clone(), recipients.clone(), seed));
    let mut random = StdRng::seed_from_u64(seed);
    for n in 1..=150 {
        if let (Some(fault), 0) = (fault, n % 20) {
            disk.fail_after(random.random_range(0..20), random.random_range(1..4), fault);
        }
        let legs: Vec<Leg> = (0..random.random_range(1..4u32))
            .map(|n| leg(["a", "b"][random.random_range(0..2usize)], 0, &[2 * n, 2 * n + 1]))
            .collect();
        let size = [0, 100, 3000][random.random_range(0..3usize)];
        let all: Vec<_> = legs.iter().flat_map(|leg| &leg.recipients).map(|r| (mid(n), r.index)).collect();
        recipients.lock().unwrap().extend(all.iter().map(|key| (*key, Is::Waiting)));
        if queue.accept(message(n, size, legs)).await.is_err() {
            assert!(fault.is_some());
            // Whoever gets it all the same finds it unknown.
            recipients.lock().unwrap().retain(|key, _| !all.contains(key));
        }
        if random.random_bool(0.1) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..120))).await;
        }
    }
    while recipients.lock().unwrap().values().any(|is| *is != Is::Done) {
        assert!(!delivery.is_finished(), "{:?}", delivery.await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while queue.depth().await.ok() != Some(Depth::default()) {
        tokio::task::yield_now().await;
    }
    assert!(!delivery.is_finished(), "{:?}", delivery.await);
    delivery.abort();
    queue.close().await;
    crash::tables_agree(&disk, seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_recipient_is_in_one_hand_and_none_is_left_behind() {
    for seed in 0..4 {
        world(seed, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_while_the_disk_fails_now_and_then() {
    for (seed, fault) in (10..).zip([Fault::Broken, Fault::Full, Fault::Broken]) {
        world(seed, Some(fault)).await;
    }
}
