//! Whether SendGrid's JSON can carry a message faithfully, and the JSON if so. Pure.
//!
//! SendGrid takes no MIME: it rebuilds the message from fields. A message that would arrive as another one is refused
//! here, with the name of what would be lost, and goes to the next provider. Nothing is made up, and nobody is named who
//! is no recipient: every address of `to` and `cc` gets mail.
//!
//! - To and Cc of the header are `to` and `cc`; each must be a recipient of this attempt, or the message is refused.
//!   Recipients that the header does not name are `bcc`. A message that names nobody in To is refused: `to` may not be
//!   empty.
//! - Trace fields (Received, Return-Path) and Bcc are left out; each hop adds its own (RFC 5321, 4.4). The order of
//!   resent fields among them has a meaning (RFC 5322, 3.6), so those are refused.
//! - Signatures and the record of their checks (DKIM, ARC, Authentication-Results) cannot outlive the rebuilding.
//! - All other fields go as `headers`, each name once.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use mail_parser::{Address as Addresses, Message};

use super::mail::{Addressee, Head, Mail, Mailbox, Personalization};
use super::parts::{Refusal, parts};
use super::text;
use crate::config::Flavor;
use crate::mail::{Address, Diagnosis, Field, HeaderSection};
use crate::transport::http::permanent;
use crate::transport::{Lack, flavor, mime};

/// The message as SendGrid takes it, for these recipients (each once).
pub fn represent(recipients: &[&Address], content: &Bytes) -> Result<Mail, Lack> {
    try_to(recipients, content).map_err(|refusal| {
        let text = format!("SendGrid's API cannot carry {refusal}");
        Lack::Message(Diagnosis::local(permanent(6, 3), text))
    })
}

fn try_to(recipients: &[&Address], content: &Bytes) -> Result<Mail, Refusal> {
    let size = HeaderSection::size_in(content).ok_or("a message without a header section")?;
    let header = HeaderSection::new(content.slice(..size));
    let headers = other_fields(&header)?;
    let message = mime::parse(content).ok_or("a message that cannot be read")?;
    if message.root_part().offset_body as usize != size {
        return Err("a header section that readers take differently".to_owned());
    }
    let people = people(recipients, &message)?;
    let head = Head {
        from: from(&message)?,
        reply_to: mailboxes(message.reply_to(), "Reply-To")?.into_iter().map(|(mailbox, _)| mailbox).collect(),
        subject: subject(&header, &message)?,
        headers,
    };
    let (texts, attachments) = parts(&message)?;
    Ok(Mail::new(people, head, texts, attachments))
}

/// What becomes of a field of the header section.
enum Fate {
    /// It has a place of its own, or is written anew for the new structure.
    Placed,
    /// A trace of the way so far, or not for the recipients' eyes.
    LeftOut,
    Refused,
    Header,
}

fn fate(field: &Field<'_>) -> Fate {
    let name = String::from_utf8_lossy(field.name()).to_ascii_lowercase();
    match name.as_str() {
        "from" | "to" | "cc" | "subject" | "reply-to" | "mime-version" => Fate::Placed,
        // Their values are judged with the part they describe.
        "content-type" | "content-transfer-encoding" | "content-disposition" => Fate::Placed,
        "received" | "return-path" | "bcc" => Fate::LeftOut,
        "" | "authentication-results" | "dkim-signature" | "dkim2-signature" | "domainkey-signature" => Fate::Refused,
        // Reserved by the API.
        "x-sg-id" | "x-sg-eid" => Fate::Refused,
        _ if flavor::steers(Flavor::SendGrid, field.name()) => Fate::LeftOut,
        _ if ["arc-", "resent-", "content-"].iter().any(|start| name.starts_with(start)) => Fate::Refused,
        _ => Fate::Header,
    }
}

/// The fields without a place of their own, checked with all the others: each once, in ASCII text.
fn other_fields(header: &HeaderSection) -> Result<BTreeMap<String, String>, Refusal> {
    let mut seen = HashSet::new();
    let mut others = BTreeMap::new();
    for field in header.fields() {
        let name = String::from_utf8_lossy(field.name()).into_owned();
        let fate = fate(&field);
        match fate {
            Fate::LeftOut => continue,
            Fate::Refused if name.is_empty() => return Err("a line of the header section that is no field".to_owned()),
            Fate::Refused => return Err(format!("the field {name}")),
            Fate::Placed | Fate::Header => {}
        }
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(format!("the repeated field {name}"));
        }
        if !field.raw.is_ascii() {
            return Err(format!("the field {name}, which is not ASCII"));
        }
        if let Fate::Header = fate {
            let value = field.value();
            // A folded value may have a tab where its lines met.
            if value.contains(|c: char| c.is_control() && c != '\t') {
                return Err(format!("the field {name}, which has control characters"));
            }
            others.insert(name, value);
        }
    }
    Ok(others)
}

