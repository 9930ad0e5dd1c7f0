//! What a server offers (RFC 5321, 4.1.1.1; the extensions' own RFCs).

use crate::smtp::reply::Reply;

/// The keywords of an EHLO reply that the client has a use for. After HELO: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 2034.
    pub enhanced_status: bool,
    /// RFC 1870. `Some(None)`: SIZE is taken, no limit is told.
    pub size: Option<Option<u64>>,
    /// RFC 4954.
    pub auth_plain: bool,
    pub auth_login: bool,
}

impl Capabilities {
    /// From the reply to EHLO: its first line is the greeting, each other one a keyword with parameters.
    pub fn of(reply: &Reply) -> Self {
        let mut offered = Self::default();
        for line in reply.lines.iter().skip(1) {
            // Old servers write `AUTH=LOGIN PLAIN`.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => offered.pipelining = true,
                "8BITMIME" => offered.eight_bit = true,
                "SMTPUTF8" => offered.smtputf8 = true,
                "DSN" => offered.dsn = true,
                "CHUNKING" => offered.chunking = true,
                "STARTTLS" => offered.starttls = true,
                "ENHANCEDSTATUSCODES" => offered.enhanced_status = true,
                // 0 is no limit (RFC 1870, section 4); so is a number beyond all bounds.
                "SIZE" => offered.size = Some(words.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0)),
                "AUTH" => {
                    for mechanism in words {
                        offered.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        offered.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                _ => {}
            }
        }
        offered
    }

    /// The largest message that the server says it takes.
    pub fn largest(&self) -> Option<u64> {
        self.size.flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(lines: &[&str]) -> Capabilities {
        let lines = ["mx.example"].iter().chain(lines).map(|&line| line.to_owned()).collect();
        Capabilities::of(&Reply { code: 250, status: None, lines })
    }

    #[test]
    fn keywords_are_read_without_case() {
        let all = offered(&[
            "Pipelining",
            "8bitmime",
            "SMTPUTF8",
            "DSN",
            "CHUNKING",
            "STARTTLS",
            "ENHANCEDSTATUSCODES",
            "SIZE 1000",
            "AUTH GSSAPI plain LOGIN",
            "X-WHATEVER 1 2",
            "",
        ]);
        let expected = Capabilities {
            pipelining: true,
            eight_bit: true,
            smtputf8: true,
            dsn: true,
            chunking: true,
            starttls: true,
            enhanced_status: true,
            size: Some(Some(1000)),
            auth_plain: true,
            auth_login: true,
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn odd_forms_are_understood() {
        assert_eq!(offered(&["SIZE"]).size, Some(None));
        assert_eq!(offered(&["SIZE 0"]).size, Some(None));
        assert_eq!(offered(&["SIZE 99999999999999999999999"]).size, Some(None));
        assert!(offered(&["AUTH=LOGIN"]).auth_login);
        assert!(!offered(&["AUTH XOAUTH2 PLAIN-CLIENTTOKEN"]).auth_plain);
        assert_eq!(Capabilities::of(&Reply::plain(250, "PIPELINING")), Capabilities::default());
    }
}
