//! Dot-stuffing of content on its way out (RFC 5321, 4.5.2), by slices: no octet of the message is copied.

use bytes::Bytes;
use memchr::memchr_iter;

/// Where in the content the stuffing stands. One for each message.
#[derive(Debug)]
pub struct Stuffing {
    /// The octets that went before: content starts at the start of a line.
    before: [u8; 2],
}

impl Default for Stuffing {
    fn default() -> Self {
        Self { before: *b"\r\n" }
    }
}

impl Stuffing {
    /// Appends `chunk` to `out` as pieces in which each line that starts with a dot starts with two. A dot behind a bare
    /// CR or LF is doubled as well: content has none of these, but if some ever got here, no server could be made to
    /// take what follows for commands.
    pub fn stuff(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) {
        let mut start = 0;
        for dot in memchr_iter(b'.', &chunk) {
            let before = if dot == 0 { self.before[1] } else { chunk[dot - 1] };
            if matches!(before, b'\r' | b'\n') {
                out.push(chunk.slice(start..=dot));
                start = dot;
            }
        }
        match chunk[..] {
            [] => return,
            [last] => self.before = [self.before[1], last],
            [.., first, last] => self.before = [first, last],
        }
        out.push(chunk.slice(start..));
    }

    /// The end of the content: the final dot, on a line of its own.
    pub fn end(&self) -> Bytes {
        Bytes::from_static(if self.before == *b"\r\n" { b".\r\n" } else { b"\r\n.\r\n" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stuffed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut stuffing, mut out) = (Stuffing::default(), Vec::new());
        for chunk in chunks {
            stuffing.stuff(Bytes::copy_from_slice(chunk), &mut out);
        }
        out.push(stuffing.end());
        out.concat()
    }

    /// What a server makes of it (RFC 5321, 4.5.2).
    fn received(wire: &[u8]) -> Vec<u8> {
        let text = String::from_utf8(wire.to_vec()).unwrap();
        let mut content = String::new();
        for line in text.split_inclusive("\r\n") {
            if line == ".\r\n" {
                return content.into_bytes();
            }
            content.push_str(line.strip_prefix('.').unwrap_or(line));
        }
        panic!("no final dot in {text:?}");
    }

    #[test]
    fn dots_at_line_starts_are_doubled() {
        for (content, wire) in [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a.b\r\n.c\r\n..d\r\n", "a.b\r\n..c\r\n...d\r\n.\r\n"),
            (".\r\n.\r\n", "..\r\n..\r\n.\r\n"),
            ("a\r\n.\r\nQUIT\r\n", "a\r\n..\r\nQUIT\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"),
            ("a\n.\nb\r.\r", "a\n..\nb\r..\r\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(stuffed([content.as_bytes()])).unwrap(), wire, "{content:?}");
        }
    }

    #[test]
    fn a_chunk_without_such_dots_is_one_piece() {
        let (mut stuffing, mut out) = (Stuffing::default(), Vec::new());
        let chunk = Bytes::from_static(b"no. dots. here\r\n");
        stuffing.stuff(chunk.clone(), &mut out);
        assert_eq!((out.len(), out[0].as_ptr()), (1, chunk.as_ptr()));
    }

    proptest! {
        #[test]
        fn a_server_gets_the_content_however_it_is_cut(
            lines in proptest::collection::vec("[a.]{0,4}\r\n", 0..8),
            cut in 1..7usize,
        ) {
            let content = lines.concat();
            let wire = stuffed(content.as_bytes().chunks(cut));
            prop_assert_eq!(received(&wire), content.as_bytes());
            prop_assert_eq!(wire, stuffed([content.as_bytes()]));
        }
    }
}
