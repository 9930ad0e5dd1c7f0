//! The envelope: reverse-path, recipients and their ESMTP parameters (RFC 5321, 2.3.1; RFC 3461).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Address, Timestamp};

/// What the relay knows of a message beside its content. Written once, at acceptance; never altered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// `None` is the null reverse-path `<>`: no DSN is ever sent for it.
    pub reverse_path: Option<Address>,
    pub recipients: Vec<Recipient>,
    pub dsn: DsnRequest,
    pub body: BodyKind,
    /// The client asked for SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    pub origin: Origin,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub accepted_at: Timestamp,
    /// Octets of the header section as stored, the relay's trace fields and the empty line included.
    pub header_size: u32,
    /// Octets of the content as stored.
    pub size: u64,
}

/// One forward-path with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    pub address: Address,
    /// `None`: the client said nothing, so failures and delays are told (RFC 3461, 4.1).
    pub notify: Option<Notify>,
    pub orcpt: Option<Orcpt>,
}

/// `NOTIFY` of RCPT (RFC 3461, 4.1). All false is `NEVER`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}

/// `ORCPT` of RCPT (RFC 3461, 4.2): address type and address, both as the client wrote them, xtext decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orcpt {
    pub kind: String,
    pub address: String,
}

/// `RET` and `ENVID` of MAIL (RFC 3461, 4.3 and 4.4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DsnRequest {
    pub ret: Option<Ret>,
    /// xtext decoded.
    pub envid: Option<String>,
}

/// What a failure DSN returns of the message (RFC 3461, 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ret {
    Full,
    Headers,
}

/// `BODY` of MAIL (RFC 6152, RFC 3030), or what the content turned out to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyKind {
    #[default]
    SevenBit,
    EightBit,
}

/// Where a message came from: what routes may match on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The listener's name; `-` for what the relay itself makes (DSNs).
    pub listener: String,
    pub client: Option<IpAddr>,
    pub helo: Option<String>,
    /// The authenticated user.
    pub user: Option<String>,
}

impl Recipient {
    pub fn new(address: Address) -> Self {
        Self { address, notify: None, orcpt: None }
    }
}
