//! Text that must survive the way into UTF-8. A character set is either known to be decoded rightly or refused.

/// Replaced octets, or a replacement character of the author: it cannot be told which.
const REPLACEMENT: char = '\u{fffd}';

/// Character sets that are decoded without loss. Multi-octet and stateful ones are not among them: their octets can look
/// like other, valid text.
pub(super) fn is_known(charset: &str) -> bool {
    let name = charset.trim().to_ascii_lowercase();
    let number = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.parse::<u16>().ok());
    matches!(name.as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii" | "koi8-r" | "koi8-u")
        || number("iso-8859-").is_some_and(|n| matches!(n, 1..=11 | 13..=16))
        || number("windows-").or_else(|| number("cp")).is_some_and(|n| matches!(n, 1250..=1258))
}

pub(super) fn is_ascii(charset: &str) -> bool {
    matches!(charset.trim().to_ascii_lowercase().as_str(), "us-ascii" | "ascii")
}

pub(super) fn is_utf8(charset: &str) -> bool {
    matches!(charset.trim().to_ascii_lowercase().as_str(), "utf-8" | "utf8")
}

/// Nothing of it was lost in decoding.
pub(super) fn is_whole(text: &str) -> bool {
    !text.contains(REPLACEMENT)
}

/// One line of a field: decoded without loss and without control characters.
pub(super) fn is_line(text: &str) -> bool {
    is_whole(text) && !text.chars().any(char::is_control)
}

/// Every encoded word (RFC 2047) and extended parameter (RFC 2231) of a field is in a known character set, and the field
/// itself is ASCII.
pub(super) fn is_decodable(raw: &[u8]) -> bool {
    let Ok(raw) = std::str::from_utf8(raw) else { return false };
    raw.is_ascii() && encoded_words(raw).all(is_known) && extended_parameters(raw).all(is_known)
}

/// The character sets of what looks like encoded words.
fn encoded_words(raw: &str) -> impl Iterator<Item = &str> {
    raw.split("=?").skip(1).filter_map(|word| {
        let (charset, rest) = word.split_once('?')?;
        let (encoding, _) = rest.split_once('?')?;
        let is_word = matches!(encoding, "B" | "b" | "Q" | "q");
        // RFC 2231, section 5: a language may follow.
        is_word.then(|| charset.split_once('*').map_or(charset, |(charset, _)| charset))
    })
}

/// The character sets of `name*=charset'language'value` and `name*0*=…`.
fn extended_parameters(raw: &str) -> impl Iterator<Item = &str> {
    raw.split("*=").skip(1).filter_map(|value| {
        let (charset, rest) = value.trim_start_matches([' ', '\t', '"']).split_once('\'')?;
        // A later section of the same parameter has none.
        (rest.contains('\'') && !charset.is_empty() && !charset.contains([';', '%', ' '])).then_some(charset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decoded_rightly() {
        for (charset, known) in [
            ("UTF-8", true),
            ("us-ascii", true),
            ("ISO-8859-1", true),
            ("iso-8859-15", true),
            ("windows-1252", true),
            ("KOI8-R", true),
            ("iso-8859-12", false),
            ("iso-2022-jp", false),
            ("gb2312", false),
            ("utf-7", false),
            ("unknown-8bit", false),
            ("", false),
        ] {
            assert_eq!(is_known(charset), known, "{charset}");
        }
    }

    #[test]
    fn fields_in_foreign_sets_are_seen() {
        for (raw, decodable) in [
            ("hello", true),
            ("=?utf-8?Q?M=C3=BCller?= <a@b.example>", true),
            ("=?UTF-8*de?B?TcO8bGxlcg==?=", true),
            ("=?ISO-2022-JP?B?GyRCJDMbKEI=?=", false),
            ("x =?utf-8?q?a?= =?big5?b?pKSk5Q==?=", false),
            ("a=?b, not an encoded word", true),
            ("M\u{fc}ller", false),
            ("attachment; filename*=utf-8''%C3%BC.pdf", true),
            ("attachment; filename*0*=ISO-8859-1'de'%FC; filename*1*=b.pdf", true),
            ("attachment; filename*=iso-2022-jp'ja'%1B%24B.pdf", false),
        ] {
            assert_eq!(is_decodable(raw.as_bytes()), decodable, "{raw}");
        }
        assert!(!is_decodable(b"M\xfcller"));
    }
}
