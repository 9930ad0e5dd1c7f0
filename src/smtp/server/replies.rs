//! What the server says, in one place: codes of RFC 5321, 4.2.3, enhanced codes of RFC 3463 and its registry.

use super::Overdue;
use crate::mail::{Domain, EnhancedStatus, Mid, Severity};
use crate::smtp::command::Fault;
use crate::smtp::content;
use crate::smtp::reply::Reply;

/// The enhanced status' class is the code's (RFC 2034, section 4).
fn reply(code: u16, subject: u16, detail: u16, text: impl Into<String>) -> Reply {
    let severity = match code / 100 {
        2 => Severity::Success,
        4 => Severity::Transient,
        _ => Severity::Permanent,
    };
    Reply::new(code, EnhancedStatus::new(severity, subject, detail), text)
}

/// What a client wrote, as a reply can show it: in ASCII, for it may not know SMTPUTF8 (RFC 6531, 3.7.4.2), and short
/// enough for the 512 octets of a line (RFC 5321, 4.5.3.1.5).
fn shown(text: impl std::fmt::Display) -> String {
    const MOST: usize = 300;
    let text = text.to_string();
    let mut shown: String = text.chars().take(MOST).map(|c| if c.is_ascii() { c } else { '?' }).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push_str("...");
    }
    shown
}

pub(super) fn greeting(hostname: &Domain, lmtp: bool) -> Reply {
    Reply::plain(220, format!("{hostname} {} waypost", if lmtp { "LMTP" } else { "ESMTP" }))
}

/// RFC 2033, 4.1.
pub(super) fn lmtp() -> Reply {
    reply(500, 5, 1, "This is LMTP: say LHLO")
}

pub(super) fn ok() -> Reply {
    reply(250, 0, 0, "Ok")
}

pub(super) fn sender_ok() -> Reply {
    reply(250, 1, 0, "Ok")
}

pub(super) fn recipient_ok() -> Reply {
    reply(250, 1, 5, "Ok")
}

pub(super) fn stored(mid: Mid) -> Reply {
    reply(250, 0, 0, format!("Ok: queued as {mid}"))
}

pub(super) fn chunk_ok(size: u64) -> Reply {
    reply(250, 0, 0, format!("Ok: {size} octets"))
}

pub(super) fn authenticated() -> Reply {
    reply(235, 7, 0, "Authentication succeeded")
}

pub(super) fn start_tls() -> Reply {
    reply(220, 0, 0, "Ready to start TLS")
}

pub(super) fn tls_too_early(offered: bool) -> Reply {
    let text = if offered { "TLS begins with STARTTLS here" } else { "There is no TLS here" };
    reply(421, 7, 0, text)
}

pub(super) fn bye() -> Reply {
    reply(221, 0, 0, "Bye")
}

/// RFC 5321, 3.5.3: no address is confirmed, so none can be harvested.
pub(super) fn vrfy() -> Reply {
    reply(252, 5, 2, "Cannot verify; send some mail and see")
}

pub(super) fn help() -> Reply {
    reply(214, 0, 0, "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS AUTH QUIT")
}

pub(super) fn go_ahead() -> Reply {
    Reply::plain(354, "End with <CRLF>.<CRLF>")
}

pub(super) fn timed_out(overdue: Overdue) -> Reply {
    let text = match overdue {
        Overdue::Silence => "Timeout: the connection was idle for too long",
        Overdue::Message => "Timeout: the message took too long",
        Overdue::Session => "Timeout: the session went on for too long without a message",
    };
    reply(421, 4, 2, text)
}

pub(super) fn shutting_down() -> Reply {
    reply(421, 3, 2, "The relay is shutting down, try again later")
}

pub(super) fn too_many_errors() -> Reply {
    reply(421, 7, 0, "Too many errors")
}

pub(super) fn local_error() -> Reply {
    reply(451, 3, 0, "Local error, try again later")
}

