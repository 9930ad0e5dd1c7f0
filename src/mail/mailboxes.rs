//! The addresses of From, Sender, To, Cc and Bcc fields (RFC 5322, 3.4), as far as an envelope can be made of them.

use mail_parser::parsers::MessageStream;

use super::{Address, AddressError, Domain, Field};

/// The addresses of a field in order, those of groups too; names and comments are left out. A name without a domain is one
/// of `here`: what scripts on this host write (`To: root`).
pub fn mailboxes(field: &Field<'_>, here: &Domain) -> Result<Vec<Address>, AddressError> {
    let line = [field.raw_value(), b"\r\n"].concat();
    let parsed = MessageStream::new(&line).parse_address();
    let Some(list) = parsed.as_address() else { return Ok(Vec::new()) };
    // What has no angle brackets and no @ is read as a name.
    let texts = list.iter().filter_map(|mailbox| mailbox.address().or(mailbox.name()));
    texts.map(|text| with_domain(text, here)).collect()
}

fn with_domain(text: &str, here: &Domain) -> Result<Address, AddressError> {
    let text = text.trim();
    match text.parse() {
        Err(AddressError::NoDomain(_)) => Address::new(text, here.clone()),
        parsed => parsed,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mail::HeaderSection;

    fn read(field: &'static str) -> Result<Vec<String>, AddressError> {
        let section = HeaderSection::new(Bytes::from_static(field.as_bytes()));
        let field = section.fields().next().unwrap();
        let found = mailboxes(&field, &"here.example".parse().unwrap())?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn all_forms_of_addresses() {
        for (field, found) in [
            ("To: a@b.example\r\n", &["a@b.example"][..]),
            ("To: \"A, B\" <a@b.example>,\r\n\tb@c.example (comment)\r\n", &["a@b.example", "b@c.example"]),
            (
                "To: Team: a@b.example, B <b@c.example>;, d@e.example\r\n",
                &["a@b.example", "b@c.example", "d@e.example"],
            ),
            ("To: undisclosed-recipients:;\r\n", &[]),
            ("To: root\r\n", &["root@here.example"]),
            ("To: =?utf-8?q?Zo=C3=AB?= <zoe@b.example>\r\n", &["zoe@b.example"]),
            ("To: Zoë <zoë@b.example>\r\n", &["zoë@b.example"]),
            ("To:\r\n", &[]),
        ] {
            assert_eq!(read(field), Ok(found.iter().map(|&text| text.to_owned()).collect()), "{field:?}");
        }
        assert!(read("To: a@b@c@\r\n").is_err());
    }
}
