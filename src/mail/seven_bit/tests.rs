//! Messages before and after, and that each reads as it did.

use mail_parser::{MessageParser, PartType};
use proptest::prelude::*;

use super::*;

fn converted(content: &str) -> String {
    String::from_utf8(seven_bit(content.as_bytes()).unwrap()).unwrap()
}

const OF: &str = "From: a@b.example\r\n";

#[test]
fn bodies_are_encoded_by_their_type() {
    let mixed =
        |inner: &str| format!("{OF}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b c\"\r\n{inner}");
    for (content, expected) in [
        // What is ASCII stays as it is, whatever it says.
        (format!("{OF}Content-Transfer-Encoding: 8bit\r\n\r\nx = y\r\n"), None),
        (format!("{OF}Subject: ü\r\n\r\nx\r\n"), None),
        (
            format!(
                "{OF}MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nSubject: s\r\n\r\nfür\r\n"
            ),
            Some(format!(
                "{OF}MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\nSubject: s\r\n\r\nf=C3=BCr\r\n"
            )),
        ),
        // Of no kind at all.
        (
            format!("{OF}\r\nfür\r\n"),
            Some(format!(
                "{OF}MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nf=C3=BCr\r\n"
            )),
        ),
        (
            format!("{OF}MIME-Version: 1.0\r\nContent-Type: application/x\r\n\r\nü\r\n"),
            Some(format!(
                "{OF}MIME-Version: 1.0\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\nw7wNCg==\r\n"
            )),
        ),
        (
            mixed(
                "Content-Transfer-Encoding: 8bit\r\n\r\nprä\r\n--b c\r\n\r\nü\r\n--b c \r\nContent-Type: text/html\r\n\r\nplain\r\n--b c\r\nContent-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n\r\n\r\nü\r\n\r\n--b c--\r\nepilög\r\n",
            ),
            Some(mixed(
                "Content-Transfer-Encoding: 7bit\r\n\r\npr??\r\n--b c\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n--b c \r\nContent-Type: text/html\r\n\r\nplain\r\n--b c\r\nContent-Type: image/x\r\nContent-Transfer-Encoding: base64\r\n\r\nDQrDvA0K\r\n--b c--\r\nepil??g\r\n",
            )),
        ),
        // Not closed; a delimiter's beginning is none.
        (
            mixed("\r\n--b c\r\n\r\n--b c d\r\nü\r\n"),
            Some(mixed(
                "Content-Transfer-Encoding: 7bit\r\n\r\n--b c\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n--b c d\r\n=C3=BC\r\n",
            )),
        ),
        (
            format!(
                "{OF}MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: inner\r\n\r\nü\r\n"
            ),
            Some(format!(
                "{OF}MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n"
            )),
        ),
        (
            format!(
                "{OF}MIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: inner\r\n\r\nü\r\n--b--\r\n"
            ),
            Some(format!(
                "{OF}MIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\n--b\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n--b--\r\n"
            )),
        ),
        // Encoded already, and not well.
        (
            format!("{OF}Content-Transfer-Encoding: Quoted-Printable\r\n\r\n=C3=BC ü\r\n"),
            Some(format!("{OF}Content-Transfer-Encoding: Quoted-Printable\r\n\r\n=C3=BC =C3=BC\r\n")),
        ),
        (
            format!("{OF}Content-Transfer-Encoding: base64\r\n\r\nw7wüNCg==\r\n"),
            Some(format!("{OF}Content-Transfer-Encoding: base64\r\n\r\nw7wNCg==\r\n")),
        ),
    ] {
        assert_eq!(converted(&content), expected.unwrap_or_else(|| content.clone()), "{content:?}");
    }
    let latin = seven_bit(b"Subject: s\r\n\r\nf\xfcr\r\n").unwrap();
    assert_eq!(
        latin,
        b"Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nf=FCr\r\n"
    );
}

