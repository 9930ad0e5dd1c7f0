//! Content for servers that do not offer 8BITMIME: what is beyond ASCII in bodies is encoded (RFC 6152, section 3).
//!
//! Promises:
//! - each part decodes to the octets that it had; what is ASCII already stays as it is, octet by octet;
//! - what cannot be encoded without harm is an error: nothing is guessed, and no S/MIME or PGP signature is broken.
//!
//! A DKIM signature over the body holds no more afterwards; a verifier takes such a message for one that is not signed
//! (RFC 6376, 6.1). Header sections are not touched: what is beyond ASCII there goes as it came.

mod encode;

use bytes::Bytes;
use mail_parser::{MessageParser, MimeHeaders as _};

use super::HeaderSection;

/// Parts in parts; honest messages have a handful.
const MOST_DEPTH: usize = 50;

/// Why content cannot be put into seven bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("a part that is signed (multipart/signed) must not be altered")]
    Signed,
    #[error("a part of a type that may not be encoded (message/partial and the like) is beyond ASCII")]
    Type,
    #[error("a part beyond ASCII has a transfer encoding that is not known")]
    Encoding,
    #[error("a multipart body beyond ASCII has no parts that could be told apart")]
    Boundary,
    #[error("its parts lie too deep in each other")]
    Depth,
}

/// The message with the bodies of its parts in ASCII.
pub fn seven_bit(content: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 3);
    entity(content, At { root: true, digest: false, depth: 0 }, &mut out)?;
    if content.ends_with(b"\r\n") && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    Ok(out)
}

/// Where an entity stands.
#[derive(Clone, Copy)]
struct At {
    /// It is a message, which says MIME-Version.
    root: bool,
    /// Without a type it is a message (RFC 2046, 5.1.5).
    digest: bool,
    depth: usize,
}

enum Form {
    Multipart {
        boundary: Vec<u8>,
        digest: bool,
    },
    Message,
    Text,
    /// Anything whose line ends are octets like others.
    Octets,
}

/// A message or a part, its header section included.
fn entity(octets: &[u8], at: At, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let size = HeaderSection::size_in(octets).unwrap_or(octets.len());
    let (header, body) = octets.split_at(size);
    if body.is_ascii() {
        out.extend_from_slice(octets);
        return Ok(());
    }
    if at.depth > MOST_DEPTH {
        return Err(Unfit::Depth);
    }
    let header = HeaderSection::new(Bytes::copy_from_slice(header));
    let encoding = header.values("content-transfer-encoding").next().unwrap_or_default().to_ascii_lowercase();
    let encoding = encoding.split(['(', ';']).next().unwrap_or_default().trim();
    let plain = matches!(encoding, "" | "7bit" | "8bit" | "binary");
    let below = At { root: false, digest: false, depth: at.depth + 1 };
    match form(&header, at.digest)? {
        Form::Multipart { .. } | Form::Message if !plain => Err(Unfit::Encoding),
        Form::Multipart { boundary, digest } => {
            head(&header, at, "7bit", None, out);
            parts(body, &boundary, At { digest, ..below }, out)
        }
        Form::Message => {
            head(&header, at, "7bit", None, out);
            entity(body, At { root: true, ..below }, out)
        }
        // Octets that should not be there: written as what readers take them for, or left out as they leave them out.
        Form::Text | Form::Octets if encoding == "quoted-printable" => {
            out.extend_from_slice(header.octets());
            encode::escape(body, out);
            Ok(())
        }
        Form::Text | Form::Octets if encoding == "base64" => {
            out.extend_from_slice(header.octets());
            out.extend(body.iter().filter(|octet| octet.is_ascii()));
            Ok(())
        }
        Form::Text | Form::Octets if !plain => Err(Unfit::Encoding),
        Form::Text => {
            head(&header, at, "quoted-printable", Some(body), out);
            encode::quoted_printable(body, out);
            Ok(())
        }
        Form::Octets => {
            head(&header, at, "base64", Some(body), out);
            encode::base64(body, out);
            Ok(())
        }
    }
}

