//! Lines of a report: folded, wrapped, and free of what could break out of them.

/// Where fields are folded and text is wrapped (RFC 5322, 2.1.1).
const WIDTH: usize = 76;
/// What a line never exceeds, CRLF left out.
pub(super) const MOST: usize = 998;

pub(super) fn push(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The part of a name that can stand in a field or an address.
pub(super) fn token(name: &str) -> &str {
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if !name.is_empty() && name.len() <= 255 && name.chars().all(fit) { name } else { "localhost" }
}

/// A field of a delivery-status part: ASCII, folded, on lines that end in CRLF.
pub(super) fn field(out: &mut String, name: &str, value: &str) {
    let value: String = value.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    let value = if value.trim().is_empty() { "-" } else { &value };
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    for word in words(value) {
        if column + 1 + word.len() > WIDTH && column > name.len() + 1 {
            out.push_str("\r\n ");
            column = 0;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + word.len();
    }
    out.push_str("\r\n");
}

/// Text for people, wrapped and indented.
pub(super) fn paragraph(out: &mut String, indent: &str, text: &str) {
    let text = text.replace(|c: char| c.is_control(), " ");
    let mut column = 0;
    for word in words(&text) {
        if column > 0 && column + 1 + word.len() > WIDTH {
            out.push_str("\r\n");
            column = 0;
        }
        let gap = if column == 0 { indent } else { " " };
        out.push_str(gap);
        out.push_str(word);
        column += gap.len() + word.len();
    }
    out.push_str("\r\n");
}

/// Words, those that no line holds cut.
fn words(text: &str) -> impl Iterator<Item = &str> {
    const LONGEST: usize = 900;
    text.split(' ').filter(|word| !word.is_empty()).flat_map(|mut word| {
        std::iter::from_fn(move || {
            let (now, later) = word.split_at(word.floor_char_boundary(LONGEST));
            word = later;
            (!now.is_empty()).then_some(now)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_a_field() {
        for value in ["", "  ", "a\r\nEvil: b", "ü\0x", &"word ".repeat(300), &"x".repeat(5000)] {
            let mut out = String::new();
            field(&mut out, "Diagnostic-Code", value);
            assert!(out.is_ascii() && out.ends_with("\r\n"));
            for (n, line) in out.split("\r\n").enumerate() {
                assert!(line.len() <= MOST, "{}", line.len());
                assert!(!line.contains(['\r', '\n', '\0']));
                assert!(n == 0 || line.is_empty() || line.starts_with(' '), "{line:?}");
            }
        }
    }

    #[test]
    fn text_is_wrapped_at_words() {
        let mut out = String::new();
        paragraph(&mut out, "  ", &"seven77 ".repeat(20));
        assert!(out.lines().all(|line| line.len() <= WIDTH && line.starts_with("  ")));
        assert_eq!(out.split_whitespace().count(), 20);
    }

    #[test]
    fn odd_host_names_are_not_repeated() {
        assert_eq!(token("relay.example"), "relay.example");
        for odd in ["", "a b", "a\r\nb", "a>b", "ü.example"] {
            assert_eq!(token(odd), "localhost");
        }
    }
}
