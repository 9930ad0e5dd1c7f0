//! What came of a recipient, and why a session ended, in the words of the dialogue.

use std::fmt;

use super::Garbage;
use crate::mail::Unfit;
use crate::smtp::reply::Reply;

/// What came of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This reply, to this step, decided.
    Replied(Step, Reply),
    /// The session ended before the content was complete: the server does not have the message.
    Lost(Failure),
    /// The session ended after the final dot may have left: the server may have the message.
    Unanswered(Failure),
    /// The server does not offer what the message needs. Nothing was sent for this recipient.
    NotOffered(Need),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Smtputf8,
    /// The server takes this many octets.
    Size(u64),
    /// 8BITMIME, for the content cannot be put into seven bits.
    EightBit(Unfit),
}

/// Why a session ended, or did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("{0} was refused: {code} {text}", code = .1.code, text = .1.text())]
    Refused(Step, Reply),
    #[error("STARTTLS is required and not offered")]
    NoStartTls,
    #[error("neither AUTH PLAIN nor AUTH LOGIN is offered")]
    NoAuth,
    #[error("the password is not sent without TLS: set `tls: starttls` or `tls: implicit`")]
    ClearPassword,
    #[error("{garbage} (at {step})")]
    Garbage { step: Step, garbage: Garbage },
    #[error("{how} (at {step})")]
    Broken { step: Step, how: Break },
}

/// How a connection came to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    #[error("the server closed the connection")]
    Closed,
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection broke: {0}")]
    Io(String),
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("the content could not be read: {0}")]
    Content(String),
}

/// Where in the dialogue something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Greeting,
    Hello,
    /// EHLO under TLS.
    SecureHello,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The content and the reply to it.
    Content,
    Reset,
    Quit,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the greeting",
            Self::Hello | Self::SecureHello => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Content => "the content",
            Self::Reset => "RSET",
            Self::Quit => "QUIT",
        })
    }
}
