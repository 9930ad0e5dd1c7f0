//! Which MIME structures SendGrid can rebuild, and the texts and attachments that it is given for them.
//!
//! It is given a list of texts, of which the reader sees one, and a list of attachments; it makes a MIME structure of its
//! own from them. So these are carried:
//!
//! ```text
//! message     = body | multipart/mixed(body, attachment...)
//! body        = text | alternative | related
//! alternative = multipart/alternative(text/plain?, text/html or related?, one further text type?)
//! related     = multipart/related(text/html or alternative, attachment with Content-ID...)
//! ```
//!
//! Everything else is refused, by name: what is signed or encrypted, reports, messages within messages, an order of
//! parts that has a meaning, parameters and fields of parts that would be lost (`method` of an invitation among them),
//! and whatever the API would want something made up for: an empty body, an attachment without a name.
//!
//! Three things are left out because they say nothing that the parts do not say by themselves: `charset`, where the text
//! goes out as UTF-8 or the file's octets go out as they are; `format` and `delsp` of plain text, as the API's documents
//! have it; and `size`, `x-` parameters and MIME-Version of parts (RFC 2046, 5.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{ContentType, Encoding, Header, HeaderName, Message, MessagePart, MimeHeaders as _, PartType};

use super::mail::{Attachment, Disposition, Text};
use super::text;

/// What cannot be carried, in words that end "SendGrid cannot carry …".
pub(super) type Refusal = String;

/// The texts and attachments of a message.
pub(super) fn parts(message: &Message<'_>) -> Result<(Vec<Text>, Vec<Attachment>), Refusal> {
    let mut reader = Reader { message, texts: Vec::new(), attachments: Vec::new() };
    reader.message()?;
    Ok((reader.texts, reader.attachments))
}

struct Reader<'m, 'x> {
    message: &'m Message<'x>,
    texts: Vec<Text>,
    attachments: Vec<Attachment>,
}

/// Where a part stands, which decides what its fields may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Inner,
    /// The first part of multipart/related: `start` may name its Content-ID.
    Start,
}

impl<'m, 'x> Reader<'m, 'x> {
    fn message(&mut self) -> Result<(), Refusal> {
        let root = self.part(0)?;
        if kind(root)? != "multipart/mixed" {
            return self.body(root, Place::Root);
        }
        let children = self.children(root, Place::Root, &[])?;
        let (first, rest) = children.split_first().ok_or("multipart/mixed without parts")?;
        self.body(first, Place::Inner)?;
        rest.iter().try_for_each(|part| self.attachment(part, Disposition::Attachment))
    }

    fn body(&mut self, part: &'m MessagePart<'x>, place: Place) -> Result<(), Refusal> {
        match kind(part)?.as_str() {
            "multipart/alternative" => self.alternative(part, place),
            "multipart/related" => self.related(part, place),
            "text/plain" | "text/html" => self.text(part, place),
            other => Err(format!("{other} as the body")),
        }
    }

    /// The order of the texts is that of growing preference (RFC 2046, 5.1.4); the API knows one order.
    fn alternative(&mut self, part: &'m MessagePart<'x>, place: Place) -> Result<(), Refusal> {
        let mut last = 0;
        for child in self.children(part, place, &[])? {
            let kind = kind(child)?;
            let rank = match kind.as_str() {
                "text/plain" => 1,
                "text/html" | "multipart/related" => 2,
                _ => 3,
            };
            if rank <= last {
                return Err(format!("{kind} at this place of multipart/alternative"));
            }
            last = rank;
            match kind.as_str() {
                "multipart/related" if place != Place::Start => self.related(child, Place::Inner)?,
                text if text.starts_with("text/") => self.text(child, Place::Inner)?,
                other => return Err(format!("{other} in multipart/alternative")),
            }
        }
        if last == 0 { Err("multipart/alternative without parts".to_owned()) } else { Ok(()) }
    }

