//! The file: made, opened again, refused.

use super::*;

#[tokio::test]
async fn what_was_accepted_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/queue.redb");
    let queue = Queue::open(options(path.clone())).unwrap();
    let legs = || vec![leg("mx/b.example", 5, &[0]), leg("ses", 3, &[1, 2]), held("ses", &[3])];
    for (n, size) in [(1, 0), (2, 1000), (3, CHUNK), (4, 3 * CHUNK + 17)] {
        queue.accept(message(n, size, legs())).await.unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "mail is private");
    }
    queue.close().await;
    assert!(matches!(queue.accept(message(9, 1, legs())).await, Err(QueueError::Closed)));
    assert!(matches!(queue.lanes().await, Err(QueueError::Closed)));

    let queue = Queue::open(options(path)).unwrap();
    let mut lanes = queue.lanes().await.unwrap();
    lanes.sort_by(|a, b| a.lane.cmp(&b.lane));
    assert_eq!(lanes, [LaneDue { lane: lane("mx/b.example"), due: t(5) }, LaneDue { lane: lane("ses"), due: t(3) }]);
    assert_eq!(queue.depth().await.unwrap(), Depth { messages: 4, waiting: 8, held: 4 });
    let claimed = claim_due(&queue, &lane("ses"), t(3), 10).await.unwrap();
    assert_eq!(claimed.claims.len(), 4);
    for claim in &claimed.claims {
        let n = claim.mid.bits() - mid(0).bits();
        let content = queue.content(claim.mid, &claim.envelope);
        assert_reads(&content, &octets(n, claim.envelope.size as usize)).await;
    }
}

/// The content reads the same by every way.
pub(super) async fn assert_reads(content: &Content, expected: &[u8]) {
    assert_eq!(content.size(), expected.len() as u64);
    assert_eq!(content.header().await.unwrap(), expected[..content.header_size()]);
    assert!(content.all().await.unwrap() == expected);
    assert_eq!(content.beginning(10).await.unwrap(), expected[..expected.len().min(10)]);
    let mut pieces = Vec::new();
    let mut n = 0;
    while let Some(piece) = content.chunk(n).await.unwrap() {
        assert!(n == 0 || !piece.is_empty());
        pieces.push(piece);
        n += 1;
    }
    assert_eq!(pieces[0].len(), content.header_size());
    assert!(pieces.concat() == expected);
    assert_eq!(content.chunk(n + 1).await.unwrap(), None);
}

#[tokio::test]
async fn content_reads_the_same_wherever_its_header_ends() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(options(folder.path().join("q"))).unwrap();
    let chunk = CHUNK;
    let mut n = 0;
    for size in [0, 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 9] {
        for header in [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk] {
            let header = header.min(size);
            n += 1;
            let mut message = message(n, size, vec![leg("x", 0, &[0])]);
            message.envelope.header_size = header as u32;
            let envelope = message.envelope.clone();
            queue.accept(message).await.unwrap();
            let expected = octets(n, size);
            assert_reads(&queue.content(mid(n), &envelope), &expected).await;
            assert_reads(&Content::stored(queue.clone(), mid(n), size as u64, header as u32), &expected).await;
            assert_reads(&Content::memory(expected.clone(), header), &expected).await;
        }
    }
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    std::fs::write(folder.path().join("queue.redb.new"), b"half of it").unwrap();
    std::fs::write(&path, b"").unwrap();
    let queue = Queue::open(options(path)).unwrap();
    queue.accept(message(1, 10, vec![leg("x", 0, &[0])])).await.unwrap();
    assert!(!folder.path().join("queue.redb.new").exists());
}

#[tokio::test]
async fn a_second_process_is_told_why_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    let queue = Queue::open(options(path.clone())).unwrap();
    let error = Queue::open(options(path)).unwrap_err().to_string();
    assert!(error.contains("queue.redb") && error.contains("another waypost runs on it"), "{error}");
    queue.accept(message(1, 10, vec![leg("x", 0, &[0])])).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_queue_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    let queue = Queue::open(options(good.clone())).unwrap();
    for n in 0..50 {
        queue.accept(message(n, 5000, vec![leg("x", 0, &[0])])).await.unwrap();
    }
    queue.close().await;
    let good = std::fs::read(good).unwrap();
    let mut zeroed = good.clone();
    zeroed[..4096].fill(0);
    let mut scribbled = good.clone();
    scribbled[64..320].fill(0xff);
    for (name, content) in [
        ("text", b"this is not a database\n".repeat(1000)),
        ("short", b"redb".to_vec()),
        ("cut", good[..good.len() / 3].to_vec()),
        ("zeroed", zeroed),
        ("scribbled", scribbled),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, &content).unwrap();
        let error = Queue::open(options(path.clone())).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, QueueError::Open { .. }) && text.contains(name), "{text}");
        assert!(text.contains("damaged") || text.contains("no queue"), "{name}: {text}");
        assert!(std::fs::read(&path).unwrap() == content, "{name} was altered");
    }
}

#[tokio::test]
async fn a_newer_schema_and_foreign_tables_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer");
    Queue::open(options(path.clone())).unwrap().close().await;
    let database = redb::Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(tables::META).unwrap().insert(tables::SCHEMA_KEY, tables::SCHEMA + 1).unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = Queue::open(options(path)).unwrap_err().to_string();
    assert!(error.contains("newer waypost"), "{error}");

    let path = folder.path().join("foreign");
    let database = redb::Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = Queue::open(options(path)).unwrap_err().to_string();
    assert!(error.contains("no queue of waypost"), "{error}");
}

#[tokio::test]
async fn counters_and_notices_are_written_with_the_settlement() {
    let disk = disk::Disk::default();
    let queue = on(&disk).unwrap();
    queue.accept(message(1, 100, vec![leg("x", 0, &[0, 1])])).await.unwrap();
    let claim = claim_due(&queue, &lane("x"), t(0), 1).await.unwrap().claims.remove(0);
    let counter = Counter { since: t(1), count: 7 };
    let settled = Settled {
        notices: vec![message(2, 300, vec![leg("dsn", 4, &[0])])],
        counters: vec![("ses".to_owned(), counter)],
        ..done(&claim)
    };
    queue.settle(settled).await.unwrap();
    queue.close().await;
    let queue = on(&disk).unwrap();
    assert_eq!(queue.counters().await.unwrap(), HashMap::from([("ses".to_owned(), counter)]));
    assert_eq!(queue.lanes().await.unwrap(), [LaneDue { lane: lane("dsn"), due: t(4) }]);
    assert!(queue.message(mid(1)).await.unwrap().is_none());
    assert_eq!(queue.message(mid(2)).await.unwrap().unwrap().legs.len(), 1);
}
