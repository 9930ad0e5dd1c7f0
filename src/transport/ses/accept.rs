//! Which raw messages Amazon SES takes, known before one is sent. Pure.

use bytes::{Bytes, BytesMut};
use memchr::memchr_iter;

use crate::mail::{Address, HeaderSection};
use crate::transport::mime;

/// RFC 5322, 2.1.1, and SES, without the line's end.
const LONGEST_LINE: usize = 998;
const MOST_PARTS: usize = 500;

/// Fields of which SES takes one; so it does of all that start with `Content-`, `Disposition-Notification-` and
/// `Original-`.
const ONCE: &[&str] = &[
    "accept-language",
    "archived-at",
    "auto-submitted",
    "comments",
    "date",
    "delivered-to",
    "dkim-signature",
    "domainkey-signature",
    "errors-to",
    "from",
    "importance",
    "in-reply-to",
    "keywords",
    "list-archive",
    "list-help",
    "list-id",
    "list-owner",
    "list-post",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "message-id",
    "mime-version",
    "organization",
    "precedence",
    "priority",
    "references",
    "reply-to",
    "return-path",
    "return-receipt-to",
    "sender",
    "sensitivity",
    "subject",
    "thread-index",
    "thread-topic",
    "user-agent",
    "vbr-info",
];

/// File types that SES refuses as attachments.
const REFUSED: &[&str] = &[
    "ade", "adp", "app", "asp", "bas", "bat", "cer", "chm", "cmd", "com", "cpl", "crt", "csh", "der", "exe", "fxp",
    "gadget", "hlp", "hta", "inf", "ins", "isp", "its", "js", "jse", "ksh", "lib", "lnk", "mad", "maf", "mag", "mam",
    "maq", "mar", "mas", "mat", "mau", "mav", "maw", "mda", "mdb", "mde", "mdt", "mdw", "mdz", "msc", "msh", "msh1",
    "msh2", "mshxml", "msh1xml", "msh2xml", "msi", "msp", "mst", "ops", "pcd", "pif", "plg", "prf", "prg", "reg",
    "scf", "scr", "sct", "shb", "shs", "sys", "ps1", "ps1xml", "ps2", "ps2xml", "psc1", "psc2", "tmp", "url", "vb",
    "vbe", "vbs", "vps", "vsmacros", "vss", "vst", "vsw", "vxd", "ws", "wsc", "wsf", "wsh", "xnk",
];

/// A message that goes to SES, and the mailboxes of its From, for reading what SES says of them.
pub(super) struct Raw {
    pub(super) octets: Bytes,
    pub(super) from: Vec<Address>,
}

/// `header` stands in for the content's first `skip` octets. `Err`: what SES would not take.
pub(super) fn raw(header: &HeaderSection, content: Bytes, skip: usize) -> Result<Raw, String> {
    if let Some(name) = repeated(header) {
        return Err(format!("SES takes one field {name}, and the message has several"));
    }
    let octets = if header.octets().len() == skip {
        content
    } else {
        let body = content.get(skip..).unwrap_or_default();
        let mut octets = BytesMut::with_capacity(header.octets().len() + body.len());
        octets.extend_from_slice(header.octets());
        octets.extend_from_slice(body);
        octets.freeze()
    };
    if longest_line(&octets) > LONGEST_LINE {
        return Err(format!("SES takes lines of {LONGEST_LINE} octets, and the message has longer ones"));
    }
    let from = check_parts(&octets)?;
    Ok(Raw { octets, from })
}

fn check_parts(octets: &[u8]) -> Result<Vec<Address>, String> {
    let message = mime::parse(octets).ok_or("SES takes MIME, and the message cannot be read as such")?;
    if message.parts.len() > MOST_PARTS {
        return Err(format!("SES takes {MOST_PARTS} MIME parts, and the message has {}", message.parts.len()));
    }
    let refused = |name: &&str| {
        let end = name.trim_end_matches(['.', ' ']).rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
        end.is_some_and(|end| REFUSED.contains(&end.as_str()))
    };
    if let Some(name) = mime::file_names(&message).into_iter().find(refused) {
        return Err(format!("SES refuses attachments like '{name}'"));
    }
    let from = message.from().into_iter().flat_map(|list| list.iter());
    Ok(from.filter_map(|one| one.address.as_deref()?.parse().ok()).collect())
}

fn repeated(header: &HeaderSection) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    let names = header.fields().map(|field| String::from_utf8_lossy(field.name()).to_ascii_lowercase());
    let mut once = names.filter(|name| {
        let starts = ["content-", "disposition-notification-", "original-"];
        ONCE.contains(&name.as_str()) || starts.iter().any(|start| name.starts_with(start))
    });
    once.find(|name| !seen.insert(name.clone()))
}

fn longest_line(octets: &[u8]) -> usize {
    let mut start = 0;
    let mut longest = 0;
    for end in memchr_iter(b'\n', octets) {
        longest = longest.max((end - start).saturating_sub(1));
        start = end + 1;
    }
    longest.max(octets.len() - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, body: &str) -> Result<Vec<u8>, String> {
        let content = Bytes::from(format!("{header}\r\n{body}"));
        let section = HeaderSection::new(content.slice(..header.len() + 2));
        raw(&section, content, header.len() + 2).map(|raw| raw.octets.to_vec())
    }

    #[test]
    fn fields_that_ses_takes_once() {
        let from = "From: a@b.example\r\n";
        for (header, taken) in [
            ("Received: x\r\nReceived: y\r\nX-A: 1\r\nX-A: 2\r\n", true),
            ("DKIM-Signature: a\r\nSubject: s\r\n", true),
            ("DKIM-Signature: a\r\ndkim-signature: b\r\n", false),
            ("Delivered-To: a\r\nDelivered-To: b\r\n", false),
            ("Content-Foo: a\r\nContent-Foo: b\r\n", false),
            ("Original-Recipient: a\r\nOriginal-Recipient: b\r\n", false),
            ("From: x@b.example\r\n", false),
        ] {
            assert_eq!(check(&format!("{from}{header}"), "body\r\n").is_ok(), taken, "{header}");
        }
    }

    #[test]
    fn lines_have_a_length() {
        for (length, taken) in [(998, true), (999, false)] {
            let line = "x".repeat(length);
            for body in [format!("{line}\r\n"), format!("a\r\n{line}"), format!("a\r\n{line}\r\nb\r\n")] {
                assert_eq!(
                    check("From: a@b.example\r\n", &body).is_ok(),
                    taken || body.ends_with(&line) && length <= 998,
                    "{length}"
                );
            }
        }
    }

    #[test]
    fn file_types_that_ses_refuses() {
        for (name, taken) in [
            ("report.pdf", true),
            ("setup.exe", false),
            ("SETUP.EXE", false),
            ("invoice.pdf.js", false),
            ("setup.exe.", false),
            ("exe", true),
            ("archive.exe.zip", true),
        ] {
            let header = format!(
                "From: a@b.example\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n"
            );
            assert_eq!(check(&header, "x\r\n").is_ok(), taken, "{name}");
        }
    }

    #[test]
    fn the_message_goes_as_it_is_behind_the_header_that_was_kept() {
        let content = Bytes::from_static(b"X-SES-A: 1\r\nFrom: a@b.example\r\n\r\n\xe9\r\n");
        let header = HeaderSection::new(content.slice(..33)).without(|field| field.is("x-ses-a"));
        let raw = raw(&header, content, 33).unwrap();
        assert_eq!(&raw.octets[..], b"From: a@b.example\r\n\r\n\xe9\r\n");
        assert_eq!(raw.from, ["a@b.example".parse().unwrap()]);
    }
}
