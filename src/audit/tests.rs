//! The trail on a file: what is found, what is altered, what is lost.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable as _};

use super::block::Block;
use super::record::{Accepted, Attempt, Fate, Message, Record, Routed, Said, Settled, Text, Then, What};
use super::store::{BLOCKS, FILTERS};
use super::*;
use crate::config::Size;
use crate::mail::{Mid, Timestamp};
use crate::os::Clock;
use crate::queue::{Follower, Position};

fn start() -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000).unwrap()
}

/// A message a second.
fn mid(n: u32) -> Mid {
    Mid::new(at(n), u128::from(n))
}

fn at(n: u32) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + i64::from(n) * 1000).unwrap()
}

fn options(folder: &Path) -> KeeperOptions {
    KeeperOptions {
        path: folder.join("audit.redb"),
        keep: Duration::from_secs(90 * 24 * 3600),
        max_size: Size(1 << 30),
        hashed: false,
    }
}

fn clock() -> Clock {
    Clock::following_tokio(start())
}

/// What two entries of the journal bring: a message's acceptance, and its delivery or bounce.
fn notes(n: u32) -> Vec<Vec<u8>> {
    let sender = format!("Sender{}@shop.example", n % 7);
    let recipient = format!("r{n}@customer.example");
    let id = format!("{n}.abc@shop.example");
    let provider_id = format!("P-{n}");
    let accepted = What::Accepted(Accepted {
        message: Message {
            listener: "apps".into(),
            client: Some("192.0.2.7".parse().unwrap()),
            helo: Some("app".into()),
            protocol: "ESMTP".into(),
            sender: Some(sender.as_str().into()),
            recipients: vec![recipient.as_str().into()],
            message_id: Some(id.as_str().into()),
            size: 1000,
            duration_ms: 3,
            ..Message::default()
        },
        revision: "0123456789ab".into(),
        routed: vec![Routed {
            route: if n.is_multiple_of(2) { "even" } else { "odd" }.into(),
            destination: None,
            recipients: vec![0],
            held: None,
        }],
    });
    let reply = format!("2.0.0 {recipient} taken");
    let settled = What::Settled(Settled {
        revision: "0123456789ab".into(),
        route: if n.is_multiple_of(2) { "even" } else { "odd" }.into(),
        attempt: Some(Attempt { provider: "ses".into(), destination: None, number: 1, probe: false, duration_ms: 12 }),
        fates: vec![Fate {
            recipients: vec![recipient.as_str().into()],
            said: Some(Said {
                outcome: Some("delivered".into()),
                code: Some(250),
                status: "2.0.0".into(),
                text: reply.as_str().into(),
                remote: Some("mx.example".into()),
                provider_id: Some(provider_id.as_str().into()),
            }),
            then: Then::Delivered,
        }],
    });
    vec![note(&Record::new(at(n), Some(mid(n)), accepted), 256), note(&Record::new(at(n), Some(mid(n)), settled), 256)]
}

fn position(n: u32) -> Position {
    Position::from_parts(1, u64::from(n) * 1000, u64::from(n) + 2)
}

fn feed(keeper: &mut Keeper, numbers: std::ops::RangeInclusive<u32>) {
    for n in numbers {
        keeper.take(&notes(n), position(n));
        if n.is_multiple_of(100) {
            keeper.keep().unwrap();
        }
    }
    keeper.keep().unwrap();
}

/// A trail of `count` messages, closed again.
fn made(folder: &Path, count: u32) -> PathBuf {
    let (mut keeper, _) = Keeper::open(options(folder), clock()).unwrap();
    keeper.begin(None);
    feed(&mut keeper, 1..=count);
    folder.join("audit.redb")
}

fn names(found: &Found) -> Vec<String> {
    found.events.iter().map(|event| format!("{} {}", event.mid.clone().unwrap_or_default(), event.event)).collect()
}

fn of(n: u32) -> Vec<String> {
    ["accepted", "routed", "attempt", "delivered"].map(|event| format!("{} {event}", mid(n))).to_vec()
}