/// RFC 2046. What has no type is text, or in a digest a message.
fn form(header: &HeaderSection, digest: bool) -> Result<Form, Unfit> {
    let parsed = MessageParser::default().parse_headers(&header.octets()[..]);
    let Some(content_type) = parsed.as_ref().and_then(|parsed| parsed.content_type()) else {
        return Ok(if digest { Form::Message } else { Form::Text });
    };
    let (kind, sub) = (content_type.ctype(), content_type.subtype().unwrap_or_default());
    let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    if is(kind, "multipart") {
        if is(sub, "signed") {
            return Err(Unfit::Signed);
        }
        let boundary = content_type.attribute("boundary").map(str::as_bytes).unwrap_or_default();
        if boundary.is_empty() || !boundary.is_ascii() {
            return Err(Unfit::Boundary);
        }
        return Ok(Form::Multipart { boundary: boundary.to_vec(), digest: is(sub, "digest") });
    }
    if is(kind, "message") {
        // RFC 6532, 3.7, lets what is `global` be encoded; RFC 2046, 5.2, nothing else.
        return match sub.to_ascii_lowercase().as_str() {
            "rfc822" | "news" => Ok(Form::Message),
            sub if sub.starts_with("global") => Ok(Form::Octets),
            _ => Err(Unfit::Type),
        };
    }
    Ok(if is(kind, "text") { Form::Text } else { Form::Octets })
}

/// The header section with this transfer encoding; with a leaf's body, also a type where it says none.
fn head(header: &HeaderSection, at: At, encoding: &str, leaf: Option<&[u8]>, out: &mut Vec<u8>) {
    let field = format!("Content-Transfer-Encoding: {encoding}\r\n");
    let mut said = false;
    for old in header.fields() {
        if !old.is("content-transfer-encoding") {
            out.extend_from_slice(old.raw);
        } else if !std::mem::replace(&mut said, true) {
            out.extend_from_slice(field.as_bytes());
        }
    }
    if at.root && !header.has("mime-version") {
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    }
    if let Some(body) = leaf.filter(|_| !header.has("content-type")) {
        // RFC 1428, section 3, where nobody can know.
        let charset = if std::str::from_utf8(body).is_ok() { "utf-8" } else { "unknown-8bit" };
        out.extend_from_slice(format!("Content-Type: text/plain; charset={charset}\r\n").as_bytes());
    }
    if !said {
        out.extend_from_slice(field.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 2046, 5.1.1: the line end in front of a delimiter is the delimiter's.
fn parts(body: &[u8], boundary: &[u8], at: At, out: &mut Vec<u8>) -> Result<(), Unfit> {
    let (mut from, mut next, mut within, mut closed) = (0, 0, false, false);
    while next < body.len() && !closed {
        let start = next;
        next = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |end| start + end + 1);
        let Some(last) = delimits(&body[start..next], boundary) else { continue };
        let end = start.saturating_sub(2).max(from);
        if within {
            entity(&body[from..end], at, out)?
        } else {
            beside(&body[from..end], out)
        }
        out.extend_from_slice(&body[end..next]);
        (from, within, closed) = (next, true, last);
    }
    if !within {
        return Err(Unfit::Boundary);
    }
    if closed {
        beside(&body[from..], out);
        return Ok(());
    }
    entity(&body[from..], at, out)
}

/// Whether a line is a delimiter of this boundary, and if so the last one.
fn delimits(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, last) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
    rest.trim_ascii().is_empty().then_some(last)
}

/// What stands before the first part and behind the last, which nobody is to read.
fn beside(octets: &[u8], out: &mut Vec<u8>) {
    out.extend(octets.iter().map(|octet| if octet.is_ascii() { *octet } else { b'?' }));
}

#[cfg(test)]
mod tests;
