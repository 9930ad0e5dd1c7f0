//! The third part: the original, or its header (RFC 6522, RFC 6533).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr_iter;

use super::lines::MOST;

pub(super) struct Part {
    kind: &'static str,
    pub(super) encoding: Encoding,
    pub(super) octets: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    SevenBit,
    EightBit,
    Base64,
}

impl Part {
    /// `whole`: `original` is all of the message, and all of it is to be returned. Where its lines are none that mail can
    /// carry as they are, its header alone is.
    pub(super) fn new(original: &[u8], header_size: usize, whole: bool, smtputf8: bool) -> Self {
        let header = &original[..header_size.min(original.len())];
        // UTF-8 in a header makes it `message/global`. That may be encoded, unlike `message/rfc822` (RFC 6532, 3.7), so it
        // passes hops that know no SMTPUTF8.
        let global = !header.is_ascii() && std::str::from_utf8(header).is_ok();
        let global_encoding = if smtputf8 { Encoding::EightBit } else { Encoding::Base64 };
        if whole && lines_are_sound(original) {
            let (kind, encoding) = match (global, original.is_ascii()) {
                (true, _) => ("message/global", global_encoding),
                (false, true) => ("message/rfc822", Encoding::SevenBit),
                (false, false) => ("message/rfc822", Encoding::EightBit),
            };
            return Self { kind, encoding, octets: original.to_vec() };
        }
        let (kind, encoding) = if global {
            ("message/global-headers", global_encoding)
        } else {
            ("text/rfc822-headers", Encoding::SevenBit)
        };
        Self { kind, encoding, octets: sound(header, global) }
    }

    /// The part, its own header included.
    pub(super) fn with_header(&self) -> Vec<u8> {
        let mut out = format!("Content-Type: {}\r\n", self.kind).into_bytes();
        match self.encoding {
            Encoding::SevenBit => {}
            Encoding::EightBit => out.extend_from_slice(b"Content-Transfer-Encoding: 8bit\r\n"),
            Encoding::Base64 => out.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        match self.encoding {
            Encoding::SevenBit | Encoding::EightBit => out.extend_from_slice(&self.octets),
            Encoding::Base64 => {
                for line in STANDARD.encode(&self.octets).as_bytes().chunks(76) {
                    out.extend_from_slice(line);
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
        out
    }
}

/// Lines that end in CRLF, none too long, and no NUL (RFC 5322, 2.3).
fn lines_are_sound(octets: &[u8]) -> bool {
    let mut start = 0;
    for end in memchr_iter(b'\n', octets) {
        if end == start || octets[end - 1] != b'\r' || end - 1 - start > MOST {
            return false;
        }
        start = end + 1;
    }
    let crs = memchr_iter(b'\r', octets).count();
    let lfs = memchr_iter(b'\n', octets).count();
    crs == lfs && octets.len() - start <= MOST && memchr::memchr(0, octets).is_none()
}

/// A header's lines as a report can carry them: what is too long is cut, what is no text is replaced. The empty line at its
/// end is left out.
fn sound(header: &[u8], utf8: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len());
    for line in header.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let mut end = line.len().min(MOST);
        while utf8 && end < line.len() && line[end] & 0xC0 == 0x80 {
            end -= 1;
        }
        let fit = |b: u8| matches!(b, b'\t' | b' '..=b'~') || (utf8 && b >= 0x80);
        out.extend(line[..end].iter().map(|&b| if fit(b) { b } else { b'?' }));
        out.extend_from_slice(b"\r\n");
    }
    out
}