#[test]
fn what_must_not_be_altered_is_told() {
    let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(60) + "\r\nü\r\n";
    for (content, unfit) in [
        ("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n", Unfit::Signed),
        ("Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nü\r\n--b--\r\n", Unfit::Boundary),
        ("Content-Type: multipart/mixed; boundary=b\r\n\r\nü\r\n", Unfit::Boundary),
        ("Content-Type: message/partial; id=x; number=1\r\n\r\nü\r\n", Unfit::Type),
        ("Content-Transfer-Encoding: x-uuencode\r\n\r\nü\r\n", Unfit::Encoding),
        ("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nü\r\n", Unfit::Encoding),
        (&deep, Unfit::Depth),
    ] {
        assert_eq!(seven_bit(content.as_bytes()), Err(unfit), "{content:?}");
    }
    // Without anything to alter it goes as it is.
    let signed = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n";
    assert_eq!(converted(signed), signed);
}

/// Decoded octets of all parts, in order.
fn read(content: &[u8]) -> Vec<Vec<u8>> {
    fn walk(message: &mail_parser::Message<'_>, into: &mut Vec<Vec<u8>>) {
        for part in &message.parts {
            match &part.body {
                PartType::Message(inner) => walk(inner, into),
                PartType::Multipart(_) => {}
                PartType::Text(_) | PartType::Html(_) | PartType::Binary(_) | PartType::InlineBinary(_) => {
                    into.push(part.contents().to_vec());
                }
            }
        }
    }
    let mut into = Vec::new();
    walk(&MessageParser::default().parse(content).unwrap(), &mut into);
    into
}

/// A part as it stands in a message, without its last line end.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let text = "[a-zäöü=. \\t\u{20ac}-]{0,90}(\r\n[a-zäöü=. \\t-]{0,90}){0,3}x";
    let leaf = (
        prop_oneof![
            Just("Content-Type: text/plain; charset=utf-8\r\n"),
            Just("Content-Type: text/html; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\n"),
            Just("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n"),
            Just("CONTENT-TYPE: image/x;\r\n name=\"a.x\"\r\ncontent-transfer-encoding:8BIT\r\nContent-Description: y\r\n"),
        ],
        text,
    )
        .prop_map(|(header, text)| format!("{header}\r\n{text}").into_bytes());
    leaf.prop_recursive(3, 12, 3, |inner| {
        let n = std::sync::atomic::AtomicUsize::new(0);
        (proptest::collection::vec(inner.clone(), 1..4), 0..1000_usize).prop_map(move |(parts, id)| {
            let n = n.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let boundary = format!("=_{id}_{n}_{}", parts.iter().map(Vec::len).sum::<usize>());
            let mut out =
                format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\npreamble\r\n").into_bytes();
            for part in parts {
                out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
                out.extend_from_slice(&part);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(format!("--{boundary}--").as_bytes());
            out
        })
    })
}

proptest! {
    #[test]
    fn what_is_encoded_reads_as_before(part in part()) {
        let mut content = b"From: a@b.example\r\nMIME-Version: 1.0\r\n".to_vec();
        content.extend_from_slice(&part);
        content.extend_from_slice(b"\r\n");
        let out = seven_bit(&content).unwrap();
        prop_assert!(out.is_ascii() && out.ends_with(b"\r\n"));
        prop_assert!(content.is_ascii() == (out == content));
        prop_assert_eq!(read(&out), read(&content));
        prop_assert_eq!(seven_bit(&out).unwrap(), out);
    }

    #[test]
    fn anything_is_converted_or_told(content in "(Content-Type: (multipart/mixed; boundary=b|message/rfc822|text/x)\r\n|Content-Transfer-Encoding: (8bit|base64|x)\r\n|--b(--)?\r\n|ü|a|\r\n){0,30}") {
        if let Ok(out) = seven_bit(content.as_bytes()) {
            prop_assert!(out.len() >= content.len() || !content.is_ascii());
            prop_assert_eq!(seven_bit(&out).unwrap(), out);
        }
    }
}
