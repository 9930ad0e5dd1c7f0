//! The header section of content on its way in: where it ends, and what the relay puts in front of it. Pure.
//!
//! Promises:
//! - the client's octets stay as they are, but for Bcc fields, which no next hop may see (RFC 5322, 3.6.3);
//! - the relay's fields stand in front of all others (RFC 5321, 4.4);
//! - content that has no header section is a body, and gets an empty line in front.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem};

use crate::mail::{Domain, HeaderSection, Received, date};

/// Octets of a header section; it is held in memory and read as a whole.
pub(super) const MOST_HEADER: usize = 1024 * 1024;
/// Octets of a line (RFC 5322, 2.1.1): what has found neither its colon nor its end by then is neither field nor mbox line.
const LONGEST_LINE: usize = 998;
/// RFC 5321, 6.3: so many hops are a loop, and fewer may be none.
const MOST_RECEIVED: usize = 100;

/// Gathers octets until the header section is whole. What was searched for its end is not searched again: a client may send
/// it in any number of pieces.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    gathered: BytesMut,
    searched: usize,
}

/// A header section as the client sent it, and what came behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub section: HeaderSection,
    pub body: Bytes,
}

/// Why content is refused for its header section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadFault {
    TooLarge,
    Nul,
    Loop,
}

enum Look {
    /// The end of the section is not among the first `searched` octets.
    More { searched: usize },
    /// So many octets are dropped, and so many are the section.
    Found { dropped: usize, size: usize },
}

impl HeadReader {
    /// Octets in memory.
    pub fn held(&self) -> usize {
        self.gathered.len()
    }

    /// Takes a piece of content; `Some` once the section is whole.
    pub fn push(&mut self, octets: Bytes) -> Result<Option<Head>, HeadFault> {
        if !self.gathered.is_empty() {
            self.gathered.extend_from_slice(&octets);
            return match look(&self.gathered, self.searched) {
                Look::Found { dropped, size } => {
                    cut(std::mem::take(&mut self.gathered).freeze(), dropped, size).map(Some)
                }
                Look::More { .. } if self.gathered.len() > MOST_HEADER => Err(HeadFault::TooLarge),
                Look::More { searched } => {
                    self.searched = searched;
                    Ok(None)
                }
            };
        }
        // Most often all of it is in the first piece, and is not copied.
        match look(&octets, 0) {
            Look::Found { dropped, size } => cut(octets, dropped, size).map(Some),
            Look::More { .. } if octets.len() > MOST_HEADER => Err(HeadFault::TooLarge),
            Look::More { searched } => {
                self.gathered.extend_from_slice(&octets);
                self.searched = searched;
                Ok(None)
            }
        }
    }

    /// No more comes: what there is has no body, or is nothing else.
    pub fn end(self) -> Head {
        let octets = self.gathered.freeze();
        let dropped = mbox_line(&octets).unwrap_or(0);
        if starts_with_field(&octets[dropped..]) == Some(true) {
            Head { section: HeaderSection::new(octets.slice(dropped..)), body: Bytes::new() }
        } else {
            Head { section: HeaderSection::new(Bytes::new()), body: octets }
        }
    }
}

fn cut(octets: Bytes, dropped: usize, size: usize) -> Result<Head, HeadFault> {
    if size > MOST_HEADER {
        return Err(HeadFault::TooLarge);
    }
    let end = dropped + size;
    Ok(Head { section: HeaderSection::new(octets.slice(dropped..end)), body: octets.slice(end..) })
}

fn look(octets: &[u8], searched: usize) -> Look {
    const END: &[u8] = b"\r\n\r\n";
    let undecided = Look::More { searched: 0 };
    let Some(dropped) = mbox_line(octets) else { return undecided };
    let rest = &octets[dropped..];
    if rest.starts_with(b"\r\n") {
        return Look::Found { dropped: 0, size: if dropped == 0 { 2 } else { 0 } };
    }
    if rest == b"\r" {
        return undecided;
    }
    match starts_with_field(rest) {
        None => undecided,
        Some(false) => Look::Found { dropped: 0, size: 0 },
        Some(true) => {
            // The end may have begun among those.
            let from = searched.saturating_sub(dropped + END.len() - 1);
            match memmem::find(&rest[from..], END) {
                Some(at) => Look::Found { dropped, size: from + at + END.len() },
                None => Look::More { searched: octets.len() },
            }
        }
    }
}

/// The size of the `From ` line that scripts which read mbox files leave at the front: no field, and no reason to take
/// the header section behind it for a body. `None` while that is open.
fn mbox_line(octets: &[u8]) -> Option<usize> {
    let plain = octets.strip_prefix(b">").unwrap_or(octets);
    if plain.len() < 5 && b"From ".starts_with(plain) {
        return None;
    }
    if plain.starts_with(b"From ") && name_ends_in_colon(plain) == Some(false) {
        let start = octets.get(..LONGEST_LINE).unwrap_or(octets);
        return match memmem::find(start, b"\r\n") {
            Some(at) => Some(at + 2),
            None if octets.len() < LONGEST_LINE => None,
            None => Some(0),
        };
    }
    Some(0)
}