    fn related(&mut self, part: &'m MessagePart<'x>, place: Place) -> Result<(), Refusal> {
        let children = self.children(part, place, &["type", "start"])?;
        let (first, rest) = children.split_first().ok_or("multipart/related without parts")?;
        let start = part.content_type().and_then(|kind| kind.attribute("start"));
        if let Some(start) = start
            && first.content_id() != Some(start.trim().trim_start_matches('<').trim_end_matches('>'))
        {
            return Err("multipart/related that starts with another part than its first".to_owned());
        }
        match kind(first)?.as_str() {
            "text/html" => self.text(first, Place::Start)?,
            "multipart/alternative" if place != Place::Start => self.alternative(first, Place::Start)?,
            other => return Err(format!("{other} as the first part of multipart/related")),
        }
        for part in rest {
            if part.content_id().is_none() {
                return Err("a part of multipart/related without Content-ID".to_owned());
            }
            self.attachment(part, Disposition::Inline)?;
        }
        Ok(())
    }

    fn text(&mut self, part: &'m MessagePart<'x>, place: Place) -> Result<(), Refusal> {
        let kind = kind(part)?;
        self.fields(part, place)?;
        parameters(part.content_type(), &["charset", "format", "delsp"], &kind)?;
        if let Some(disposition) = part.content_disposition() {
            if !disposition.ctype().eq_ignore_ascii_case("inline") {
                return Err(format!("{kind} that is an attachment, as the body"));
            }
            parameters(Some(disposition), &[], "the body's Content-Disposition")?;
        }
        let (PartType::Text(value) | PartType::Html(value)) = &part.body else {
            return Err(format!("{kind} that cannot be read"));
        };
        let charset = part.content_type().and_then(|kind| kind.attribute("charset")).unwrap_or("utf-8");
        if !text::is_known(charset) {
            return Err(format!("text in the character set '{charset}'"));
        }
        if !text::is_whole(value) || (text::is_ascii(charset) && !value.is_ascii()) {
            return Err(format!("{kind} with octets that are not {charset}"));
        }
        if value.is_empty() {
            return Err(format!("an empty {kind} body"));
        }
        self.texts.push(Text { kind, value: value.clone().into_owned() });
        Ok(())
    }

    fn attachment(&mut self, part: &'m MessagePart<'x>, absent: Disposition) -> Result<(), Refusal> {
        let kind = kind(part)?;
        let is_cut = kind.contains([';', ',']);
        let sealed = matches!(
            kind.as_str(),
            "application/pkcs7-mime" | "application/x-pkcs7-mime" | "application/pgp-encrypted"
        );
        if kind.starts_with("multipart/") || kind.starts_with("message/") || sealed || is_cut {
            return Err(format!("{kind} within the message"));
        }
        self.fields(part, Place::Inner)?;
        parameters(part.content_type(), &["name", "charset"], &kind)?;
        parameters(part.content_disposition(), &["filename", "size"], "Content-Disposition")?;
        let disposition = match part.content_disposition().map(|disposition| disposition.ctype()) {
            None => absent,
            Some(word) if word.eq_ignore_ascii_case("inline") => Disposition::Inline,
            Some(word) if word.eq_ignore_ascii_case("attachment") => Disposition::Attachment,
            Some(other) => return Err(format!("Content-Disposition '{other}'")),
        };
        let filename = part.attachment_name().unwrap_or_default();
        if filename.is_empty() {
            return Err(format!("{kind} without a file name"));
        }
        if !text::is_line(filename) || filename.contains([';', ',']) {
            return Err(format!("the file name '{filename}'"));
        }
        if part.content_id().is_some_and(|id| !text::is_line(id)) {
            return Err("a Content-ID that cannot be read".to_owned());
        }
        if let Some(charset) = part.content_type().and_then(|kind| kind.attribute("charset"))
            && !text::is_utf8(charset)
            && !text::is_ascii(charset)
        {
            return Err(format!("{kind} in the character set '{charset}' as an attachment"));
        }
        let octets = self.octets(part).ok_or_else(|| format!("{kind} that cannot be decoded"))?;
        if octets.is_empty() {
            return Err(format!("the empty attachment '{filename}'"));
        }
        self.attachments.push(Attachment {
            content: STANDARD.encode(&octets),
            kind,
            filename: filename.to_owned(),
            disposition,
            content_id: part.content_id().map(str::to_owned),
        });
        Ok(())
    }

