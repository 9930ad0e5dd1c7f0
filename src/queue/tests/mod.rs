//! The queue as a whole: on a file, on a disk that fails, and against a model.

mod by_route;
mod claims;
mod crash;
mod disk;
mod every;
mod follow;
mod file;
mod full;
mod journal;
mod load;
mod model;
mod snapshot;
mod spool;

mod young;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::content::CHUNK;
use super::error::Fault;
use super::*;
use crate::config::Size;
use crate::mail::{BodyKind, Domain, DsnRequest, Origin, Recipient, RouteName};

pub(super) fn envelope(size: u64, header_size: u32, recipients: u32) -> Envelope {
    Envelope {
        reverse_path: Some("a@example.com".parse().unwrap()),
        recipients: (0..recipients).map(|n| Recipient::new(format!("r{n}@example.org").parse().unwrap())).collect(),
        dsn: DsnRequest::default(),
        body: BodyKind::SevenBit,
        smtputf8: false,
        origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
        accepted_at: t(0),
        header_size,
        size,
    }
}

/// Seconds after the beginning of the test's time.
fn t(seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + seconds * 1000).unwrap()
}

fn mid(n: u128) -> Mid {
    Mid::from_bits(Mid::floor(t(0)).bits() + n)
}

fn lane(name: &str) -> Lane {
    let (route, domain) = name.split_once('/').map_or((name, None), |(route, domain)| (route, Some(domain)));
    Lane {
        route: RouteName::new(route),
        destination: domain.map(|domain| domain.parse::<Domain>().unwrap()),
        via: None,
    }
}

fn leg(name: &str, due: i64, recipients: &[u32]) -> Leg {
    Leg {
        lane: lane(name),
        due: t(due),
        recipients: recipients.iter().map(|&index| LegRecipient { index, last: None }).collect(),
        attempts: 0,
        passed: Vec::new(),
        state: LegState::Waiting,
        warned: false,
        orders: Orders::default(),
        tried: None,
    }
}

fn held(name: &str, recipients: &[u32]) -> Leg {
    Leg { state: LegState::Held { reason: "asked".to_owned() }, ..leg(name, 0, recipients) }
}

/// Content that tells its message: octets that follow from the number.
fn octets(n: u128, size: usize) -> Bytes {
    (0..size).map(|at| (n as usize).wrapping_mul(31).wrapping_add(at.wrapping_mul(7) + at / 251) as u8).collect()
}

fn message(n: u128, size: usize, legs: Vec<Leg>) -> NewMessage {
    let content = octets(n, size);
    let header_size = u32::try_from(size / 4).unwrap();
    let recipients = legs.iter().flat_map(|leg| &leg.recipients).map(|r| r.index + 1).max().unwrap_or(1);
    NewMessage {
        mid: mid(n),
        envelope: envelope(size as u64, header_size, recipients),
        legs,
        content: NewContent::Memory(content),
        note: format!("accepted {n}").into_bytes(),
    }
}

/// Returns when the index has all that was acknowledged: nudges are given then.
async fn indexed(queue: &Queue) {
    queue.0.memory.progress.caught_up().await;
}

/// A claim that sees what was acknowledged before it.
async fn claim_due(queue: &Queue, lane: &Lane, now: Timestamp, most: usize) -> Result<Claimed, QueueError> {
    indexed(queue).await;
    queue.claim(lane, now, most).await
}

fn done(claim: &Claim) -> Settled {
    Settled {
        mid: claim.mid,
        number: claim.number,
        recipients: claim.leg.recipients.iter().map(|recipient| recipient.index).collect(),
        legs: Vec::new(),
        notices: Vec::new(),
        counters: Vec::new(),
        note: format!("settled {}", claim.mid.bits() - mid(0).bits()).into_bytes(),
    }
}

fn options(path: PathBuf) -> QueueOptions {
    QueueOptions { path, min_free: Size(0), max_messages: u64::MAX, max_size: None, cache: 8 << 20 }
}

/// A queue on a disk of the test's.
fn on(disk: &disk::Disk) -> Result<Queue, QueueError> {
    with_probe(disk, Box::new(|| Ok(u64::MAX)), 0)
}

fn with_probe(disk: &disk::Disk, probe: Probe, min_free: u64) -> Result<Queue, QueueError> {
    // Whoever attaches takes the disk from those before; opening the index anew takes nothing.
    let backend = disk.attach();
    let parts = Parts {
        medium: disk.folder(),
        opener: Box::new(move || {
            redb::Database::builder().set_cache_size(1 << 20).create_with_backend(backend.clone()).map_err(Fault::from)
        }),
        probe,
        probe_every: Duration::ZERO,
        pause: Duration::from_millis(1),
        follower: Some(Box::new(follow::Reader::on(disk))),
    };
    Queue::start(
        &QueueOptions {
            path: PathBuf::from("test.redb"),
            min_free: Size(min_free),
            max_messages: u64::MAX,
            max_size: None,
            cache: 0,
        },
        parts,
    )
}