/// Whether the octets begin with a field name and its colon; `None` while too few are there to tell.
fn starts_with_field(octets: &[u8]) -> Option<bool> {
    if octets.first() == Some(&b':') { Some(false) } else { name_ends_in_colon(octets) }
}

/// RFC 5322, 2.2; white space before the colon is obsolete and read (4.5).
fn name_ends_in_colon(octets: &[u8]) -> Option<bool> {
    let start = octets.get(..LONGEST_LINE).unwrap_or(octets);
    let mut rest = start.iter().skip_while(|b| (33..=126).contains(*b) && **b != b':');
    let blank = |b: &&u8| matches!(b, b' ' | b'\t');
    let told = match rest.next() {
        None => None,
        Some(b':') => Some(true),
        // A line that begins with white space continues nothing.
        Some(b' ' | b'\t') if !octets.starts_with(b" ") && !octets.starts_with(b"\t") => {
            rest.find(|b| !blank(b)).map(|b| *b == b':')
        }
        Some(_) => Some(false),
    };
    told.or((octets.len() >= LONGEST_LINE).then_some(false))
}

/// The section as it is stored: the relay's fields, then the client's without Bcc, then the empty line.
pub(super) fn assemble(
    section: &HeaderSection,
    received: &Received<'_>,
    hostname: &Domain,
) -> Result<HeaderSection, HeadFault> {
    if memchr(0, section.octets()).is_some() {
        return Err(HeadFault::Nul);
    }
    let hops = section.count("Received");
    if hops >= MOST_RECEIVED {
        return Err(HeadFault::Loop);
    }
    let mut fields = received.field();
    // Without a Received field it comes from where it was written, and the relay is its submission server: RFC 6409,
    // 8.2 and 8.3. In transit nothing is added.
    if hops == 0 {
        if !section.has("Date") {
            fields.push_str(&format!("Date: {}\r\n", date(received.at)));
        }
        if !section.has("Message-ID") {
            fields.push_str(&format!("Message-ID: <{}@{hostname}>\r\n", received.mid));
        }
    }
    let kept = section.without(|field| field.is("Bcc") || field.is("Resent-Bcc"));
    let mut octets = BytesMut::with_capacity(fields.len() + kept.octets().len() + 2);
    octets.extend_from_slice(fields.as_bytes());
    octets.extend_from_slice(kept.octets());
    if section.octets().is_empty() {
        octets.extend_from_slice(b"\r\n");
    }
    Ok(HeaderSection::new(octets.freeze()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mail::{Mid, Protocol, Timestamp};

    fn read(content: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Vec<u8>), HeadFault> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (content.len() + 1)).chain([0, content.len()]).collect();
        cuts.sort_unstable();
        let mut reader = Some(HeadReader::default());
        let mut head = None;
        let mut behind = Vec::new();
        for ends in cuts.windows(2) {
            let piece = Bytes::copy_from_slice(&content[ends[0]..ends[1]]);
            match &mut reader {
                None => behind.extend_from_slice(&piece),
                Some(some) => {
                    head = some.push(piece)?;
                    if head.is_some() {
                        reader = None;
                    }
                }
            }
        }
        let head = head.or_else(|| reader.map(HeadReader::end)).unwrap();
        Ok((head.section.octets().to_vec(), [&head.body[..], &behind].concat()))
    }

    #[test]
    fn where_the_section_ends() {
        for (content, section, body) in [
            ("A: b\r\n\r\nbody\r\n\r\nmore", "A: b\r\n\r\n", "body\r\n\r\nmore"),
            ("A: b\r\n\r\n", "A: b\r\n\r\n", ""),
            ("A: b\r\n c\r\n", "A: b\r\n c\r\n", ""),
            ("A : b\r\n\r\nbody", "A : b\r\n\r\n", "body"),
            ("\r\nbody", "\r\n", "body"),
            ("Hello world\r\n\r\nbody", "", "Hello world\r\n\r\nbody"),
            (" A: b\r\n\r\nbody", "", " A: b\r\n\r\nbody"),
            (": b\r\n\r\nbody", "", ": b\r\n\r\nbody"),
            ("Grüße: b\r\n\r\nbody", "", "Grüße: b\r\n\r\nbody"),
            ("hello", "", "hello"),
            ("", "", ""),
            ("From a@b Mon\r\nA: b\r\n\r\nbody", "A: b\r\n\r\n", "body"),
            (">From a@b Mon\r\nA: b\r\n\r\nbody", "A: b\r\n\r\n", "body"),
            ("From a@b Mon\r\nA: b\r\n", "A: b\r\n", ""),
            ("From : a@b\r\n\r\nbody", "From : a@b\r\n\r\n", "body"),
            ("From here on\r\nit is a letter\r\n", "", "From here on\r\nit is a letter\r\n"),
            ("From here on\r\n\r\nletter\r\n", "", "From here on\r\n\r\nletter\r\n"),
        ] {
            let whole = (section.as_bytes().to_vec(), body.as_bytes().to_vec());
            assert_eq!(read(content.as_bytes(), &[]), Ok(whole), "{content:?}");
        }
    }

    #[test]
    fn the_section_is_bounded() {
        let field = format!("A: {}\r\n", "x".repeat(MOST_HEADER));
        let mut reader = HeadReader::default();
        assert_eq!(reader.push(Bytes::from(field.clone())), Err(HeadFault::TooLarge));
        assert_eq!(read(format!("{field}\r\n").as_bytes(), &[]), Err(HeadFault::TooLarge));
        assert_eq!(read(format!("{field}\r\n").as_bytes(), &[10, 600_000]), Err(HeadFault::TooLarge));
        // A large body is none.
        assert!(read(format!("A: b\r\n\r\n{field}").as_bytes(), &[]).is_ok());
    }

    fn assembled(section: &str) -> Result<String, HeadFault> {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let received = Received {
            helo: Some("me"),
            client: None,
            by: "relay.example",
            protocol: Protocol::default(),
            mid: Mid::new(at, 1),
            recipient: None,
            at,
        };
        let section = HeaderSection::new(Bytes::copy_from_slice(section.as_bytes()));
        let octets = assemble(&section, &received, &"relay.example".parse().unwrap())?.octets().to_vec();
        let text = String::from_utf8(octets).unwrap();
        Ok(text.strip_prefix(&received.field()).unwrap().to_owned())
    }

    #[test]
    fn what_is_added_and_what_is_taken() {
        let date = "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n";
        let id = "Message-ID: <01HF7YAT0000000000000000001@relay.example>\r\n";
        let id = id.replace(
            "01HF7YAT0000000000000000001",
            &Mid::new(Timestamp::from_second(1_700_000_000).unwrap(), 1).to_string(),
        );
        for (section, added) in [
            ("Subject: x\r\n\r\n", format!("{date}{id}Subject: x\r\n\r\n")),
            ("DATE: x\r\n\r\n", format!("{id}DATE: x\r\n\r\n")),
            ("Message-Id: x\r\n\r\n", format!("{date}Message-Id: x\r\n\r\n")),
            ("Received: x\r\nSubject: x\r\n\r\n", "Received: x\r\nSubject: x\r\n\r\n".into()),
            (
                "Date: x\r\nMessage-ID: y\r\nBcc: a,\r\n b\r\nresent-bcc: c\r\nB: c\r\n\r\n",
                "Date: x\r\nMessage-ID: y\r\nB: c\r\n\r\n".into(),
            ),
            ("\r\n", format!("{date}{id}\r\n")),
            ("", format!("{date}{id}\r\n")),
            ("Subject: x\r\n", format!("{date}{id}Subject: x\r\n")),
        ] {
            assert_eq!(assembled(section), Ok(added), "{section:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_a_body_soon() {
        for start in ["", "From here ", ">From "] {
            let line = format!("{start}{}", "x".repeat(2 * LONGEST_LINE));
            let mut reader = HeadReader::default();
            assert_eq!(reader.push(Bytes::from(line[..LONGEST_LINE - 1].to_owned())), Ok(None), "{start}");
            let head = reader.push(Bytes::from(line[LONGEST_LINE - 1..].to_owned())).unwrap().unwrap();
            assert!(head.section.octets().is_empty() && head.body.len() == line.len(), "{start}");
        }
    }

    #[test]
    fn loops_and_nul_are_refused() {
        let hops = |n: usize| format!("{}\r\n", "Received: x\r\n".repeat(n));
        assert!(assembled(&hops(MOST_RECEIVED - 1)).is_ok());
        assert_eq!(assembled(&hops(MOST_RECEIVED)), Err(HeadFault::Loop));
        assert_eq!(assembled("Subject: \0\r\n\r\n"), Err(HeadFault::Nul));
    }

    /// A few of these are longer than a line may be.
    const LONG: &str = match std::str::from_utf8(&[b'x'; 300]) {
        Ok(text) => text,
        Err(_) => "",
    };

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            parts in proptest::collection::vec(
                proptest::sample::select(vec!["A", "From ", ">", ":", " ", "\r\n", "\r\n\r\n", "b", "From a\r\nA: b\r\n"]), 0..12),
            long in any::<bool>(),
            cuts in proptest::collection::vec(any::<usize>(), 0..6),
        ) {
            let content = parts.concat().replace('b', if long { LONG } else { "b" });
            prop_assert_eq!(read(content.as_bytes(), &cuts), read(content.as_bytes(), &[]));
        }
    }
}
