//! The message on standard input: line ends, recipients in its header, fields it lacks. Pure.

use bytes::Bytes;

use super::SendError;
use super::options::here;
use crate::mail::{Address, HeaderSection, mailboxes};

/// The content with CRLF line ends; a line with a lone dot ends it unless `ignore_dots`.
pub fn read(input: &[u8], ignore_dots: bool) -> Vec<u8> {
    let mut content = Vec::with_capacity(input.len() + input.len() / 32);
    for line in input.split_inclusive(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !ignore_dots && line == b"." {
            break;
        }
        // A CR within a line would be refused as a line end that is none.
        content.extend(line.iter().filter(|&&octet| octet != b'\r'));
        content.extend_from_slice(b"\r\n");
    }
    content
}

/// The addresses of To, Cc and Bcc (`-t`).
pub fn recipients(content: &[u8]) -> Result<Vec<Address>, SendError> {
    let mut found = Vec::new();
    for field in header(content).fields().filter(|field| ["To", "Cc", "Bcc"].iter().any(|name| field.is(name))) {
        found.extend(mailboxes(&field, &here()).map_err(|error| SendError::Message(error.to_string()))?);
    }
    Ok(found)
}

/// The address of the From field.
pub fn sender(content: &[u8]) -> Option<Address> {
    let header = header(content);
    let from = header.fields().find(|field| field.is("From"))?;
    mailboxes(&from, &here()).ok()?.into_iter().next()
}

/// The content with a From field where it had none, and an empty line before a body that has no header.
pub fn complete(content: Vec<u8>, sender: Option<&Address>, name: Option<&str>) -> Vec<u8> {
    let header = header(&content);
    let starts_with_field = header.fields().next().is_some_and(|field| !field.name().is_empty());
    let mut front = Vec::new();
    if let (false, Some(sender)) = (header.has("From") && starts_with_field, sender) {
        let name: String = name.unwrap_or("").chars().filter(|c| !c.is_control() && !"\"\\".contains(*c)).collect();
        let from =
            if name.is_empty() { format!("From: {sender}\r\n") } else { format!("From: \"{name}\" <{sender}>\r\n") };
        front.extend_from_slice(from.as_bytes());
    }
    if !starts_with_field && !content.starts_with(b"\r\n") {
        front.extend_from_slice(b"\r\n");
    }
    front.extend_from_slice(&content);
    front
}

fn header(content: &[u8]) -> HeaderSection {
    let size = HeaderSection::size_in(content).unwrap_or(content.len());
    HeaderSection::new(Bytes::copy_from_slice(&content[..size]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_crlf_and_a_lone_dot_ends_unless_told_otherwise() {
        assert_eq!(read(b"a\nb\r\n.\nc", false), b"a\r\nb\r\n");
        assert_eq!(read(b"a\n.\nc", true), b"a\r\n.\r\nc\r\n");
    }

    #[test]
    fn recipients_come_from_three_fields() {
        let content = b"From: x@example.com\r\nTo: \"A, B\" <a@example.com>,\r\n b@example.com\r\nBcc: c@example.com\r\n\r\nTo: no@example.com\r\n";
        let found: Vec<String> = recipients(content).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["a@example.com", "b@example.com", "c@example.com"]);
        assert_eq!(sender(content).unwrap().to_string(), "x@example.com");
    }

    #[test]
    fn a_missing_from_is_added_and_a_body_without_header_stays_one() {
        let from = "x@example.com".parse().unwrap();
        assert_eq!(
            complete(b"To: a@b.example\r\n\r\nhi\r\n".to_vec(), Some(&from), Some("X Y")),
            b"From: \"X Y\" <x@example.com>\r\nTo: a@b.example\r\n\r\nhi\r\n"
        );
        assert_eq!(complete(b"just text\r\n".to_vec(), Some(&from), None), b"From: x@example.com\r\n\r\njust text\r\n");
        assert_eq!(complete(b"From: y@b.example\r\n\r\n".to_vec(), Some(&from), None), b"From: y@b.example\r\n\r\n");
    }
}
