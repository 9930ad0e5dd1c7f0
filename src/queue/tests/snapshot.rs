//! Snapshots: all that is queued in one file, taken while the queue works, and a queue made of it again.

use std::collections::BTreeMap;
use std::path::Path;

use super::disk::{Disk, Fault as DiskFault};
use super::*;

/// All its octets, `then` done behind the first ones.
async fn taken(queue: &Queue, then: impl AsyncFnOnce(&Queue)) -> Result<Vec<u8>, QueueError> {
    let mut snapshot = queue.snapshot(t(7)).await?;
    let mut octets = snapshot.next().await?.unwrap().to_vec();
    then(queue).await;
    while let Some(more) = snapshot.next().await? {
        octets.extend_from_slice(&more);
    }
    assert_eq!(snapshot.next().await?, None);
    Ok(octets)
}

async fn restored(file: &[u8], folder: &Path) -> Result<(Beginning, End), RestoreError> {
    let path = folder.join("snapshot");
    std::fs::write(&path, file).unwrap();
    let mut read = 0;
    let done = restore(&path, &folder.join("data/queue.redb"), &mut |octets| read += octets).await;
    assert!(done.is_err() || read == 2 * file.len() as u64, "{read} of {}", file.len());
    done
}

async fn accept(queue: &Queue, n: u128, size: usize, legs: Vec<Leg>, in_file: bool) {
    let mut message = message(n, size, legs);
    if in_file {
        let mut spool = queue.spool(mid(n));
        for piece in octets(n, size).chunks(50_000) {
            spool.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        message.content = NewContent::Spooled(spool.finish().await.unwrap());
    }
    queue.accept(message).await.unwrap();
}

/// A report about mail that was given up.
fn report(n: u128) -> NewMessage {
    let report = message(n, 300, vec![leg("a", 0, &[0])]);
    NewMessage { envelope: Envelope { reverse_path: None, ..report.envelope }, ..report }
}

/// All messages: envelopes and legs, without the legs' numbers. Their content is read, too.
async fn whole(queue: &Queue) -> BTreeMap<u128, (Arc<Envelope>, Vec<Leg>)> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let step = queue.find(&Arc::default(), after, 100).await.unwrap();
        for found in step.found {
            let n = found.mid.bits() - mid(0).bits();
            let content = queue.content(found.mid, &found.envelope).all().await.unwrap();
            assert!(content == octets(n, content.len()) && content.len() as u64 == found.envelope.size, "{n}");
            all.entry(n).or_insert_with(|| (found.envelope, Vec::new())).1.push(found.leg);
        }
        after = step.next;
        if after.is_none() {
            return all;
        }
    }
}

fn opened(folder: &Path) -> Queue {
    Queue::open(options(folder.join("data/queue.redb"))).unwrap()
}

#[tokio::test]
async fn what_is_queued_is_in_it_and_comes_back_as_it_was() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    let legs = || vec![leg("mx/b.example", 5, &[0]), leg("ses", 3, &[1, 2]), held("ses", &[3])];
    for (n, size, in_file) in [(1, 0, false), (2, 1000, false), (3, CHUNK, false), (4, 3 * CHUNK + 17, true)] {
        accept(&queue, n, size, legs(), in_file).await;
    }
    for n in 10..700 {
        accept(&queue, n, 100, vec![leg("ses", 3, &[0])], false).await;
    }
    // One part is done with, another tried once and moved by a person.
    let claim = queue.claim_one(mid(2), 0).await.unwrap().unwrap();
    queue.settle(done(&claim)).await.unwrap();
    let claim = queue.claim_one(mid(3), 1).await.unwrap().unwrap();
    let moved = Leg {
        attempts: 4,
        warned: true,
        orders: Orders { route: true, past: Vec::new(), since: Some(t(3)) },
        tried: Some(Tried { provider: crate::mail::ProviderName::new("ses"), at: t(2) }),
        ..leg("other", 60, &[1, 2])
    };
    let counter = ("quota/ses".to_owned(), Counter { since: t(1), count: 77 });
    queue.settle(Settled { legs: vec![moved], counters: vec![counter], ..done(&claim) }).await.unwrap();
    queue.keep("order/ses".to_owned(), b"paused".to_vec()).await.unwrap();

    let file = taken(&queue, async |_| ()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (beginning, end) = restored(&file, folder.path()).await.unwrap();
    assert_eq!((beginning.messages, &beginning.taken[..]), (694, "2023-11-14T22:13:27Z"));
    assert_eq!((end.messages, end.legs), (694, 11 + 690));
    let again = opened(folder.path());
    let (before, after) = (whole(&queue).await, whole(&again).await);
    assert_eq!(before.len(), 694);
    assert!(before == after, "not as it was");
    assert_eq!(again.depth().await.unwrap(), queue.depth().await.unwrap());
    assert_eq!(again.counters().await.unwrap(), queue.counters().await.unwrap());
    assert_eq!(again.kept("order/").await.unwrap(), [("ses".to_owned(), b"paused".to_vec())]);
    assert_eq!(std::fs::read_dir(folder.path().join("data")).unwrap().count(), 2, "nothing else is left");
    queue.close().await;
    again.close().await;
    crash::tables_agree(&disk, 694);
}

