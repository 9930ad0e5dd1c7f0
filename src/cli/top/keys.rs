//! Keys, as a terminal sends them: octets (ECMA-48, xterm). Pure.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Quit,
    Pause,
    Sort,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// The keys of what came in one piece. Others, and sequences that are cut, are passed over.
pub fn keys(mut octets: &[u8]) -> Vec<Key> {
    const SEQUENCES: [(&[u8], Key); 14] = [
        (b"\x1b[A", Key::Up),
        (b"\x1bOA", Key::Up),
        (b"\x1b[B", Key::Down),
        (b"\x1bOB", Key::Down),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
        (b"\x1b[H", Key::Home),
        (b"\x1bOH", Key::Home),
        (b"\x1b[1~", Key::Home),
        (b"\x1b[F", Key::End),
        (b"\x1bOF", Key::End),
        (b"\x1b[4~", Key::End),
        (b"\x1b[7~", Key::Home),
        (b"\x1b[8~", Key::End),
    ];
    let mut keys = Vec::new();
    while let Some((&first, rest)) = octets.split_first() {
        if first == 0x1b {
            match SEQUENCES.iter().find(|(sequence, _)| octets.starts_with(sequence)) {
                Some((sequence, key)) => {
                    keys.push(*key);
                    octets = &octets[sequence.len()..];
                }
                None => octets = behind_sequence(rest),
            }
            continue;
        }
        octets = rest;
        // Raw mode brings Ctrl-C (3) and Ctrl-D (4) as octets.
        keys.extend(match first {
            b'q' | b'Q' | 3 | 4 => Some(Key::Quit),
            b'p' | b' ' => Some(Key::Pause),
            b's' => Some(Key::Sort),
            b'k' => Some(Key::Up),
            b'j' => Some(Key::Down),
            _ => None,
        });
    }
    keys
}

/// What follows an unknown sequence, from behind its escape: it ends with a letter or `~`.
fn behind_sequence(rest: &[u8]) -> &[u8] {
    let Some((b'[' | b'O', rest)) = rest.split_first() else { return rest };
    match rest.iter().position(|octet| (0x40..=0x7e).contains(octet)) {
        Some(end) => &rest[end + 1..],
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_out_of_what_comes() {
        use Key::{Down, End, Home, PageDown, PageUp, Pause, Quit, Sort, Up};
        for (octets, wanted) in [
            (&b"q"[..], &[Quit][..]),
            (b"\x03", &[Quit]),
            (b"p s", &[Pause, Pause, Sort]),
            (b"\x1b[A\x1bOA\x1b[B\x1b[5~\x1b[6~", &[Up, Up, Down, PageUp, PageDown]),
            (b"\x1b[H\x1b[1~\x1b[F\x1b[4~", &[Home, Home, End, End]),
            // What has letters in it that are keys by themselves is no key.
            (b"\x1b[1;5qs\x1b[24~x", &[Sort]),
            (b"\x1b", &[]),
            (b"\x1b[", &[]),
            ("größer".as_bytes(), &[]),
        ] {
            assert_eq!(keys(octets), wanted, "{octets:?}");
        }
    }
}
