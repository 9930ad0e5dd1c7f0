//! The marks of the queue: new mail is put off at them, and taken again when some has left; a restart forgets nothing.

use super::*;

fn laden(path: PathBuf, max_messages: u64, max_size: Option<u64>) -> Queue {
    Queue::open(QueueOptions { max_messages, max_size: max_size.map(Size), ..options(path) }).unwrap()
}

async fn put_off(queue: &Queue, n: u128, size: usize) -> bool {
    match queue.accept(message(n, size, vec![leg("a", 0, &[0])])).await {
        Ok(()) => false,
        Err(QueueError::Laden { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn so_many_messages_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    let queue = laden(path.clone(), 3, None);
    for n in 1..=3 {
        assert!(queue.admits(100).is_ok());
        assert!(!put_off(&queue, n, 100).await, "{n}");
    }
    assert!(matches!(queue.admits(0), Err(QueueError::Laden { .. })));
    assert!(put_off(&queue, 4, 100).await);
    queue.close().await;

    let queue = laden(path, 3, None);
    assert!(put_off(&queue, 4, 100).await, "after a restart");
    // An outcome is written whatever the marks are, and with it a bounce.
    let claim = claim_due(&queue, &lane("a"), t(0), 1).await.unwrap().claims.remove(0);
    let bounce = message(9, 100, vec![leg("a", 0, &[0])]);
    queue.settle(Settled { notices: vec![bounce], ..done(&claim) }).await.unwrap();
    indexed(&queue).await;
    assert!(put_off(&queue, 4, 100).await, "one has left, and one has come");
    for claim in claim_due(&queue, &lane("a"), t(0), 2).await.unwrap().claims {
        queue.settle(done(&claim)).await.unwrap();
    }
    indexed(&queue).await;
    assert!(!put_off(&queue, 4, 100).await);
    assert!(!put_off(&queue, 5, 100).await);
    assert!(put_off(&queue, 6, 100).await);
    // Other marks hold at once, in both directions.
    queue.set_marks(Size(0), 5, None);
    assert!(!put_off(&queue, 6, 100).await);
    queue.set_marks(Size(0), 5, Some(Size(1)));
    assert!(put_off(&queue, 7, 100).await);
    queue.set_marks(Size(u64::MAX), 5, None);
    assert!(matches!(queue.admits(0), Err(QueueError::Full { .. })));
}

#[tokio::test]
async fn so_much_content_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    let queue = laden(path.clone(), u64::MAX, Some(400_000));
    assert!(!put_off(&queue, 1, 100_000).await);
    // In a file of its own.
    let mut spool = queue.spool(mid(2));
    spool.write(octets(2, 200_000)).await.unwrap();
    let spooled = NewContent::Spooled(spool.finish().await.unwrap());
    let large = NewMessage { content: spooled, ..message(2, 200_000, vec![leg("b", 0, &[0])]) };
    queue.accept(large).await.unwrap();
    assert!(put_off(&queue, 3, 100_001).await);
    assert!(queue.admits(100_001).is_err() && queue.admits(100_000).is_ok());
    queue.close().await;

    let queue = laden(path, u64::MAX, Some(400_000));
    assert!(put_off(&queue, 3, 100_001).await, "after a restart");
    let claim = claim_due(&queue, &lane("b"), t(0), 1).await.unwrap().claims.remove(0);
    queue.settle(done(&claim)).await.unwrap();
    indexed(&queue).await;
    assert!(!put_off(&queue, 3, 300_000).await);
    assert!(put_off(&queue, 4, 1).await);
}

/// As often as mail comes and goes before the index has it.
#[tokio::test]
async fn what_comes_and_goes_at_once_is_counted_down_too() {
    let folder = tempfile::tempdir().unwrap();
    let queue = laden(folder.path().join("queue.redb"), 3, Some(300));
    for n in 1..=60 {
        assert!(!put_off(&queue, n, 100).await, "{n}");
        let claim = queue.claim(&lane("a"), t(0), 1).await.unwrap().claims.remove(0);
        queue.settle(done(&claim)).await.unwrap();
        if n % 3 == 0 {
            indexed(&queue).await;
        }
    }
    for n in 61..=63 {
        assert!(!put_off(&queue, n, 100).await, "{n}");
    }
    assert!(put_off(&queue, 64, 0).await && put_off(&queue, 65, 100).await);
}

/// It leaves with its last settlement, not when the index comes by.
#[test]
fn what_is_void_counts_no_more() {
    let load = Load::new(1, Some(Size(100)));
    let young = Young::default();
    let coming = load.take(100).unwrap();
    let NewMessage { mid, envelope, legs, .. } = message(1, 100, vec![leg("a", 0, &[0]), leg("b", 0, &[1])]);
    young.accepted(Fresh { mid, envelope: Arc::new(envelope), legs, coming: Some(coming) });
    for (number, ended) in [(0, None), (1, Some(2))] {
        assert!(load.room_for(0).is_err());
        let settlement = job::Settlement {
            mid,
            number,
            recipients: vec![number],
            legs: Vec::new(),
            notices: Vec::new(),
            counters: Vec::new(),
        };
        assert_eq!(young.settled(&settlement), ended);
    }
    assert_eq!(load.room_for(100), Ok(()));
    let leaving = young.leave([mid]);
    assert_eq!(leaving.void, [mid]);
    assert_eq!(load.room_for(100), Ok(()), "and only once");
}

/// What goes on is counted until the index has it.
#[test]
fn what_the_index_takes_over_counts_until_then() {
    let load = Load::new(1, None);
    let young = Young::default();
    let coming = load.take(100).unwrap();
    let NewMessage { mid, envelope, legs, .. } = message(1, 100, vec![leg("a", 0, &[0])]);
    young.accepted(Fresh { mid, envelope: Arc::new(envelope), legs, coming: Some(coming) });
    let leaving = young.leave([mid]);
    assert!(load.room_for(0).is_err());
    young.left(&leaving.mids);
    assert!(load.room_for(0).is_ok());
}
