//! The `Received` field that the relay adds (RFC 5321, 4.4).

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Address, Mid, Timestamp};

/// `with` of a Received field (RFC 3848, RFC 6531, 3.7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protocol {
    pub extended: bool,
    pub tls: bool,
    pub authenticated: bool,
    pub smtputf8: bool,
    pub lmtp: bool,
}

impl Protocol {
    /// The registered keyword.
    pub fn keyword(self) -> String {
        if !self.extended {
            return "SMTP".to_owned();
        }
        let base = match (self.lmtp, self.smtputf8) {
            (false, false) => "ESMTP",
            (false, true) => "UTF8SMTP",
            (true, false) => "LMTP",
            (true, true) => "UTF8LMTP",
        };
        format!("{base}{}{}", if self.tls { "S" } else { "" }, if self.authenticated { "A" } else { "" })
    }
}

/// What a `Received` field tells.
#[derive(Debug, Clone)]
pub struct Received<'a> {
    /// What the client calls itself; `None`: there was no session, it lay in the pickup folder.
    pub helo: Option<&'a str>,
    pub client: Option<IpAddr>,
    pub by: &'a str,
    pub protocol: Protocol,
    pub mid: Mid,
    /// Given only for a single recipient: several would tell each of the others (RFC 5321, 7.2).
    pub recipient: Option<&'a Address>,
    pub at: Timestamp,
}

impl Received<'_> {
    /// The field, folded, with its final CRLF.
    pub fn field(&self) -> String {
        let mut field = String::with_capacity(256);
        // The client wrote the name: only what a domain or literal can hold goes into a header field.
        if let Some(helo) = self.helo {
            let helo: String =
                helo.chars().filter(|c| c.is_ascii_graphic() && !"()<>;\\\"".contains(*c)).take(255).collect();
            let helo = if helo.is_empty() { "unknown" } else { &helo };
            let _ = write!(field, "Received: from {helo}");
            match self.client {
                Some(IpAddr::V4(v4)) => drop(write!(field, " ([{v4}])")),
                Some(IpAddr::V6(v6)) => drop(write!(field, " ([IPv6:{v6}])")),
                None => {}
            }
            let _ = write!(field, "\r\n\tby {} (waypost) with {}", self.by, self.protocol.keyword());
        } else {
            let _ = write!(field, "Received: by {} (waypost, from pickup)", self.by);
        }
        let _ = write!(field, "\r\n\tid {}", self.mid);
        if let Some(recipient) = self.recipient {
            let _ = write!(field, "\r\n\tfor <{recipient}>");
        }
        let _ = write!(field, ";\r\n\t{}\r\n", date(self.at));
        field
    }
}

/// A date as header fields have it (RFC 5322, 3.3), in UTC.
pub fn date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_tells_the_hop() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let to = "b@example.com".parse().unwrap();
        let field = Received {
            helo: Some("app.example"),
            client: Some("192.0.2.1".parse().unwrap()),
            by: "relay.example",
            protocol: Protocol { extended: true, tls: true, authenticated: true, smtputf8: false, lmtp: false },
            mid: Mid::new(at, 1),
            recipient: Some(&to),
            at,
        }
        .field();
        assert_eq!(
            field,
            format!(
                "Received: from app.example ([192.0.2.1])\r\n\tby relay.example (waypost) with ESMTPSA\r\n\tid {}\r\n\tfor <b@example.com>;\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\n",
                Mid::new(at, 1)
            )
        );
    }
}
