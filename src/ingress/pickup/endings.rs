//! The line ends of a file: Unix programs write LF, mail has CRLF. Pure.
//!
//! The first line end says which kind the file is. A file of LF gets CRLF; nothing else is altered, so that a file that
//! mixes both has bare CR or LF in it afterwards and is refused for them like any other content.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter};

#[derive(Debug, Default)]
pub(in crate::ingress) struct Endings {
    begun: bool,
    unix: Option<bool>,
    after_cr: bool,
}

/// The file is text in an encoding that no mail has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ingress) struct Utf16;

impl Endings {
    /// The next piece of a file, as mail has it. The first piece is the file's first three octets at least.
    pub fn convert(&mut self, mut piece: Bytes) -> Result<Bytes, Utf16> {
        if !self.begun && !piece.is_empty() {
            self.begun = true;
            if piece.starts_with(b"\xff\xfe") || piece.starts_with(b"\xfe\xff") {
                return Err(Utf16);
            }
            // What Windows' editors put in front of UTF-8.
            if piece.starts_with(b"\xef\xbb\xbf") {
                piece = piece.slice(3..);
            }
        }
        if self.unix.is_none()
            && let Some(at) = memchr(b'\n', &piece)
        {
            let cr = if at == 0 { self.after_cr } else { piece[at - 1] == b'\r' };
            self.unix = Some(!cr);
        }
        self.after_cr = piece.last().map_or(self.after_cr, |last| *last == b'\r');
        if self.unix != Some(true) {
            return Ok(piece);
        }
        let mut converted = BytesMut::with_capacity(piece.len() + piece.len() / 32 + 16);
        let mut from = 0;
        for at in memchr_iter(b'\n', &piece) {
            converted.extend_from_slice(&piece[from..at]);
            converted.extend_from_slice(b"\r\n");
            from = at + 1;
        }
        converted.extend_from_slice(&piece[from..]);
        Ok(converted.freeze())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::content::{ChunkReader, Fault};

    fn read(file: &[u8], step: usize) -> Result<(Vec<u8>, Option<Fault>), Utf16> {
        let (mut endings, mut reader, mut out) = (Endings::default(), ChunkReader::new(1000), Vec::new());
        for piece in file.chunks(step.max(3)) {
            reader.read(endings.convert(Bytes::copy_from_slice(piece))?, &mut out);
        }
        reader.end(&mut out);
        Ok((out.concat(), reader.tally().fault()))
    }

    #[test]
    fn unix_files_become_mail_and_mixed_ones_are_refused() {
        for (file, content) in [
            ("a: b\n\nc\n", Some("a: b\r\n\r\nc\r\n")),
            ("a: b\r\n\r\nc\r\n", Some("a: b\r\n\r\nc\r\n")),
            ("a: b\n\nc", Some("a: b\r\n\r\nc\r\n")),
            ("no line end", Some("no line end\r\n")),
            ("\u{feff}a: b\n", Some("a: b\r\n")),
            ("\n", Some("\r\n")),
            ("", Some("")),
            // Each of these could end a message early at a hop that reads it in another way.
            ("a: b\r\n\r\nc\n.\nMAIL", None),
            ("a: b\r\n\r\nc\n.\r\nMAIL", None),
            ("a: b\r\n\r\nc\r\n.\nMAIL", None),
            ("a: b\n\nc\r\n.\r\nMAIL", None),
            ("a: b\n\nc\r.\rMAIL\n", None),
            ("a: b\r\rc\r", None),
        ] {
            for step in 1..12 {
                let (read, fault) = read(file.as_bytes(), step).unwrap();
                assert_eq!(fault, content.is_none().then_some(Fault::BareLineEnd), "{file:?} by {step}");
                if let Some(content) = content {
                    assert_eq!(read, content.as_bytes(), "{file:?} by {step}");
                }
            }
        }
        assert_eq!(read(b"\xff\xfea\0:\0", 100), Err(Utf16));
    }

    proptest! {
        #[test]
        fn a_unix_file_and_its_twin_are_one_message(lines in proptest::collection::vec("[a.:]{0,4}", 0..8), step in 3..9usize) {
            let unix: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mail = unix.replace('\n', "\r\n");
            prop_assert_eq!(read(unix.as_bytes(), step), read(mail.as_bytes(), 1000));
        }
    }
}
