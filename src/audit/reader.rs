//! Finds events: of a message, of an address or an id, or of a time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use redb::{ReadTransaction, ReadableTable};

use super::Trail;
use super::block::{Block, Span};
use super::error::{AuditError, Fault};
use super::event::{self, Event};
use super::filter::{self, Kind};
use super::note::MESSAGE_ID;
use super::record::{self, Message, Record, What};
use super::store::{BLOCKS, FILTERS};
use crate::mail::{Mid, Timestamp};

/// What events are wanted; what is not given restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub route: Option<String>,
    pub provider: Option<String>,
    /// The event's word.
    pub event: Option<String>,
    /// Records behind this one.
    pub after: Option<u64>,
}

impl Filter {
    pub fn takes(&self, event: &Event) -> bool {
        let is_wanted = |given: &Option<String>, there: &Option<String>| given.is_none() || given == there;
        // The texts of times sort as the times do.
        let text = |at: &Option<Timestamp>| at.map(event::moment);
        is_wanted(&self.route, &event.route)
            && is_wanted(&self.provider, &event.provider)
            && self.event.as_ref().is_none_or(|name| *name == event.event)
            && self.after.is_none_or(|after| event.record > after)
            && text(&self.since).is_none_or(|since| event.at >= since)
            && text(&self.until).is_none_or(|until| event.at <= until)
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Message by message, in the order of acceptance; within one, in the order of the trail.
    pub events: Vec<Event>,
    /// Messages that were found beyond `most`: the oldest ones, left out.
    pub left_out: usize,
}

impl Trail {
    /// All events of the message that a mid names, or of the last `most` ones that an address, a Message-ID or a provider's id
    /// names.
    pub fn find(&self, wanted: &str, most: usize) -> Result<Found, AuditError> {
        let wanted = wanted.trim();
        let reading = |fault: Fault| fault.reading(&self.path);
        if let Ok(mid) = wanted.parse::<Mid>() {
            let events =
                self.slot.read(|txn| of_messages(txn, &BTreeSet::from([record::octets(mid)]))).map_err(reading)?;
            return Ok(Found { events, left_out: 0 });
        }
        let names = Names::new(wanted, self);
        self.slot
            .read(|txn| {
                let mut mids = names.mids(txn)?;
                let left_out = mids.len().saturating_sub(most);
                for _ in 0..left_out {
                    mids.pop_first();
                }
                Ok(Found { events: of_messages(txn, &mids)?, left_out })
            })
            .map_err(reading)
    }

    /// Events in the order of the trail, each to `take`, until that breaks off.
    pub fn each(&self, wanted: &Filter, mut take: impl FnMut(Event) -> ControlFlow<()>) -> Result<(), AuditError> {
        let ms = |at: Timestamp| at.as_millisecond();
        let (since, until) = (wanted.since.map_or(i64::MIN, ms), wanted.until.map_or(i64::MAX, ms));
        let after = wanted.after.unwrap_or(0);
        // The times of records were looked at already.
        let rest = Filter { since: None, until: None, ..wanted.clone() };
        let run = |txn: &ReadTransaction| {
            each_block(
                txn,
                since,
                after,
                |span| span.latest >= since && span.earliest <= until,
                |number, record| {
                    if number <= after || record.at < since || record.at > until {
                        return ControlFlow::Continue(());
                    }
                    for event in event::events(number, record) {
                        if rest.takes(&event) && take(event).is_break() {
                            return ControlFlow::Break(());
                        }
                    }
                    ControlFlow::Continue(())
                },
            )
        };
        self.slot.read(run).map_err(|fault| fault.reading(&self.path))
    }
}

/// Under what an address or id may stand in records.
struct Names {
    addresses: Vec<String>,
    id: String,
}

impl Names {
    fn new(wanted: &str, trail: &Trail) -> Self {
        let bare = wanted.trim_start_matches('<').trim_end_matches('>');
        let mut addresses = vec![bare.to_owned()];
        if bare.contains('@') {
            addresses.extend(trail.hider.as_ref().map(|hider| hider.address(bare)));
        }
        Self { addresses, id: bare[..bare.floor_char_boundary(MESSAGE_ID)].to_owned() }
    }

    /// The messages of the records that have one of the names.
    fn mids(&self, txn: &ReadTransaction) -> Result<BTreeSet<[u8; 16]>, Fault> {
        let mut keys: Vec<u64> =
            self.addresses.iter().map(|address| filter::key(Kind::Address, address.as_bytes())).collect();
        keys.push(filter::key(Kind::MessageId, self.id.as_bytes()));
        keys.push(filter::key(Kind::ProviderId, self.id.as_bytes()));
        let mut mids = BTreeSet::new();
        let wanted = |span: &Span<'_>| keys.iter().any(|key| filter::has(span.bits, *key));
        each_block(txn, i64::MIN, 0, wanted, |_, record| {
            if record.mid().is_some() && self.are_in(record) {
                mids.insert(record.mid);
            }
            ControlFlow::Continue(())
        })?;
        Ok(mids)
    }

