//! Mailboxes of the envelope (RFC 5321, 4.1.2; RFC 6531, 3.3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Domain, DomainError};

/// `local@domain`. The local part keeps its case (RFC 5321, 2.4); quotes that it does not need are gone, so that
/// `"a"@x` and `a@x` are one address (4.1.2).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    local: String,
    domain: Domain,
}

/// Why a text is no mailbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("'{0}' has no @")]
    NoDomain(String),
    #[error("'{0}' is no local part")]
    Local(String),
    #[error("the local part is longer than 64 octets")]
    LocalLong,
    #[error("{0}")]
    Domain(#[from] DomainError),
}

impl Address {
    /// From parts that were parsed already; `local` as it stands in an address, quotes included.
    pub fn new(local: &str, domain: Domain) -> Result<Self, AddressError> {
        // RFC 5321, 4.5.3.1.1. Some senders' VERP exceeds it, and a relay may take more; four times is ample.
        if local.len() > 256 {
            return Err(AddressError::LocalLong);
        }
        let bad = || AddressError::Local(local.to_owned());
        let local = match local.strip_prefix('"') {
            None if is_dot_string(local) => local.to_owned(),
            None => return Err(bad()),
            Some(rest) => {
                let plain = unquote(rest).ok_or_else(bad)?;
                if is_dot_string(&plain) { plain } else { quote(&plain) }
            }
        };
        Ok(Self { local, domain })
    }

    /// As it stands in an address: quoted where it must be.
    pub fn local(&self) -> &str {
        &self.local
    }

    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The local part is beyond ASCII, so every hop must offer SMTPUTF8 (RFC 6531, 3.2).
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

/// `atext *("." atext)` (RFC 5321, 4.1.2), UTF-8 beyond ASCII included (RFC 6531, 3.3). Repeated or final dots are
/// wrong, yet some carriers' mailboxes have them; they are harmless and taken.
fn is_dot_string(local: &str) -> bool {
    !local.is_empty()
        && local.chars().all(|c| {
            c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || (!c.is_ascii() && !c.is_control())
        })
}

/// The inside of a quoted string, from behind its first quote.
fn unquote(rest: &str) -> Option<String> {
    let mut plain = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(plain),
            '\\' => plain.push(chars.next().filter(|c| !c.is_control())?),
            c if c.is_control() => return None,
            c => plain.push(c),
        }
    }
}

fn quote(plain: &str) -> String {
    let mut quoted = String::with_capacity(plain.len() + 2);
    quoted.push('"');
    for c in plain.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or_else(|| AddressError::NoDomain(text.to_owned()))?;
        Self::new(local, domain.parse()?)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stay_only_where_they_are_needed() {
        for (given, kept) in [
            ("a@B.example", "a@b.example"),
            ("\"a\"@b.example", "a@b.example"),
            ("\"a b\"@b.example", "\"a b\"@b.example"),
            ("\"a@b\"@c.example", "\"a@b\"@c.example"),
            ("\"a\\\"b\"@c.example", "\"a\\\"b\"@c.example"),
            ("Å@bücher.example", "Å@xn--bcher-kva.example"),
            ("x@[192.0.2.1]", "x@[192.0.2.1]"),
        ] {
            assert_eq!(given.parse::<Address>().unwrap().to_string(), kept);
        }
    }

    #[test]
    fn what_is_no_mailbox_is_refused() {
        for bad in [
            "",
            "a",
            "@b.example",
            "a@",
            "a b@c.example",
            "a\"b@c.example",
            "\"a@c.example",
            "a@b@c.example",
            "a\r@c.example",
            "\"a\rb\"@c.example",
            "<a@c.example>",
            "a,b@c.example",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }
}
