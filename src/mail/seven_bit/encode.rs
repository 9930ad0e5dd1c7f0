//! Transfer encodings (RFC 2045, sections 6.7 and 6.8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Characters of a line, without its end.
const LINE: usize = 76;
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Text: CRLF is a line's end, everything else an octet.
pub fn quoted_printable(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let end = memchr::memmem::find(rest, b"\r\n");
        line(&rest[..end.unwrap_or(rest.len())], out);
        let Some(end) = end else { return };
        out.extend_from_slice(b"\r\n");
        rest = &rest[end + 2..];
    }
}

fn line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, &octet) in line.iter().enumerate() {
        // White space at a line's end gets lost on the way.
        let white = matches!(octet, b' ' | b'\t') && at + 1 < line.len();
        let plain = white || (octet.is_ascii_graphic() && octet != b'=');
        let width = if plain { 1 } else { 3 };
        // One for the `=` of a soft line break.
        if column + width >= LINE {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        column += width;
        if plain { out.push(octet) } else { out.extend_from_slice(&escaped(octet)) }
    }
}

/// Text that is quoted-printable already, but for octets beyond ASCII.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for &octet in text {
        if octet.is_ascii() {
            out.push(octet);
            column = if octet == b'\n' { 0 } else { column + 1 };
            continue;
        }
        if column + 3 >= LINE {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        out.extend_from_slice(&escaped(octet));
        column += 3;
    }
}

fn escaped(octet: u8) -> [u8; 3] {
    [b'=', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]
}

/// Lines with CRLF between them.
pub fn base64(octets: &[u8], out: &mut Vec<u8>) {
    let mut encoded = String::new();
    for (at, piece) in octets.chunks(LINE / 4 * 3).enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\r\n");
        }
        encoded.clear();
        BASE64.encode_string(piece, &mut encoded);
        out.extend_from_slice(encoded.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: impl AsRef<[u8]>) -> String {
        let mut out = Vec::new();
        quoted_printable(text.as_ref(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_quoted() {
        let (long, wide) = ("x".repeat(80), "ü".repeat(20));
        for (text, expected) in [
            ("", ""),
            ("a = b\r\n", "a =3D b\r\n"),
            ("für \r\n\t\r\nx", "f=C3=BCr=20\r\n=09\r\nx"),
            ("a\tb c\r\n", "a\tb c\r\n"),
            ("a\nb\rc", "a=0Ab=0Dc"),
            ("\u{0}\u{7f}", "=00=7F"),
            (&long, &format!("{}=\r\n{}", "x".repeat(75), "x".repeat(5))),
            (&wide, &format!("{}=\r\n{}", "=C3=BC".repeat(12) + "=C3", "=BC".to_owned() + &"=C3=BC".repeat(7))),
        ] {
            assert_eq!(quoted(text), expected, "{text:?}");
            assert!(quoted(text).split("\r\n").all(|line| line.len() <= LINE), "{text:?}");
        }
    }

    #[test]
    fn octets_are_in_lines() {
        let mut out = Vec::new();
        base64(&[0xff; 58], &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{}\r\n/w==", "/".repeat(76)));
    }

    #[test]
    fn stray_octets_are_escaped_alone() {
        let mut out = Vec::new();
        escape("=C3=BC ü=\r\n".as_bytes(), &mut out);
        assert_eq!(out, b"=C3=BC =C3=BC=\r\n");
    }
}
