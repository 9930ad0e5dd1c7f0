//! What one commit writes: each job applied to the tables, and what follows once it is on disk.
//!
//! A job is refused before it has written anything, so that the others of its batch are not touched. Each can be applied
//! again after a commit that failed: what an unseen success had written already is found and left.

use redb::{ReadableTable, Table, WriteTransaction};

use super::error::Fault;
use super::job::{Body, ChunkJob, Prepared, Settlement};
use super::lease::LegId;
use super::recent::Message;
use super::tables::{BODIES, COUNTERS, DUE, DueKey, LEGS, LegKey, MESSAGES, SPOOLING, decode, encode, lane_key, ms};
use super::{LaneDue, Leg, LegState};
use crate::mail::Mid;

pub(super) struct Batch<'t> {
    messages: Table<'t, u128, &'static [u8]>,
    legs: Table<'t, LegKey, &'static [u8]>,
    due: Table<'t, DueKey, ()>,
    bodies: Table<'t, LegKey, &'static [u8]>,
    spooling: Table<'t, u128, ()>,
    counters: Table<'t, &'static str, &'static [u8]>,
    effects: Effects,
}

/// What becomes true in memory with the commit.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) nudges: Vec<LaneDue>,
    pub(super) ended: Vec<LegId>,
    pub(super) accepted: Vec<(Mid, Message)>,
    pub(super) gone: Vec<Mid>,
}

/// Why one job was refused while the batch goes on.
pub(super) type Refusal = String;
/// The outer error spoils the batch, the inner one the job.
pub(super) type Applied = Result<Result<(), Refusal>, Fault>;

