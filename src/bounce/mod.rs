//! Delivery status notifications (RFC 3464) as the client asked for them (RFC 3461). Pure: text from facts.
//!
//! Promises:
//! - none is made for the null reverse-path, so that no report ever answers a report (RFC 5321, 6.1);
//! - `NOTIFY` decides who is told what (RFC 3461, 4.1): failures unless unwanted, delays unless unwanted, success on request;
//! - a report has CRLF line ends, no line beyond 998 octets, and nothing in it that a remote said can become a field;
//! - it is 7-bit but for original content that is not (RFC 6152), and needs SMTPUTF8 only where its recipient does.

mod lines;
mod original;
mod status;
mod text;

use bytes::Bytes;

use crate::mail::{
    BodyKind, Diagnosis, DsnRequest, Envelope, HeaderSection, Mid, Notify, Origin, Recipient, Ret, Timestamp, date,
};

/// What a report tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Given up.
    Failure,
    /// Not yet; tried again until then.
    Delay { until: Timestamp },
    /// Handed to a next hop that does not report success itself (RFC 3461, 5.2.2).
    Relayed,
    /// In a mailbox.
    Delivered,
}

impl Kind {
    /// The word of logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Delay { .. } => "delay",
            Self::Relayed => "relayed",
            Self::Delivered => "delivered",
        }
    }
}

/// One recipient of a report.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Index in the envelope's recipients.
    pub index: u32,
    pub diagnosis: &'a Diagnosis,
    pub last_attempt: Option<Timestamp>,
}

/// Who reports, when, and under which id.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub hostname: &'a str,
    pub now: Timestamp,
    /// The report's own id.
    pub mid: Mid,
}

/// A report, ready to be queued: it lacks its legs alone.
#[derive(Debug, Clone)]
pub struct Report {
    pub envelope: Envelope,
    pub content: Bytes,
}

/// Content up to this size is returned whole where the client left the choice (RFC 3461, 4.3).
const FULL_BY_CHOICE: u64 = 64 << 10;
/// Beyond it the header alone is returned, also where all was asked for: a report is no way to double large mail.
const FULL_AT_MOST: u64 = 1 << 20;

/// The sender wants to hear this of this recipient (RFC 3461, 4.1).
pub fn wanted(kind: Kind, envelope: &Envelope, index: u32) -> bool {
    let Some(recipient) = envelope.recipients.get(index as usize) else { return false };
    let unasked = Notify { success: false, failure: true, delay: true };
    let notify = recipient.notify.unwrap_or(unasked);
    envelope.reverse_path.is_some()
        && match kind {
            Kind::Failure => notify.failure,
            Kind::Delay { .. } => notify.delay,
            Kind::Relayed | Kind::Delivered => notify.success,
        }
}

/// How much of the content `report` needs, from its beginning. What it makes of the content: `RET` speaks of failures; other
/// reports return the header alone (RFC 3461, 4.3).
pub fn octets_wanted(kind: Kind, envelope: &Envelope) -> u64 {
    let full = match (kind, envelope.dsn.ret) {
        (Kind::Failure, Some(Ret::Full)) => envelope.size <= FULL_AT_MOST,
        (Kind::Failure, None) => envelope.size <= FULL_BY_CHOICE,
        (Kind::Failure, Some(Ret::Headers)) | (Kind::Delay { .. } | Kind::Relayed | Kind::Delivered, _) => false,
    };
    if full { envelope.size } else { envelope.size.min(u64::from(envelope.header_size)) }
}

