//! The mail of the last days, to ask tables of: blocks as the file has them, a page at a time, and what is in them.
//!
//! The relay hands out the blocks as they are, so that reading all of its trail costs it no more than reading a file; whoever
//! asks unpacks them.
//!
//! ```text
//! page:  the trail's first record u64 | blocks, each: its first record u64 | octets u32 | the block
//! ```

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use redb::ReadableTable;

use super::block::Block;
use super::error::{AuditError, Fault};
use super::hide::{Hider, is_hashed, key_path};
use super::reader::first_since;
use super::record::{self, Message, Record, Text, What};
use super::store::{BLOCKS, FILTERS};
use super::{Trail, event};
use crate::mail::Timestamp;
use crate::routing::{Name, Past, Unhash};

/// Hashes that are remembered.
const KEPT: usize = 1 << 16;
/// A trail that begins so much later than what is asked for does not have all of it.
const MOMENT: i64 = 60_000;

impl Trail {
    /// The blocks behind the one that begins with record `after`, from the first that may have something of `since` on: about
    /// as many octets of them as `most`. A page without blocks is the end.
    pub fn blocks(&self, since: Timestamp, after: Option<u64>, most: usize) -> Result<Vec<u8>, AuditError> {
        self.slot
            .read(|txn| {
                let (filters, blocks) = (txn.open_table(FILTERS)?, txn.open_table(BLOCKS)?);
                let from = match after {
                    Some(after) => after.saturating_add(1),
                    None => first_since(&filters, since.as_millisecond())?,
                };
                let first = blocks.first()?.map_or(1, |(first, _)| first.value());
                let mut page = first.to_le_bytes().to_vec();
                for row in blocks.range(from..)? {
                    let (first, block) = row?;
                    let size = u32::try_from(block.value().len()).map_err(|_| {
                        Fault::Damaged(format!("its block from record {} on has no end", first.value()))
                    })?;
                    page.extend_from_slice(&first.value().to_le_bytes());
                    page.extend_from_slice(&size.to_le_bytes());
                    page.extend_from_slice(block.value());
                    if page.len() >= most {
                        break;
                    }
                }
                Ok(page)
            })
            .map_err(|fault| fault.reading(&self.path))
    }
}

/// Reads the mail out of pages, and keeps count.
#[derive(Debug)]
pub struct Mails {
    since: Timestamp,
    /// Messages of the span, with their recipients.
    pub messages: u64,
    /// Records that do not read back.
    pub unreadable: u64,
    /// Of the first and the last record that was looked at, whatever it says, also before the span.
    first: Option<i64>,
    latest: Option<i64>,
    /// The trail's own first record was among them.
    from_the_first: bool,
}

/// A page that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("the trail's block from record {0} on does not read back: `waypost trace --verify` tells more")]
    Block(u64),
    #[error("what came from the trail does not read back: is the relay of another version?")]
    Page,
}

impl Mails {
    pub fn since(since: Timestamp) -> Self {
        Self { since, messages: 0, unreadable: 0, first: None, latest: None, from_the_first: false }
    }