fn alter(
    path: &Path,
    run: impl FnOnce(&mut redb::Table<'_, u64, &'static [u8]>, &mut redb::Table<'_, u64, &'static [u8]>),
) {
    let database = Database::open(path).unwrap();
    let txn = database.begin_write().unwrap();
    run(&mut txn.open_table(BLOCKS).unwrap(), &mut txn.open_table(FILTERS).unwrap());
    txn.commit().unwrap();
}

/// First records and octets of all blocks.
fn blocks(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let database = redb::ReadOnlyDatabase::open(path).unwrap();
    let txn = database.begin_read().unwrap();
    let blocks = txn.open_table(BLOCKS).unwrap();
    blocks
        .iter()
        .unwrap()
        .map(|row| row.unwrap())
        .map(|(first, block)| (first.value(), block.value().to_vec()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_found_by_each_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, trail) = Keeper::open(options(folder.path()), clock()).unwrap();
    keeper.begin(None);
    feed(&mut keeper, 1..=5000);
    assert!(blocks_of(&trail) > 5, "{}", blocks_of(&trail));
    for n in [1, 2, 777, 4999, 5000] {
        for name in [
            mid(n).to_string(),
            format!("R{n}@Customer.example"),
            format!("<r{n}@customer.example>"),
            format!("{n}.abc@shop.example"),
            format!("<{n}.abc@shop.example>"),
            format!("P-{n}"),
        ] {
            assert_eq!(names(&trail.find(&name, 10).unwrap()), of(n), "{name}");
        }
    }
    assert_eq!(trail.find("nobody@customer.example", 10).unwrap(), Found::default());
    assert_eq!(trail.find(&mid(6000).to_string(), 10).unwrap(), Found::default());
    let many = trail.find("sender3@shop.example", 10).unwrap();
    let last: Vec<u32> = (1..=5000).rev().filter(|n| n % 7 == 3).take(10).collect();
    assert_eq!(names(&many), last.iter().rev().flat_map(|n| of(*n)).collect::<Vec<_>>());
    assert_eq!(many.left_out, (1..=5000).filter(|n| n % 7 == 3).count() - 10);

    let wanted = Filter {
        since: Some(at(4000)),
        until: Some(at(4004)),
        route: Some("even".to_owned()),
        event: Some("delivered".to_owned()),
        ..Filter::default()
    };
    let mut seen = Vec::new();
    trail
        .each(&wanted, |event| {
            seen.push(event.mid.unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, [mid(4000), mid(4002), mid(4004)].map(|mid| mid.to_string()));
}

fn blocks_of(trail: &Trail) -> usize {
    trail.slot.read(|txn| Ok(txn.open_table(BLOCKS)?.iter()?.count())).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_trail_that_nobody_touched_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = made(folder.path(), 3000);
    let verified = Trail::open_to_read(&path).unwrap().verify(&[]).unwrap();
    assert!(verified.whole, "{verified}");
    assert_eq!((verified.first, verified.last, verified.records), (1, 6001, 6001));
}

#[tokio::test(start_paused = true)]
async fn each_alteration_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let good = made(folder.path(), 3000);
    let head: Head = Trail::open_to_read(&good).unwrap().verify(&[]).unwrap().head.parse().unwrap();
    let there = blocks(&good);
    let (second, last) = (there[1].0, there.last().unwrap().0);
    let check = |name: &str, change: &dyn Fn(&Path), expected: &[(u64, u64, &str)]| {
        let copy = folder.path().join("copy.redb");
        std::fs::copy(&good, &copy).unwrap();
        change(&copy);
        let verified = Trail::open_to_read(&copy).unwrap().verify(&[head]).unwrap();
        assert!(!verified.whole, "{name}");
        for (first, last, what) in expected {
            let told = verified
                .flaws
                .iter()
                .any(|flaw| (flaw.first, flaw.last) == (*first, *last) && flaw.what.contains(what));
            assert!(told, "{name}: {first} to {last} {what}: {verified}");
        }
        assert_eq!(
            verified.flaws[0].first,
            expected.first().map_or(second, |(first, ..)| *first),
            "{name}: {verified}"
        );
    };
    let third = there[2].0;
    // Whatever octet of a block: it is unpacked to something else, or not at all, or its hash is another one.
    for at in (73..there[1].1.len()).step_by(2997) {
        check(
            &format!("octet {at} turned"),
            &|copy| {
                let mut block = there[1].1.clone();
                block[at] ^= 1;
                alter(copy, |blocks, _| drop(blocks.insert(second, &block[..]).unwrap()));
            },
            &[(second, third - 1, "altered")],
        );
    }
    for at in [0, 1, 4, 5, 8, 9, 40, 41, 72] {
        check(
            &format!("octet {at} of the head turned"),
            &|copy| {
                let mut block = there[1].1.clone();
                block[at] ^= 1;
                alter(copy, |blocks, _| drop(blocks.insert(second, &block[..]).unwrap()));
            },
            &[],
        );
    }
    check(
        "a block is gone",
        &|copy| {
            alter(copy, |blocks, filters| {
                blocks.remove(second).unwrap();
                filters.remove(second).unwrap();
            });
        },
        &[(second, third - 1, "missing")],
    );
    check(
        "the end is gone",
        &|copy| {
            alter(copy, |blocks, filters| {
                blocks.remove(last).unwrap();
                filters.remove(last).unwrap();
            });
        },
        &[(last, 6001, "missing at the end")],
    );
    check(
        "the beginning is gone",
        &|copy| {
            alter(copy, |blocks, filters| {
                blocks.remove(1).unwrap();
                filters.remove(1).unwrap();
            });
        },
        &[(1, second - 1, "missing at the beginning")],
    );
    check(
        "a filter is another one",
        &|copy| {
            alter(copy, |_, filters| {
                let mut filter = filters.get(second).unwrap().unwrap().value().to_vec();
                *filter.last_mut().unwrap() ^= 1;
                filters.insert(second, &filter[..]).unwrap();
            });
        },
        &[(second, third - 1, "searched")],
    );
}

/// Whoever may write the file can make a chain that fits in itself; a head that was told elsewhere gives him away.
#[tokio::test(start_paused = true)]
async fn a_chain_that_was_made_anew_does_not_fit_what_the_log_has() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let head = |path: &Path| Trail::open_to_read(path).unwrap().verify(&[]).unwrap().head.parse::<Head>().unwrap();
    let told = head(&made(one.path(), 300));
    // The same but for one message.
    let (mut keeper, trail) = Keeper::open(options(other.path()), clock()).unwrap();
    keeper.begin(None);
    feed(&mut keeper, 1..=199);
    feed(&mut keeper, 201..=300);
    assert!(trail.verify(&[]).unwrap().whole);
    assert!(!trail.verify(&[told]).unwrap().whole);
    feed(&mut keeper, 301..=400);
    let verified = trail.verify(&[told]).unwrap();
    assert!(verified.flaws[0].what.contains("told elsewhere"), "{verified}");
    // One that was true then is true still.
    let (mut keeper, trail) = Keeper::open(options(one.path()), clock()).unwrap();
    keeper.begin(Some(&told.octets()));
    feed(&mut keeper, 301..=400);
    assert!(trail.verify(&[told]).unwrap().whole);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_kept_comes_again_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, trail) = Keeper::open(options(folder.path()), clock()).unwrap();
    keeper.begin(None);
    feed(&mut keeper, 1..=150);
    for n in 151..=170 {
        keeper.take(&notes(n), position(n));
    }
    // Killed here, or its disk failed: what it has says where it goes on.
    keeper.reopen().unwrap();
    assert_eq!(keeper.position(), Some(position(150)));
    feed(&mut keeper, 151..=400);
    drop((keeper, trail));
    let (mut keeper, trail) = Keeper::open(options(folder.path()), clock()).unwrap();
    assert_eq!(keeper.position(), Some(position(400)));
    feed(&mut keeper, 401..=410);
    assert!(trail.verify(&[]).unwrap().whole);
    let mut accepted = Vec::new();
    let only = Filter { event: Some("accepted".to_owned()), ..Filter::default() };
    trail
        .each(&only, |event| {
            accepted.push(event.mid.unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(accepted, (1..=410).map(|n| mid(n).to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_trail_that_is_gone_or_cut_begins_or_goes_on_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = made(folder.path(), 50);
    let kept = folder.path().join("kept");
    std::fs::copy(&path, &kept).unwrap();
    let (mut keeper, _) = Keeper::open(options(folder.path()), clock()).unwrap();
    feed(&mut keeper, 51..=60);
    let mark = keeper.keep().unwrap();
    drop(keeper);
    let told = |trail: &Trail| {
        let mut told = Vec::new();
        let only = Filter { event: Some("trail".to_owned()), ..Filter::default() };
        let each = |event: Event| {
            told.push(event.reason.unwrap());
            ControlFlow::Continue(())
        };
        trail.each(&only, each).unwrap();
        told
    };
    // An older copy was put back.
    std::fs::copy(&kept, &path).unwrap();
    let (mut keeper, trail) = Keeper::open(options(folder.path()), clock()).unwrap();
    keeper.begin(Some(&mark));
    keeper.keep().unwrap();
    assert_eq!(told(&trail), ["the trail begins", "the trail is not the one of 121 records that the queue remembers"]);
    drop((keeper, trail));
    std::fs::remove_file(&path).unwrap();
    let (mut keeper, trail) = Keeper::open(options(folder.path()), clock()).unwrap();
    assert_eq!(keeper.position(), None);
    keeper.begin(Some(&mark));
    keeper.keep().unwrap();
    assert_eq!(told(&trail), ["the trail begins anew: 121 records before were lost"]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = made(folder.path(), 300);
    let there = blocks(&path);
    let (last, mut block) = there.last().unwrap().clone();
    *block.last_mut().unwrap() ^= 1;
    alter(&path, |blocks, _| drop(blocks.insert(last, &block[..]).unwrap()));
    let octets = std::fs::read(&path).unwrap();
    let error = Keeper::open(options(folder.path()), clock()).err().unwrap().to_string();
    assert!(
        error.contains("audit.redb cannot be opened: it is damaged: its last block") && error.contains("audit: off"),
        "{error}"
    );
    assert_eq!(blocks(&path).last().unwrap().1, block);
    std::fs::write(&path, &octets[..octets.len() / 3]).unwrap();
    assert!(Keeper::open(options(folder.path()), clock()).is_err());
    assert_eq!(std::fs::read(&path).unwrap().len(), octets.len() / 3);
    std::fs::write(&path, b"Dear diary").unwrap();
    let error = Keeper::open(options(folder.path()), clock()).err().unwrap().to_string();
    assert!(error.contains("move it away"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"Dear diary");
    // Another program's.
    std::fs::remove_file(&path).unwrap();
    let foreign = Database::create(&path).unwrap();
    let txn = foreign.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
    txn.commit().unwrap();
    drop(foreign);
    let error = Keeper::open(options(folder.path()), clock()).err().unwrap().to_string();
    assert!(error.contains("no trail of waypost"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_relay_has_a_trail_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (_keeper, trail) = Keeper::open(options(folder.path()), clock()).unwrap();
    assert!(matches!(Keeper::open(options(folder.path()), clock()), Err(AuditError::Busy { .. })));
    assert!(matches!(Trail::open_to_read(trail.path()), Err(AuditError::Busy { .. })));
}

#[tokio::test(start_paused = true)]
async fn hashed_addresses_are_not_there_and_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let hashed = KeeperOptions { hashed: true, ..options(folder.path()) };
    let (mut keeper, trail) = Keeper::open(hashed, clock()).unwrap();
    keeper.begin(None);
    feed(&mut keeper, 1..=500);
    let found = trail.find("R333@customer.example", 10).unwrap();
    assert_eq!(names(&found), of(333));
    let told = serde_json::to_string(&found.events).unwrap();
    assert!(
        !told.contains("r333@") && !told.to_lowercase().contains("sender4@") && told.contains("@customer.example"),
        "{told}"
    );
    assert_eq!(names(&trail.find(&found.events[0].recipients[0], 10).unwrap()), of(333), "by its hash too");
    assert!(trail.verify(&[]).unwrap().whole);
    drop((keeper, trail));
    for (_, block) in blocks(&folder.path().join("audit.redb")) {
        let octets = Block::unpack(&block).unwrap().octets;
        let text = String::from_utf8_lossy(&octets).to_lowercase();
        for n in 1..=500 {
            assert!(!text.contains(&format!("r{n}@customer")), "{n}");
        }
        assert!(!text.contains("sender"));
    }
    // Whoever has the file and not the key finds nobody.
    std::fs::remove_file(folder.path().join("audit.key")).unwrap();
    let trail = Trail::open_to_read(&folder.path().join("audit.redb")).unwrap();
    assert_eq!(trail.find("r333@customer.example", 10).unwrap(), Found::default());
}

#[tokio::test(start_paused = true)]
async fn old_records_go_and_the_rest_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let short = KeeperOptions { keep: Duration::from_secs(2000), ..options(folder.path()) };
    let (mut keeper, trail) = Keeper::open(short, clock()).unwrap();
    keeper.begin(None);
    feed(&mut keeper, 1..=5000);
    tokio::time::advance(Duration::from_secs(5000)).await;
    keeper.take(&notes(5001), position(5001));
    keeper.keep().unwrap();
    let verified = trail.verify(&[]).unwrap();
    assert!(verified.whole, "{verified}");
    assert!(verified.first > 2000 && verified.first < 6200, "{verified}");
    assert_eq!(trail.find("r1@customer.example", 10).unwrap(), Found::default());
    assert_eq!(names(&trail.find("r4000@customer.example", 10).unwrap()), of(4000));
    // What is gone for no such reason is missed all the same.
    drop((keeper, trail));
    let path = folder.path().join("audit.redb");
    let first = blocks(&path)[0].0;
    alter(&path, |blocks, filters| {
        blocks.remove(first).unwrap();
        filters.remove(first).unwrap();
    });
    let verified = Trail::open_to_read(&path).unwrap().verify(&[]).unwrap();
    assert!(verified.flaws[0].what.contains("missing at the beginning"), "{verified}");
}

#[tokio::test(start_paused = true)]
async fn the_trail_stays_below_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let small = KeeperOptions { max_size: Size(150_000), ..options(folder.path()) };
    let (mut keeper, trail) = Keeper::open(small, clock()).unwrap();
    keeper.begin(None);
    feed(&mut keeper, 1..=20_000);
    let verified = trail.verify(&[]).unwrap();
    assert!(verified.whole, "{verified}");
    assert!(verified.octets < 250_000 && verified.records > 1000, "{verified}");
    assert_eq!(names(&trail.find("r20000@customer.example", 10).unwrap()), of(20_000));
}

#[test]
fn what_is_of_no_form_is_no_record() {
    assert!(record::read(b"").is_none());
    let octets = notes(1).remove(0);
    let records: Vec<_> = record::each(&octets).collect();
    assert!(matches!(records[..], [Some(_)]));
    let record = record::read(records[0].unwrap()).unwrap();
    assert_eq!(record.mid(), Some(mid(1)));
    let mut again = Vec::new();
    record.push(&mut again);
    assert_eq!(again, octets);
    assert!(record::each(&octets[..octets.len() - 1]).any(|record| record.is_none()));
    let _: Text<'_> = "borrowed".into();
}