/// The report on those of `told` whom the sender wants to hear of; `None` where that is nobody. `original`: the first
/// `octets_wanted` of the content of the message `mid`; fewer are an original that could not be read.
pub fn report(
    kind: Kind,
    mid: Mid,
    envelope: &Envelope,
    told: &[Told<'_>],
    original: &[u8],
    by: &By<'_>,
) -> Option<Report> {
    let sender = envelope.reverse_path.as_ref()?;
    let told: Vec<(&Recipient, &Told<'_>)> = told
        .iter()
        .filter(|told| wanted(kind, envelope, told.index))
        .filter_map(|told| Some((envelope.recipients.get(told.index as usize)?, told)))
        .collect();
    if told.is_empty() {
        return None;
    }
    let smtputf8 = sender.needs_smtputf8();
    let header_size = envelope.header_size as usize;
    let whole = octets_wanted(kind, envelope) == envelope.size && original.len() as u64 == envelope.size;
    let third = original::Part::new(original, header_size, whole, smtputf8);
    let hostname = lines::token(by.hostname);
    let boundary = boundary(by.mid, &third.octets);

    let mut out = Vec::with_capacity(third.octets.len() + 4096);
    let subject = text::subject(kind);
    let header = [
        format!("From: Mail Delivery System <MAILER-DAEMON@{hostname}>"),
        format!("To: <{sender}>"),
        format!("Subject: {subject}"),
        format!("Date: {}", date(by.now)),
        format!("Message-ID: <{}@{hostname}>", by.mid),
        // RFC 3834, 5: so that no responder answers it.
        "Auto-Submitted: auto-replied".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        format!("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\""),
    ];
    for field in header {
        lines::push(&mut out, &field);
    }
    if let Some(id) = message_id(original, header_size) {
        lines::push(&mut out, &format!("In-Reply-To: {id}"));
        lines::push(&mut out, &format!("References: {id}"));
    }
    let (eight_bit, body) = match third.encoding {
        original::Encoding::EightBit => (true, BodyKind::EightBit),
        original::Encoding::SevenBit | original::Encoding::Base64 => (false, BodyKind::SevenBit),
    };
    if eight_bit {
        lines::push(&mut out, "Content-Transfer-Encoding: 8bit");
    }
    lines::push(&mut out, "");
    let own_header_size = out.len();

    lines::push(&mut out, "This is a report of a mail system in MIME format (RFC 3464).");
    part(&mut out, &boundary, text::part(kind, mid, envelope, &told, whole, hostname).as_bytes());
    part(&mut out, &boundary, status::part(kind, envelope, &told, hostname).as_bytes());
    part(&mut out, &boundary, &third.with_header());
    lines::push(&mut out, "");
    lines::push(&mut out, &format!("--{boundary}--"));

    // A report is answered by nobody: null reverse-path, and no report on it (RFC 3461, 6.1).
    let recipient = Recipient { address: sender.clone(), notify: Some(Notify::default()), orcpt: None };
    let envelope = Envelope {
        reverse_path: None,
        recipients: vec![recipient],
        dsn: DsnRequest::default(),
        body,
        smtputf8,
        origin: Origin { listener: "-".to_owned(), client: None, helo: None, user: None },
        accepted_at: by.now,
        header_size: u32::try_from(own_header_size).unwrap_or(u32::MAX),
        size: out.len() as u64,
    };
    Some(Report { envelope, content: out.into() })
}

fn part(out: &mut Vec<u8>, boundary: &str, part: &[u8]) {
    lines::push(out, "");
    lines::push(out, &format!("--{boundary}"));
    out.extend_from_slice(part);
}

/// One that the original does not have in it.
fn boundary(mid: Mid, original: &[u8]) -> String {
    let mut boundary = format!("=_report_{mid}");
    while memchr::memmem::find(original, boundary.as_bytes()).is_some() {
        boundary.push('_');
    }
    boundary
}

/// The original's `Message-ID`, where it is fit to be repeated.
fn message_id(original: &[u8], header_size: usize) -> Option<String> {
    let header = HeaderSection::new(Bytes::copy_from_slice(original.get(..header_size)?));
    let id = header.values("Message-ID").next()?;
    let fit = id.len() <= 900 && id.starts_with('<') && id.ends_with('>') && id.bytes().all(|b| b.is_ascii_graphic());
    fit.then_some(id)
}

#[cfg(test)]
mod tests;
