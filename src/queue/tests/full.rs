//! A disk that runs full or fails under the running queue: refused at once, kept, and gone on with by itself.

use super::disk::Disk;
use super::*;

async fn claimed(queue: &Queue, count: u128) -> Vec<Claim> {
    for n in 1..=count {
        queue.accept(message(n, 3000, vec![leg("a", 0, &[0, 1])])).await.unwrap();
    }
    claim_due(queue, &lane("a"), t(0), 100).await.unwrap().claims
}

/// Accepts until the queue takes it again: what a client does that is told 4yz.
pub(super) async fn accept_in_the_end(queue: &Queue, n: u128) {
    loop {
        match queue.accept(message(n, 100, vec![leg("late", 0, &[0])])).await {
            Ok(()) => return,
            Err(QueueError::Full { .. } | QueueError::Write { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// After an I/O error a reader may meet the index before it is open again.
async fn read_in_the_end<T>(read: impl AsyncFn() -> Result<T, QueueError>) -> T {
    let began = Instant::now();
    loop {
        match read().await {
            Ok(read) => return read,
            Err(QueueError::Read { .. }) if began.elapsed() < Duration::from_secs(20) => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_mail_and_keeps_outcomes() {
    for room in [0, 1000, 5000, 20_000, 100_000] {
        let disk = Disk::default();
        let queue = on(&disk).unwrap();
        let claims = claimed(&queue, 3).await;
        disk.leave_room(Some(room));
        let mut accepted = Vec::new();
        let refused = loop {
            let n = 100 + accepted.len() as u128;
            match queue.accept(message(n, 3000, vec![leg("b", 0, &[0])])).await {
                Ok(()) => accepted.push(n),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, QueueError::Full { .. }), "{refused}");
        disk.leave_room(Some(0));
        let mut settle = Box::pin(queue.settle(Settled { legs: vec![leg("a", 9, &[0])], ..done(&claims[0]) }));
        // Still full: refused at once, while the outcome waits.
        for n in 900..910 {
            let error = queue.accept(message(n, 3000, vec![leg("b", 0, &[0])])).await.unwrap_err();
            assert!(matches!(error, QueueError::Full { .. }), "{error}");
        }
        assert!(futures_util::poll!(&mut settle).is_pending());
        disk.leave_room(None);
        settle.await.unwrap();
        accept_in_the_end(&queue, 999).await;
        let depth = read_in_the_end(async || queue.depth().await).await;
        assert_eq!(depth.messages, 3 + accepted.len() as u64 + 1, "room {room}");
        for n in accepted {
            let listed = queue.message(mid(n)).await.unwrap().unwrap();
            assert!(queue.content(mid(n), &listed.envelope).all().await.unwrap() == octets(n, 3000));
        }
        assert!(queue.claim_one(claims[1].mid, 0).await.unwrap().is_none(), "leases outlive the trouble");
        let listed = queue.message(claims[0].mid).await.unwrap().unwrap();
        assert_eq!(listed.legs.iter().map(|leg| leg.0).collect::<Vec<_>>(), [1]);
        queue.close().await;
        crash::tables_agree(&disk, room);
    }
}

#[tokio::test]
async fn a_commit_of_unknown_fate_counts_once() {
    for lying in [false, true] {
        for syncs in 0..4 {
            let disk = Disk::default();
            let queue = on(&disk).unwrap();
            let claims = claimed(&queue, 2).await;
            disk.fail_sync_after(Some(syncs), lying);
            let settled = Settled {
                recipients: vec![1],
                legs: vec![leg("later", 5, &[1])],
                notices: vec![message(50, 500, vec![leg("dsn", 0, &[0])])],
                ..done(&claims[0])
            };
            let (settled, refused) = tokio::join!(queue.settle(settled), async {
                let mut refused = Vec::new();
                for n in 100..110 {
                    match queue.accept(message(n, 100, vec![leg("b", 0, &[0])])).await {
                        Ok(()) => {}
                        Err(_) => refused.push(n),
                    }
                }
                disk.fail_sync_after(None, false);
                refused
            });
            settled.unwrap();
            assert!(!refused.is_empty());
            accept_in_the_end(&queue, 999).await;
            for n in refused {
                let listed = read_in_the_end(async || queue.message(mid(n)).await).await;
                assert!(listed.is_none(), "{n} was refused, and must not be sent");
            }
            let listed = queue.message(claims[0].mid).await.unwrap().unwrap();
            let legs: Vec<_> = listed.legs.iter().map(|(n, leg, _)| (*n, leg.recipients.len())).collect();
            assert_eq!(legs, [(0, 1), (1, 1)], "lying {lying}, syncs {syncs}");
            assert_eq!(claim_due(&queue, &lane("dsn"), t(0), 9).await.unwrap().claims.len(), 1);
            queue.close().await;
            crash::tables_agree(&disk, syncs);
        }
    }
}

#[tokio::test]
async fn reads_fail_while_the_disk_is_out_and_work_again() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    claimed(&queue, 1).await;
    disk.fail_sync_after(Some(0), false);
    queue.accept(message(5, 10, vec![leg("b", 0, &[0])])).await.unwrap_err();
    while let Ok(depth) = queue.depth().await {
        assert_eq!(depth.messages, 1);
    }
    disk.fail_sync_after(None, false);
    let depth = loop {
        match queue.depth().await {
            Ok(depth) => break depth,
            Err(error) => assert!(matches!(error, QueueError::Read { .. }), "{error}"),
        }
    };
    assert_eq!(depth.messages, 1);
}

#[tokio::test]
async fn acceptance_stops_while_settling_still_has_room() {
    let free = Arc::new(Mutex::new(1_000_000));
    let seen = free.clone();
    let disk = Disk::default();
    let queue = with_probe(&disk, Box::new(move || Ok(*lock(&seen))), 100).unwrap();
    let claims = claimed(&queue, 1).await;
    *lock(&free) = 99;
    let error = queue.accept(message(7, 10, vec![leg("a", 0, &[0])])).await.unwrap_err();
    assert!(matches!(error, QueueError::Full { .. }), "{error}");
    let notice = message(8, 10, vec![leg("dsn", 0, &[0])]);
    queue.settle(Settled { notices: vec![notice], ..done(&claims[0]) }).await.unwrap();
    *lock(&free) = 1_000_000;
    queue.accept(message(7, 10, vec![leg("a", 0, &[0])])).await.unwrap();
    assert_eq!(queue.depth().await.unwrap().messages, 2);
}

#[tokio::test]
async fn closing_a_broken_queue_ends() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    let claims = claimed(&queue, 1).await;
    disk.leave_room(Some(0));
    let settle = queue.settle(done(&claims[0]));
    let (settled, ()) = tokio::join!(settle, async {
        queue.accept(message(5, 10, vec![leg("b", 0, &[0])])).await.unwrap_err();
        queue.close().await;
    });
    settled.unwrap_err();
    disk.leave_room(None);
    let queue = on(&disk).unwrap();
    assert_eq!(claim_due(&queue, &lane("a"), t(0), 9).await.unwrap().claims.len(), 1, "it is due again");
}

#[tokio::test]
async fn an_opening_without_room_says_what_to_do() {
    let disk = Disk::default();
    disk.leave_room(Some(0));
    let told = on(&disk).unwrap_err();
    assert!(matches!(told, QueueError::NoRoom { .. }), "{told}");
    let told = told.to_string();
    assert!(told.contains("the queue test.redb cannot be opened, for the disk of . is full"), "{told}");
    assert!(told.contains("free there and start again; nothing that is queued is lost"), "{told}");
}

#[tokio::test]
async fn room_is_kept_back_once_and_given_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    let reserve = folder.path().join("queue.reserve");
    for (min_free, size) in [(0, None), (4 << 20, Some(1 << 20)), (1 << 20, Some(1 << 20))] {
        let queue = Queue::open(QueueOptions { min_free: Size(min_free), ..options(path.clone()) }).unwrap();
        queue.close().await;
        assert_eq!(std::fs::metadata(&reserve).ok().map(|found| found.len()), size, "{min_free}");
    }
    assert!(give_reserve(&path) && !reserve.exists());
    assert!(!give_reserve(&path), "it is gone");
}
