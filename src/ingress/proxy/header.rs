//! The PROXY protocol's header, versions 1 and 2 (HAProxy, doc/proxy-protocol.txt, sections 2.1 and 2.2). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the header of version 2 begins with, and no SMTP client.
pub(crate) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of a header of version 2 up to its addresses.
pub(crate) const HEAD: usize = 16;
/// What the header of version 1 begins with.
pub(crate) const WORD: &[u8] = b"PROXY ";
/// Octets of a header of version 1, CRLF included.
pub(crate) const MOST_LINE: usize = 107;
/// Octets of addresses and further fields of version 2: some hundreds at most, in practice.
const MOST_REST: usize = 4096;

/// Who is connected: `None` where the header does not say, as with the balancer's own checks.
pub(crate) type Client = Option<IpAddr>;

/// Why a header cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it begins with something else")]
    None,
    #[error("it is longer than {0} octets")]
    TooLong(usize),
    #[error("its line is malformed")]
    Line,
    #[error("its version, command or family is unknown")]
    Unknown,
    #[error("it is not of a stream")]
    NoStream,
    #[error("it is shorter than what it holds")]
    Short,
}

/// A whole line of version 1, CRLF included.
pub(crate) fn line(line: &[u8]) -> Result<Client, Fault> {
    let line = line.strip_suffix(b"\r\n").ok_or(Fault::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| Fault::Line)?;
    let words: Vec<&str> = line.split(' ').collect();
    let port = |text: &str| {
        let canonical = text == "0" || !text.starts_with('0');
        canonical && text.bytes().all(|octet| octet.is_ascii_digit()) && text.parse::<u16>().is_ok()
    };
    match words[..] {
        // What follows is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family, source, destination, from, to] if port(from) && port(to) => {
            let (source, destination): (IpAddr, IpAddr) = match family {
                "TCP4" => (v4(source)?.into(), v4(destination)?.into()),
                "TCP6" => (v6(source)?.into(), v6(destination)?.into()),
                _ => return Err(Fault::Line),
            };
            let _ = destination;
            Ok(Some(source))
        }
        _ => Err(Fault::Line),
    }
}

fn v4(text: &str) -> Result<Ipv4Addr, Fault> {
    text.parse().map_err(|_| Fault::Line)
}

fn v6(text: &str) -> Result<Ipv6Addr, Fault> {
    text.parse().map_err(|_| Fault::Line)
}

/// How many octets follow the head of version 2.
pub(crate) fn rest(head: &[u8; HEAD]) -> Result<usize, Fault> {
    let size = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if size > MOST_REST { Err(Fault::TooLong(HEAD + MOST_REST)) } else { Ok(size) }
}

/// A whole header of version 2, whose signature was seen.
pub(crate) fn binary(head: &[u8; HEAD], rest: &[u8]) -> Result<Client, Fault> {
    match head[12] {
        // LOCAL: the balancer speaks for itself, and whatever follows is to be skipped.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(Fault::Unknown),
    }
    let (size, stream) = match head[13] {
        // AF_UNSPEC: as with LOCAL.
        0x00 => return Ok(None),
        0x11 => (12, true),
        0x12 => (12, false),
        0x21 => (36, true),
        0x22 => (36, false),
        0x31 => (216, true),
        0x32 => (216, false),
        _ => return Err(Fault::Unknown),
    };
    if !stream {
        return Err(Fault::NoStream);
    }
    let (addresses, fields) = rest.split_at_checked(size).ok_or(Fault::Short)?;
    skip(fields)?;
    Ok(match (size, addresses) {
        (12, [a, b, c, d, ..]) => Some(IpAddr::from([*a, *b, *c, *d])),
        (36, addresses) => {
            let (source, _) = addresses.split_first_chunk::<16>().ok_or(Fault::Short)?;
            Some(IpAddr::from(*source))
        }
        // A socket of the balancer's host has no address.
        _ => None,
    })
}

