//! Content as it comes over the wire: where it ends, which dots are stuffing, and which of its octets are no line ends
//! at all (RFC 5321, 2.3.8, 4.1.1.4 and 4.5.2; RFC 3030).
//!
//! Invariants:
//! - only `CRLF . CRLF` ends DATA, however it is cut into packets: no bare CR or LF ever takes part in it. A hop that
//!   reads `\n.\n` or `\r\n.\r` as an end would let a client smuggle a second message past the first;
//! - content is passed on as slices of what was read; the one octet that is ever left out is a stuffing dot;
//! - once a fault is found nothing more is passed on, and the end is still found by the same rule.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const NUL: u8 = 0;

/// Why content is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A CR without LF, or a LF without CR (RFC 5321, 2.3.8).
    BareLineEnd,
    /// A line that is the end of DATA to whoever drops NUL (RFC 5321, 4.5.2).
    DisguisedEnd,
    /// Larger than the listener takes.
    TooLarge,
}

/// What the reader knows of all octets so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    most: u64,
    size: u64,
    eight_bit: bool,
    bare: bool,
    disguised: bool,
}

impl Tally {
    fn new(most: u64) -> Self {
        Self { most, size: 0, eight_bit: false, bare: false, disguised: false }
    }

    /// Some octet is beyond ASCII.
    pub fn eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// Octets of content so far, stuffing not counted.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where there are several, the first of this order is told, in whichever order they were met: what is told must not
    /// depend on how the octets were cut.
    pub fn fault(&self) -> Option<Fault> {
        if self.bare {
            Some(Fault::BareLineEnd)
        } else if self.disguised {
            Some(Fault::DisguisedEnd)
        } else if self.size > self.most {
            Some(Fault::TooLarge)
        } else {
            None
        }
    }

    /// Counts a piece, and passes it on while all is well.
    fn pass(&mut self, piece: Bytes, out: &mut Vec<Bytes>) {
        if piece.is_empty() {
            return;
        }
        self.size = self.size.saturating_add(piece.len() as u64);
        if self.fault().is_none() {
            self.eight_bit |= !piece.is_ascii();
            out.push(piece);
        }
    }
}

/// What the octets before this one were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nothing, or CRLF.
    LineStart,
    /// A dot at the start of a line: the end or stuffing, no content either way.
    Dot,
    /// CR behind such a dot: no content either, for what follows is LF, the end, or a fault.
    DotCr,
    /// Only NUL so far in this line.
    Nul,
    /// NUL, a dot, and perhaps further NUL: with no more than that, a disguised end.
    NulDot,
    Text,
    Cr,
}

/// Reads what follows `354` (RFC 5321, 4.5.2).
#[derive(Debug, Clone)]
pub struct DotReader {
    at: At,
    tally: Tally,
}

/// What one look at the octets found: so many of content, then so many of none.
struct Cut {
    content: usize,
    framing: usize,
    end: bool,
}

