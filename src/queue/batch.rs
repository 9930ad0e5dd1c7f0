//! What the index is told: each entry of the journal applied to the tables, and what follows once that is committed.
//!
//! Entries are applied in the journal's order, each once, also after a crash: the position in the journal is committed
//! with them.

use std::collections::HashMap;

use redb::{ReadableTable, ReadableTableMetadata as _, Table, WriteTransaction};
use tracing::error;

use super::error::Fault;
use super::job::{Body, Entry, Prepared, PreparedLeg, Settlement};
use super::journal::Position;
use super::lease::LegId;
use super::load::{self, Amount};
use super::tables::{
    BODIES, BodyKey, COUNTERS, DUE, DueKey, FOLLOWER_KEY, JOURNAL, LEGS, LegKey, MARKS, MESSAGES, META, Place,
    SIZE_KEY, lane_key, leg_of, leg_record, ms,
};
use super::tally::{self, TALLY, TallyKey};
use super::{LaneDue, Leg, LegState};
use crate::mail::Mid;

pub(super) struct Batch<'t> {
    /// Messages that came and went before the index heard of them.
    void: &'t HashMap<Mid, u64>,
    messages: Table<'t, u128, &'static [u8]>,
    legs: Table<'t, LegKey, &'static [u8]>,
    due: Table<'t, DueKey, ()>,
    bodies: Table<'t, BodyKey, (u128, u32)>,
    counters: Table<'t, &'static str, &'static [u8]>,
    journal: Table<'t, (), (u32, u64, u64)>,
    marks: Table<'t, &'static str, &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    tally: Table<'t, TallyKey, u64>,
    changes: tally::Changes,
    /// Octets of all content.
    size: u64,
    effects: Effects,
}

/// What becomes true in memory with the commit.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) nudges: Vec<LaneDue>,
    pub(super) ended: Vec<LegId>,
    pub(super) gone: Vec<(Mid, Place)>,
    /// Parts of the journal that are wanted from now on, or no more: segment, octets.
    pub(super) lives: Vec<(u32, u32)>,
    pub(super) dies: Vec<(u32, u32)>,
}

/// Where an entry's bodies lie: behind one another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lie {
    pub(super) segment: u32,
    pub(super) offset: u64,
}

impl<'t> Batch<'t> {
    /// `size`: octets of all content before it.
    pub(super) fn new(txn: &'t WriteTransaction, size: u64, void: &'t HashMap<Mid, u64>) -> Result<Self, Fault> {
        Ok(Self {
            void,
            messages: txn.open_table(MESSAGES)?,
            legs: txn.open_table(LEGS)?,
            due: txn.open_table(DUE)?,
            bodies: txn.open_table(BODIES)?,
            counters: txn.open_table(COUNTERS)?,
            journal: txn.open_table(JOURNAL)?,
            marks: txn.open_table(MARKS)?,
            meta: txn.open_table(META)?,
            tally: txn.open_table(TALLY)?,
            changes: tally::Changes::default(),
            size,
            effects: Effects::default(),
        })
    }

    /// Up to where the journal has been applied.
    pub(super) fn reached(&mut self, position: Position) -> Result<(), Fault> {
        self.journal.insert((), (position.segment, position.offset, position.group))?;
        self.meta.insert(SIZE_KEY, self.size)?;
        self.changes.write(&mut self.tally, &mut self.meta, position.group)
    }

    /// How far whoever follows the journal has come, in words of its own.
    pub(super) fn mark(&mut self, mark: &[u8]) -> Result<(), Fault> {
        self.marks.insert(FOLLOWER_KEY, mark)?;
        Ok(())
    }

    /// What the index has with this batch. Nothing is counted: redb keeps the length.
    pub(super) fn amount(&self) -> Result<Amount, Fault> {
        Ok(Amount { messages: self.messages.len()?, octets: self.size })
    }

    pub(super) fn effects(self) -> Effects {
        self.effects
    }

    /// Moves `lie` behind the entry's bodies.
    pub(super) fn apply(&mut self, entry: &Entry, lie: &mut Lie) -> Result<(), Fault> {
        match entry {
            // Its lanes were nudged when it was made durable.
            Entry::Accept(message) => self.insert(message, lie, false),
            Entry::Settle(settlement) => self.settle(settlement, lie),
            Entry::Note => Ok(()),
        }
    }

    fn insert(&mut self, message: &Prepared, lie: &mut Lie, nudge: bool) -> Result<(), Fault> {
        let mid = message.mid.bits();
        let place = match message.body {
            Body::File => Place::File,
            Body::Journal { size, crc } => {
                let place = Place::Segment { segment: lie.segment, offset: lie.offset, size, crc };
                lie.offset += u64::from(size);
                place
            }
        };
        if self.messages.get(mid)?.is_some() {
            // Mids are never given twice; were one, the mail that is there already comes first.
            error!(mid = %message.mid, "a message of this id is queued already: the second one is dropped");
            return Ok(());
        }
        // Nobody to serve, or served already: nothing to keep.
        if message.legs.is_empty() || self.void.contains_key(&message.mid) {
            self.effects.gone.push((message.mid, place));
            return Ok(());
        }
        if let Place::Segment { segment, offset, size, .. } = place
            && size > 0
        {
            self.bodies.insert((segment, offset), (mid, size))?;
            self.effects.lives.push((segment, size));
        }
        let row = place.with(&message.record);
        self.size = self.size.saturating_add(load::size(&row));
        self.messages.insert(mid, &row[..])?;
        for (number, leg) in (0u32..).zip(&message.legs) {
            self.insert_leg(message.mid, number, leg)?;
            if nudge {
                self.effects.nudges.extend(leg.nudge());
            }
        }
        Ok(())
    }

