//! `*` globs over names, domains and addresses.
//!
//! Matching takes time that grows with the text alone, however many `*` a pattern has: fields of a header come from
//! strangers.

use std::fmt;

use memchr::memmem;

use crate::mail::{Address, Domain};

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a pattern cannot be empty")]
    Empty,
    #[error("'{}' has a control character in it", .0.escape_debug())]
    Control(String),
    #[error("'{0}' is no domain pattern: write a domain, or *.domain for all below it")]
    Domain(String),
    #[error("'{0}' is no domain pattern: beside a *, write the label as an A-label (xn--...)")]
    Label(String),
    #[error("'{0}' is no address pattern: write local@domain, with * for any text")]
    Address(String),
}

/// `*` stands for any text, also none; all else for itself, without case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    pieces: Pieces,
}

/// A domain, with `*` for any text within it: `*.corp.example` is every name below `corp.example` and not itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPattern {
    glob: Glob,
    exact: Option<Domain>,
}

/// `local@domain`, both with `*`. Local parts compare with case, as RFC 5321, 2.4 says; domains without. `<>` is the
/// null reverse-path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPattern {
    text: String,
    kind: AddressKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum AddressKind {
    Null,
    Mailbox { local: Pieces, domain: DomainPattern },
}

/// What stands between the `*`s. No `*`: one piece, which is the whole text. Else the first and the last piece are
/// anchored (and may be empty), and those between are looked for from the left: the leftmost find leaves most for
/// the rest, so no way back is ever needed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pieces {
    pieces: Vec<String>,
    /// Without case: the pieces are lower case.
    fold: bool,
}

impl Pieces {
    fn new(text: &str, fold: bool) -> Self {
        let text = if fold { lower(text) } else { text.to_owned() };
        let mut pieces: Vec<String> = text.split('*').map(str::to_owned).collect();
        let last = pieces.len().saturating_sub(1);
        let mut index = 0;
        pieces.retain(|piece| {
            let keep = index == 0 || index == last || !piece.is_empty();
            index += 1;
            keep
        });
        Self { pieces, fold }
    }

    fn matches(&self, text: &str) -> bool {
        let copy;
        let ascii = text.is_ascii();
        // Only a search in the middle, or letters beyond ASCII, need a lower-case copy.
        let text = if self.fold && (!ascii || self.pieces.len() > 2) {
            copy = lower(text);
            &copy
        } else {
            text
        };
        let same = |a: &[u8], b: &str| if self.fold { a.eq_ignore_ascii_case(b.as_bytes()) } else { a == b.as_bytes() };
        let text = text.as_bytes();
        let (first, last, middle) = match self.pieces.as_slice() {
            [] => return text.is_empty(),
            [whole] => return same(text, whole),
            [first, middle @ .., last] => (first, last, middle),
        };
        let Some((head, rest)) = text.split_at_checked(first.len()) else { return false };
        let Some((mut rest, tail)) = rest.len().checked_sub(last.len()).map(|at| rest.split_at(at)) else {
            return false;
        };
        if !same(head, first) || !same(tail, last) {
            return false;
        }
        for piece in middle {
            match memmem::find(rest, piece.as_bytes()) {
                Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        true
    }
}

impl Pieces {
    /// Of a text that is hidden: `*` takes any; of others `same` knows, or nobody.
    fn matches_hidden(&self, same: impl FnOnce(&str) -> Option<bool>) -> Option<bool> {
        match self.pieces.as_slice() {
            [whole] => same(whole),
            all if all.iter().all(String::is_empty) => Some(true),
            _ => None,
        }
    }
}

/// Letter by letter: `str::to_lowercase` looks at what follows a sigma, so a piece would differ from the whole.
fn lower(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.chars().flat_map(char::to_lowercase).collect() }
}

/// What no pattern may be.
fn sound(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if text.contains(char::is_control) { Err(PatternError::Control(text.to_owned())) } else { Ok(()) }
}

impl Glob {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        sound(text)?;
        Ok(Self { text: text.to_owned(), pieces: Pieces::new(text, true) })
    }

    pub fn matches(&self, text: &str) -> bool {
        self.pieces.matches(text)
    }

    /// Whether it takes a text that is hidden. `same` says of a text whether it is that one; `None`: that cannot be told.
    pub fn matches_hidden(&self, same: impl FnOnce(&str) -> Option<bool>) -> Option<bool> {
        self.pieces.matches_hidden(same)
    }

