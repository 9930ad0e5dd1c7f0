//! The part for people: who did not get the mail, who says so, in which words, and what can be done.

use std::fmt::Write as _;

use super::lines::paragraph;
use super::{Kind, Told};
use crate::mail::{Diagnosis, Envelope, Mid, Recipient, date};

pub(super) fn subject(kind: Kind) -> &'static str {
    match kind {
        Kind::Failure => "Your message could not be delivered",
        Kind::Delay { .. } => "Your message is delayed",
        Kind::Relayed => "Your message was passed on",
        Kind::Delivered => "Your message was delivered",
    }
}

/// The part, its own header included.
pub(super) fn part(
    kind: Kind,
    mid: Mid,
    envelope: &Envelope,
    told: &[(&Recipient, &Told<'_>)],
    whole: bool,
    hostname: &str,
) -> String {
    let mut text = String::new();
    let (opening, advice) = match kind {
        Kind::Failure => (
            "The message that you sent could not be delivered to the following recipients. It will not be tried again.",
            "Please check the addresses. If they are right, what was said above tells why the message was refused; show it to \
             your own administrator, or to the recipient's.",
        ),
        Kind::Delay { .. } => (
            "The message that you sent has not yet reached the following recipients. You need not send it again.",
            "It is tried again by itself. You will hear once more if it has to be given up.",
        ),
        Kind::Relayed => (
            "The message that you sent was handed to the next mail system for the following recipients. That system does not \
             report whether it arrives.",
            "You get this report because you asked for it.",
        ),
        Kind::Delivered => (
            "The message that you sent was delivered to the following recipients.",
            "You get this report because you asked for it.",
        ),
    };
    paragraph(&mut text, "", &format!("This is the mail system at {hostname}."));
    text.push_str("\r\n");
    paragraph(&mut text, "", opening);
    for (recipient, told) in told {
        text.push_str("\r\n");
        paragraph(&mut text, "", &format!("<{}>", recipient.address));
        paragraph(&mut text, "    ", &said(told.diagnosis));
    }
    text.push_str("\r\n");
    if let Kind::Delay { until } = kind {
        paragraph(&mut text, "", &format!("It is tried until {}.", date(until)));
    }
    paragraph(&mut text, "", advice);
    text.push_str("\r\n");
    let attached = if whole { "The message" } else { "Its header" };
    let accepted = date(envelope.accepted_at);
    paragraph(
        &mut text,
        "",
        &format!("The message was accepted here on {accepted} under the id {mid}. {attached} is attached."),
    );
    encode(&text)
}

/// What was said, and by whom.
fn said(diagnosis: &Diagnosis) -> String {
    let Diagnosis { code, status, text, remote } = diagnosis;
    match (remote, code) {
        (Some(remote), Some(code)) => format!("{remote} said: {code} {status} {text}"),
        (Some(remote), None) => format!("{text} ({remote}, {status})"),
        (None, _) => format!("{text} ({status})"),
    }
}

fn encode(text: &str) -> String {
    let (encoding, body) =
        if text.is_ascii() { ("7bit", text.to_owned()) } else { ("quoted-printable", quoted_printable(text)) };
    format!("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}")
}

/// RFC 2045, 6.7, for text whose lines end in CRLF and in no white space.
fn quoted_printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for line in text.split_inclusive("\r\n") {
        let mut column = 0;
        for b in line.trim_end_matches("\r\n").bytes() {
            let plain = matches!(b, b' '..=b'~') && b != b'=';
            // One octet is left for the soft line break.
            if column + if plain { 1 } else { 3 } > 75 {
                out.push_str("=\r\n");
                column = 0;
            }
            if plain {
                out.push(char::from(b));
                column += 1;
            } else {
                let _ = write!(out, "={b:02X}");
                column += 3;
            }
        }
        out.push_str("\r\n");
    }
    out
}
