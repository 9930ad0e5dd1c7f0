//! `*` globs over names, domains and addresses.

use std::fmt;

use crate::mail::{Address, Domain};

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a pattern cannot be empty")]
    Empty,
    #[error("'{0}' is no domain pattern: write a domain, or *.domain for all below it")]
    Domain(String),
    #[error("'{0}' is no address pattern: write local@domain, with * for any text")]
    Address(String),
}

/// `*` stands for any text, also none; all else for itself, without case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
}

/// A domain, with `*` for any text within it: `*.corp.example` is every name below `corp.example` and not itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPattern {
    glob: Glob,
}

/// `local@domain`, both with `*`. Local parts compare with case, as RFC 5321, 2.4 says; domains without. `<>` is the
/// null reverse-path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPattern {
    text: String,
}

impl Glob {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let _ = text;
        todo!()
    }
    pub fn matches(&self, text: &str) -> bool {
        let _ = text;
        todo!()
    }
    /// No `*` in it.
    pub fn is_exact(&self) -> bool {
        todo!()
    }
}

impl DomainPattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let _ = text;
        todo!()
    }
    pub fn matches(&self, domain: &Domain) -> bool {
        let _ = domain;
        todo!()
    }
    /// The domain, where the pattern names just one: such routes are looked up, not scanned.
    pub fn exact(&self) -> Option<Domain> {
        todo!()
    }
}

impl AddressPattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let _ = text;
        todo!()
    }
    /// `None` is the null reverse-path.
    pub fn matches(&self, address: Option<&Address>) -> bool {
        let _ = address;
        todo!()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.glob.fmt(f)
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