    /// No `*` in it.
    pub fn is_exact(&self) -> bool {
        self.pieces.pieces.len() == 1
    }
}

impl DomainPattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        sound(text)?;
        let bad = || PatternError::Domain(text.to_owned());
        if !text.contains('*') {
            let domain: Domain = text.parse().map_err(|_| bad())?;
            return Ok(Self { glob: Glob::parse(domain.as_str())?, exact: Some(domain) });
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let mut labels = Vec::new();
        for label in name.split('.') {
            // What a `*` stands for can only be compared letter by letter, so its label must be as it is on the wire.
            if label.contains('*') && !label.is_ascii() {
                return Err(PatternError::Label(text.to_owned()));
            }
            // A letter in place of each `*` makes a label that the rules of names can judge.
            let probe: Domain = label.replace('*', "x").parse().map_err(|_| bad())?;
            labels.push(if label.contains('*') { label.to_ascii_lowercase() } else { probe.as_str().to_owned() });
        }
        Ok(Self { glob: Glob::parse(&labels.join("."))?, exact: None })
    }

    pub fn matches(&self, domain: &Domain) -> bool {
        match &self.exact {
            Some(exact) => exact == domain,
            None => self.glob.matches(domain.as_str()),
        }
    }

    /// The domain, where the pattern names just one: such routes are looked up, not scanned.
    pub fn exact(&self) -> Option<Domain> {
        self.exact.clone()
    }
}

