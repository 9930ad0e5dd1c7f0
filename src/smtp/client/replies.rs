//! Reading a server's replies, strictly (RFC 5321, 4.2; RFC 2034): bounded lines, a bounded number of them, one code
//! throughout. What is no reply ends the session: guessing at it could take a refusal for an acceptance.

use bytes::BytesMut;
use memchr::memchr;

use crate::mail::{EnhancedStatus, Severity};
use crate::smtp::reply::Reply;

/// Octets of one line, its end included. RFC 5321, 4.5.3.1.5 says 512; some servers write essays.
const LONGEST_LINE: usize = 2048;
/// Lines of one reply. The longest EHLO replies have about 30.
const MOST_LINES: usize = 128;

/// Takes whole replies out of what the server sent, however it was cut.
#[derive(Debug, Default)]
pub struct Replies {
    /// The lines so far of a reply whose last line is not there yet, and their code.
    begun: Option<(u16, Vec<String>)>,
}

/// Why octets are no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    #[error("'{0}' is no SMTP reply")]
    NoReply(String),
    #[error("a reply line is longer than {LONGEST_LINE} octets")]
    LongLine,
    #[error("a reply has more than {MOST_LINES} lines")]
    ManyLines,
    #[error("one reply has the codes {0} and {1}")]
    Codes(u16, u16),
    /// More came than commands had been sent.
    #[error("'{0}' is one reply too many")]
    Surplus(String),
    #[error("the reply '{code} {text}' makes no sense here", code = .0.code, text = .0.text())]
    Senseless(Reply),
}

impl Garbage {
    /// Of what is left where nothing is due.
    pub fn surplus(octets: &[u8]) -> Self {
        let line = octets.split(|&octet| octet == b'\n').next().unwrap_or_default();
        Self::Surplus(printable(line.get(..80).unwrap_or(line)).trim_end().to_owned())
    }
}

impl Replies {
    /// The next whole reply, taken off the front of `octets`; `None` where more octets are needed.
    pub fn next(&mut self, octets: &mut BytesMut) -> Result<Option<Reply>, Garbage> {
        loop {
            let Some(end) = memchr(b'\n', octets) else {
                return if octets.len() >= LONGEST_LINE { Err(Garbage::LongLine) } else { Ok(None) };
            };
            if end >= LONGEST_LINE {
                return Err(Garbage::LongLine);
            }
            let line = octets.split_to(end + 1);
            let (code, last, text) = parse_line(&line)?;
            let (begun, mut lines) = self.begun.take().unwrap_or((code, Vec::new()));
            if begun != code {
                return Err(Garbage::Codes(begun, code));
            }
            lines.push(text);
            if last {
                return Ok(Some(finish(code, lines)));
            }
            if lines.len() >= MOST_LINES {
                return Err(Garbage::ManyLines);
            }
            self.begun = Some((code, lines));
        }
    }

    /// Forgets a reply that was begun.
    pub fn clear(&mut self) {
        self.begun = None;
    }
}

/// Code, whether it is the reply's last line, and the text. A line may end in LF alone: nothing depends on it here,
/// and old gateways do it.
fn parse_line(line: &[u8]) -> Result<(u16, bool, String), Garbage> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let no_reply = || Garbage::NoReply(printable(line.get(..80).unwrap_or(line)));
    let (digits, rest) = line.split_at_checked(3).ok_or_else(no_reply)?;
    if !(b'2'..=b'5').contains(&digits[0]) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(no_reply());
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Ok((code, true, String::new())),
        Some((b' ', text)) => Ok((code, true, printable(text))),
        Some((b'-', text)) => Ok((code, false, printable(text))),
        Some(_) => Err(no_reply()),
    }
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(|c: char| c.is_control(), " ")
}

/// Moves the enhanced status out of the text, where there is one of the code's class (RFC 2034, section 4).
fn finish(code: u16, mut lines: Vec<String>) -> Reply {
    let status = lines.first().and_then(|line| status_at_start(code, line)).map(|(status, _)| status);
    if status.is_some() {
        for line in &mut lines {
            if let Some((_, behind)) = status_at_start(code, line) {
                *line = line[behind..].trim_start().to_owned();
            }
        }
    }
    Reply { code, status, lines }
}

