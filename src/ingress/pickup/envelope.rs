//! The envelope of a file. Pure.
//!
//! X-Sender and X-Receiver at the very top are it, as IIS SMTP and Exchange have them, with the ESMTP parameters that
//! Exchange's replay folder writes behind the address; they are taken off. What they leave open comes from the header:
//! the reverse-path from Sender or From, the recipients from To, Cc and Bcc.

use std::collections::HashSet;

use bytes::Bytes;

use crate::delivery::operate::ORIGIN;
use crate::mail::{Address, AddressError, Domain, DsnRequest, HeaderSection, Recipient, mailboxes};
use crate::smtp::command::{self, Command, Fault, ForwardPath};

const SENDER: &str = "X-Sender";
const RECEIVER: &str = "X-Receiver";
/// What Exchange writes beside the two, about hops that are none of the relay's.
const BESIDE: [&str; 7] = [
    "X-CreatedBy",
    "X-EndOfInjectedXHeaders",
    "X-ExtendedMessageProps",
    "X-HeloDomain",
    "X-MailboxMove",
    "X-Source",
    "X-SourceIPAddress",
];

#[derive(Debug, PartialEq, Eq)]
pub(in crate::ingress) struct Found {
    pub reverse_path: Option<Address>,
    /// Each address once; never empty.
    pub recipients: Vec<Recipient>,
    pub dsn: DsnRequest,
    /// X-Sender has it.
    pub smtputf8: bool,
    /// What the queue's export says of where it came from. A file that anybody may put into a folder is not believed.
    pub origin: Option<String>,
    /// The header section without the envelope's fields.
    pub section: HeaderSection,
}

/// Why there is no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::ingress) enum NoEnvelope {
    #[error("there is no sender: the file has no X-Sender, and neither a Sender nor a From field with an address")]
    NoSender,
    #[error("there is no recipient: the file has no X-Receiver, and no To, Cc or Bcc field with an address")]
    NoRecipient,
    #[error("there are two X-Sender fields")]
    TwoSenders,
    #[error("'{0}' in {1} is no address")]
    Envelope(String, &'static str),
    #[error("the {0} field has an address that is none: {1}")]
    Header(String, AddressError),
}

/// `here` is the domain of names that have none.
pub(in crate::ingress) fn read(section: &HeaderSection, here: &Domain) -> Result<Found, NoEnvelope> {
    let mut sender = None;
    let mut recipients = Recipients::default();
    let mut dsn = DsnRequest::default();
    let mut smtputf8 = false;
    let mut size = 0;
    let mut origin = None;
    for field in section.fields() {
        if field.is(SENDER) {
            let (path, asked) = mail(&field.value(), here)?;
            if sender.replace(path).is_some() {
                return Err(NoEnvelope::TwoSenders);
            }
            dsn = asked;
            smtputf8 = has_smtputf8(&field.value());
        } else if field.is(RECEIVER) {
            recipients.add(rcpt(&field.value(), here)?);
        } else if field.is(ORIGIN) {
            // What lies behind it is the message's own.
            origin = Some(field.value());
            size += field.raw.len();
            break;
        } else if !BESIDE.iter().any(|name| field.is(name)) {
            break;
        }
        size += field.raw.len();
    }
    // Without an envelope at the top, fields of such names are the message's own.
    let given = sender.is_some() || !recipients.list.is_empty();
    let own = if given { without_front(section, size) } else { section.clone() };
    let reverse_path = match sender {
        Some(path) => path,
        None => Some(sender_of(&own, here)?),
    };
    if recipients.list.is_empty() {
        for field in own.fields().filter(|field| ["To", "Cc", "Bcc"].iter().any(|name| field.is(name))) {
            let name = || String::from_utf8_lossy(field.name()).into_owned();
            for address in mailboxes(&field, here).map_err(|error| NoEnvelope::Header(name(), error))? {
                recipients.add(Recipient::new(address));
            }
        }
    }
    if recipients.list.is_empty() {
        return Err(NoEnvelope::NoRecipient);
    }
    Ok(Found { reverse_path, recipients: recipients.list, dsn, smtputf8, origin, section: own })
}

/// Each address once. A header may name thousands.
#[derive(Default)]
struct Recipients {
    list: Vec<Recipient>,
    seen: HashSet<Address>,
}

impl Recipients {
    fn add(&mut self, recipient: Recipient) {
        if self.seen.insert(recipient.address.clone()) {
            self.list.push(recipient);
        }
    }
}

