//! What the trail is made of: one record for each thing that became true of a message, in the form in which it is kept.
//!
//! Records go to the journal as the note of their entry, each behind its length, and from there into the trail. Never in one:
//! subjects, other header fields than the Message-ID, content, passwords.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::mail::{Mid, Timestamp};

/// Text that is borrowed from the octets of its record where it can be.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text<'a>(pub Cow<'a, str>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// Milliseconds since 1970.
    pub at: i64,
    /// Of no message: zeros.
    pub mid: [u8; 16],
    #[serde(borrow)]
    pub what: What<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What<'a> {
    #[serde(borrow)]
    Accepted(Accepted<'a>),
    Discarded(Discarded<'a>),
    Refused(Refused<'a>),
    Settled(Settled<'a>),
    Act(Act<'a>),
    /// What happened to the trail itself.
    Trail(OfTrail<'a>),
    /// In front of the attempt of the same note.
    Skipped(Skips<'a>),
}

/// A message as it came in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub listener: Text<'a>,
    pub client: Option<IpAddr>,
    pub user: Option<Text<'a>>,
    pub helo: Option<Text<'a>>,
    /// `SMTP`, `ESMTPSA`, … (RFC 3848); empty for what the relay makes.
    pub protocol: Text<'a>,
    /// `None`: the null reverse-path.
    pub sender: Option<Text<'a>>,
    pub recipients: Vec<Text<'a>>,
    /// Without its angle brackets.
    pub message_id: Option<Text<'a>>,
    pub size: u64,
    pub duration_ms: u32,
    /// The message that this one reports on.
    pub about: Option<[u8; 16]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted<'a> {
    #[serde(borrow)]
    pub message: Message<'a>,
    /// Of the table that routed it.
    pub revision: Text<'a>,
    pub routed: Vec<Routed<'a>>,
}

/// Recipients that a route took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routed<'a> {
    #[serde(borrow)]
    pub route: Text<'a>,
    pub destination: Option<Text<'a>>,
    /// Indices in the message's recipients.
    pub recipients: Vec<u32>,
    /// Held, and why.
    pub held: Option<Text<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded<'a> {
    #[serde(borrow)]
    pub message: Message<'a>,
    pub revision: Text<'a>,
    pub routes: Vec<Text<'a>>,
}

/// Content that was refused, after an envelope that was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused<'a> {
    #[serde(borrow)]
    pub message: Message<'a>,
    pub reply: Text<'a>,
}

/// What became of recipients, with the attempt where one was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled<'a> {
    #[serde(borrow)]
    pub revision: Text<'a>,
    pub route: Text<'a>,
    pub attempt: Option<Attempt<'a>>,
    pub fates: Vec<Fate<'a>>,
}

/// Providers that could not be chosen when an attempt was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skips<'a> {
    #[serde(borrow)]
    pub route: Text<'a>,
    pub providers: Vec<Skip<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip<'a> {
    #[serde(borrow)]
    pub provider: Text<'a>,
    /// `paused`, `open`, `half-open`, `quota`, `throttled`, `sender`, `missing`.
    pub state: Text<'a>,
    pub since: Option<i64>,
    /// When it is over by itself, or the next probe.
    pub until: Option<i64>,
    pub why: Text<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt<'a> {
    #[serde(borrow)]
    pub provider: Text<'a>,
    pub destination: Option<Text<'a>>,
    /// The round through the chain, from 1.
    pub number: u32,
    pub probe: bool,
    pub duration_ms: u32,
}

/// Recipients that fared alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate<'a> {
    #[serde(borrow)]
    pub recipients: Vec<Text<'a>>,
    pub said: Option<Said<'a>>,
    pub then: Then<'a>,
}

/// What the remote, or the relay itself, said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said<'a> {
    /// Of an attempt: `delivered`, `deferred`, …
    #[serde(borrow)]
    pub outcome: Option<Text<'a>>,
    pub code: Option<u16>,
    pub status: Text<'a>,
    pub text: Text<'a>,
    pub remote: Option<Text<'a>>,
    pub provider_id: Option<Text<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then<'a> {
    Delivered,
    Bounced {
        /// Where that is not what the attempt came to.
        #[serde(borrow)]
        why: Option<Text<'a>>,
    },
    /// Tried again at a time.
    Deferred {
        due: i64,
    },
    /// The next provider of the chain, at once.
    Moved,
    Held {
        reason: Text<'a>,
    },
    /// The table leads elsewhere now.
    Rerouted {
        route: Text<'a>,
    },
    Discarded,
    /// The sender was told of the delay.
    Warned {
        until: i64,
    },
}

/// What a person did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act<'a> {
    /// `retry`, `hold`, `release`, `delete`, `pause`, …
    #[serde(borrow)]
    pub act: Text<'a>,
    pub who: Text<'a>,
    pub why: Text<'a>,
    /// What it was done to, where that is no message: a provider's name.
    pub to: Text<'a>,
    pub recipients: Vec<Text<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfTrail<'a> {
    /// The first record. `lost`: so many records there were before, as the queue remembers; they are not in this file.
    Begun { lost: u64 },
    /// The file ends before what the queue remembers of it, or is another one.
    Cut { records: u64 },
    /// Groups of the journal that could not be read.
    Missed {
        groups: u64,
        #[serde(borrow)]
        why: Text<'a>,
    },
    /// Old records were removed, up to this one; the chain's hash there.
    Trimmed { through: u64, hash: [u8; 32] },
}

impl Record<'_> {
    pub fn new(at: Timestamp, mid: Option<Mid>, what: What<'_>) -> Record<'_> {
        Record { at: at.as_millisecond(), mid: mid.map_or([0; 16], octets), what }
    }

    pub fn mid(&self) -> Option<Mid> {
        (self.mid != [0; 16]).then(|| Mid::from_bits(u128::from_be_bytes(self.mid)))
    }

    /// Writes it behind those of a note.
    pub fn push(&self, note: &mut Vec<u8>) {
        let start = note.len();
        note.extend_from_slice(&[0; 4]);
        #[expect(clippy::expect_used, reason = "a record has no form that postcard refuses, and a Vec takes all")]
        let mut written = postcard::to_extend(self, std::mem::take(note)).expect("a record can be written");
        let size = u32::try_from(written.len() - start - 4).unwrap_or(u32::MAX);
        written[start..start + 4].copy_from_slice(&size.to_le_bytes());
        *note = written;
    }
}

/// Sorts by time, as the text does.
pub fn octets(mid: Mid) -> [u8; 16] {
    mid.bits().to_be_bytes()
}

/// The octets of each record of a note or a block; `None` at the place where they do not read back.
pub fn each(mut octets: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if octets.is_empty() {
            return None;
        }
        let taken = (|| {
            let (size, rest) = octets.split_at_checked(4)?;
            let size = usize::try_from(u32::from_le_bytes(size.try_into().ok()?)).ok()?;
            rest.split_at_checked(size)
        })();
        octets = taken.map_or(&[], |(_, rest)| rest);
        Some(taken.map(|(record, _)| record))
    })
}

/// One record; `None` where it does not read back.
pub fn read(octets: &[u8]) -> Option<Record<'_>> {
    postcard::from_bytes(octets).ok()
}

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(text.into())
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(text.to_owned().into())
            }
        }
        deserializer.deserialize_str(Borrowed)
    }
}
