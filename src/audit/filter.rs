//! What tells without reading a block that it has nothing of a message or an address: a Bloom filter of its keys. Pure.
//!
//! Twelve bits a key and six of them set: of blocks that have nothing, one of 300 is read in vain.

use super::record::{Message, Record, Text, What};

const BITS: usize = 12;
const HASHES: u64 = 6;

/// What can be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Mid,
    Address,
    MessageId,
    ProviderId,
}

/// A key of the filter: FNV-1a of kind and text (addresses without case), its bits spread by the finalizer of MurmurHash3.
pub fn key(kind: Kind, octets: &[u8]) -> u64 {
    let seed = match kind {
        Kind::Mid => b'm',
        Kind::Address => b'a',
        Kind::MessageId => b'i',
        Kind::ProviderId => b'p',
    };
    let lower = kind == Kind::Address;
    let octets = octets.iter().map(|octet| if lower { octet.to_ascii_lowercase() } else { *octet });
    let hash = std::iter::once(seed)
        .chain(octets)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// All keys of a record.
pub fn keys(record: &Record<'_>, mut take: impl FnMut(u64)) {
    if record.mid().is_some() {
        take(key(Kind::Mid, &record.mid));
    }
    let mut message = |message: &Message<'_>| {
        let addresses = message.sender.iter().chain(&message.recipients);
        addresses.for_each(|address| take(key(Kind::Address, address.as_str().as_bytes())));
        message.message_id.iter().for_each(|id| take(key(Kind::MessageId, id.as_str().as_bytes())));
        if let Some(about) = &message.about {
            take(key(Kind::Mid, about));
        }
    };
    match &record.what {
        What::Accepted(accepted) => message(&accepted.message),
        What::Discarded(discarded) => message(&discarded.message),
        What::Refused(refused) => message(&refused.message),
        What::Settled(settled) => {
            for fate in &settled.fates {
                fate.recipients.iter().for_each(|address| take(key(Kind::Address, address.as_str().as_bytes())));
                let id = fate.said.as_ref().and_then(|said| said.provider_id.as_ref());
                id.into_iter().for_each(|id| take(key(Kind::ProviderId, id.as_str().as_bytes())));
            }
        }
        What::Act(act) => {
            act.recipients.iter().for_each(|address: &Text<'_>| {
                take(key(Kind::Address, address.as_str().as_bytes()));
            });
        }
        What::Trail(_) | What::Skipped(_) => {}
    }
}

/// The filter of these keys, each of them once.
pub fn build(keys: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let mut bits = vec![0_u8; (keys.len() * BITS).div_ceil(8).max(8)];
    for key in keys {
        for at in places(key, bits.len()) {
            bits[at / 8] |= 1 << (at % 8);
        }
    }
    bits
}

/// Whether the block may have the key.
pub fn has(bits: &[u8], key: u64) -> bool {
    !bits.is_empty() && places(key, bits.len()).all(|at| bits[at / 8] & (1 << (at % 8)) != 0)
}

fn places(key: u64, octets: usize) -> impl Iterator<Item = usize> {
    let (step, most) = (key.rotate_left(32) | 1, octets as u64 * 8);
    // The remainder is below the number of bits, which fits.
    (0..HASHES).map(move |n| (key.wrapping_add(n.wrapping_mul(step)) % most) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_is_found_and_little_else() {
        let inside: Vec<u64> = (0..5000_u32).map(|n| key(Kind::Mid, &n.to_le_bytes())).collect();
        let bits = build(inside.iter().copied());
        assert!(inside.iter().all(|key| has(&bits, *key)));
        let wrong = (5000..105_000_u32).filter(|n| has(&bits, key(Kind::Mid, &n.to_le_bytes()))).count();
        assert!(wrong < 600, "{wrong} of 100000");
        assert!(!has(&[], 1));
    }

    #[test]
    fn kinds_are_apart_and_addresses_have_no_case() {
        assert_eq!(key(Kind::Address, b"Bob@Example.org"), key(Kind::Address, b"bob@example.ORG"));
        assert_ne!(key(Kind::MessageId, b"Bob@Example.org"), key(Kind::MessageId, b"bob@example.ORG"));
        assert_ne!(key(Kind::Address, b"a@b"), key(Kind::MessageId, b"a@b"));
    }
}
