//! Replies (RFC 5321, 4.2; RFC 2034).

use std::fmt;

use crate::mail::EnhancedStatus;

/// A reply: one code, an enhanced status where RFC 2034 wants one, one or more lines of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub status: Option<EnhancedStatus>,
    /// Never empty; no line has CR or LF.
    pub lines: Vec<String>,
}

impl Reply {
    pub fn new(code: u16, status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self { code, status: Some(status), lines: vec![text.into()] }
    }

    /// For greetings, EHLO, 354 and 334, which carry no enhanced status (RFC 2034, section 4).
    pub fn plain(code: u16, text: impl Into<String>) -> Self {
        Self { code, status: None, lines: vec![text.into()] }
    }

    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    pub fn is_intermediate(&self) -> bool {
        (300..400).contains(&self.code)
    }

    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }

    /// All its text, on one line.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }
}

/// The form on the wire, final CRLF included.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.lines.iter().enumerate() {
            let mark = if n + 1 == self.lines.len() { ' ' } else { '-' };
            write!(f, "{}{mark}", self.code)?;
            if let Some(status) = self.status {
                write!(f, "{status} ")?;
            }
            for part in line.split(['\r', '\n']) {
                f.write_str(part)?;
            }
            f.write_str("\r\n")?;
        }
        Ok(())
    }
}
