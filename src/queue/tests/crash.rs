//! Power cuts at any write, with any part of the unsynced writes lost or torn: what was acknowledged is there, and nothing
//! is there by halves.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::{ReadableDatabase as _, ReadableTable as _};

use super::disk::Disk;
use super::*;

/// What the callers were told.
#[derive(Default)]
struct Told {
    accepted: BTreeSet<u128>,
    settled: BTreeSet<u128>,
    /// The settlement was under way.
    perhaps: BTreeSet<u128>,
}

fn size_of(n: u128) -> usize {
    [200, 5000, CHUNK + 100, 3 * CHUNK][(n % 4) as usize]
}

fn legs_of(n: u128) -> Vec<Leg> {
    if n.is_multiple_of(3) { vec![leg("a", 0, &[0]), held("b", &[1])] } else { vec![leg("a", 0, &[0, 1])] }
}

async fn new_message(queue: &Queue, n: u128) -> Result<NewMessage, QueueError> {
    let mut message = message(n, size_of(n), legs_of(n));
    if n.is_multiple_of(2) {
        let mut spool = queue.spool(mid(n));
        for piece in octets(n, size_of(n)).chunks(10_000) {
            spool.write(Bytes::copy_from_slice(piece)).await?;
        }
        message.content = NewContent::Spooled(spool.finish().await?);
    }
    Ok(message)
}

/// Accepts until it fails; each caller has numbers of its own.
async fn accept_all(queue: Queue, first: u128) -> BTreeSet<u128> {
    let mut accepted = BTreeSet::new();
    for n in (first..).step_by(4) {
        let Ok(message) = new_message(&queue, n).await else { break };
        if queue.accept(message).await.is_err() {
            break;
        }
        accepted.insert(n);
    }
    accepted
}

/// Settles every other message whole, until it fails.
async fn settle_all(queue: Queue) -> (BTreeSet<u128>, BTreeSet<u128>) {
    let (mut settled, mut perhaps) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let Ok(claimed) = claim_due(&queue, &lane("a"), t(0), 5).await else { break };
        for claim in claimed.claims {
            let n = claim.mid.bits() - mid(0).bits();
            if n.is_multiple_of(3) || n % 2 == 1 {
                continue;
            }
            match queue.settle(done(&claim)).await {
                Ok(()) => settled.insert(n),
                Err(_) => perhaps.insert(n),
            };
        }
        tokio::task::yield_now().await;
    }
    (settled, perhaps)
}

async fn live_until_the_power_goes(queue: Queue) -> Told {
    let acceptors: Vec<_> = (1..=4).map(|first| tokio::spawn(accept_all(queue.clone(), first))).collect();
    let settler = tokio::spawn(settle_all(queue.clone()));
    let mut told = Told::default();
    for acceptor in acceptors {
        told.accepted.extend(acceptor.await.unwrap());
    }
    queue.close().await;
    (told.settled, told.perhaps) = settler.await.unwrap();
    told
}