    fn insert_leg(&mut self, mid: Mid, number: u32, leg: &PreparedLeg) -> Result<(), Fault> {
        self.legs.insert((mid.bits(), number), &leg.record[..])?;
        self.changes.add(&leg.lane.route, leg.waiting, mid);
        if leg.waiting {
            self.due.insert((&leg.key()[..], ms(leg.due), mid.bits(), number), ())?;
        }
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement, lie: &mut Lie) -> Result<(), Fault> {
        let Settlement { mid, number, recipients, .. } = settlement;
        for (name, record) in &settlement.counters {
            if record.is_empty() {
                self.counters.remove(&name[..])?;
            } else {
                self.counters.insert(&name[..], &record[..])?;
            }
        }
        for notice in &settlement.notices {
            self.insert(notice, lie, true)?;
        }
        if self.void.contains_key(mid) {
            return Ok(());
        }
        let leg = self.legs.get((mid.bits(), *number))?.map(|record| leg_of(record.value()));
        let mut leg = match leg {
            Some(Ok(leg)) => leg,
            Some(Err(fault)) => {
                error!(%mid, number, %fault, "an outcome is of a queued recipient that cannot be read");
                return Ok(());
            }
            None => {
                self.effects.ended.push((*mid, *number));
                return Ok(());
            }
        };
        let before = leg.recipients.len();
        leg.recipients.retain(|recipient| recipients.binary_search(&recipient.index).is_err());
        if leg.recipients.len() == before && !recipients.is_empty() {
            return Ok(());
        }
        self.replace(settlement, &leg, before)
    }

    /// Writes what is left of a leg, and the legs that its recipients went to.
    fn replace(&mut self, settlement: &Settlement, left: &Leg, before: usize) -> Result<(), Fault> {
        let (mid, number) = (settlement.mid, settlement.number);
        let bits = mid.bits();
        let mut next = 0;
        if !settlement.legs.is_empty() {
            // Taken while the leg is still there: numbers rise, so that no new leg has the name of one under lease.
            let last = self.legs.range((bits, 0)..=(bits, u32::MAX))?.next_back().transpose()?;
            next = last.map_or(0, |(key, _)| key.value().1.saturating_add(1));
        }
        if left.recipients.is_empty() {
            self.remove_leg(mid, number, left)?;
            self.effects.ended.push((mid, number));
        } else if left.recipients.len() < before {
            self.legs.insert((bits, number), &leg_record(left)[..])?;
            if matches!(left.state, LegState::Waiting) {
                // It may have been given back since.
                self.effects.nudges.push(LaneDue { lane: left.lane.clone(), due: left.due });
            }
        }
        for (number, leg) in (next..).zip(&settlement.legs) {
            self.insert_leg(mid, number, leg)?;
            self.effects.nudges.extend(leg.nudge());
        }
        if left.recipients.is_empty()
            && settlement.legs.is_empty()
            && self.legs.range((bits, 0)..=(bits, u32::MAX))?.next().is_none()
        {
            self.remove_message(mid)?;
        }
        Ok(())
    }

    fn remove_leg(&mut self, mid: Mid, number: u32, leg: &Leg) -> Result<(), Fault> {
        self.legs.remove((mid.bits(), number))?;
        self.changes.remove(&leg.lane.route, matches!(leg.state, LegState::Waiting), mid);
        match &leg.state {
            LegState::Waiting => {
                self.due.remove((&lane_key(&leg.lane)[..], ms(leg.due), mid.bits(), number))?;
            }
            LegState::Held { .. } => {}
        }
        Ok(())
    }

    fn remove_message(&mut self, mid: Mid) -> Result<(), Fault> {
        let place = match self.messages.remove(mid.bits())? {
            Some(row) => {
                self.size = self.size.saturating_sub(load::size(row.value()));
                Place::split(row.value()).map(|(place, _)| place)
            }
            None => return Ok(()),
        };
        match place {
            Ok(place) => {
                if let Place::Segment { segment, offset, size, .. } = place
                    && size > 0
                {
                    self.bodies.remove((segment, offset))?;
                    self.effects.dies.push((segment, size));
                }
                self.effects.gone.push((mid, place));
            }
            // Its part of the journal stays; there is nothing else to do with it.
            Err(fault) => error!(%mid, %fault, "a delivered message cannot be read"),
        }
        Ok(())
    }
}
