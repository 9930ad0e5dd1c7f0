//! Reading MIME with a bound on how deep messages lie in messages: the parser's tree is walked, and freed, by recursion, so
//! that a message made for it could exhaust the stack.

use mail_parser::{Message, MessageParser, PartType};
use memchr::memmem;

/// Messages in messages; honest ones have a handful.
const MOST_NESTED: usize = 100;

/// The parsed message; `None` where there is none, or too much nesting.
pub(super) fn parse(content: &[u8]) -> Option<Message<'_>> {
    if may_nest(content) > MOST_NESTED { None } else { MessageParser::default().parse(content) }
}

/// At least as many as there are parts that the parser takes for messages: `message/rfc822`, `message/global` and what
/// lies in `multipart/digest`.
fn may_nest(content: &[u8]) -> usize {
    let lower = content.to_ascii_lowercase();
    let subtype = |&at: &usize| {
        let line = lower.get(..at).map_or(&[][..], |before| {
            let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
            before.get(start..).unwrap_or_default()
        });
        line.contains(&b'/') || line.is_empty() || matches!(line.first(), Some(b' ' | b'\t'))
    };
    ["rfc822", "global", "digest"].iter().map(|name| memmem::find_iter(&lower, name).filter(subtype).count()).sum()
}

/// The file names of a message's attachments, those of messages within it included.
pub(super) fn file_names<'m>(message: &'m Message<'_>) -> Vec<&'m str> {
    let (mut names, mut waiting) = (Vec::new(), vec![message]);
    while let Some(message) = waiting.pop() {
        for part in &message.parts {
            names.extend(mail_parser::MimeHeaders::attachment_name(part));
            if let PartType::Message(inner) = &part.body {
                waiting.push(inner);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_has_a_bound() {
        for (level, deep) in [
            ("Content-Type: message/rfc822\r\n\r\n", true),
            ("Content-Type: MESSAGE/\r\n Global\r\n\r\n", true),
            ("Content-Type: message/(a comment)rfc822\r\n\r\n", true),
            ("Content-Type: text/plain\r\n\r\nthe global digest of news\r\n", false),
        ] {
            let message = level.repeat(20_000) + "Subject: inmost\r\n\r\nhello\r\n";
            assert_eq!(parse(message.as_bytes()).is_none(), deep, "{level}");
        }
        let some = "Content-Type: message/rfc822\r\n\r\n".repeat(3) + "Subject: inmost\r\n\r\nhello\r\n";
        assert!(parse(some.as_bytes()).is_some());
    }

    #[test]
    fn names_within_forwarded_messages_count() {
        let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: application/x; name=\"a.exe\"\r\n\r\nx\r\n--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=b.pdf\r\n\r\ny\r\n--b--\r\n";
        let message = parse(message.as_bytes()).unwrap();
        let mut names = file_names(&message);
        names.sort_unstable();
        assert_eq!(names, ["a.exe", "b.pdf"]);
    }
}