async fn check(disk: &Disk, told: &Told, seed: u64) {
    let queue = on(disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    for &n in &told.accepted {
        let there = queue.message(mid(n)).await.unwrap().is_some();
        if told.settled.contains(&n) {
            assert!(!there, "seed {seed}: {n} came back");
        } else if !told.perhaps.contains(&n) {
            assert!(there, "seed {seed}: {n} was acknowledged and is lost");
        }
    }
    // Also of those that nobody was told of, none is there by halves.
    let mut at = None;
    while let Some(claim) = queue.walk(at, t(1), 1).await.unwrap().pop() {
        at = Some((claim.mid, claim.number));
        let n = claim.mid.bits() - mid(0).bits();
        let listed = queue.message(claim.mid).await.unwrap().unwrap();
        assert_eq!(listed.legs.len(), legs_of(n).len(), "seed {seed}");
        let content = queue.content(claim.mid, &claim.envelope).all().await.unwrap();
        assert!(content == octets(n, size_of(n)), "seed {seed}: the content of {n}");
    }
    queue.followed_up().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let notes = disk.followed(|kept| kept.notes.clone());
    for n in &told.accepted {
        assert!(notes.contains(&format!("accepted {n}")), "seed {seed}: the follower lacks {n}");
    }
    for n in &told.settled {
        assert!(notes.contains(&format!("settled {n}")), "seed {seed}: the follower lacks the settlement of {n}");
    }
    follow::each_once(disk, seed);
    queue.close().await;
    tables_agree(disk, seed);
}

/// Each message has its content and the other way round; each waiting leg its row in the due index, and the other way
/// round.
pub(super) fn tables_agree(disk: &Disk, seed: u64) {
    let database = redb::Database::builder().create_with_backend(disk.attach()).unwrap();
    let txn = database.begin_read().unwrap();
    let (mut parts, mut files) = (BTreeSet::new(), BTreeSet::new());
    for row in txn.open_table(tables::MESSAGES).unwrap().iter().unwrap() {
        let (key, row) = row.unwrap();
        let (place, envelope) = tables::Place::split(row.value()).unwrap();
        tables::decode::<Envelope>("", envelope).unwrap();
        match place {
            tables::Place::File => drop(files.insert(bodies::file_name(Mid::from_bits(key.value())))),
            tables::Place::Segment { size: 0, .. } => {}
            tables::Place::Segment { segment, offset, size, .. } => {
                parts.insert((segment, offset, key.value(), size));
            }
        }
    }
    let mut wanted = BTreeSet::new();
    for row in txn.open_table(tables::BODIES).unwrap().iter().unwrap() {
        let (key, value) = row.unwrap();
        wanted.insert((key.value().0, key.value().1, value.value().0, value.value().1));
    }
    assert_eq!(parts, wanted, "seed {seed}");
    let there: BTreeSet<_> = disk.names().into_iter().filter(|name| bodies::mid_of(name).is_some()).collect();
    assert_eq!(files, there, "seed {seed}");
    let (mut due, mut legs, mut tally) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for row in txn.open_table(tables::DUE).unwrap().iter().unwrap() {
        let (key, _) = row.unwrap();
        let (lane, at, mid, number) = key.value();
        due.insert((lane.to_vec(), at, mid, number));
    }
    for row in txn.open_table(tables::LEGS).unwrap().iter().unwrap() {
        let (key, record) = row.unwrap();
        let leg = tables::leg_of(record.value()).unwrap();
        let since = Mid::from_bits(key.value().0).accepted_at();
        let of = tally.entry(leg.lane.route.to_string()).or_insert((0, 0, None));
        if leg.state == LegState::Waiting {
            of.0 += 1;
            of.2 = Some(of.2.map_or(since, |oldest: Timestamp| oldest.min(since)));
        } else {
            of.1 += 1;
        }
        if leg.state == LegState::Waiting {
            legs.insert((tables::lane_key(&leg.lane), tables::ms(leg.due), key.value().0, key.value().1));
        }
    }
    assert_eq!(due, legs, "seed {seed}");
    let kept = tally::read(&txn.open_table(tally::TALLY).unwrap()).unwrap();
    let kept: BTreeMap<_, _> =
        kept.into_iter().map(|of| (of.route.to_string(), (of.waiting, of.held, of.oldest))).collect();
    let spans = |(waiting, held, oldest): (u64, u64, Option<Timestamp>)| {
        (waiting, held, oldest.map(|at| at.as_second().div_euclid(10)))
    };
    let counted: BTreeMap<_, _> = tally.into_iter().map(|(route, of)| (route, spans(of))).collect();
    assert_eq!(
        kept.into_iter().map(|(route, of)| (route, spans(of))).collect::<BTreeMap<_, _>>(),
        counted,
        "seed {seed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_power_goes() {
    let mut accepted = 0;
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = Disk::default();
        disk.off_after(random.random_range(1..400));
        let told = match on(&disk) {
            Ok(queue) => live_until_the_power_goes(queue).await,
            Err(_) => Told::default(),
        };
        accepted += told.accepted.len();
        disk.cut_power(seed);
        check(&disk, &told, seed).await;
    }
    assert!(accepted > 500, "{accepted}: the test has lost its point");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_that_goes_again_and_again_costs_nothing() {
    let disk = Disk::default();
    let mut all = Told::default();
    for round in 0..12u64 {
        disk.off_after(40 + round * 17 % 150);
        let Ok(queue) = on(&disk) else {
            disk.cut_power(round);
            continue;
        };
        let first = u128::from(round) * 10_000;
        let acceptors: Vec<_> = (1..=4).map(|n| tokio::spawn(accept_all(queue.clone(), first + n))).collect();
        for acceptor in acceptors {
            all.accepted.extend(acceptor.await.unwrap());
        }
        queue.close().await;
        disk.cut_power(round);
        check(&disk, &all, round).await;
    }
}