impl DotReader {
    /// For content of `most` octets at most.
    pub fn new(most: u64) -> Self {
        Self { at: At::LineStart, tally: Tally::new(most) }
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes octets up to the end of content or of the buffer, whichever comes first, and appends the content in them to
    /// `out`. True once the end was seen.
    pub fn read(&mut self, octets: &mut BytesMut, out: &mut Vec<Bytes>) -> bool {
        while !octets.is_empty() {
            let cut = self.cut(octets);
            let piece = octets.split_to(cut.content).freeze();
            self.tally.pass(piece, out);
            let _ = octets.split_to(cut.framing);
            if cut.end {
                return true;
            }
        }
        false
    }

    fn cut(&mut self, octets: &[u8]) -> Cut {
        let mut seen = 0;
        loop {
            let Some(&octet) = octets.get(seen) else {
                return Cut { content: seen, framing: 0, end: false };
            };
            match self.at {
                At::LineStart if octet == b'.' => {
                    self.at = At::Dot;
                    return Cut { content: seen, framing: 1, end: false };
                }
                At::LineStart if octet != NUL => self.at = At::Text,
                // Here and below, `seen` is 0: the dot's cut has just been made.
                At::Dot if octet == CR => {
                    self.at = At::DotCr;
                    return Cut { content: seen, framing: 1, end: false };
                }
                At::Dot if octet != NUL => self.at = At::Text,
                At::LineStart | At::Dot | At::Nul | At::NulDot => seen += nul(octet, &mut self.at, &mut self.tally),
                At::DotCr if octet == LF => {
                    self.at = At::LineStart;
                    return Cut { content: seen, framing: 1, end: true };
                }
                At::Cr if octet == LF => {
                    seen += 1;
                    self.at = At::LineStart;
                }
                At::DotCr | At::Cr => {
                    self.tally.bare = true;
                    self.at = At::Text;
                }
                At::Text => seen += text(&octets[seen..], &mut self.at, &mut self.tally),
            }
        }
    }
}

/// One octet of a line that holds NUL and at most a dot; how many octets that were.
fn nul(octet: u8, at: &mut At, tally: &mut Tally) -> usize {
    let dotted = *at == At::NulDot;
    if octet == NUL || (octet == b'.' && *at == At::Nul) {
        *at = if dotted || octet == b'.' { At::NulDot } else { At::Nul };
        return 1;
    }
    tally.disguised |= dotted && octet == CR;
    *at = At::Text;
    0
}

/// Reads on to behind the next CR or LF, or to the end; how many octets that were.
fn text(octets: &[u8], at: &mut At, tally: &mut Tally) -> usize {
    match memchr2(CR, LF, octets) {
        None => octets.len(),
        Some(place) => {
            if octets[place] == CR {
                *at = At::Cr;
            } else {
                tally.bare = true;
            }
            place + 1
        }
    }
}

/// Reads the chunks of BDAT: no dots, the ends are counted (RFC 3030, section 2). Lines end in CRLF all the same, for
/// BODY=BINARYMIME is not offered.
#[derive(Debug, Clone)]
pub struct ChunkReader {
    at: At,
    tally: Tally,
}

impl ChunkReader {
    /// For content of `most` octets at most.
    pub fn new(most: u64) -> Self {
        Self { at: At::LineStart, tally: Tally::new(most) }
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes all of `octets`, a piece of a chunk.
    pub fn read(&mut self, octets: Bytes, out: &mut Vec<Bytes>) {
        let mut seen = 0;
        while let Some(&octet) = octets.get(seen) {
            match self.at {
                At::Cr if octet == LF => {
                    seen += 1;
                    self.at = At::LineStart;
                }
                At::Cr => {
                    self.tally.bare = true;
                    self.at = At::Text;
                }
                At::LineStart if octet == NUL => {
                    seen += 1;
                    self.at = At::Nul;
                }
                At::Nul | At::NulDot => seen += nul(octet, &mut self.at, &mut self.tally),
                At::LineStart | At::Dot | At::DotCr | At::Text => {
                    self.at = At::Text;
                    seen += text(&octets[seen..], &mut self.at, &mut self.tally);
                }
            }
        }
        self.tally.pass(octets, out);
    }

    /// The last chunk is in. Content whose last line has no CRLF gets one: every other way to hand it on (DATA, a file, an
    /// API) ends with one, and so all of them carry the same octets.
    pub fn end(&mut self, out: &mut Vec<Bytes>) {
        match self.at {
            At::LineStart => {}
            At::Cr => self.tally.bare = true,
            At::NulDot => self.tally.disguised = true,
            At::Dot | At::DotCr | At::Nul | At::Text => self.tally.pass(Bytes::from_static(b"\r\n"), out),
        }
        self.at = At::LineStart;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Content, fault, and what lies behind the end (`None`: no end seen), read in pieces that end at `cuts`.
    fn read(wire: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<Fault>, Option<Vec<u8>>) {
        let mut reader = DotReader::new(20);
        let mut out = Vec::new();
        let mut buffer = BytesMut::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (wire.len() + 1)).chain([0, wire.len()]).collect();
        cuts.sort_unstable();
        let mut behind = None;
        for ends in cuts.windows(2) {
            buffer.extend_from_slice(&wire[ends[0]..ends[1]]);
            if behind.is_none() && reader.read(&mut buffer, &mut out) {
                behind = Some(ends[1]);
            }
        }
        (out.concat(), reader.tally().fault(), behind.map(|_| buffer.to_vec()))
    }

    #[test]
    fn dots_and_ends() {
        for (wire, content, behind) in [
            (".\r\n", "", Some("")),
            (".\r\nQUIT\r\n", "", Some("QUIT\r\n")),
            ("..\r\n.\r\n", ".\r\n", Some("")),
            ("...\r\n.\r\n", "..\r\n", Some("")),
            ("a\r\n..b\r\n.\r\n", "a\r\n.b\r\n", Some("")),
            ("a\r\n.b\r\n.\r\n", "a\r\nb\r\n", Some("")),
            ("a.\r\n.\r\n", "a.\r\n", Some("")),
            ("\r\n.\r\n", "\r\n", Some("")),
            ("a\r\n\r\n.\r\n.\r\n", "a\r\n\r\n", Some(".\r\n")),
            ("a\r\n", "a\r\n", None),
            ("a\r\n.", "a\r\n", None),
            ("a\r\n.\r", "a\r\n", None),
        ] {
            let behind = behind.map(|text| text.as_bytes().to_vec());
            assert_eq!(read(wire.as_bytes(), &[]), (content.into(), None, behind), "{wire:?}");
        }
    }

    /// What other servers have been seen to take as the end, or as a line end, is neither.
    #[test]
    fn nothing_smuggles_a_second_message() {
        const EVIL: &str = "MAIL FROM:<evil@example.com>\r\n";
        for end in [
            "\n.\n",
            "\n.\r\n",
            "\r\n.\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\r",
            "\n.\r",
            "\r.\n",
            "\r\n.\r\r\n",
            "\r\r\n.\r\r\n",
            "\r\n\r.\r\n",
            "\r\n\0.\n",
            "\r\n.\n\r\n",
        ] {
            let wire = format!("Subject: x\r\n\r\nbody{end}{EVIL}rest\r\n.\r\nQUIT\r\n");
            for at in 0..wire.len() {
                let (content, fault, behind) = read(wire.as_bytes(), &[at]);
                assert_eq!(fault, Some(Fault::BareLineEnd), "{end:?} cut at {at}");
                assert_eq!(behind.as_deref(), Some(&b"QUIT\r\n"[..]), "{end:?} cut at {at}");
                assert!(content.len() < wire.len() - EVIL.len(), "{end:?}");
            }
        }
    }

    /// A line that a hop without NUL would read as the end is refused, wherever the wire is cut and however it comes.
    #[test]
    fn an_end_that_is_disguised_with_nul_is_none() {
        for (line, fault) in [
            ("\0.", true),
            ("\0.\0", true),
            ("\0\0.\0\0", true),
            (".\0.", true),
            ("\0", false),
            (".\0", false),
            ("\0..", false),
            ("\0.a", false),
            ("a\0.", false),
            ("\0a.", false),
        ] {
            let wire = format!("a\r\n{line}\r\nb\r\n.\r\nQ");
            let expected = fault.then_some(Fault::DisguisedEnd);
            for at in 0..wire.len() {
                let (_, seen, behind) = read(wire.as_bytes(), &[at]);
                assert_eq!((seen, behind.as_deref()), (expected, Some(&b"Q"[..])), "{line:?} cut at {at}");
            }
            let plain = line.strip_prefix('.').unwrap_or(line);
            for end in ["\r\n", ""] {
                let wire = format!("{plain}{end}");
                for at in 0..=wire.len() {
                    let mut reader = ChunkReader::new(100);
                    let (first, second) = wire.split_at(at);
                    for chunk in [first, second] {
                        reader.read(Bytes::copy_from_slice(chunk.as_bytes()), &mut Vec::new());
                    }
                    reader.end(&mut Vec::new());
                    assert_eq!(reader.tally().fault(), expected, "{wire:?} cut at {at}");
                }
            }
        }
    }

    #[test]
    fn size_is_bounded_and_the_end_still_found() {
        let mut reader = DotReader::new(4);
        let mut out = Vec::new();
        let mut wire = BytesMut::from(&b"ab\r\n..\r\n.\r\nQ"[..]);
        assert!(reader.read(&mut wire, &mut out));
        assert_eq!(reader.tally().fault(), Some(Fault::TooLarge));
        assert_eq!((&wire[..], &out.concat()[..]), (&b"Q"[..], &b"ab\r\n"[..]));
        let mut fits = DotReader::new(4);
        assert!(fits.read(&mut BytesMut::from(&b"ab\r\n.\r\n"[..]), &mut Vec::new()));
        assert_eq!((fits.tally().fault(), fits.tally().size()), (None, 4));
    }

    #[test]
    fn octets_beyond_ascii_are_told() {
        let mut reader = DotReader::new(100);
        assert!(reader.read(&mut BytesMut::from("grün\r\n.\r\n"), &mut Vec::new()));
        assert!(reader.tally().eight_bit());
    }

    #[test]
    fn chunks_end_in_crlf() {
        for (chunks, content, fault) in [
            (&[][..], "", None),
            (&["", ""], "", None),
            (&["a\r\n"], "a\r\n", None),
            (&["a\r", "\nb"], "a\r\nb\r\n", None),
            (&[".\r\n.", "\r\n"], ".\r\n.\r\n", None),
            (&["a\r", "b\r\n"], "a\r", Some(Fault::BareLineEnd)),
            (&["a\nb\r\n"], "", Some(Fault::BareLineEnd)),
            (&["a\r"], "a\r", Some(Fault::BareLineEnd)),
            (&["0123456789\r\n"], "", Some(Fault::TooLarge)),
        ] {
            let mut reader = ChunkReader::new(10);
            let mut out = Vec::new();
            for chunk in chunks {
                reader.read(Bytes::from_static(chunk.as_bytes()), &mut out);
            }
            reader.end(&mut out);
            assert_eq!((&out.concat()[..], reader.tally().fault()), (content.as_bytes(), fault), "{chunks:?}");
        }
    }

    /// Text that is dense in what matters here.
    fn wire() -> impl Strategy<Value = Vec<u8>> {
        let parts = vec!["\r\n", ".", "\r", "\n", "a", "\0", "\r\n.\r\n"];
        proptest::collection::vec(proptest::sample::select(parts), 0..40).prop_map(|parts| parts.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(wire in wire(), cuts in proptest::collection::vec(0usize..200, 0..8)) {
            let (whole, fault, behind) = read(&wire, &[]);
            let (cut, cut_fault, cut_behind) = read(&wire, &cuts);
            prop_assert_eq!((fault, behind), (cut_fault, cut_behind));
            // How much of refused content was passed on before the fault came is open.
            if fault.is_none() { prop_assert_eq!(whole, cut); }
        }

        /// The end is the first CRLF.CRLF (or the dot line that opens the content) and nothing else.
        #[test]
        fn the_end_is_where_the_rfc_says(wire in wire()) {
            let framed = [&b"\r\n"[..], &wire].concat();
            let end = memchr::memmem::find(&framed, b"\r\n.\r\n").map(|at| framed[at + 5..].to_vec());
            prop_assert_eq!(read(&wire, &[]).2, end);
        }

        #[test]
        fn what_was_stuffed_comes_back(lines in proptest::collection::vec("[.a]{0,2}", 0..5)) {
            let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let stuffed: String = lines.iter().map(|line| {
                if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") }
            }).collect();
            prop_assert_eq!(read(format!("{stuffed}.\r\n").as_bytes(), &[]), (content.into_bytes(), None, Some(vec![])));
        }
    }
}