fn people(recipients: &[&Address], message: &Message<'_>) -> Result<Personalization, Refusal> {
    let mut waiting: HashMap<&Address, usize> = recipients.iter().enumerate().map(|(n, &who)| (who, n)).collect();
    let known: HashSet<&Address> = recipients.iter().copied().collect();
    let mut named = |addresses, field| -> Result<Vec<Addressee>, Refusal> {
        let mut list = Vec::new();
        for (mailbox, address) in mailboxes(addresses, field)? {
            if !known.contains(&address) {
                return Err(format!("{field} with {address}, who is no recipient of this attempt"));
            }
            // An address may stand once in all lists; the first place counts.
            if let Some(number) = waiting.remove(&address) {
                list.push(Addressee { mailbox, number });
            }
        }
        Ok(list)
    };
    let to = named(message.to(), "To")?;
    let cc = named(message.cc(), "Cc")?;
    if to.is_empty() {
        return Err("a message that names nobody in To".to_owned());
    }
    let mut hidden: Vec<(usize, &Address)> = waiting.into_iter().map(|(address, number)| (number, address)).collect();
    hidden.sort_unstable_by_key(|&(number, _)| number);
    let bcc = hidden
        .into_iter()
        .map(|(number, address)| Ok(Addressee { mailbox: mailbox(address, None)?, number }))
        .collect::<Result<_, Refusal>>()?;
    Ok(Personalization::new(to, cc, bcc))
}

/// One mailbox. "Unicode is not supported" there is said of its address; names go as they are.
fn from(message: &Message<'_>) -> Result<Mailbox, Refusal> {
    let mut list = mailboxes(message.from(), "From")?;
    match (list.pop(), list.is_empty()) {
        (Some((mailbox, _)), true) => Ok(mailbox),
        (Some(_), false) => Err("several mailboxes in From".to_owned()),
        (None, _) => Err("a message without From".to_owned()),
    }
}

/// The mailboxes of a field, as the API takes them and as addresses.
fn mailboxes(addresses: Option<&Addresses<'_>>, field: &str) -> Result<Vec<(Mailbox, Address)>, Refusal> {
    let list = match addresses {
        None => return Ok(Vec::new()),
        Some(Addresses::Group(_)) => return Err(format!("an address group in {field}")),
        Some(Addresses::List(list)) => list,
    };
    let read = |one: &mail_parser::Addr<'_>| {
        let written = one.address.as_deref().unwrap_or_default();
        let address: Address = written.parse().map_err(|_| format!("'{written}' as an address in {field}"))?;
        let name = one.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        if name.is_some_and(|name| !text::is_line(name)) {
            return Err(format!("a name in {field} that is not decodable"));
        }
        Ok((mailbox(&address, name)?, address))
    };
    list.iter().map(read).collect()
}

/// Addresses beyond plain ASCII mailboxes are not documented, so they cannot be relied upon.
fn mailbox(address: &Address, name: Option<&str>) -> Result<Mailbox, Refusal> {
    if !is_plain(address) {
        return Err(format!("the address {address}"));
    }
    Ok(Mailbox { email: address.to_string(), name: name.map(str::to_owned) })
}

/// ASCII, unquoted, at a domain that has a name.
pub(super) fn is_plain(address: &Address) -> bool {
    address.local().is_ascii() && !address.local().starts_with('"') && address.domain().literal().is_none()
}

fn subject(header: &HeaderSection, message: &Message<'_>) -> Result<String, Refusal> {
    for field in header.fields() {
        let name = ["subject", "from", "to", "cc", "reply-to"].into_iter().find(|name| field.is(name));
        if let Some(name) = name
            && !text::is_decodable(field.raw_value())
        {
            return Err(format!("the field {name}, which is not decodable"));
        }
    }
    let Some(field) = header.fields().find(|field| field.is("subject")) else {
        return Err("a message without Subject".to_owned());
    };
    let plain = field.value();
    let subject = if plain.contains("=?") { message.subject().unwrap_or_default().to_owned() } else { plain };
    if subject.trim().is_empty() {
        return Err("an empty Subject".to_owned());
    }
    // A folded subject may have a tab where its lines met.
    let subject = subject.replace('\t', " ");
    if text::is_line(&subject) { Ok(subject) } else { Err("a Subject that is not decodable".to_owned()) }
}
