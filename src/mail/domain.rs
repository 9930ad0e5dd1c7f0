//! Domain names of mail addresses (RFC 5321, 4.1.2; RFC 5891).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A domain as lower-case A-labels without a final dot, or an address literal (`[192.0.2.1]`, `[IPv6:2001:db8::1]`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Arc<str>);

/// Why a text is no domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    #[error("the domain is empty")]
    Empty,
    #[error("'{0}' is no domain name")]
    Name(String),
    #[error("'{0}' is no address literal")]
    Literal(String),
    #[error("the domain is longer than 255 octets")]
    Long,
}

impl Domain {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of an address literal.
    pub fn literal(&self) -> Option<IpAddr> {
        let inner = self.0.strip_prefix('[')?.strip_suffix(']')?;
        match inner.strip_prefix("ipv6:") {
            Some(v6) => v6.parse().ok().map(IpAddr::V6),
            None => inner.parse().ok().map(IpAddr::V4),
        }
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        if text.starts_with('[') {
            let domain = Self(text.to_ascii_lowercase().into());
            return domain.literal().map(|_| domain).ok_or_else(|| DomainError::Literal(text.to_owned()));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        let ascii = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).map_err(|_| DomainError::Name(text.to_owned()))?
        };
        if ascii.len() > 255 {
            return Err(DomainError::Long);
        }
        // Underscores are no host name (RFC 952), but real clients use them inside; length is RFC 1035, 2.3.4.
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if ascii.split('.').all(label) { Ok(Self(ascii.into())) } else { Err(DomainError::Name(text.to_owned())) }
    }
}

impl TryFrom<String> for Domain {
    type Error = DomainError;
    fn try_from(text: String) -> Result<Self, DomainError> {
        text.parse()
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0.as_ref().to_owned()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_compare_as_a_labels_without_case() {
        for (a, b) in [("Corp.Example", "corp.example."), ("bücher.example", "XN--BCHER-KVA.example")] {
            assert_eq!(a.parse::<Domain>().unwrap(), b.parse::<Domain>().unwrap());
        }
        assert_eq!("[IPv6:::1]".parse::<Domain>().unwrap().literal(), Some("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for bad in ["", ".", "a..b", "-a.example", "a b", "[1.2.3]", "[::1]", "a\r\nb", &"x".repeat(64)] {
            assert!(bad.parse::<Domain>().is_err(), "{bad:?}");
        }
    }
}