fn status_at_start(code: u16, line: &str) -> Option<(EnhancedStatus, usize)> {
    let size = line.find(' ').unwrap_or(line.len());
    let status: EnhancedStatus = line[..size].parse().ok()?;
    let class = match status.severity() {
        Severity::Success => 2,
        Severity::Transient => 4,
        Severity::Permanent => 5,
    };
    (class == code / 100).then_some((status, size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(octets: &[u8]) -> Result<Vec<Reply>, Garbage> {
        let (mut replies, mut octets, mut all) = (Replies::default(), BytesMut::from(octets), Vec::new());
        while let Some(reply) = replies.next(&mut octets)? {
            all.push(reply);
        }
        Ok(all)
    }

    #[test]
    fn replies_are_read() {
        for (octets, code, status, lines) in [
            ("250 2.1.0 Ok\r\n", 250, Some("2.1.0"), vec!["Ok"]),
            ("250\r\n", 250, None, vec![""]),
            ("250 \r\n", 250, None, vec![""]),
            ("250 Ok\n", 250, None, vec!["Ok"]),
            ("550-5.1.1 No such\r\n550 5.1.1 user\r\n", 550, Some("5.1.1"), vec!["No such", "user"]),
            ("550-5.1.1 No such\r\n550 user\r\n", 550, Some("5.1.1"), vec!["No such", "user"]),
            ("550 2.1.1 of another class\r\n", 550, None, vec!["2.1.1 of another class"]),
            ("354 3.0.0 no status\r\n", 354, None, vec!["3.0.0 no status"]),
            ("250 1.2.3.4 an address\r\n", 250, None, vec!["1.2.3.4 an address"]),
            ("421 4.7.0\r\n", 421, Some("4.7.0"), vec![""]),
            ("220 a\tb\u{7}\r\n", 220, None, vec!["a b "]),
        ] {
            let reply = read(octets.as_bytes()).unwrap().pop().unwrap();
            let lines = lines.into_iter().map(str::to_owned).collect();
            assert_eq!(reply, Reply { code, status: status.map(|s| s.parse().unwrap()), lines }, "{octets:?}");
        }
    }

    #[test]
    fn what_is_no_reply_is_garbage() {
        for octets in [
            "\r\n",
            "25\r\n",
            "2500 Ok\r\n",
            "150 Ok\r\n",
            "650 Ok\r\n",
            "2x0 Ok\r\n",
            "250.Ok\r\n",
            " 250 Ok\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "250-a\r\n550 b\r\n",
            "250-a\r\nrest\r\n",
        ] {
            assert!(read(octets.as_bytes()).is_err(), "{octets:?}");
        }
    }

    #[test]
    fn endless_replies_are_cut_off() {
        assert_eq!(read(&vec![b'2'; LONGEST_LINE]), Err(Garbage::LongLine));
        assert_eq!(read(format!("250 {}\r\n", "x".repeat(LONGEST_LINE)).as_bytes()), Err(Garbage::LongLine));
        assert_eq!(read("250-more\r\n".repeat(MOST_LINES).as_bytes()), Err(Garbage::ManyLines));
        assert_eq!(read("250-more\r\n".repeat(MOST_LINES - 1).as_bytes()), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&octets);
        }

        #[test]
        fn cuts_make_no_difference(
            octets in "((250|550)[- ][a-z0-9. ]{0,12}(\r\n|\n)){0,6}",
            cuts in proptest::collection::vec(1..9usize, 0..40),
        ) {
            let (mut replies, mut buffer, mut all) = (Replies::default(), BytesMut::new(), Ok(Vec::new()));
            let mut rest = octets.as_bytes();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                buffer.extend_from_slice(now);
                rest = later;
                while let Ok(some) = &mut all {
                    match replies.next(&mut buffer) {
                        Ok(Some(reply)) => some.push(reply),
                        Ok(None) => break,
                        Err(garbage) => all = Err(garbage),
                    }
                }
            }
            prop_assert_eq!(all, read(octets.as_bytes()));
        }
    }
}
