//! Command lines: what ends in CRLF (RFC 5321, 2.3.8), and nothing else.
//!
//! A line with a bare CR or LF in it is refused as a whole, once, as soon as that is seen: a client that ends its lines
//! with LF alone is told so instead of waiting for ever, and what lies behind the LF, up to the next CRLF, is never taken
//! for a command of its own.

use bytes::BytesMut;
use memchr::{memchr2, memmem};

/// Octets of a command line, its CRLF included: the 512 of RFC 5321, 4.5.3.1.4, and ample room for parameters.
pub(super) const MOST_COMMAND: usize = 4096;
/// RFC 4954, 4.
pub(super) const MOST_AUTH: usize = 12_288;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// More octets are needed.
    Unfinished,
    /// Without its CRLF.
    Whole(BytesMut),
    TooLong,
    BareLineEnd,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The line at the front was refused, and is read over.
    skipping: bool,
}

impl Lines {
    pub fn next(&mut self, octets: &mut BytesMut, most: usize) -> Line {
        if self.skipping {
            let Some(end) = memmem::find(octets, b"\r\n") else {
                let kept = usize::from(octets.ends_with(b"\r"));
                let _ = octets.split_to(octets.len() - kept);
                return Line::Unfinished;
            };
            let _ = octets.split_to(end + 2);
            self.skipping = false;
        }
        let line = find(octets, most);
        match line {
            Found::Line(size) => {
                let mut line = octets.split_to(size + 2);
                line.truncate(size);
                Line::Whole(line)
            }
            Found::Unfinished => Line::Unfinished,
            Found::TooLong => self.skip(Line::TooLong),
            Found::BareLineEnd => self.skip(Line::BareLineEnd),
        }
    }

    fn skip(&mut self, line: Line) -> Line {
        self.skipping = true;
        line
    }
}

enum Found {
    Unfinished,
    /// So many octets, and CRLF.
    Line(usize),
    TooLong,
    BareLineEnd,
}

fn find(octets: &[u8], most: usize) -> Found {
    let start = octets.get(..most).unwrap_or(octets);
    match memchr2(b'\r', b'\n', start) {
        Some(at) if octets[at] == b'\n' => Found::BareLineEnd,
        Some(at) if at + 2 <= most => match octets.get(at + 1) {
            Some(b'\n') => Found::Line(at),
            Some(_) => Found::BareLineEnd,
            None => Found::Unfinished,
        },
        Some(_) => Found::TooLong,
        None if octets.len() >= most => Found::TooLong,
        None => Found::Unfinished,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of `wire`, read octet by octet and at once: always the same.
    fn lines(wire: &[u8]) -> Vec<String> {
        let read = |step: usize| {
            let (mut lines, mut octets, mut seen) = (Lines::default(), BytesMut::new(), Vec::new());
            for part in wire.chunks(step) {
                octets.extend_from_slice(part);
                loop {
                    seen.push(match lines.next(&mut octets, 10) {
                        Line::Unfinished => break,
                        Line::Whole(line) => String::from_utf8_lossy(&line).into_owned(),
                        Line::TooLong => "TOO LONG".to_owned(),
                        Line::BareLineEnd => "BARE".to_owned(),
                    });
                }
            }
            seen
        };
        assert_eq!(read(1), read(1000));
        read(1)
    }

    #[test]
    fn only_crlf_ends_a_line() {
        for (wire, seen) in [
            ("a\r\nb\r\n", &["a", "b"][..]),
            ("\r\n", &[""]),
            ("a\nb\nc\r\nd\r\n", &["BARE", "d"]),
            ("a\rb\r\nd\r\n", &["BARE", "d"]),
            ("a\r\r\nd\r\n", &["BARE", "d"]),
            ("a\n", &["BARE"]),
            ("12345678\r\n", &["12345678"]),
            ("123456789\r\nd\r\n", &["TOO LONG", "d"]),
            ("12345678901234\n\r\nd\r\n", &["TOO LONG", "d"]),
            ("12345678\rx\r\nd\r\n", &["BARE", "d"]),
            ("1234567890", &["TOO LONG"]),
            ("a\r", &[]),
        ] {
            assert_eq!(lines(wire.as_bytes()), seen, "{wire:?}");
        }
    }

    #[test]
    fn a_line_that_is_read_over_takes_no_room() {
        let mut lines = Lines::default();
        let mut octets = BytesMut::from(&[b'x'; 5000][..]);
        assert_eq!(lines.next(&mut octets, 10), Line::TooLong);
        assert_eq!(lines.next(&mut octets, 10), Line::Unfinished);
        assert!(octets.is_empty());
    }
}
