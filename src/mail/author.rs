//! The authors of a message: the mailboxes of its From fields (RFC 5322, 3.6.2), read so that no reader can see others.

use mail_parser::parsers::MessageStream;

use super::{Address, HeaderSection};

/// Why the authors are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorFault {
    /// There is no From, or it names nobody.
    Missing,
    /// What stands there can be read in more ways than one, or in none.
    Unclear,
}

/// Of each From field all mailboxes.
pub fn authors(header: &HeaderSection) -> Result<Vec<Address>, AuthorFault> {
    let mut authors = Vec::new();
    for field in header.fields().filter(|field| field.is("From")) {
        let value = field.value();
        if value.is_empty() {
            continue;
        }
        let line = format!("{value}\r\n");
        let parsed = MessageStream::new(line.as_bytes()).parse_address();
        let Some(list) = parsed.as_address() else { return Err(AuthorFault::Unclear) };
        let before = authors.len();
        for mailbox in list.iter() {
            let address = mailbox.address().and_then(|text| text.parse().ok());
            authors.push(address.ok_or(AuthorFault::Unclear)?);
        }
        // An @ that belongs to no mailbox is one that another reader may take for an address: routes, names without their
        // quotes, what is left out.
        if signs(&value) != Some(authors.len() - before) {
            return Err(AuthorFault::Unclear);
        }
    }
    if authors.is_empty() { Err(AuthorFault::Missing) } else { Ok(authors) }
}

/// How often @ stands outside of quoted strings and comments; `None` where one of them does not end.
fn signs(value: &str) -> Option<usize> {
    let (mut signs, mut quoted, mut depth) = (0, false, 0_usize);
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted || depth > 0 => {
                chars.next()?;
            }
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth > 0 => depth -= 1,
            '@' if !quoted && depth == 0 => signs += 1,
            _ => {}
        }
    }
    (!quoted && depth == 0).then_some(signs)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read(header: &str) -> Result<String, AuthorFault> {
        let header = HeaderSection::new(Bytes::copy_from_slice(header.as_bytes()));
        authors(&header).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn all_mailboxes_of_all_fields() {
        for (header, known) in [
            ("From: a@b.example\r\n\r\n", Ok("a@b.example")),
            ("From: A <a@b.example>\r\nSubject: x@y\r\n\r\n", Ok("a@b.example")),
            ("from : \"Boss, B.\" <a@b.example>,\r\n c@d.example (me@home)\r\n\r\n", Ok("a@b.example c@d.example")),
            ("From: a@b.example\r\nFrom: c@d.example\r\n\r\n", Ok("a@b.example c@d.example")),
            ("From: \"boss@corp.example\" <a@b.example>\r\n\r\n", Ok("a@b.example")),
            ("From: =?utf-8?q?boss=40corp.example?= <a@b.example>\r\n\r\n", Ok("a@b.example")),
            ("From: Team: a@b.example, c@d.example;\r\n\r\n", Ok("a@b.example c@d.example")),
            ("From: <a@B.Example>\r\n\r\n", Ok("a@b.example")),
            ("From: Zoë <zoë@b.example>\r\n\r\n", Ok("zoë@b.example")),
            ("Subject: x\r\n\r\n", Err(AuthorFault::Missing)),
            ("\r\n", Err(AuthorFault::Missing)),
            ("From:\r\n\r\n", Err(AuthorFault::Missing)),
            ("From: Team:;\r\n\r\n", Err(AuthorFault::Missing)),
            ("From: nobody\r\n\r\n", Err(AuthorFault::Unclear)),
            ("From: boss@corp.example <a@b.example>\r\n\r\n", Err(AuthorFault::Unclear)),
            ("From: <a@b.example> boss@corp.example\r\n\r\n", Err(AuthorFault::Unclear)),
            ("From: <@x.example,@y.example:a@b.example>\r\n\r\n", Err(AuthorFault::Unclear)),
            ("From: a@b.example@corp.example\r\n\r\n", Err(AuthorFault::Unclear)),
            ("From: \"a@b.example\r\n\r\n", Err(AuthorFault::Unclear)),
            ("From: a@b.example, <\r\n\r\n", Ok("a@b.example")),
        ] {
            assert_eq!(read(header), known.map(str::to_owned), "{header:?}");
        }
    }
}