    /// An attachment's octets, of text too: not what a character set makes of them.
    fn octets(&self, part: &MessagePart<'_>) -> Option<Vec<u8>> {
        match &part.body {
            PartType::Binary(octets) | PartType::InlineBinary(octets) => Some(octets.to_vec()),
            PartType::Text(_) | PartType::Html(_) => {
                let raw = self.message.raw_message.get(part.offset_body as usize..part.offset_end as usize)?;
                match part.encoding {
                    Encoding::None => Some(raw.to_vec()),
                    Encoding::Base64 => base64_decode(raw),
                    Encoding::QuotedPrintable => quoted_printable_decode(raw),
                }
            }
            PartType::Message(_) | PartType::Multipart(_) => None,
        }
    }

    fn part(&self, id: u32) -> Result<&'m MessagePart<'x>, Refusal> {
        self.message.part(id).ok_or_else(|| "a message without parts".to_owned())
    }

    /// The parts of a multipart whose own fields and parameters are checked here.
    fn children(
        &self,
        part: &'m MessagePart<'x>,
        place: Place,
        more: &[&str],
    ) -> Result<Vec<&'m MessagePart<'x>>, Refusal> {
        let kind = kind(part)?;
        let PartType::Multipart(children) = &part.body else {
            return Err(format!("{kind} without parts"));
        };
        self.fields(part, place)?;
        parameters(part.content_type(), &[&["boundary"], more].concat(), &kind)?;
        children.iter().map(|&id| self.part(id)).collect()
    }

    /// The fields of a part: those that have a place in the API's form, each once, and decoded by a scheme that is known.
    fn fields(&self, part: &MessagePart<'_>, place: Place) -> Result<(), Refusal> {
        let mut seen: Vec<&HeaderName<'_>> = Vec::new();
        for header in &part.headers {
            let name = header.name();
            let about_content = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
            match header.name {
                // The other fields of the root are the message's.
                _ if place == Place::Root && !about_content => continue,
                HeaderName::ContentType | HeaderName::ContentDisposition | HeaderName::MimeVersion => {}
                HeaderName::ContentTransferEncoding => {
                    let scheme = self.raw(header).trim_ascii().to_ascii_lowercase();
                    if !matches!(scheme.as_slice(), b"7bit" | b"8bit" | b"binary" | b"quoted-printable" | b"base64") {
                        return Err(format!(
                            "the Content-Transfer-Encoding '{}'",
                            String::from_utf8_lossy(&scheme).escape_default()
                        ));
                    }
                }
                HeaderName::ContentId if place == Place::Start || self.is_file(part) => {}
                _ => return Err(format!("the field {name} of a part")),
            }
            if seen.contains(&&header.name) {
                return Err(format!("the repeated field {name} of a part"));
            }
            seen.push(&header.name);
            if !text::is_decodable(self.raw(header)) {
                return Err(format!("the field {name} of a part, which is not decodable"));
            }
        }
        if part.is_encoding_problem { Err("a part that cannot be decoded".to_owned()) } else { Ok(()) }
    }

    /// Its Content-ID has a place in the API's form.
    fn is_file(&self, part: &MessagePart<'_>) -> bool {
        part.attachment_name().is_some()
    }

    fn raw(&self, header: &Header<'_>) -> &'m [u8] {
        let range = header.offset_start() as usize..header.offset_end() as usize;
        self.message.raw_message.get(range).unwrap_or_default()
    }
}

/// `type/subtype` in lower case; a part that says nothing is text/plain (RFC 2045, 5.2).
fn kind(part: &MessagePart<'_>) -> Result<String, Refusal> {
    let Some(kind) = part.content_type() else {
        let said = part.headers.iter().any(|header| header.name == HeaderName::ContentType);
        return if said { Err("a Content-Type that cannot be read".to_owned()) } else { Ok("text/plain".to_owned()) };
    };
    match kind.subtype() {
        Some(subtype) => {
            let kind = format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase();
            if text::is_line(&kind) { Ok(kind) } else { Err("a Content-Type that cannot be read".to_owned()) }
        }
        None => Err(format!("the Content-Type '{}'", kind.ctype())),
    }
}

/// Only parameters that have a place in the API's form, or say nothing.
fn parameters(field: Option<&ContentType<'_>>, known: &[&str], of: &str) -> Result<(), Refusal> {
    for attribute in field.and_then(|field| field.attributes()).unwrap_or_default() {
        let name = attribute.name.to_ascii_lowercase();
        if !known.contains(&name.as_str()) && !name.starts_with("x-") {
            return Err(format!("the parameter '{name}' of {of}"));
        }
    }
    Ok(())
}