impl<'t> Batch<'t> {
    pub(super) fn new(txn: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            messages: txn.open_table(MESSAGES)?,
            legs: txn.open_table(LEGS)?,
            due: txn.open_table(DUE)?,
            bodies: txn.open_table(BODIES)?,
            spooling: txn.open_table(SPOOLING)?,
            counters: txn.open_table(COUNTERS)?,
            effects: Effects::default(),
        })
    }

    pub(super) fn effects(self) -> Effects {
        self.effects
    }

    pub(super) fn accept(&mut self, message: &Prepared) -> Applied {
        if let Err(refusal) = self.acceptable(message)? {
            return Ok(Err(refusal));
        }
        self.insert(message)?;
        Ok(Ok(()))
    }

    fn acceptable(&self, message: &Prepared) -> Applied {
        if self.messages.get(message.mid.bits())?.is_some() {
            return Ok(Err(format!("a message {} is there already", message.mid)));
        }
        self.content_is_whole(message)
    }

    fn content_is_whole(&self, message: &Prepared) -> Applied {
        if let Body::Ahead { ahead, written, .. } = &message.body {
            let lost = ahead.state().failed().is_some()
                || (*written > 0 && self.spooling.get(ahead.state().mid().bits())?.is_none());
            if lost || ahead.state().mid() != message.mid {
                return Ok(Err("its content, written ahead, is not there".to_owned()));
            }
        }
        Ok(Ok(()))
    }

    fn insert(&mut self, message: &Prepared) -> Result<(), Fault> {
        let mid = message.mid.bits();
        match &message.body {
            // Nobody to serve: nothing to keep.
            Body::Chunks(_) if message.legs.is_empty() => return Ok(()),
            Body::Chunks(chunks) => {
                for (n, chunk) in (0u32..).zip(chunks) {
                    self.bodies.insert((mid, n), &chunk[..])?;
                }
            }
            Body::Ahead { .. } if message.legs.is_empty() => return self.drop_spooled(message.mid),
            Body::Ahead { written, tail, .. } => {
                self.spooling.remove(mid)?;
                if !tail.is_empty() {
                    self.bodies.insert((mid, *written), &tail[..])?;
                }
            }
        }
        self.messages.insert(mid, &message.record[..])?;
        for (number, leg) in (0u32..).zip(&message.legs) {
            self.insert_leg(message.mid, number, leg)?;
        }
        if let Some(recent) = &message.recent {
            self.effects.accepted.push((message.mid, recent.clone()));
        }
        Ok(())
    }

    fn insert_leg(&mut self, mid: Mid, number: u32, leg: &super::job::PreparedLeg) -> Result<(), Fault> {
        self.legs.insert((mid.bits(), number), &leg.record[..])?;
        if leg.waiting {
            self.due.insert((&leg.key[..], ms(leg.due), mid.bits(), number), ())?;
        }
        self.effects.nudges.extend(leg.nudge());
        Ok(())
    }

    pub(super) fn settle(&mut self, settlement: &Settlement) -> Applied {
        let Settlement { mid, number, recipients, .. } = settlement;
        let leg = match self.legs.get((mid.bits(), *number))? {
            Some(record) => match decode::<Leg>("a leg", record.value()) {
                Ok(leg) => Some(leg),
                Err(fault) => return Ok(Err(fault.to_string())),
            },
            None => None,
        };
        for notice in &settlement.notices {
            if let Err(refusal) = self.content_is_whole(notice)? {
                return Ok(Err(refusal));
            }
        }
        for (name, record) in &settlement.counters {
            self.counters.insert(&name[..], &record[..])?;
        }
        // Gone, or without these recipients: a commit whose success was not seen has written all of this.
        let Some(mut leg) = leg else {
            self.effects.ended.push((*mid, *number));
            return Ok(Ok(()));
        };
        let before = leg.recipients.len();
        leg.recipients.retain(|recipient| recipients.binary_search(&recipient.index).is_err());
        if leg.recipients.len() == before && !recipients.is_empty() {
            return Ok(Ok(()));
        }
        self.replace(settlement, &leg, before)?;
        for notice in &settlement.notices {
            // The same once more: the notice may be there from that unseen commit.
            if self.messages.get(notice.mid.bits())?.is_none() {
                self.insert(notice)?;
            }
        }
        Ok(Ok(()))
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
            self.legs.insert((bits, number), &encode(left)[..])?;
        }
        for (number, leg) in (next..).zip(&settlement.legs) {
            self.insert_leg(mid, number, leg)?;
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
        match &leg.state {
            LegState::Waiting => {
                self.due.remove((&lane_key(&leg.lane)[..], ms(leg.due), mid.bits(), number))?;
            }
            LegState::Held { .. } => {}
        }
        Ok(())
    }

    fn remove_message(&mut self, mid: Mid) -> Result<(), Fault> {
        self.messages.remove(mid.bits())?;
        self.remove_body(mid)?;
        self.effects.gone.push(mid);
        Ok(())
    }

    /// Chunks are without gaps from 0 on.
    fn remove_body(&mut self, mid: Mid) -> Result<(), Fault> {
        for n in 0u32.. {
            if self.bodies.remove((mid.bits(), n))?.is_none() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn write_ahead(&mut self, chunk: &ChunkJob) -> Result<(), Fault> {
        if chunk.spool.is_abandoned() || chunk.spool.failed().is_some() {
            return Ok(());
        }
        let mid = chunk.spool.mid().bits();
        if chunk.n == 0 {
            self.spooling.insert(mid, ())?;
        }
        self.bodies.insert((mid, chunk.n), &chunk.octets[..])?;
        Ok(())
    }

    /// Removes content that was written ahead and that no message owns.
    pub(super) fn drop_spooled(&mut self, mid: Mid) -> Result<(), Fault> {
        if self.spooling.remove(mid.bits())?.is_some() {
            self.remove_body(mid)?;
        }
        Ok(())
    }

    /// Removes a message whose acceptance was refused after a commit of unknown fate: its client was told to try again.
    pub(super) fn unaccept(&mut self, mid: Mid) -> Result<(), Fault> {
        if self.messages.get(mid.bits())?.is_none() {
            return Ok(());
        }
        let bits = mid.bits();
        let mut legs = Vec::new();
        for row in self.legs.range((bits, 0)..=(bits, u32::MAX))? {
            let (key, record) = row?;
            legs.push((key.value().1, decode::<Leg>("a leg", record.value())?));
        }
        for (number, leg) in legs {
            self.remove_leg(mid, number, &leg)?;
        }
        self.remove_message(mid)
    }
}
