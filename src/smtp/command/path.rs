//! Paths of MAIL and RCPT (RFC 5321, 4.1.2), read with the tolerance that clients need.

use super::Fault;
use crate::mail::{Address, AddressError, Domain};

/// What stands between the angle brackets, and what follows them.
pub(super) struct Split<'a> {
    pub path: &'a str,
    pub rest: &'a str,
}

/// The argument of `MAIL` or `RCPT`: keyword, colon, path. White space behind the colon and a mailbox without angle
/// brackets are wrong and common; both are taken, for neither can be read in two ways.
pub(super) fn split<'a>(argument: &'a str, keyword: &'static str, usage: &'static str) -> Result<Split<'a>, Fault> {
    let after = argument
        .get(..keyword.len())
        .filter(|start| start.eq_ignore_ascii_case(keyword))
        .map(|_| argument[keyword.len()..].trim_ascii_start())
        .and_then(|rest| rest.strip_prefix(':'))
        .map(str::trim_ascii_start)
        .ok_or(Fault::Arguments(usage))?;
    let (path, rest) = match after.strip_prefix('<') {
        Some(inside) => {
            let end = unquoted(inside, |c| c == '>').ok_or(Fault::Arguments(usage))?;
            (inside[..end].trim_ascii(), &inside[end + 1..])
        }
        None => after.split_at(unquoted(after, is_space).unwrap_or(after.len())),
    };
    if !(rest.is_empty() || rest.starts_with(is_space)) || (path.is_empty() && !after.starts_with('<')) {
        return Err(Fault::Arguments(usage));
    }
    Ok(Split { path: without_route(path).ok_or(Fault::Arguments(usage))?, rest })
}

/// What commands may hold of it; other white space, such as U+00A0, is part of a local part (RFC 6531, 3.3).
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// The mailbox in a path. Its domain may be an address literal or beyond ASCII.
pub(super) fn mailbox(path: &str) -> Result<Address, AddressError> {
    path.parse()
}

/// Source routes (`@a,@b:user@c`) are read over and not used (RFC 5321, appendix C). One that is not made of domains is
/// refused: what looks like a route to this host may be read as something else by the next one.
fn without_route(path: &str) -> Option<&str> {
    if !path.starts_with('@') {
        return Some(path);
    }
    let mut bracket = false;
    let end = path.char_indices().find_map(|(at, c)| {
        match c {
            '[' => bracket = true,
            ']' => bracket = false,
            ':' if !bracket => return Some(at),
            _ => {}
        }
        None
    })?;
    let hop = |hop: &str| hop.trim_ascii().strip_prefix('@').is_some_and(|domain| domain.parse::<Domain>().is_ok());
    path[..end].split(',').all(hop).then(|| &path[end + 1..])
}

/// Where the first character lies that `wanted` holds for, quoted strings (RFC 5321, 4.1.2) left out.
fn unquoted(text: &str, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if !quoted && wanted(c) => return Some(at),
            _ => {}
        }
    }
    None
}
