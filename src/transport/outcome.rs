//! What an attempt came to (ARCHITECTURE.md, "Outcomes").

use std::time::Duration;

use crate::mail::Diagnosis;

/// What an attempt came to, for one recipient. Transports make it, `settle` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility (a 2yz reply, an API's 2xx, a file that is synced). `dsn`: and was handed what the sender
    /// asked to be told of (RFC 3461).
    Delivered { diagnosis: Diagnosis, provider_id: Option<ProviderId>, dsn: bool },
    /// Refused for good: the message or the recipient.
    Rejected(Diagnosis),
    /// This message or recipient, later.
    Deferred(Diagnosis),
    /// Too fast.
    Throttled { retry_after: Option<Duration>, diagnosis: Diagnosis },
    /// The provider as a whole (by destination: that destination) is out: its breaker counts it.
    Unavailable(Trouble),
    /// This provider cannot carry this message; the next one may.
    Unsupported(Lack),
    /// All was sent and no answer came: the one possible duplicate.
    Unknown(Diagnosis),
}

impl Outcome {
    /// The word of logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Rejected(_) => "rejected",
            Self::Deferred(_) => "deferred",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable(_) => "unavailable",
            Self::Unsupported(_) => "unsupported",
            Self::Unknown(_) => "unknown",
        }
    }

    pub fn diagnosis(&self) -> &Diagnosis {
        match self {
            Self::Delivered { diagnosis, .. }
            | Self::Rejected(diagnosis)
            | Self::Deferred(diagnosis)
            | Self::Throttled { diagnosis, .. }
            | Self::Unknown(diagnosis) => diagnosis,
            Self::Unavailable(trouble) => &trouble.diagnosis,
            Self::Unsupported(lack) => lack.diagnosis(),
        }
    }
}

/// The id under which the provider knows the message, as its events will name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderId(pub String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    pub diagnosis: Diagnosis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// No connection, or it broke; the name does not resolve.
    Connection,
    Tls,
    /// No answer in time, before all was sent.
    Timeout,
    /// The provider says that it is broken (HTTP 5xx, 421 on connect).
    Server,
    /// Key, password or permission refused.
    Credentials,
    /// Account suspended or unpaid, wrong region, unknown domain: a person must act.
    Account,
    /// The provider's own quota is spent; `Some`: until when it says.
    Quota {
        retry_after: Option<Duration>,
    },
}

impl TroubleKind {
    /// No use in trying again soon: the breaker opens at once.
    pub fn opens_at_once(self) -> bool {
        matches!(self, Self::Credentials | Self::Account | Self::Quota { .. })
    }
}

/// Why a provider cannot carry a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// Size, structure, SMTPUTF8, null reverse-path over an API.
    Message(Diagnosis),
    /// The provider has not verified this sender: other senders' mail stays.
    Sender(Diagnosis),
}

impl Lack {
    pub fn diagnosis(&self) -> &Diagnosis {
        match self {
            Self::Message(diagnosis) | Self::Sender(diagnosis) => diagnosis,
        }
    }
}
