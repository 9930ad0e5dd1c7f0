//! LMTP (RFC 2033): what differs.

use super::*;

fn talk() -> Talk {
    let mut talk = Talk::new(Settings { lmtp: true, ..settings() }, LOCAL);
    assert_eq!(talk.codes("LHLO me\r\n"), "250");
    talk
}

const TWO: &str =
    "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<nobody@d.example>\r\nRCPT TO:<e@f.example>\r\n";

#[test]
fn content_has_a_reply_for_each_recipient_that_was_taken() {
    for (content, replies, stored) in [
        ("DATA\r\nA: b\r\n\r\n.\r\n", "354, 250 2.0.0, 250 2.0.0", true),
        ("DATA\r\nFULL\r\n.\r\n", "354, 452 4.3.1, 452 4.3.1", false),
        ("DATA\r\na\nb\r\n.\r\n", "354, 550 5.6.0, 550 5.6.0", false),
        ("BDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n", "250 2.0.0, 250 2.0.0, 250 2.0.0", true),
        ("BDAT 3 LAST\r\na\nb", "550 5.6.0, 550 5.6.0", false),
        // What ends at a chunk that was not to be the last has that chunk's reply.
        ("BDAT 3\r\na\nbBDAT 1 LAST\r\nx", "550 5.6.0, 503 5.5.1", false),
        // The same one twice was taken twice (RFC 2033, 4.2).
        ("RCPT TO:<c@d.example>\r\nDATA\r\n.\r\n", "250 2.1.5, 354, 250 2.0.0, 250 2.0.0, 250 2.0.0", true),
    ] {
        let mut talk = talk();
        let codes = format!("250 2.1.0, 250 2.1.5, 550 5.1.1, 250 2.1.5, {replies}, 250 2.0.0");
        assert_eq!(talk.codes(&format!("{TWO}{content}NOOP\r\n")), codes, "{content:?}");
        let to: Vec<&str> = talk.seen.stored.iter().map(|(to, _)| to.as_str()).collect();
        assert_eq!(to, if stored { vec!["c@d.example e@f.example"] } else { vec![] }, "{content:?}");
    }
}

#[test]
fn each_protocol_has_its_own_greeting() {
    for said in ["EHLO me\r\n", "HELO me\r\n"] {
        assert_eq!(talk().codes(said), "500 5.5.1");
    }
    assert_eq!(super::talk().codes("LHLO me\r\n"), "500 5.5.1");
    let mut early = Talk::new(Settings { lmtp: true, ..settings() }, LOCAL);
    assert_eq!(early.codes("MAIL FROM:<>\r\n"), "503 5.5.1");
}

/// RFC 2033, 4.2: then DATA must fail with 503.
#[test]
fn no_content_without_a_recipient() {
    let said = "MAIL FROM:<a@b.example>\r\nRCPT TO:<nobody@d.example>\r\nDATA\r\n";
    assert_eq!(talk().codes(said), "250 2.1.0, 550 5.1.1, 503 5.5.1");
}
