//! What the targets share: how an input tells what is beside the octets that are fuzzed.

/// The first octets of an input steer the test: settings, answers, cuts. Digits say what they look like, so that seeds can
/// be written by hand.
pub const HEAD: usize = 16;

/// The head and the rest; `None` where the input is too short.
pub fn split(data: &[u8]) -> Option<(&[u8; HEAD], &[u8])> {
    data.split_first_chunk()
}

/// Goes round in some octets.
#[derive(Debug, Clone)]
pub struct Wheel<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Wheel<'a> {
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0 }
    }

    pub fn next(&mut self) -> u8 {
        let octet = self.octets.get(self.at).copied().unwrap_or(0);
        self.at = (self.at + 1) % self.octets.len().max(1);
        octet
    }

    /// One of `count` cases.
    pub fn case(&mut self, count: u8) -> u8 {
        self.next() % count
    }

    /// The front of `rest`: from one octet on, as the wheel says.
    pub fn cut<'r>(&mut self, rest: &mut &'r [u8]) -> &'r [u8] {
        let (now, later) = rest.split_at((usize::from(self.next() % 64) + 1).min(rest.len()));
        *rest = later;
        now
    }
}

/// Parts of a talk: between two of them the peer waits for an answer. 0xFF is in no UTF-8, so little is lost.
pub fn flights(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(wire);
    std::iter::from_fn(move || {
        let wire = rest?;
        let end = memchr::memmem::find(wire, &[0xff, 0xff]);
        rest = end.map(|end| &wire[end + 2..]);
        Some(&wire[..end.unwrap_or(wire.len())])
    })
}

/// Some CR has no LF behind it, or some LF no CR before it (RFC 5321, 2.3.8).
pub fn has_bare_line_end(octets: &[u8]) -> bool {
    let mut before = 0;
    for &octet in octets {
        if (before == b'\r') != (octet == b'\n') {
            return true;
        }
        before = octet;
    }
    before == b'\r'
}

/// Some line is a lone dot to whoever drops NUL.
pub fn has_disguised_end(content: &[u8]) -> bool {
    content.split(|octet| *octet == b'\n').any(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.starts_with(b"\0") && line.iter().filter(|octet| **octet != 0).eq([&b'.'])
    })
}
