//! A fault at every single operation of a run: what was acknowledged is there, what was refused is not, and the queue goes
//! on by itself.

use std::collections::BTreeSet;

use super::disk::{Disk, Fault};
use super::*;

/// What the callers were told.
#[derive(Debug, Default)]
struct Told {
    there: BTreeSet<u128>,
    settled: BTreeSet<u128>,
    refused: BTreeSet<u128>,
}

/// Accepts small and large mail, settles some of it, starts again in between.
async fn live(disk: &Disk, told: &mut Told) -> Result<(), QueueError> {
    for round in 0..2 {
        let queue = on(disk)?;
        for n in 10 * round + 1..=10 * round + 6 {
            let mut new = message(n, 3000, vec![leg("a", 0, &[0])]);
            if n % 3 == 0 {
                match spooled(&queue, n).await {
                    Ok(spooled) => {
                        new = NewMessage {
                            content: NewContent::Spooled(spooled),
                            ..message(n, LARGE, vec![leg("a", 0, &[0])])
                        }
                    }
                    Err(_) => {
                        told.refused.insert(n);
                        continue;
                    }
                }
            }
            match queue.accept(new).await {
                Ok(()) => told.there.insert(n),
                Err(_) => told.refused.insert(n),
            };
        }
        for n in 10 * round + 1..=10 * round + 3 {
            // A read may fail once, while the index is mended too.
            let mut claim = queue.claim_one(mid(n), 0).await;
            while let (Err(_), true) = (&claim, told.there.contains(&n)) {
                claim = queue.claim_one(mid(n), 0).await;
            }
            if let Ok(Some(claim)) = claim {
                queue.settle(done(&claim)).await?;
                told.settled.insert(n);
                told.there.remove(&n);
            }
        }
        // It goes on by itself. What a relay had refused that was ended before its disk worked again, nobody can undo.
        full::accept_in_the_end(&queue, 10 * round + 7).await;
        told.there.insert(10 * round + 7);
        queue.close().await;
    }
    Ok(())
}

const LARGE: usize = 150_000;

async fn spooled(queue: &Queue, n: u128) -> Result<Spooled, QueueError> {
    let mut spool = queue.spool(mid(n));
    for piece in octets(n, LARGE).chunks(40_000) {
        spool.write(Bytes::copy_from_slice(piece)).await?;
    }
    spool.finish().await
}

async fn check(disk: &Disk, told: &Told, what: &str) {
    let queue = on(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    for n in 1..=20 {
        let listed = queue.message(mid(n)).await.unwrap();
        assert_eq!(listed.is_some(), told.there.contains(&n), "{what}: {n}, {told:?}");
        if let Some(listed) = listed {
            let content = queue.content(mid(n), &listed.envelope).all().await.unwrap();
            assert!(content == octets(n, listed.envelope.size as usize), "{what}: the content of {n}");
        }
    }
    queue.accept(message(30, 10, vec![leg("a", 0, &[0])])).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    queue.close().await;
    crash::tables_agree(disk, 0);
}

async fn at_every_operation(fault: Fault, count: u64, least: u64) {
    // All of them take a minute: a part of them, another one in each run, unless asked for.
    let step = if std::env::var_os("WAYPOST_LONG").is_some() { 1 } else { 4 };
    for operation in (rand::random_range(0..step)..).step_by(step as usize) {
        let disk = Disk::default();
        on(&disk).unwrap().close().await;
        disk.fail_after(operation, count, fault);
        let mut told = Told::default();
        let what = format!("{fault:?} × {count} at {operation}");
        let lived = live(&disk, &mut told).await;
        let reached = disk.has_failed();
        disk.cut_power(operation);
        if let Err(error) = lived {
            let told = match fault {
                Fault::Full => matches!(error, QueueError::NoRoom { .. }),
                Fault::Broken | Fault::Unreadable => matches!(error, QueueError::Open { .. }),
            };
            assert!(told, "{what}: {error}");
        }
        check(&disk, &told, &what).await;
        if !reached {
            assert!(operation > least, "{what}: the run has lost its point");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_finds_no_room() {
    at_every_operation(Fault::Full, 1, 60).await;
    at_every_operation(Fault::Full, 7, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_or_sync_that_fails() {
    at_every_operation(Fault::Broken, 1, 60).await;
    at_every_operation(Fault::Broken, 3, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails() {
    at_every_operation(Fault::Unreadable, 1, 10).await;
}