    fn are_in(&self, record: &Record<'_>) -> bool {
        let address =
            |text: &record::Text<'_>| self.addresses.iter().any(|address| address.eq_ignore_ascii_case(text.as_str()));
        let message = |message: &Message<'_>| {
            message.sender.iter().chain(&message.recipients).any(address)
                || message.message_id.as_ref().is_some_and(|id| id.as_str() == self.id)
        };
        match &record.what {
            What::Accepted(accepted) => message(&accepted.message),
            What::Discarded(discarded) => message(&discarded.message),
            What::Refused(refused) => message(&refused.message),
            What::Settled(settled) => settled.fates.iter().any(|fate| {
                let id = fate.said.as_ref().and_then(|said| said.provider_id.as_ref());
                fate.recipients.iter().any(address) || id.is_some_and(|id| id.as_str() == self.id)
            }),
            What::Act(act) => act.recipients.iter().any(address),
            What::Trail(_) | What::Skipped(_) => false,
        }
    }
}

/// All events of these messages: nothing of one stands in the trail before the time in its mid.
fn of_messages(txn: &ReadTransaction, mids: &BTreeSet<[u8; 16]>) -> Result<Vec<Event>, Fault> {
    let Some(first) = mids.first() else { return Ok(Vec::new()) };
    let since = i64::try_from(u128::from_be_bytes(*first) >> 80).unwrap_or(0);
    let keys: Vec<u64> = mids.iter().map(|mid| filter::key(Kind::Mid, mid)).collect();
    let mut found: BTreeMap<[u8; 16], Vec<Event>> = BTreeMap::new();
    let wanted = |span: &Span<'_>| keys.iter().any(|key| filter::has(span.bits, *key));
    each_block(txn, since, 0, wanted, |number, record| {
        if mids.contains(&record.mid) {
            found.entry(record.mid).or_default().extend(event::events(number, record));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found.into_values().flatten().collect())
}

/// Each record of the blocks that `wanted` asks for, from the first block that may have something of `since` on, and behind
/// record `after`.
pub(super) fn each_block(
    txn: &ReadTransaction,
    since: i64,
    after: u64,
    wanted: impl Fn(&Span<'_>) -> bool,
    mut take: impl FnMut(u64, &Record<'_>) -> ControlFlow<()>,
) -> Result<(), Fault> {
    let (filters, blocks) = (txn.open_table(FILTERS)?, txn.open_table(BLOCKS)?);
    let within =
        filters.range(..=after.saturating_add(1))?.next_back().transpose()?.map_or(0, |(first, _)| first.value());
    let from = first_since(&filters, since)?.max(within);
    for row in filters.range(from..)? {
        let (first, filter) = row?;
        let span = Span::read(filter.value()).ok_or_else(|| damaged(first.value()))?;
        if !wanted(&span) {
            continue;
        }
        let first = first.value();
        let block = blocks.get(first)?.ok_or_else(|| damaged(first))?;
        let block = Block::unpack(block.value()).ok_or_else(|| damaged(first))?;
        for (number, octets) in (first..).zip(record::each(&block.octets)) {
            // One that does not read back is passed over: `verify` tells whether it was altered.
            let Some(record) = octets.and_then(record::read) else { continue };
            if take(number, &record).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The first block whose latest time is not before `since`: the latest time of all records so far never falls.
pub(super) fn first_since(filters: &redb::ReadOnlyTable<u64, &'static [u8]>, since: i64) -> Result<u64, Fault> {
    let Some((low, _)) = filters.first()? else { return Ok(0) };
    let Some((high, _)) = filters.last()? else { return Ok(0) };
    let (mut low, mut high) = (low.value(), high.value());
    // Everything before `low` is too old; `high` may not be.
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(row) = filters.range(..=middle)?.next_back() else { break };
        let (first, filter) = row?;
        let span = Span::read(filter.value()).ok_or_else(|| damaged(first.value()))?;
        if span.latest >= since {
            high = first.value();
        } else {
            let next = filters.range(first.value() + 1..)?.next().transpose()?;
            low = next.map_or(high, |(next, _)| next.value());
        }
    }
    Ok(low)
}

fn damaged(first: u64) -> Fault {
    Fault::Damaged(format!("its block from record {first} on does not read back: `waypost trace --verify` tells more"))
}
