//! The header's From held to what its submitter may send as (`check_from_header`).

use super::refusal;
use crate::access::Senders;
use crate::mail::{AuthorFault, HeaderSection, authors};
use crate::smtp::reply::Reply;

/// Every mailbox of every From must be among the senders; one that cannot be read is not.
pub(super) fn check(header: &HeaderSection, senders: &Senders) -> Result<(), Reply> {
    let who = ascii(senders.who());
    let authors = authors(header).map_err(|fault| {
        let text = match fault {
            AuthorFault::Missing => format!("{who} may not send without an address in the header's From"),
            AuthorFault::Unclear => format!("{who} may not send with a header's From that cannot be told for sure"),
        };
        refusal(550, 7, 1, text)
    })?;
    match authors.iter().find(|author| !senders.take_author(author)) {
        None => Ok(()),
        Some(author) => {
            Err(refusal(550, 7, 1, format!("{who} may not send as {}, which the header's From names", ascii(author))))
        }
    }
}

/// As a reply can show it (RFC 5321, 4.2; RFC 6531, 3.7.4.2), and not too long for its line.
pub(super) fn ascii(text: impl std::fmt::Display) -> String {
    const MOST: usize = 200;
    text.to_string().chars().take(MOST).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}
