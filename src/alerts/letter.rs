//! A note as a mail message (RFC 5322): plain text, marked as made by a program (RFC 3834, 5). Pure.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::words::Note;
use crate::mail::{Address, BodyKind, DsnRequest, Envelope, Mid, Origin, Recipient, Timestamp, date};

/// Characters of a subject.
const SUBJECT: usize = 120;
/// Octets of a line before it is encoded (RFC 5322, 2.1.1).
const LINE: usize = 900;

/// From whom, to whom, and by what name the relay knows it again.
#[derive(Debug)]
pub struct Letter<'a> {
    pub mid: Mid,
    pub from: &'a Address,
    pub to: &'a [Address],
    pub origin: String,
    pub hostname: &'a str,
    pub now: Timestamp,
}

impl Letter<'_> {
    /// Envelope and content. The reverse-path is `from`: APIs carry no null one.
    pub fn write(&self, note: &Note) -> (Envelope, Bytes) {
        let mut header = String::new();
        let to = self.to.iter().map(|to| format!("<{to}>")).collect::<Vec<_>>().join(",\r\n\t");
        let plain = note.text.is_ascii() && note.text.lines().all(|line| line.len() <= LINE);
        let encoding = if plain { "7bit" } else { "base64" };
        let _ = write!(
            header,
            "From: waypost <{}>\r\nTo: {to}\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <{}@{}>\r\n\
             Auto-Submitted: auto-generated\r\nX-Waypost-Alert: {}; id={}\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n",
            self.from,
            subject(&note.subject),
            date(self.now),
            self.mid,
            self.hostname,
            note.event,
            note.id,
        );
        let header_size = header.len();
        let mut content = header;
        if plain {
            for line in note.text.lines() {
                content.push_str(line);
                content.push_str("\r\n");
            }
        } else {
            let text = note.text.lines().collect::<Vec<_>>().join("\r\n") + "\r\n";
            let encoded = BASE64.encode(text);
            for line in encoded.as_bytes().chunks(76) {
                content.push_str(std::str::from_utf8(line).unwrap_or_default());
                content.push_str("\r\n");
            }
        }
        let envelope = Envelope {
            reverse_path: Some(self.from.clone()),
            recipients: self.to.iter().cloned().map(Recipient::new).collect(),
            dsn: DsnRequest::default(),
            body: BodyKind::SevenBit,
            smtputf8: self.from.needs_smtputf8() || self.to.iter().any(Address::needs_smtputf8),
            origin: Origin { listener: self.origin.clone(), client: None, helo: None, user: None },
            accepted_at: self.now,
            header_size: u32::try_from(header_size).unwrap_or(u32::MAX),
            size: content.len() as u64,
        };
        (envelope, content.into())
    }
}

/// One line of printable ASCII; what is no such, is left to the text.
fn subject(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let clean = line.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
    let mut short: String = clean.take(SUBJECT).collect();
    if line.chars().count() > SUBJECT {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::words::{By, test};
    use super::*;

    fn written(text: &str) -> (Envelope, String) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let note = Note {
            text: text.to_owned(),
            subject: text.to_owned(),
            ..test(By { relay: "relay.example", id: "01J", now })
        };
        let to = ["ops@corp.example".parse().unwrap(), "boss@corp.example".parse().unwrap()];
        let letter = Letter {
            mid: Mid::new(now, 7),
            from: &"waypost@relay.example".parse().unwrap(),
            to: &to,
            origin: "-alerts".to_owned(),
            hostname: "relay.example",
            now,
        };
        let (envelope, content) = letter.write(&note);
        (envelope, String::from_utf8(content.to_vec()).unwrap())
    }

    #[test]
    fn a_letter_is_plain_text() {
        let (envelope, content) = written("provider a is out: 503\nlast error: 503");
        assert_snapshot!(content.replace('\r', ""), @r"
        From: waypost <waypost@relay.example>
        To: <ops@corp.example>,
        	<boss@corp.example>
        Subject: provider a is out: 503
        Date: Fri, 15 Jan 2027 08:00:00 +0000
        Message-ID: <01MCC5RM000000000000000007@relay.example>
        Auto-Submitted: auto-generated
        X-Waypost-Alert: test; id=01J
        MIME-Version: 1.0
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: 7bit

        provider a is out: 503
        last error: 503
        ");
        let header = content.find("\r\n\r\n").unwrap() + 4;
        assert_eq!((envelope.header_size as usize, envelope.size as usize), (header, content.len()));
    }

    #[test]
    fn what_a_provider_says_breaks_no_header_and_no_line() {
        let (_, content) = written(&format!("out: \u{fc}ber\u{7}\r\nBcc: x@y.example\n{}", "a".repeat(2000)));
        let (header, body) = content.split_once("\r\n\r\n").unwrap();
        assert!(header.contains("Subject: out: ?ber?\r\n") && !header.contains("\r\nBcc"), "{header}");
        let text = BASE64.decode(body.replace("\r\n", "")).unwrap();
        assert!(String::from_utf8(text).unwrap().starts_with("out: \u{fc}ber\u{7}\r\nBcc: x@y.example\r\n"));
        assert!(content.lines().all(|line| line.len() < 998));
    }
}