/// Further fields: type, length, value. None of them is needed here, and all must be whole.
fn skip(mut fields: &[u8]) -> Result<(), Fault> {
    while !fields.is_empty() {
        let ([_, high, low], behind) = fields.split_first_chunk::<3>().ok_or(Fault::Short)?;
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        fields = behind.split_at_checked(size).ok_or(Fault::Short)?.1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines() {
        for (text, client) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 25", Ok(Some("192.0.2.1"))),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535", Ok(Some("255.255.255.255"))),
            ("PROXY TCP6 2001:db8::1 ::1 1 0", Ok(Some("2001:db8::1"))),
            ("PROXY UNKNOWN", Ok(None)),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", Ok(None)),
            ("PROXY TCP4 2001:db8::1 ::1 1 2", Err(Fault::Line)),
            ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2", Err(Fault::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324", Err(Fault::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536", Err(Fault::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 +1 25", Err(Fault::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 01 25", Err(Fault::Line)),
            ("PROXY TCP4 192.0.2.1  198.51.100.2 1 25", Err(Fault::Line)),
            ("PROXY TCP4 192.0.2.1 198.51.100.2 1 25 ", Err(Fault::Line)),
            ("PROXY TCP4 192.0.2.01 198.51.100.2 1 25", Err(Fault::Line)),
            ("PROXY UDP4 192.0.2.1 198.51.100.2 1 25", Err(Fault::Line)),
            ("PROXY ", Err(Fault::Line)),
        ] {
            let client = client.map(|client| client.map(|client: &str| client.parse().unwrap()));
            assert_eq!(line(format!("{text}\r\n").as_bytes()), client, "{text}");
            assert_eq!(line(text.as_bytes()), Err(Fault::Line), "{text} without its end");
        }
        assert_eq!(line(b"PROXY TCP4 \xff\r\n"), Err(Fault::Line));
    }

    fn head(command: u8, family: u8, size: u16) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..12].copy_from_slice(&SIGNATURE);
        (head[12], head[13]) = (command, family);
        head[14..].copy_from_slice(&size.to_be_bytes());
        head
    }

    #[test]
    fn binary_headers() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 0, 25];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        let with = |addresses: &[u8], fields: &[u8]| [addresses, fields].concat();
        // PP2_TYPE_AUTHORITY, PP2_TYPE_NOOP.
        let fields = [2, 0, 3, b'a', b'.', b'b', 4, 0, 0];
        for (command, family, rest, client) in [
            (0x21, 0x11, v4.to_vec(), Ok(Some("192.0.2.1"))),
            (0x21, 0x11, with(&v4, &fields), Ok(Some("192.0.2.1"))),
            (0x21, 0x21, v6.to_vec(), Ok(Some("2001:db8::1"))),
            (0x21, 0x21, with(&v6, &fields), Ok(Some("2001:db8::1"))),
            (0x21, 0x31, vec![b'/'; 216], Ok(None)),
            (0x21, 0x00, Vec::new(), Ok(None)),
            (0x21, 0x00, fields.to_vec(), Ok(None)),
            (0x20, 0x00, Vec::new(), Ok(None)),
            // LOCAL: the family is to be ignored.
            (0x20, 0x11, v4.to_vec(), Ok(None)),
            (0x20, 0xff, vec![1], Ok(None)),
            (0x21, 0x11, v4[..11].to_vec(), Err(Fault::Short)),
            (0x21, 0x21, v4.to_vec(), Err(Fault::Short)),
            (0x21, 0x11, with(&v4, &[2, 0]), Err(Fault::Short)),
            (0x21, 0x11, with(&v4, &[2, 0, 9, 1]), Err(Fault::Short)),
            (0x21, 0x12, v4.to_vec(), Err(Fault::NoStream)),
            (0x21, 0x22, v6.to_vec(), Err(Fault::NoStream)),
            (0x21, 0x41, v4.to_vec(), Err(Fault::Unknown)),
            (0x22, 0x11, v4.to_vec(), Err(Fault::Unknown)),
            (0x11, 0x11, v4.to_vec(), Err(Fault::Unknown)),
        ] {
            let client = client.map(|client| client.map(|client: &str| client.parse().unwrap()));
            let head = head(command, family, rest.len() as u16);
            assert_eq!(super::rest(&head), Ok(rest.len()));
            assert_eq!(binary(&head, &rest), client, "{command:x} {family:x} {rest:?}");
        }
        assert_eq!(rest(&head(0x21, 0x11, 4097)), Err(Fault::TooLong(4112)));
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd(octets in proptest::collection::vec(any::<u8>(), 0..300), command in 0x1fu8..0x23, family: u8) {
            let _ = line(&octets);
            let head = head(command, family, 0);
            let _ = (rest(&head), binary(&head, &octets));
        }

        #[test]
        fn every_address_comes_through(four: [u8; 4], six: [u8; 16], port: u16) {
            for (family, source) in [("TCP4", IpAddr::from(four)), ("TCP6", IpAddr::from(six))] {
                let text = format!("PROXY {family} {source} {source} {port} 25\r\n");
                prop_assert!(text.len() <= MOST_LINE);
                prop_assert_eq!(line(text.as_bytes()), Ok(Some(source)));
            }
        }
    }
}