pub(super) fn out_of_order(text: &str) -> Reply {
    reply(503, 5, 1, text)
}

pub(super) fn no_recipients() -> Reply {
    reply(554, 5, 1, "No recipient was accepted")
}

pub(super) fn too_many_recipients(most: usize) -> Reply {
    reply(452, 5, 3, format!("Too many recipients: {most} a message"))
}

pub(super) fn too_large(most: u64) -> Reply {
    reply(552, 3, 4, format!("The message is larger than the {most} octets that are taken here"))
}

pub(super) fn content_fault(fault: content::Fault, most: u64) -> Reply {
    match fault {
        content::Fault::BareLineEnd => {
            reply(550, 6, 0, "Bare CR or LF in the content: lines must end with CRLF (curl: --crlf)")
        }
        content::Fault::DisguisedEnd => {
            reply(550, 6, 0, "A line of NUL and a dot: a server that drops NUL would take it for the end")
        }
        content::Fault::TooLarge => too_large(most),
    }
}

pub(super) fn line_too_long() -> Reply {
    reply(500, 5, 2, "The line is too long")
}

pub(super) fn bare_line_end() -> Reply {
    reply(500, 5, 2, "Bare CR or LF: lines must end with CRLF")
}

pub(super) fn must_authenticate() -> Reply {
    reply(530, 7, 0, "Authentication required")
}

pub(super) fn must_start_tls() -> Reply {
    reply(530, 7, 0, "Must issue a STARTTLS command first")
}

/// RFC 4954, 6.
pub(super) fn encryption_required() -> Reply {
    reply(538, 7, 11, "Encryption required for authentication")
}

pub(super) fn auth_line_too_long() -> Reply {
    reply(500, 5, 6, "The authentication line is too long")
}

pub(super) fn auth_cancelled() -> Reply {
    reply(501, 7, 0, "Authentication cancelled")
}

pub(super) fn auth_not_decoded() -> Reply {
    reply(501, 5, 2, "Cannot decode the response")
}

pub(super) fn auth_failed() -> Reply {
    reply(535, 7, 8, "Authentication credentials invalid")
}

pub(super) fn unknown_mechanism(known: &str) -> Reply {
    reply(504, 5, 4, format!("The mechanisms are {known}"))
}

pub(super) fn needs_smtputf8() -> Reply {
    reply(553, 6, 7, "The address is not ASCII: MAIL must ask for SMTPUTF8")
}

pub(super) fn fault(fault: &Fault) -> Reply {
    match fault {
        Fault::Unknown => reply(500, 5, 1, "Unknown command"),
        Fault::NotOffered => reply(502, 5, 1, "This command is not offered"),
        Fault::Foreign => reply(421, 7, 0, "This is an SMTP server"),
        Fault::NotText => reply(500, 5, 2, "The line has control characters, or is not UTF-8"),
        Fault::Arguments(usage) => reply(501, 5, 4, format!("Syntax: {usage}")),
        Fault::Chunk => reply(501, 5, 4, "Syntax: BDAT size [LAST]; closing, for the end of the chunk is unknown"),
        Fault::Sender(error) => reply(501, 1, 7, format!("Bad sender address: {}", shown(error))),
        Fault::Recipient(error) => reply(501, 1, 3, format!("Bad recipient address: {}", shown(error))),
        Fault::NeedsSmtpUtf8 => needs_smtputf8(),
        Fault::UnknownParameter(keyword) => reply(555, 5, 4, format!("Unknown parameter {}", shown(keyword))),
        Fault::Value(keyword) => reply(501, 5, 4, format!("Bad value of parameter {keyword}")),
        Fault::Twice(keyword) => reply(501, 5, 4, format!("Parameter {} is given twice", shown(keyword))),
        Fault::BinaryMime => reply(504, 5, 4, "BODY=BINARYMIME is not offered"),
    }
}