#[tokio::test]
async fn what_goes_meanwhile_is_in_it_or_left_a_report_that_is() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    // More than a step gives, and more messages than are looked at together.
    for n in 1..600 {
        accept(&queue, n, 5000, vec![leg("a", 0, &[0])], false).await;
    }
    accept(&queue, 600, 9 * CHUNK, vec![leg("a", 0, &[0])], true).await;
    let meanwhile = async |queue: &Queue| {
        for (n, reported) in [(1, true), (230, false), (500, true), (550, false), (600, false)] {
            let claim = queue.claim_one(mid(n), 0).await.unwrap().unwrap();
            let notices = if reported { vec![report(1000 + n)] } else { Vec::new() };
            queue.settle(Settled { notices, ..done(&claim) }).await.unwrap();
        }
        // Nobody was told of this one before the beginning.
        accept(queue, 2000, 100, vec![leg("a", 0, &[0])], false).await;
        indexed(queue).await;
    };
    let file = taken(&queue, meanwhile).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    restored(&file, folder.path()).await.unwrap();
    let again = opened(folder.path());
    let all = whole(&again).await;
    let has = |n: u128| all.contains_key(&n);
    assert!((1..600).filter(|n| ![1, 230, 500, 550].contains(n)).all(has));
    assert!(has(1), "its record was written when it went");
    assert!(has(1001) && has(1500), "reports");
    assert!(!has(500) && !has(550) && !has(600), "gone before they were looked at");
    assert!(!has(2000));
    queue.close().await;
    again.close().await;
}

#[tokio::test]
async fn under_load_each_message_that_stays_is_in_it_once() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    for n in 1..=1500 {
        accept(&queue, n, 3000, vec![leg(if n % 2 == 0 { "goes" } else { "stays" }, 0, &[0])], false).await;
    }
    let leaving = queue.clone();
    let leave = tokio::spawn(async move {
        let mut gone = 0;
        while gone < 750 {
            for claim in claim_due(&leaving, &lane("goes"), t(0), 50).await.unwrap().claims {
                leaving.settle(done(&claim)).await.unwrap();
                gone += 1;
            }
        }
    });
    let coming = queue.clone();
    let come = tokio::spawn(async move {
        for n in 5000..6000 {
            accept(&coming, n, 3000, vec![leg("later", 0, &[0])], false).await;
        }
    });
    let file = taken(&queue, async |_| ()).await.unwrap();
    leave.await.unwrap();
    come.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    restored(&file, folder.path()).await.unwrap();
    let again = opened(folder.path());
    let all = whole(&again).await;
    assert!((1..=1500).step_by(2).all(|n| all.get(&n).is_some_and(|(_, legs)| legs.len() == 1)));
    assert!(all.keys().all(|n| *n <= 1500 || (5000..6000).contains(n)));
    queue.close().await;
    again.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_makes_no_snapshot() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    accept(&queue, 1, 3000, vec![leg("a", 0, &[0])], false).await;
    indexed(&queue).await;
    let journal = disk.names().into_iter().find(|name| name.ends_with(".journal")).unwrap();
    disk.damage(&journal, disk.octets() - 100);
    let told = queue.snapshot(t(0)).await.unwrap_err().to_string();
    assert!(told.contains(&mid(1).to_string()) && told.contains("waypost queue delete"), "{told}");
    disk.damage(&journal, disk.octets() - 100);
    assert!(queue.snapshot(t(0)).await.is_ok());
    disk.fail_after(0, u64::MAX, DiskFault::Unreadable);
    queue.snapshot(t(0)).await.unwrap_err();
}

#[tokio::test]
async fn a_bad_file_and_a_place_that_is_taken_change_nothing() {
    let queue = on(&Disk::default()).unwrap();
    for n in 1..20 {
        accept(&queue, n, 3000, vec![leg("a", 0, &[0])], false).await;
    }
    let file = taken(&queue, async |_| ()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut altered = file.clone();
    altered[file.len() / 2] ^= 1;
    for (bad, says) in [
        (&altered[..], "is damaged at octet"),
        (&file[..file.len() - 1], "ends too early"),
        (b"\x1f\x8b\x08 something else", "is no snapshot"),
        (b"", "ends too early, at octet 0"),
    ] {
        let told = restored(bad, folder.path()).await.unwrap_err().to_string();
        assert!(told.contains(says), "{told}");
        assert!(!folder.path().join("data").exists(), "{told}");
    }
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("queue.redb.restoring/queue.journal")).unwrap();
    restored(&file, folder.path()).await.unwrap();
    let there = || std::fs::read(data.join("queue.redb")).unwrap();
    let before = there();
    for gone in [false, true] {
        let told = restored(&file, folder.path()).await.unwrap_err();
        assert!(matches!(told, RestoreError::Occupied { .. }), "{told}");
        if !gone {
            assert!(there() == before, "untouched");
            std::fs::remove_file(data.join("queue.redb")).unwrap();
        }
    }
    queue.close().await;
}
