//! What waits by route, and small records, as the index keeps them. That the tally is right after any crash is held by
//! `crash::tables_agree`, that it follows each step by `model`.

use redb::ReadableDatabase as _;

use super::*;

#[tokio::test]
async fn the_oldest_of_a_route_is_known_whatever_became_of_its_due_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    let queue = Queue::open(options(path.clone())).unwrap();
    for (n, seconds, legs) in [
        (1, 3, vec![leg("mx/a.example", 0, &[0]), leg("mx/b.example", 0, &[1])]),
        (2, 47, vec![leg("mx/a.example", 9000, &[0]), held("ses", &[1])]),
        (3, 95, vec![leg("ses", 0, &[0])]),
    ] {
        queue.accept(NewMessage { mid: Mid::floor(t(seconds)), ..message(n, 10, legs) }).await.unwrap();
    }
    let route = |name: &str, waiting, held, oldest: i64| RouteDepth {
        route: RouteName::new(name),
        waiting,
        held,
        oldest: Some(t(oldest)),
    };
    assert_eq!(queue.routes().await.unwrap(), [route("mx", 3, 0, 3), route("ses", 1, 1, 95)]);
    for name in ["mx/a.example", "mx/b.example"] {
        let claim = claim_due(&queue, &lane(name), t(100), 1).await.unwrap().claims.remove(0);
        queue.settle(done(&claim)).await.unwrap();
    }
    assert_eq!(queue.routes().await.unwrap(), [route("mx", 1, 0, 47), route("ses", 1, 1, 95)]);
    queue.close().await;

    // A release that knows of no tally has gone on with the file.
    let database = redb::Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.delete_table(tally::TALLY).unwrap();
    txn.open_table(tables::META).unwrap().remove("tally").unwrap();
    txn.commit().unwrap();
    drop(database);
    let queue = Queue::open(options(path.clone())).unwrap();
    assert_eq!(queue.routes().await.unwrap(), [route("mx", 1, 0, 47), route("ses", 1, 1, 95)]);
    queue.close().await;
    let database = redb::Database::open(&path).unwrap();
    assert!(database.begin_read().unwrap().open_table(tally::TALLY).is_ok());
}

/// Among many of another route it is known to the tally's span: nobody looks through them all.
#[tokio::test]
async fn the_oldest_among_many_is_known_roughly() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(options(folder.path().join("queue.redb"))).unwrap();
    let oldest =
        async || -> Vec<_> { queue.routes().await.unwrap().into_iter().map(|of| of.oldest.unwrap()).collect() };
    let accept = async |n: u128, at: Timestamp, name: &str| {
        let new = message(n, 10, vec![leg(name, 0, &[0])]);
        queue.accept(NewMessage { mid: Mid::new(at, n), ..new }).await.unwrap();
    };
    let span = Timestamp::from_second(t(0).as_second().div_euclid(10) * 10).unwrap();
    let at = |ms: i64| span + jiff::SignedDuration::from_millis(ms);
    for n in 0..400 {
        accept(n, at(1000), "busy").await;
    }
    accept(1000, at(2000), "seldom").await;
    assert_eq!(oldest().await, [at(1000), at(2000)]);
    for n in 400..600 {
        accept(n, at(1000), "busy").await;
    }
    assert_eq!(oldest().await, [at(1000), at(0)]);
}

#[tokio::test]
async fn a_record_is_kept_under_its_name_until_it_is_taken_away() {
    let disk = disk::Disk::default();
    let queue = on(&disk).unwrap();
    // Written in the order of the calls, whoever waits first.
    let (first, second) = (queue.keep("order/a".into(), b"one".into()), queue.keep("order/a".into(), b"two".into()));
    second.await.unwrap();
    first.await.unwrap();
    queue.keep("order/b".into(), b"three".into()).await.unwrap();
    queue.keep("other".into(), b"four".into()).await.unwrap();
    let kept = |name: &str, record: &[u8]| (name.to_owned(), record.to_vec());
    assert_eq!(queue.kept("order/").await.unwrap(), [kept("a", b"two"), kept("b", b"three")]);
    assert!(queue.counters().await.unwrap().is_empty(), "they are no counters");
    disk.cut_power(1);
    let queue = on(&disk).unwrap();
    assert_eq!(queue.kept("order/").await.unwrap(), [kept("a", b"two"), kept("b", b"three")]);
    queue.keep("order/a".into(), Vec::new()).await.unwrap();
    assert_eq!(queue.kept("order/").await.unwrap(), [kept("b", b"three")]);
}
