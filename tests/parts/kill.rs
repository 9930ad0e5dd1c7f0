//! kill -9 at random moments under load: what was acknowledged arrives.

use std::time::Duration;

use rand::Rng as _;

use crate::support::load::{Load, Stream};
use crate::support::relay::{Relay, Setup};
use crate::support::{alone, long, until_true};

#[test]
fn nothing_acknowledged_is_lost() {
    let _alone = alone();
    let rounds = long(50, 5);
    let mut relay = Setup::new()
        .queue("retry: [1s], min_free: 0MB")
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let mut rng = rand::rng();
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let load = Load::start(Stream {
            to: relay.address,
            from: "app@shop.example".to_owned(),
            recipient: "someone@customer.example".to_owned(),
            rate: None,
            sessions: 16,
            size: if round % 2 == 0 { 1_000 } else { 100_000 },
            first: round * 1_000_000,
            most: None,
        });
        until_true("the load is taken", Duration::from_secs(30), || load.count() > 10);
        // A random moment: not a wait for anything.
        std::thread::sleep(Duration::from_millis(rng.random_range(0..800)));
        relay.kill_9();
        let marks: Vec<_> = load.stop().marks().collect();
        println!("round {round}: {} acknowledged", marks.len());
        acknowledged.extend(marks);
        relay.restart();
    }
    let (missing, duplicates) = drained(&relay, &acknowledged);
    assert!(
        missing.is_empty(),
        "{} of {} acknowledged messages are lost: {missing:?}",
        missing.len(),
        acknowledged.len()
    );
    println!("{} acknowledged over {rounds} kills, none lost, {duplicates} duplicates", acknowledged.len());
    relay.stop(Duration::from_secs(60));
}

/// Waits until the acknowledged have arrived, or nothing has come for a while; gives the missing and the duplicates.
fn drained(relay: &Relay, acknowledged: &[u64]) -> (Vec<u64>, usize) {
    let maildir = relay.maildir("out");
    let (mut count, mut since) = (0, std::time::Instant::now());
    until_true("the queue is drained", long(Duration::from_secs(1_800), Duration::from_secs(120)), || {
        if maildir.count() != count {
            (count, since) = (maildir.count(), std::time::Instant::now());
        }
        // Retries come after a second; what has not moved for ten will not.
        since.elapsed() > Duration::from_secs(10) || count >= acknowledged.len() && all(&maildir.marks(), acknowledged)
    });
    let marks = maildir.marks();
    let missing = acknowledged.iter().copied().filter(|mark| !marks.contains_key(mark)).collect();
    (missing, marks.values().map(|count| count - 1).sum())
}

fn all(marks: &std::collections::HashMap<u64, usize>, acknowledged: &[u64]) -> bool {
    acknowledged.iter().all(|mark| marks.contains_key(mark))
}
