//! xtext, the encoding of ESMTP parameter values (RFC 3461, section 4).

use std::fmt::Write as _;

/// `None` where the text is no xtext, or does not decode to printable UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        match b {
            b'+' => {
                let pair = [rest.next()?, rest.next()?];
                let hex = std::str::from_utf8(&pair)
                    .ok()
                    .filter(|h| h.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)))?;
                octets.push(u8::from_str_radix(hex, 16).ok()?);
            }
            b'=' => return None,
            33..=126 => octets.push(b),
            _ => return None,
        }
    }
    String::from_utf8(octets).ok().filter(|text| !text.contains(|c: char| c.is_control()))
}

pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'+' | b'=' | 0..=32 | 127.. => drop(write!(out, "+{b:02X}")),
            _ => out.push(b as char),
        }
    }
    out
}

/// `utf-8-addr-xtext` (RFC 6533, section 3) of an address beyond ASCII; plain ASCII is left as it is.
pub fn seven_bit(address: &str) -> String {
    if address.is_ascii() {
        return address.to_owned();
    }
    let mut out = String::with_capacity(address.len() * 2);
    for c in address.chars() {
        match c {
            '\\' | '+' | '=' => drop(write!(out, "\\x{{{:X}}}", c as u32)),
            '!'..='~' => out.push(c),
            c => drop(write!(out, "\\x{{{:X}}}", c as u32)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes() {
        for text in ["", "a+b=c", "plain@example.com", "ü x"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        for bad in ["+", "+4", "+0a", "+0D", "a=b", "a b", "+FF"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