fn without_front(section: &HeaderSection, size: usize) -> HeaderSection {
    let octets: &Bytes = section.octets();
    HeaderSection::new(octets.slice(size.min(octets.len())..))
}

/// Sender tells who sent it where From names several (RFC 5322, 3.6.2).
fn sender_of(header: &HeaderSection, here: &Domain) -> Result<Address, NoEnvelope> {
    for name in ["Sender", "From"] {
        for field in header.fields().filter(|field| field.is(name)) {
            let found = mailboxes(&field, here).map_err(|error| NoEnvelope::Header(name.to_owned(), error))?;
            if let Some(first) = found.into_iter().next() {
                return Ok(first);
            }
        }
    }
    Err(NoEnvelope::NoSender)
}

/// Reads the value as MAIL would. Parameters that it would refuse mean nothing here; the address must be one.
fn mail(value: &str, here: &Domain) -> Result<(Option<Address>, DsnRequest), NoEnvelope> {
    for text in [value, path(value)] {
        match command::parse(format!("MAIL FROM:{text}{}", utf8(text)).as_bytes()) {
            Ok(Command::Mail { reverse_path, params }) => return Ok((reverse_path, params.dsn)),
            Err(Fault::Sender(AddressError::NoDomain(name))) => {
                if let Ok(address) = Address::new(&name, here.clone()) {
                    return Ok((Some(address), DsnRequest::default()));
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
    Err(NoEnvelope::Envelope(shown(value), SENDER))
}

fn rcpt(value: &str, here: &Domain) -> Result<Recipient, NoEnvelope> {
    let named = |name: &str| Address::new(name, here.clone()).ok();
    for text in [value, path(value)] {
        let found = match command::parse(format!("RCPT TO:{text}").as_bytes()) {
            Ok(Command::Rcpt { forward_path: ForwardPath::Mailbox(address), params }) => {
                Some(Recipient { address, notify: params.notify, orcpt: params.orcpt })
            }
            Ok(Command::Rcpt { forward_path: ForwardPath::Postmaster, params: _ }) => {
                named("postmaster").map(Recipient::new)
            }
            Err(Fault::Recipient(AddressError::NoDomain(name))) => named(&name).map(Recipient::new),
            Ok(_) | Err(_) => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(NoEnvelope::Envelope(shown(value), RECEIVER))
}

/// The path without the parameters behind it.
fn path(value: &str) -> &str {
    match value.find('>') {
        Some(end) if value.starts_with('<') => &value[..=end],
        Some(_) | None => value.split_ascii_whitespace().next().unwrap_or(""),
    }
}

/// A file needs no leave for an address beyond ASCII.
fn utf8(text: &str) -> &'static str {
    if text.is_ascii() || has_smtputf8(text) { "" } else { " SMTPUTF8" }
}

fn has_smtputf8(text: &str) -> bool {
    text.to_ascii_uppercase().contains(" SMTPUTF8")
}

fn shown(value: &str) -> String {
    value.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Notify, Ret};

    fn found(header: &str) -> Result<Found, NoEnvelope> {
        read(&HeaderSection::new(Bytes::copy_from_slice(header.as_bytes())), &"here.example".parse().unwrap())
    }

    /// Sender, recipients, and the header that is left.
    fn brief(header: &str) -> Result<(String, String, String), NoEnvelope> {
        let found = found(header)?;
        let from = found.reverse_path.map_or("<>".to_owned(), |path| path.to_string());
        let to: Vec<String> = found.recipients.iter().map(|to| to.address.to_string()).collect();
        Ok((from, to.join(" "), String::from_utf8(found.section.octets().to_vec()).unwrap()))
    }

    #[test]
    fn envelopes_are_found() {
        for (header, from, to, left) in [
            (
                "X-Sender: a@b.example\r\nX-Receiver: c@d.example\r\nX-Receiver: e@f.example\r\nTo: x@y.example\r\n\r\n",
                "a@b.example",
                "c@d.example e@f.example",
                "To: x@y.example\r\n\r\n",
            ),
            (
                "x-receiver: <c@d.example>\r\nx-sender: <a@b.example>\r\nX-Receiver: c@D.example\r\n\r\n",
                "a@b.example",
                "c@d.example",
                "\r\n",
            ),
            (
                "X-Sender: <>\r\nX-Receiver: c@d.example\r\nFrom: x@y.example\r\n\r\n",
                "<>",
                "c@d.example",
                "From: x@y.example\r\n\r\n",
            ),
            // Each may come from the header alone.
            (
                "X-Receiver: c@d.example\r\nFrom: A <x@y.example>\r\n\r\n",
                "x@y.example",
                "c@d.example",
                "From: A <x@y.example>\r\n\r\n",
            ),
            (
                "X-Sender: a@b.example\r\nTo: x@y.example\r\n\r\n",
                "a@b.example",
                "x@y.example",
                "To: x@y.example\r\n\r\n",
            ),
            (
                "From: a@b.example, z@b.example\r\nSender: s@b.example\r\nTo: x@y.example,\r\n \"C, D\" <c@d.example>\r\nCc: x@y.example\r\nBcc: h@i.example\r\n\r\n",
                "s@b.example",
                "x@y.example c@d.example h@i.example",
                "From: a@b.example, z@b.example\r\nSender: s@b.example\r\nTo: x@y.example,\r\n \"C, D\" <c@d.example>\r\nCc: x@y.example\r\nBcc: h@i.example\r\n\r\n",
            ),
            // Beneath other fields they are none of the envelope's.
            (
                "From: a@b.example\r\nTo: x@y.example\r\nX-Receiver: c@d.example\r\n\r\n",
                "a@b.example",
                "x@y.example",
                "From: a@b.example\r\nTo: x@y.example\r\nX-Receiver: c@d.example\r\n\r\n",
            ),
            (
                "From: root\r\nTo: admin\r\n\r\n",
                "root@here.example",
                "admin@here.example",
                "From: root\r\nTo: admin\r\n\r\n",
            ),
            ("X-Sender: root\r\nX-Receiver: postmaster\r\n", "root@here.example", "postmaster@here.example", ""),
            (
                "X-Sender: zoë@b.example\r\nX-Receiver: <zoë@d.example>\r\n\r\n",
                "zoë@b.example",
                "zoë@d.example",
                "\r\n",
            ),
        ] {
            assert_eq!(brief(header), Ok((from.to_owned(), to.to_owned(), left.to_owned())), "{header:?}");
        }
    }

    /// As Exchange's documentation has it.
    #[test]
    fn exchange_s_parameters_are_read() {
        let header = "X-Receiver: <mary@fabrikam.example> NOTIFY=NEVER ORcpt=mary@fabrikam.example\r\n\
            X-Sender: <bob@fabrikam.example> BODY=7bit RET=HDRS ENVID=12345ABCD auth=<someAuth>\r\n\
            X-CreatedBy: Exchange15\r\nX-EndOfInjectedXHeaders: 1\r\nSubject: x\r\n\r\n";
        let plain = found(header).unwrap();
        assert_eq!(plain.section.octets(), "Subject: x\r\n\r\n");
        assert_eq!(plain.reverse_path.unwrap().to_string(), "bob@fabrikam.example");
        assert_eq!(plain.recipients[0].address.to_string(), "mary@fabrikam.example");
        // `ORcpt` lacks its type there: the parameters count where RFC 3461 knows them.
        let header = header.replace("ORcpt=mary", "ORCPT=rfc822;mary").replace(" auth=<someAuth>", "");
        let asked = found(&header).unwrap();
        assert_eq!((asked.dsn.ret, asked.dsn.envid.as_deref()), (Some(Ret::Headers), Some("12345ABCD")));
        assert_eq!(asked.recipients[0].notify, Some(Notify::default()));
    }

    #[test]
    fn what_is_no_envelope_is_told() {
        for (header, fault) in [
            ("Subject: x\r\n\r\n", NoEnvelope::NoSender),
            ("From: a@b.example\r\nTo: undisclosed-recipients:;\r\n\r\n", NoEnvelope::NoRecipient),
            ("X-Sender: a@b.example\r\nX-Sender: a@b.example\r\n\r\n", NoEnvelope::TwoSenders),
            ("X-Sender: a@b@c@\r\n\r\n", NoEnvelope::Envelope("a@b@c@".into(), SENDER)),
            ("X-Sender: a@b.example\r\nX-Receiver: \r\n\r\n", NoEnvelope::Envelope(String::new(), RECEIVER)),
            ("", NoEnvelope::NoSender),
        ] {
            assert_eq!(brief(header), Err(fault), "{header:?}");
        }
        assert!(matches!(brief("From: a@b.example\r\nTo: x y <z@@q>\r\n\r\n"), Err(NoEnvelope::Header(..))));
    }
}
