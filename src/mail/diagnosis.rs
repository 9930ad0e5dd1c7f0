//! What a remote, or the relay itself, says of a recipient: the reply that logs, DSNs and `explain` show.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The class of an enhanced status code (RFC 3463, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Severity {
    Success,
    Transient,
    Permanent,
}

/// An enhanced mail system status code, `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnhancedStatus {
    class: u8,
    subject: u16,
    detail: u16,
}

impl EnhancedStatus {
    pub const fn new(severity: Severity, subject: u16, detail: u16) -> Self {
        let class = match severity {
            Severity::Success => 2,
            Severity::Transient => 4,
            Severity::Permanent => 5,
        };
        Self { class, subject, detail }
    }

    pub fn severity(self) -> Severity {
        match self.class {
            2 => Severity::Success,
            4 => Severity::Transient,
            _ => Severity::Permanent,
        }
    }

    pub fn subject(self) -> u16 {
        self.subject
    }

    pub fn detail(self) -> u16 {
        self.detail
    }
}

impl FromStr for EnhancedStatus {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut number = |most: usize| -> Option<u16> {
            let part = parts.next()?;
            let digits = (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse().ok() } else { None }
        };
        let (class, subject, detail) = (number(1).ok_or(())?, number(3).ok_or(())?, number(3).ok_or(())?);
        if parts.next().is_some() || !matches!(class, 2 | 4 | 5) {
            return Err(());
        }
        Ok(Self { class: class as u8, subject, detail })
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Debug for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A reply, from whatever remote: an SMTP server, an HTTP API, the relay itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// SMTP reply code or HTTP status; `None` where no reply came (a time-out, a failed connection).
    pub code: Option<u16>,
    /// What DSNs report in `Status` (RFC 3464, 2.3.4).
    pub status: EnhancedStatus,
    /// The reply's text without its codes, on one line, or what the relay saw.
    pub text: String,
    /// Who said it: a host name, or an API's host. `None`: the relay itself.
    pub remote: Option<String>,
}

impl Diagnosis {
    /// What the relay itself has to say.
    pub fn local(status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self { code: None, status, text: one_line(text.into()), remote: None }
    }

    /// A reply of `remote`.
    pub fn remote(remote: impl Into<String>, code: u16, status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self { code: Some(code), status, text: one_line(text.into()), remote: Some(remote.into()) }
    }

    /// The same, said about `remote` though no reply came from it.
    pub fn about(remote: impl Into<String>, status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self { code: None, status, text: one_line(text.into()), remote: Some(remote.into()) }
    }
}

/// Keeps a reply printable: logs and DSN fields are lines.
fn one_line(mut text: String) -> String {
    const MOST: usize = 1000;
    if text.len() > MOST {
        let cut = text.floor_char_boundary(MOST);
        text.truncate(cut);
        text.push('…');
    }
    if text.contains(|c: char| c.is_control()) {
        text = text.replace(|c: char| c.is_control(), " ");
    }
    text
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code} ")?;
        }
        write!(f, "{} {}", self.status, self.text)?;
        if let Some(remote) = &self.remote {
            write!(f, " ({remote})")?;
        }
        Ok(())
    }
}
