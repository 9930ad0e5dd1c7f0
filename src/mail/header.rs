//! Reading a header section where it lies: field names and values as slices, nothing decoded (RFC 5322, section 2.2).

use bytes::Bytes;
use memchr::{memchr, memmem};

/// The header section of a message: all octets up to the body, the separating empty line included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderSection {
    octets: Bytes,
}

/// One field as it stands, folding included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The whole field, its final CRLF included.
    pub raw: &'a [u8],
    name_size: usize,
}

impl<'a> Field<'a> {
    pub fn name(&self) -> &'a [u8] {
        &self.raw[..self.name_size]
    }

    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value with its folding, without the surrounding white space.
    pub fn raw_value(&self) -> &'a [u8] {
        self.raw.get(self.name_size..).map_or(&[][..], |rest| {
            let rest = rest.trim_ascii_start();
            rest.strip_prefix(b":").unwrap_or(rest).trim_ascii()
        })
    }

    /// The value on one line (RFC 5322, 2.2.3), bad UTF-8 replaced.
    pub fn value(&self) -> String {
        let text = String::from_utf8_lossy(self.raw_value());
        if text.contains('\n') { text.replace("\r\n", "").replace('\n', "") } else { text.into_owned() }
    }
}

impl HeaderSection {
    /// Takes what `size_in` found; octets behind the section are no part of it.
    pub fn new(octets: Bytes) -> Self {
        Self { octets }
    }

    /// How many octets of `content` are its header section, the empty line included; `None` while its end is not seen.
    /// A first line that is no field ends it at once: such content has a body alone.
    pub fn size_in(content: &[u8]) -> Option<usize> {
        if content.starts_with(b"\r\n") {
            return Some(2);
        }
        memmem::find(content, b"\r\n\r\n").map(|at| at + 4)
    }

    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// The fields in order. A line that is neither field nor continuation counts to the field before it.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let mut rest: &[u8] = &self.octets;
        std::iter::from_fn(move || {
            if rest.is_empty() || rest.starts_with(b"\r\n") {
                return None;
            }
            let mut end = line_end(rest);
            while end < rest.len() && matches!(rest[end], b' ' | b'\t') {
                end += line_end(&rest[end..]);
            }
            let (raw, behind) = rest.split_at(end);
            rest = behind;
            Some(Field { raw, name_size: name_size(raw).unwrap_or(0) })
        })
    }

    /// The values of each field of that name, unfolded.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        self.fields().filter(move |field| field.is(name)).map(|field| field.value())
    }

    pub fn has(&self, name: &str) -> bool {
        self.fields().any(|field| field.is(name))
    }

    pub fn count(&self, name: &str) -> usize {
        self.fields().filter(|field| field.is(name)).count()
    }

    /// The section without the fields for which `gone` holds. No copy where none is.
    pub fn without(&self, gone: impl Fn(&Field<'_>) -> bool) -> HeaderSection {
        if !self.fields().any(|field| gone(&field)) {
            return self.clone();
        }
        let mut kept = Vec::with_capacity(self.octets.len());
        let mut seen = 0;
        for field in self.fields() {
            seen += field.raw.len();
            if !gone(&field) {
                kept.extend_from_slice(field.raw);
            }
        }
        kept.extend_from_slice(&self.octets[seen..]);
        Self { octets: kept.into() }
    }
}

fn line_end(octets: &[u8]) -> usize {
    memchr(b'\n', octets).map_or(octets.len(), |at| at + 1)
}

/// The octets of a field's name: printable ASCII up to the colon; white space before the colon is obsolete but legal
/// to read (RFC 5322, 4.5).
fn name_size(raw: &[u8]) -> Option<usize> {
    let colon = memchr(b':', raw)?;
    let name = raw[..colon].trim_ascii_end();
    (!name.is_empty() && name.iter().all(|b| (33..=126).contains(b))).then_some(name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &'static str) -> HeaderSection {
        HeaderSection::new(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn folded_fields_are_one() {
        let header = section("A: 1\r\n b\r\nBCC : x\r\nC:\r\n\r\n");
        let fields: Vec<_> =
            header.fields().map(|f| (String::from_utf8_lossy(f.name()).into_owned(), f.value())).collect();
        assert_eq!(fields, [("A", "1 b"), ("BCC", "x"), ("C", "")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(header.has("bcc"));
    }

    #[test]
    fn removal_keeps_the_rest_to_the_octet() {
        let header = section("A: 1\r\nBcc: x,\r\n y\r\nbcc: z\r\nC: 2\r\n\r\n");
        assert_eq!(&header.without(|f| f.is("Bcc")).octets()[..], b"A: 1\r\nC: 2\r\n\r\n");
    }

    #[test]
    fn the_end_is_the_first_empty_line() {
        assert_eq!(HeaderSection::size_in(b"A: 1\r\n\r\nbody"), Some(8));
        assert_eq!(HeaderSection::size_in(b"\r\nbody"), Some(2));
        assert_eq!(HeaderSection::size_in(b"A: 1\r\n"), None);
    }
}
