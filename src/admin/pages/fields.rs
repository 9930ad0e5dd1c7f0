//! What forms and links carry: names and values, some of them several times.

/// The fields of a form, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Of a form's body, or of what stands behind `?`; what cannot be read is not there.
    pub fn read(octets: &[u8]) -> Self {
        Self(form_pairs(octets))
    }

    /// The first of that name, without the spaces around it; an empty one is not given.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
        value.filter(|value| !value.is_empty())
    }

    pub fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn form_pairs(octets: &[u8]) -> Vec<(String, String)> {
    let parts = octets.split(|octet| *octet == b'&').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        let mut halves = part.splitn(2, |octet| *octet == b'=');
        let mut half = || decoded(halves.next().unwrap_or_default());
        (half(), half())
    });
    pairs.collect()
}

/// `application/x-www-form-urlencoded` (WHATWG URL, 5.1).
fn decoded(octets: &[u8]) -> String {
    let mut out = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'+' => out.push(b' '),
            b'%' => match behind.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
                Some(octet) => {
                    out.push(octet);
                    rest = behind.get(2..).unwrap_or_default();
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A value, or a part of a path, as a link may carry it.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

/// A path with what stands behind `?`; values that are not given are left out.
pub fn link<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut link = path.to_owned();
    let mut joint = '?';
    for (name, value) in pairs {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            link.push(joint);
            link.push_str(&format!("{name}={}", encoded(value)));
            joint = '&';
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_sends_reads_back() {
        let fields = Fields::read(b"mid=A&mid=B&reason=two+words%21&empty=&note=%C3%BC%zz&alone");
        assert_eq!(fields.all("mid").collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(fields.get("reason"), Some("two words!"));
        assert_eq!(fields.get("empty"), None);
        assert_eq!(fields.get("note"), Some("\u{fc}%zz"));
        assert_eq!(fields.get("alone"), None);
        assert_eq!(Fields::read(b""), Fields::default());
    }

    #[test]
    fn a_link_carries_any_text() {
        let hostile = "a b&c=d\"<>'%\u{fc}";
        let link = link("/queue", [("route", Some(hostile)), ("state", None), ("sender", Some(""))]);
        assert!(link.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>'".contains(&b)), "{link}");
        let query = link.strip_prefix("/queue?").unwrap();
        assert_eq!(Fields::read(query.as_bytes()).get("route"), Some(hostile));
        assert_eq!(Fields::read(query.as_bytes()).get("state"), None);
    }
}
