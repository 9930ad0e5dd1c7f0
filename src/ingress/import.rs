//! A message that an operator brings as a file: one that the queue exported comes back as it was, octet for octet; any other
//! comes in as by the pickup folder.
//!
//! Promises:
//! - the envelope is that of the file's `X-Sender` and `X-Receiver`, or of its header, as the pickup folder has it;
//! - what was exported gets no second `Received`, and is routed by where it came from first;
//! - Bcc never stays; content with bare CR or LF is refused;
//! - it has a mid of its own, and its time begins anew.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};

use super::head::{self, HeadFault, HeadReader};
use super::intake::of_head;
use super::legs::{self, Fate};
use super::pickup::{Endings, Utf16, envelope};
use crate::audit::{Arrival, message_id};
use crate::config;
use crate::delivery::operate::{By, Operator, record_import};
use crate::mail::{BodyKind, Envelope, Mid, Origin, Protocol, Received};
use crate::queue::{LegState, NewContent, NewMessage, QueueError};
use crate::smtp::content::{ChunkReader, Fault};
use crate::smtp::xtext;

/// Content up to this size goes with its message; what is larger is written ahead.
const IN_MEMORY: usize = 128 * 1024;
const PIECE: usize = 64 * 1024;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// `None`: the table discards all of it.
    pub mid: Option<Mid>,
    pub recipients: usize,
}

/// Why a file is not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file, and what is wrong with it.
    #[error("{0}")]
    File(String),
    #[error("{0}")]
    Queue(#[from] QueueError),
}

/// `held`: it waits until a person releases it.
pub async fn import(operator: &Operator, file: Bytes, held: bool, by: &By) -> Result<Imported, ImportError> {
    let bad = |text: String| ImportError::File(text);
    let utf16 = |Utf16| bad("it is UTF-16; mail is UTF-8".to_owned());
    let octets = Endings::default().convert(file).map_err(utf16)?;
    let (octets, eight_bit) = sound(octets)?;
    let mut reader = HeadReader::default();
    let of_fault = |fault: HeadFault| bad(of_head(fault).to_string().trim_end().to_owned());
    let found = match reader.push(octets).map_err(of_fault)? {
        Some(found) => found,
        None => reader.end(),
    };
    let hostname = operator.hostname();
    let front = envelope::read(&found.section, &hostname).map_err(|fault| bad(fault.to_string()))?;
    let now = operator.clock().now();
    let mid = operator.mids().next(now, rand::random());
    let section = if front.origin.is_some() {
        front.section.without(|field| field.is("Bcc") || field.is("Resent-Bcc"))
    } else {
        let received = Received {
            helo: None,
            client: None,
            by: hostname.as_str(),
            protocol: Protocol { extended: true, ..Protocol::default() },
            mid,
            recipient: None,
            at: operator.clock().wall(),
        };
        head::assemble(&front.section, &received, &hostname).map_err(of_fault)?
    };
    let header_size = section.octets().len();
    let size = (header_size + found.body.len()) as u64;
    let envelope = Envelope {
        reverse_path: front.reverse_path,
        recipients: front.recipients,
        dsn: front.dsn,
        body: if eight_bit { BodyKind::EightBit } else { BodyKind::SevenBit },
        smtputf8: front.smtputf8,
        origin: front.origin.as_deref().map_or_else(of_pickup, origin),
        accepted_at: now,
        header_size: u32::try_from(header_size).unwrap_or(u32::MAX),
        size,
    };
    let recipients = envelope.recipients.len();
    let (mut legs, discarded) = match legs::sort(&operator.table(), &envelope, &section, now) {
        Fate::Queue(legs, discarded) => (legs, discarded),
        Fate::Discard(_) => return Ok(Imported { mid: None, recipients }),
        Fate::Refuse(reply) => {
            return Err(bad(format!("the routing table refuses it: {}", reply.to_string().trim_end())));
        }
    };
    if held {
        for leg in &mut legs {
            leg.state = LegState::Held { reason: by.reason_of_hold() };
        }
    }
    let content = content(operator, mid, section.octets(), &found.body).await?;
    let id = message_id(&section);
    let arrival = Arrival { message_id: id.as_deref(), discarded: &discarded, ..Arrival::default() };
    let table = operator.table();
    let mut note = operator.notes().accepted(mid, &envelope, &legs, arrival, table.revision());
    note.extend(operator.notes().act(now, Some(mid), by.note("import")));
    operator.queue().accept(NewMessage { mid, envelope, legs, content, note }).await?;
    record_import(mid, recipients, by);
    Ok(Imported { mid: Some(mid), recipients })
}

fn of_pickup() -> Origin {
    Origin { listener: config::Pickup::LISTENER.to_owned(), client: None, helo: None, user: None }
}

/// The file as mail has it, and whether it has octets beyond ASCII.
fn sound(octets: Bytes) -> Result<(Bytes, bool), ImportError> {
    let mut reader = ChunkReader::new(octets.len() as u64 + 2);
    let mut pieces = Vec::new();
    reader.read(octets, &mut pieces);
    reader.end(&mut pieces);
    if let Some(fault) = reader.tally().fault() {
        let text = match fault {
            Fault::BareLineEnd => "its lines end in more than one way: all must end with CRLF, or all with LF alone",
            Fault::DisguisedEnd => "a line of it is a lone dot once NUL is taken out: some would take it for the end",
            Fault::TooLarge => "it is too large",
        };
        return Err(ImportError::File(text.to_owned()));
    }
    let whole = match &pieces[..] {
        [one] => one.clone(),
        several => Bytes::from(several.concat()),
    };
    Ok((whole, reader.tally().eight_bit()))
}

/// What an export tells of where the message came from.
fn origin(value: &str) -> Origin {
    let mut origin = Origin { listener: String::new(), client: None, helo: None, user: None };
    for (name, value) in value.split_ascii_whitespace().filter_map(|word| word.split_once('=')) {
        match name {
            "listener" => origin.listener = xtext::decode(value).unwrap_or_default(),
            "client" => origin.client = value.parse::<IpAddr>().ok(),
            "helo" => origin.helo = xtext::decode(value),
            "user" => origin.user = xtext::decode(value),
            _ => {}
        }
    }
    origin
}

async fn content(operator: &Operator, mid: Mid, header: &Bytes, body: &Bytes) -> Result<NewContent, QueueError> {
    if body.len() <= IN_MEMORY {
        let mut whole = BytesMut::with_capacity(header.len() + body.len());
        whole.extend_from_slice(header);
        whole.extend_from_slice(body);
        return Ok(NewContent::Memory(whole.freeze()));
    }
    let mut spool = operator.queue().spool(mid);
    spool.write(header.clone()).await?;
    for at in (0..body.len()).step_by(PIECE) {
        spool.write(body.slice(at..body.len().min(at + PIECE))).await?;
    }
    spool.finish().await.map(NewContent::Spooled)
}