    /// Each recipient's mail of a page. Gives `after` of the next page; `None`: this was the end.
    pub fn read(&mut self, page: &[u8], mut take: impl FnMut(&Past<'_>)) -> Result<Option<u64>, PageError> {
        let (first_of_all, mut rest) = number(page)?;
        let mut last = None;
        while !rest.is_empty() {
            let (first, behind) = number(rest)?;
            let (size, behind) = behind.split_at_checked(4).ok_or(PageError::Page)?;
            let size = u32::from_le_bytes(size.try_into().map_err(|_| PageError::Page)?);
            let size = usize::try_from(size).map_err(|_| PageError::Page)?;
            let (block, behind) = behind.split_at_checked(size).ok_or(PageError::Page)?;
            let block = Block::unpack(block).ok_or(PageError::Block(first))?;
            self.from_the_first |= first == first_of_all;
            for octets in record::each(&block.octets) {
                match octets.and_then(record::read) {
                    Some(record) => self.record(&record, &mut take),
                    None => self.unreadable += 1,
                }
            }
            last = Some(first);
            rest = behind;
        }
        Ok(last)
    }

    /// When the trail begins, where that is later than what is asked for.
    pub fn begins_late(&self) -> Option<Timestamp> {
        let first = self.first.filter(|_| self.from_the_first)?;
        (first > self.since.as_millisecond().saturating_add(MOMENT)).then(|| at(first))
    }

    /// When the last record that was looked at became true.
    pub fn ends(&self) -> Option<Timestamp> {
        self.latest.map(at)
    }

    fn record(&mut self, record: &Record<'_>, take: &mut impl FnMut(&Past<'_>)) {
        self.first.get_or_insert(record.at);
        self.latest = self.latest.max(Some(record.at));
        if record.at < self.since.as_millisecond() {
            return;
        }
        match &record.what {
            // The relay's own mail, of alerts, has routes that are in no file.
            What::Accepted(accepted) if accepted.message.listener.as_str().starts_with('-') => {}
            What::Accepted(accepted) => {
                self.messages += 1;
                let mut taken: Vec<Option<&str>> = vec![None; accepted.message.recipients.len()];
                for routed in &accepted.routed {
                    for index in &routed.recipients {
                        let of = usize::try_from(*index).ok().and_then(|index| taken.get_mut(index));
                        if let Some(of) = of {
                            *of = Some(routed.route.as_str());
                        }
                    }
                }
                each(&accepted.message, taken.into_iter(), take);
            }
            What::Discarded(discarded) => {
                self.messages += 1;
                // Which of several took which recipient is not kept.
                let only = match &discarded.routes[..] {
                    [only] => Some(only.as_str()),
                    _ => None,
                };
                each(&discarded.message, std::iter::repeat(only), take);
            }
            What::Refused(_) | What::Settled(_) | What::Skipped(_) | What::Act(_) | What::Trail(_) => {}
        }
    }
}

fn each<'a>(message: &'a Message<'a>, taken: impl Iterator<Item = Option<&'a str>>, take: &mut impl FnMut(&Past<'_>)) {
    for (recipient, taken) in message.recipients.iter().zip(taken) {
        take(&Past {
            sender: message.sender.as_ref().map(name),
            recipient: name(recipient),
            listener: message.listener.as_str(),
            client: message.client,
            user: message.user.as_ref().map(name),
            size: message.size,
            taken,
        });
    }
}

fn name<'a>(text: &'a Text<'_>) -> Name<'a> {
    Name { text: text.as_str(), hashed: is_hashed(text.as_str()) }
}

fn number(octets: &[u8]) -> Result<(u64, &[u8]), PageError> {
    let (number, rest) = octets.split_at_checked(8).ok_or(PageError::Page)?;
    Ok((u64::from_le_bytes(number.try_into().map_err(|_| PageError::Page)?), rest))
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// Tells whether a hash stands for an address, by the key that lies beside the trail.
#[derive(Debug)]
pub struct Key {
    hider: Option<Hider>,
    known: RefCell<HashMap<String, String>>,
}

impl Key {
    /// Of the trail at this path; without one, no hash is told.
    pub fn beside(trail: &Path) -> Result<Self, AuditError> {
        let path = key_path(trail);
        let hider = Hider::find(&path).map_err(|error| AuditError::Key { path, detail: error.to_string() })?;
        Ok(Self { hider, known: RefCell::default() })
    }
}

impl Unhash for Key {
    /// Hashes have no case, so that an address which differs in nothing else counts as the same.
    fn is(&self, hashed: &str, address: &str) -> Option<bool> {
        let hider = self.hider.as_ref()?;
        if let Some(known) = self.known.borrow().get(address) {
            return Some(known == hashed);
        }
        let hash = hider.address(address);
        let is = hash == hashed;
        let mut known = self.known.borrow_mut();
        if known.len() < KEPT {
            known.insert(address.to_owned(), hash);
        }
        Some(is)
    }
}

/// As a person reads it.
pub fn shown(at: Timestamp) -> String {
    event::moment(at)
}
