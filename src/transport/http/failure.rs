//! Requests that got no answer, and what is certain about them.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::answer::transient;
use crate::mail::Diagnosis;
use crate::transport::{Outcome, Trouble, TroubleKind};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::transport) enum Failure {
    /// The request was not complete: nobody has the message.
    #[error("{detail}")]
    Unsent { kind: TroubleKind, detail: String },
    /// The request was handed over: the provider may have the message.
    #[error("all was sent, and then: {0}")]
    NoAnswer(String),
    /// The message could not be read: not the provider's fault.
    #[error("{0}")]
    Content(String),
}

impl Failure {
    pub(super) fn late(all_sent: bool, after: Duration) -> Self {
        if all_sent {
            Self::NoAnswer(format!("no answer within {after:?}"))
        } else {
            Self::Unsent { kind: TroubleKind::Timeout, detail: format!("the request was not taken within {after:?}") }
        }
    }

    pub(in crate::transport) fn outcome(&self, host: &str) -> Outcome {
        let said = |subject, detail| Diagnosis::about(host, transient(subject, detail), self.to_string());
        match self {
            Self::Unsent { kind, .. } => {
                let diagnosis = match kind {
                    TroubleKind::Tls => said(7, 5),
                    TroubleKind::Timeout => said(4, 2),
                    TroubleKind::Connection
                    | TroubleKind::Server
                    | TroubleKind::Credentials
                    | TroubleKind::Account
                    | TroubleKind::Quota { .. } => said(4, 1),
                };
                Outcome::Unavailable(Trouble { kind: *kind, diagnosis })
            }
            Self::NoAnswer(_) => Outcome::Unknown(said(4, 2)),
            Self::Content(why) => Outcome::Deferred(Diagnosis::local(transient(3, 0), why.clone())),
        }
    }
}

/// `all_sent`: the last octet was handed over. A connection that was never made cannot have carried it.
pub(super) fn classify(all_sent: bool, error: &reqwest::Error) -> Failure {
    let detail = chain(error);
    if all_sent && !error.is_connect() {
        return Failure::NoAnswer(detail);
    }
    let kind = if error.is_timeout() {
        TroubleKind::Timeout
    } else if is_tls(error) {
        TroubleKind::Tls
    } else {
        TroubleKind::Connection
    };
    Failure::Unsent { kind, detail }
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(holds_tls)
}

/// An io::Error does not name what it wraps among its sources, and may wrap another one.
fn holds_tls(cause: &(dyn Error + 'static)) -> bool {
    let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || wrapped.is_some_and(|inner| holds_tls(inner))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The error and its causes on one line, what a cause repeats left out.
pub(in crate::transport) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}