impl AddressPattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        sound(text)?;
        if text == "<>" {
            return Ok(Self { text: text.to_owned(), kind: AddressKind::Null });
        }
        let bad = || PatternError::Address(text.to_owned());
        let (local, domain) = text.rsplit_once('@').ok_or_else(bad)?;
        let pattern = DomainPattern::parse(domain).map_err(|error| match error {
            PatternError::Empty => bad(),
            PatternError::Control(_) | PatternError::Domain(_) | PatternError::Label(_) | PatternError::Address(_) => {
                error
            }
        })?;
        // The form that addresses are kept in; a quoted local part may hold anything between its quotes.
        let probe: Domain = "x".parse().map_err(|_| bad())?;
        let local = match Address::new(local, probe) {
            Ok(address) => address.local().to_owned(),
            Err(_) => return Err(bad()),
        };
        // RFC 5321, 4.5.1: postmaster, of any case, is one mailbox.
        let fold = local.eq_ignore_ascii_case("postmaster");
        let kind = AddressKind::Mailbox { local: Pieces::new(&local, fold), domain: pattern };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// `None` is the null reverse-path.
    pub fn matches(&self, address: Option<&Address>) -> bool {
        match (&self.kind, address) {
            (AddressKind::Null, None) => true,
            (AddressKind::Mailbox { local, domain }, Some(address)) => {
                domain.matches(address.domain()) && local.matches(address.local())
            }
            (AddressKind::Null, Some(_)) | (AddressKind::Mailbox { .. }, None) => false,
        }
    }

    /// Whether it takes an address of this domain whose local part is hidden. `same` says of a local part whether it is that
    /// one; `None`: that cannot be told.
    pub fn matches_hidden(&self, of: &Domain, same: impl FnOnce(&str) -> Option<bool>) -> Option<bool> {
        match &self.kind {
            AddressKind::Mailbox { local, domain } if domain.matches(of) => local.matches_hidden(same),
            AddressKind::Mailbox { .. } | AddressKind::Null => Some(false),
        }
    }

    /// It asks for more of a local part than that there is one.
    pub fn asks_for_local(&self) -> bool {
        match &self.kind {
            AddressKind::Mailbox { local, .. } => local.matches_hidden(|_| None).is_none(),
            AddressKind::Null => false,
        }
    }

    /// The domain part; `None` for `<>`.
    pub fn domain(&self) -> Option<&DomainPattern> {
        match &self.kind {
            AddressKind::Null => None,
            AddressKind::Mailbox { domain, .. } => Some(domain),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn globs_match_whole_texts_without_case() {
        for (glob, text, yes) in [
            ("*", "", true),
            ("**", "x", true),
            ("a", "A", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*", "abc", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("*ab*ab*", "ab", false),
            ("ÄRZTE*", "ärzte ohne grenzen", true),
            ("*é*", "CAFÉ AU LAIT", true),
            ("ΟΔΟΣ*", "ΟΔΟΣΑ", true),
            ("a?c", "abc", false),
        ] {
            assert_eq!(Glob::parse(glob).unwrap().matches(text), yes, "{glob} {text}");
        }
        assert!(Glob::parse("").is_err() && Glob::parse("a\nb").is_err());
    }

    #[test]
    fn many_stars_cost_no_time() {
        let glob = Glob::parse(&"a*".repeat(500)).unwrap();
        assert!(!glob.matches(&format!("{}b", "b".repeat(1 << 20))));
        let glob = Glob::parse(&format!("*{}b", "a*".repeat(500))).unwrap();
        assert!(!glob.matches(&"a".repeat(1 << 20)));
    }

    #[test]
    fn domains_compare_as_a_labels() {
        for (pattern, domain, yes) in [
            ("corp.example", "CORP.example.", true),
            ("Corp.Example.", "corp.example", true),
            ("*.corp.example", "a.corp.example", true),
            ("*.corp.example", "a.b.corp.example", true),
            ("*.corp.example", "corp.example", false),
            ("*.corp.example", "xcorp.example", false),
            ("*.bücher.example", "mail.xn--bcher-kva.example", true),
            ("bücher.example", "xn--bcher-kva.example", true),
            ("mail-*.example", "MAIL-1.example", true),
            ("*", "[192.0.2.1]", true),
            ("[192.0.2.1]", "[192.0.2.1]", true),
        ] {
            let domain: Domain = domain.parse().unwrap();
            assert_eq!(DomainPattern::parse(pattern).unwrap().matches(&domain), yes, "{pattern} {domain}");
        }
        for bad in ["", "a..b", "*..b", "@corp.example", "a b.example", "*.-a.example", "bü*.example", "a@b.example"] {
            assert!(DomainPattern::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(DomainPattern::parse("Bücher.example").unwrap().exact(), "xn--bcher-kva.example".parse().ok());
        assert_eq!(DomainPattern::parse("*.b.example").unwrap().exact(), None);
    }

    #[test]
    fn addresses_compare_local_parts_with_case() {
        for (pattern, address, yes) in [
            ("news@*", "news@a.example", true),
            ("news@*", "News@a.example", false),
            ("*@corp.example", "x@CORP.example", true),
            ("*@corp.example", "x@a.corp.example", false),
            ("*@*.corp.example", "x@a.corp.example", true),
            ("\"news\"@a.example", "news@a.example", true),
            ("postmaster@a.example", "PostMaster@a.example", true),
            ("no*reply@a.example", "no-reply@a.example", true),
        ] {
            let address: Address = address.parse().unwrap();
            assert_eq!(AddressPattern::parse(pattern).unwrap().matches(Some(&address)), yes, "{pattern} {address}");
        }
        let null = AddressPattern::parse("<>").unwrap();
        assert!(null.matches(None) && !null.matches("a@b.example".parse().ok().as_ref()));
        assert!(!AddressPattern::parse("*@*").unwrap().matches(None), "any address is not the null one");
        for bad in ["", "*", "news", "@corp.example", "a@", "a b@c.example", "a@b@c.example", "<a@b.example>"] {
            assert!(AddressPattern::parse(bad).is_err(), "{bad}");
        }
    }

    /// The textbook definition, exponential and obvious.
    fn plainly(glob: &[char], text: &[char]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', more)), rest) => plainly(more, text) || rest.is_some_and(|(_, rest)| plainly(glob, rest)),
            (Some((a, more)), Some((b, rest))) => a == b && plainly(more, rest),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_defined(glob in "[ab*]{1,8}", text in "[ab]{0,10}") {
            let (g, t): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
            prop_assert_eq!(Glob::parse(&glob).unwrap().matches(&text), plainly(&g, &t));
        }

        #[test]
        fn no_pattern_is_too_odd(pattern in "\\PC{0,20}", text in "\\PC{0,20}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                let _ = glob.matches(&text);
            }
            let _ = AddressPattern::parse(&pattern);
            if let Ok(domain) = DomainPattern::parse(&pattern) {
                prop_assert_eq!(DomainPattern::parse(&domain.to_string()), Ok(domain));
            }
        }
    }
}
