//! What SendGrid's JSON can carry, row by row: `carried` and `refused` are the two ends of `represent`.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::represent;
use crate::mail::Address;

const HEAD: &str = "From: Shop <shop@corp.example>\r\nTo: Ann <ann@customer.example>\r\nSubject: Hello\r\n";
const ANN: &[&str] = &["ann@customer.example"];

fn try_it(recipients: &[&str], content: &[u8]) -> Result<Value, String> {
    let recipients: Vec<Address> = recipients.iter().map(|text| text.parse().unwrap()).collect();
    let mail = represent(&recipients.iter().collect::<Vec<_>>(), &Bytes::copy_from_slice(content));
    mail.map(|mail| serde_json::to_value(mail).unwrap()).map_err(|lack| lack.diagnosis().text.clone())
}

#[track_caller]
fn carried(recipients: &[&str], content: impl AsRef<[u8]>) -> Value {
    try_it(recipients, content.as_ref()).unwrap()
}

/// The refusal has to name `what`.
#[track_caller]
fn refused(recipients: &[&str], content: impl AsRef<[u8]>, what: &str) {
    match try_it(recipients, content.as_ref()) {
        Err(why) if why.contains(what) => {}
        Err(why) => panic!("'{why}' does not name {what}"),
        Ok(mail) => panic!("carried, with {what}: {mail:#}"),
    }
}

/// A message to Ann whose Content-Type and the like are `fields`.
fn of(fields: &str, body: &str) -> String {
    format!("{HEAD}{fields}\r\n{body}")
}

fn multipart(kind: &str, parts: &[&str]) -> String {
    of(&format!("MIME-Version: 1.0\r\nContent-Type: multipart/{kind}; boundary=b\r\n"), &parted("b", parts))
}

fn parted(boundary: &str, parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
    format!("This is MIME.\r\n{parts}--{boundary}--\r\n")
}

const PLAIN: &str = "Content-Type: text/plain; charset=utf-8\r\n\r\nhello";
const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>hello</p>";
const PDF: &str = "Content-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\n\r\nAQID";
const PNG: &str = "Content-Type: image/png; name=\"a.png\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: inline; filename=\"a.png\"\r\nContent-ID: <pic@x>\r\n\r\nAQID";

#[test]
fn a_plain_message_in_full() {
    let content = "Received: from a by b;\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\nReceived: from c by d; x\r\nReturn-Path: <x@y.example>\r\nFrom: \"Shop, Ltd\" <shop@corp.example>\r\nTo: Ann <ann@customer.example>\r\nCc: bob@customer.example\r\nReply-To: help@corp.example\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n and more\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@corp.example>\r\nX-Order: 17\r\nX-SMTPAPI: {\"to\":[\"evil@x.example\"]}\r\nBcc: carl@customer.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1; format=flowed\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=FC=DFe\r\n";
    let recipients = ["ann@customer.example", "bob@customer.example", "carl@customer.example"];
    assert_eq!(
        carried(&recipients, content),
        json!({
            "personalizations": [{
                "to": [{"email": "ann@customer.example", "name": "Ann"}],
                "cc": [{"email": "bob@customer.example"}],
                "bcc": [{"email": "carl@customer.example"}],
            }],
            "from": {"email": "shop@corp.example", "name": "Shop, Ltd"},
            "reply_to": {"email": "help@corp.example"},
            "subject": "Grüße and more",
            "content": [{"type": "text/plain", "value": "grüße\r\n"}],
            "headers": {"Date": "Tue, 14 Nov 2023 22:13:20 +0000", "Message-ID": "<1@corp.example>", "X-Order": "17"},
            "tracking_settings": {
                "click_tracking": {"enable": false, "enable_text": false},
                "open_tracking": {"enable": false},
                "subscription_tracking": {"enable": false},
                "ganalytics": {"enable": false},
            },
        })
    );
}

#[test]
fn texts_and_their_alternatives() {
    let plain = json!({"type": "text/plain", "value": "hello"});
    let html = json!({"type": "text/html", "value": "<p>hello</p>"});
    let amp = "Content-Type: text/x-amp-html\r\n\r\n<html amp>";
    assert_eq!(carried(ANN, of("", "hello"))["content"], json!([plain]));
    assert_eq!(carried(ANN, of("Content-Type: text/html\r\n", "<p>hello</p>"))["content"], json!([html]));
    assert_eq!(carried(ANN, multipart("alternative", &[PLAIN, HTML]))["content"], json!([plain, html]));
    assert_eq!(
        carried(ANN, multipart("alternative", &[PLAIN, HTML, amp]))["content"],
        json!([plain, html, {"type": "text/x-amp-html", "value": "<html amp>"}])
    );
    refused(ANN, multipart("alternative", &[HTML, PLAIN]), "text/plain at this place");
    refused(ANN, multipart("alternative", &[PLAIN, PLAIN]), "text/plain at this place");
    refused(ANN, multipart("alternative", &[PLAIN, PDF]), "application/pdf");
    refused(ANN, multipart("alternative", &[amp, amp]), "text/x-amp-html at this place");
}

#[test]
fn a_body_with_attachments() {
    let pdf = json!({"type": "application/pdf", "filename": "a.pdf", "content": "AQID", "disposition": "attachment"});
    assert_eq!(carried(ANN, multipart("mixed", &[PLAIN, PDF, PDF]))["attachments"], json!([pdf, pdf]));
    let csv = "Content-Type: text/csv\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename*=utf-8''%C3%BC.csv\r\n\r\n4Q==";
    assert_eq!(
        carried(ANN, multipart("mixed", &[HTML, csv]))["attachments"],
        json!([{"type": "text/csv", "filename": "ü.csv", "content": "4Q==", "disposition": "attachment"}]),
        "a file's octets are its own, whatever its character set"
    );
    refused(ANN, multipart("mixed", &[PLAIN, PDF, PLAIN]), "without a file name");
    refused(ANN, multipart("mixed", &[PDF, PLAIN]), "application/pdf as the body");
    refused(ANN, multipart("mixed", &[]), "multipart/mixed");
    let as_file = "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nhello";
    refused(ANN, multipart("mixed", &[as_file, PDF]), "an attachment, as the body");
    let nested = format!("Content-Type: multipart/mixed; boundary=c\r\n\r\n{}", parted("c", &[PLAIN, PDF]));
    refused(ANN, multipart("mixed", &[PLAIN, &nested]), "multipart/mixed within");
}

#[test]
fn pictures_within_html() {
    let png = json!([{"type": "image/png", "filename": "a.png", "content": "AQID", "disposition": "inline", "content_id": "pic@x"}]);
    let related = multipart("related; type=\"text/html\"", &[HTML, PNG]);
    assert_eq!(carried(ANN, related)["attachments"], png);
    let inner = format!("Content-Type: multipart/related; boundary=c\r\n\r\n{}", parted("c", &[HTML, PNG]));
    let mail = carried(ANN, multipart("alternative", &[PLAIN, &inner]));
    assert_eq!((mail["attachments"].clone(), mail["content"].as_array().unwrap().len()), (png.clone(), 2));
    let inner = format!("Content-Type: multipart/alternative; boundary=c\r\n\r\n{}", parted("c", &[PLAIN, HTML]));
    assert_eq!(carried(ANN, multipart("related; type=\"multipart/alternative\"", &[&inner, PNG]))["attachments"], png);
    let located = PNG.replace("Content-ID: <pic@x>", "Content-Location: a.png");
    refused(ANN, multipart("related", &[HTML, &located]), "without Content-ID");
    refused(ANN, multipart("related; start=\"<pic@x>\"", &[HTML, PNG]), "starts with another part");
    let started = HTML.replace("\r\n\r\n", "\r\nContent-ID: <root@x>\r\n\r\n");
    carried(ANN, multipart("related; start=\"<root@x>\"", &[&started, PNG]));
    refused(ANN, multipart("related", &[PLAIN, PNG]), "text/plain as the first part");
}

#[test]
fn what_would_need_something_made_up() {
    refused(ANN, of("", ""), "an empty text/plain");
    refused(ANN, "From: a@b.example\r\nTo: ann@customer.example\r\nSubject:\r\n\r\nhi", "empty Subject");
    refused(ANN, "From: a@b.example\r\nTo: ann@customer.example\r\nSubject:  \r\n\r\nhi", "empty Subject");
    refused(ANN, "From: a@b.example\r\nTo: ann@customer.example\r\n\r\nhi", "without Subject");
    refused(ANN, "To: ann@customer.example\r\nSubject: s\r\n\r\nhi", "without From");
    refused(ANN, "From: a@b.example\r\nSubject: s\r\n\r\nhi", "nobody in To");
    refused(ANN, "From: a@b.example\r\nCc: ann@customer.example\r\nSubject: s\r\n\r\nhi", "nobody in To");
    let empty = PDF.replace("AQID", "");
    refused(ANN, multipart("mixed", &[PLAIN, &empty]), "empty attachment");
    let unnamed = PDF.replace("; name=\"a.pdf\"", "").replace("; filename=\"a.pdf\"", "");
    refused(ANN, multipart("mixed", &[PLAIN, &unnamed]), "without a file name");
    let odd = PDF.replace("filename=\"a.pdf\"", "filename=\"a;b.pdf\"");
    refused(ANN, multipart("mixed", &[PLAIN, &odd]), "the file name");
    refused(ANN, of("Content-Type: application/pdf\r\n", "x"), "application/pdf as the body");
}

#[test]
fn what_is_sealed_reported_or_nested() {
    let signature = "Content-Type: application/pgp-signature\r\n\r\nx";
    refused(ANN, multipart("signed; protocol=\"application/pgp-signature\"", &[PLAIN, signature]), "multipart/signed");
    refused(ANN, multipart("encrypted", &[PLAIN, signature]), "multipart/encrypted");
    refused(ANN, of("Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n", "x"), "pkcs7-mime");
    let sealed = PDF.replace("application/pdf", "application/pkcs7-mime");
    refused(ANN, multipart("mixed", &[PLAIN, &sealed]), "pkcs7-mime");
    let status = "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x";
    refused(ANN, multipart("report; report-type=delivery-status", &[PLAIN, status]), "multipart/report");
    refused(ANN, multipart("mixed", &[PLAIN, status]), "message/delivery-status");
    let notice = "Content-Type: message/disposition-notification\r\n\r\nx: y";
    refused(ANN, multipart("mixed", &[PLAIN, notice]), "message/disposition-notification");
    let message = "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nhello";
    refused(ANN, multipart("mixed", &[PLAIN, message]), "message/rfc822");
    refused(ANN, multipart("digest", &["\r\nSubject: inner\r\n\r\nhello"]), "multipart/digest");
    refused(ANN, of("Content-Type: message/partial; id=x; number=1\r\n", "x"), "message/partial");
    refused(ANN, multipart("mixed", &[PLAIN, "Content-Type: message/external-body\r\n\r\nx"]), "message/external-body");
}

#[test]
fn invitations() {
    let invitation = "Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\nBEGIN:VCALENDAR";
    refused(ANN, multipart("alternative", &[PLAIN, HTML, invitation]), "'method'");
    let calendar = invitation.replace(" method=REQUEST;", "");
    carried(ANN, multipart("alternative", &[PLAIN, HTML, &calendar]));
    let file = "Content-Type: text/calendar; method=REQUEST\r\nContent-Disposition: attachment; filename=a.ics\r\n\r\nBEGIN:VCALENDAR";
    refused(ANN, multipart("mixed", &[PLAIN, file]), "'method'");
}

#[test]
fn what_parts_would_lose() {
    for (field, what) in [
        ("Content-Description: a", "Content-Description"),
        ("Content-Language: de", "Content-Language"),
        ("Content-Location: http://x", "Content-Location"),
        ("Content-MD5: x", "Content-MD5"),
        ("X-Part: x", "X-Part"),
        ("Content-Transfer-Encoding: x-uuencode", "x-uuencode"),
        ("Content-Disposition: inline; filename=a.txt", "'filename'"),
    ] {
        let part = format!("{field}\r\n{PLAIN}");
        refused(ANN, multipart("alternative", &[&part, HTML]), what);
        if field.starts_with("Content-") {
            refused(ANN, of(&format!("{field}\r\n"), "hello"), what);
        }
    }
    let dated = PDF.replace("attachment;", "attachment; creation-date=\"Tue, 14 Nov 2023 22:13:20 +0000\";");
    refused(ANN, multipart("mixed", &[PLAIN, &dated]), "'creation-date'");
    let spoken = PDF.replace("filename=\"a.pdf\"", "filename*=utf-8'de'a.pdf");
    refused(ANN, multipart("mixed", &[PLAIN, &spoken]), "-language'");
    let odd = PDF.replace("application/pdf;", "application/\0pdf;");
    refused(ANN, multipart("mixed", &[PLAIN, &odd]), "a Content-Type that cannot be read");
    let odd = PNG.replace("pic@x", "pic\0@x");
    refused(ANN, multipart("related", &[HTML, &odd]), "a Content-ID that cannot be read");
    let versioned = format!("MIME-Version: 1.0\r\n{PLAIN}");
    carried(ANN, multipart("alternative", &[&versioned, HTML]));
    let twice = format!("Content-Type: text/html\r\n{PLAIN}");
    refused(ANN, multipart("alternative", &[&twice, HTML]), "repeated field Content-Type");
}

#[test]
fn fields_of_the_header_section() {
    for (fields, what) in [
        ("X-A: 1\r\nx-a: 2\r\n", "repeated field x-a"),
        ("Comments: 1\r\nComments: 2\r\n", "repeated field Comments"),
        ("Subject: again\r\n", "repeated field Subject"),
        ("To: ann@customer.example\r\n", "repeated field To"),
        ("From: b@c.example\r\n", "repeated field From"),
        ("Authentication-Results: x; dkim=pass\r\n", "Authentication-Results"),
        ("DKIM-Signature: v=1\r\n", "DKIM-Signature"),
        ("ARC-Seal: i=1\r\n", "ARC-Seal"),
        ("ARC-Message-Signature: i=1\r\n", "ARC-Message-Signature"),
        ("Resent-From: a@b.example\r\n", "Resent-From"),
        ("X-SG-EID: x\r\n", "X-SG-EID"),
        ("x-sg-id: x\r\n", "x-sg-id"),
        ("X-Name: gr\u{fc}n\r\n", "not ASCII"),
        ("X-Name: a\0b\r\n", "control characters"),
        ("no field at all\r\n", "no field"),
        ("Reply-To: friends: a@b.example, c@d.example;\r\n", "group in Reply-To"),
    ] {
        refused(ANN, of(fields, "hello"), what);
    }
    let mail = carried(
        ANN,
        of(
            "In-Reply-To: <a@b>\r\nReferences: <a@b>\r\n <c@d>\r\nList-Unsubscribe: <mailto:x@y.example>\r\nSender: z@y.example\r\nAuto-Submitted: auto-generated\r\nReply-To: a@b.example, c@d.example\r\n",
            "hello",
        ),
    );
    assert_eq!(
        mail["headers"],
        json!({"In-Reply-To": "<a@b>", "References": "<a@b> <c@d>", "List-Unsubscribe": "<mailto:x@y.example>", "Sender": "z@y.example", "Auto-Submitted": "auto-generated"})
    );
    assert_eq!(mail["reply_to_list"], json!([{"email": "a@b.example"}, {"email": "c@d.example"}]));
    assert_eq!(mail.get("reply_to"), None);
}

#[test]
fn nobody_gets_mail_who_is_no_recipient() {
    let message = |to: &str, cc: &str| format!("From: a@b.example\r\nTo: {to}\r\nCc: {cc}\r\nSubject: s\r\n\r\nhello");
    let both = ["ann@customer.example", "bob@customer.example"];
    refused(
        ANN,
        message("ann@customer.example, bob@customer.example", ""),
        "bob@customer.example, who is no recipient",
    );
    refused(ANN, message("ann@customer.example", "bob@customer.example"), "who is no recipient");
    refused(&both, message("undisclosed-recipients:;", ""), "group in To");
    refused(&both, message("all: ann@customer.example, bob@customer.example;", ""), "group in To");
    refused(ANN, message("ann@customer.example bob@customer.example", ""), "as an address");
    let mail = carried(&both, message("ann@customer.example", ""));
    assert_eq!(mail["personalizations"][0]["bcc"], json!([{"email": "bob@customer.example"}]));
    // An address once in all lists; the local part's case tells mailboxes apart, the domain's does not.
    let mail = carried(
        &both,
        message("ann@Customer.Example, ann@customer.example", "ann@customer.example, bob@customer.example"),
    );
    assert_eq!(
        mail["personalizations"][0],
        json!({"to": [{"email": "ann@customer.example"}], "cc": [{"email": "bob@customer.example"}]})
    );
    refused(ANN, message("Ann@customer.example", ""), "who is no recipient");
}

#[test]
fn addresses_and_names() {
    let from = |from: &str| format!("From: {from}\r\nTo: ann@customer.example\r\nSubject: s\r\n\r\nhello");
    refused(ANN, from("a@b.example, c@d.example"), "several mailboxes in From");
    refused(ANN, from("all: a@b.example;"), "group in From");
    refused(ANN, from("nobody"), "as an address in From");
    refused(ANN, from("gr\u{fc}n@b.example"), "not ASCII");
    refused(ANN, from("\"a b\"@c.example"), "address");
    refused(ANN, from("a@[192.0.2.1]"), "the address");
    refused(ANN, from("=?iso-2022-jp?B?GyRCJDMbKEI=?= <a@b.example>"), "not decodable");
    refused(ANN, from("=?utf-8?B?/w==?= <a@b.example>"), "not decodable");
    assert_eq!(
        carried(ANN, from("=?utf-8?Q?M=C3=BCller?= <a@b.example>"))["from"],
        json!({"email": "a@b.example", "name": "Müller"})
    );
}

#[test]
fn texts_that_do_not_decode() {
    let mut latin = of("", "caf").into_bytes();
    latin.push(0xe9);
    refused(ANN, &latin, "octets that are not utf-8");
    let mut ascii = of("Content-Type: text/plain; charset=us-ascii\r\n", "caf").into_bytes();
    ascii.push(0xe9);
    refused(ANN, &ascii, "octets that are not us-ascii");
    refused(ANN, of("Content-Type: text/plain; charset=iso-2022-jp\r\n", "\u{1b}$B$3\u{1b}(B"), "iso-2022-jp");
    refused(ANN, of("Content-Type: text/plain; charset=gb2312\r\n", "hello"), "gb2312");
    assert_eq!(carried(ANN, of("", "gr\u{fc}\u{df}e"))["content"][0]["value"], "grüße");
    refused(ANN, of("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n", "!!!!"), "");
    refused(ANN, of("Content-Type: nonsense\r\n", "hello"), "Content-Type");
    refused(ANN, of("Content-Type: multipart/mixed\r\n", "hello"), "multipart/mixed");
    refused(ANN, "no header section", "header section");
}

proptest! {
    /// Whatever comes, an address in the JSON is a recipient's, each once, and all of them are there.
    #[test]
    fn the_json_names_the_recipients_and_no_one_else(
        to in proptest::collection::vec(0usize..6, 0..4),
        cc in proptest::collection::vec(0usize..6, 0..4),
        recipients in proptest::collection::btree_set(0usize..6, 1..6),
        noise in "[ -~\r\n]{0,40}",
    ) {
        let address = |n: &usize| format!("r{n}@customer.example");
        let list = |numbers: &[usize]| numbers.iter().map(address).collect::<Vec<_>>().join(", ");
        let content = format!("From: a@b.example\r\nTo: {}\r\nCc: {}\r\nSubject: s\r\nX-Noise: {noise}\r\n\r\nhello", list(&to), list(&cc));
        let recipients: Vec<String> = recipients.iter().map(address).collect();
        let given: Vec<&str> = recipients.iter().map(String::as_str).collect();
        if let Ok(mail) = try_it(&given, content.as_bytes()) {
            let people = &mail["personalizations"][0];
            let mut named: Vec<String> = ["to", "cc", "bcc"]
                .iter()
                .flat_map(|list| people[list].as_array().cloned().unwrap_or_default())
                .map(|one| one["email"].as_str().unwrap().to_owned())
                .collect();
            named.sort();
            prop_assert_eq!(named, recipients);
        }
    }

    #[test]
    fn nothing_makes_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..400) {
        let _ = try_it(ANN, &octets);
        let mut content = multipart("mixed", &[PLAIN, PDF, PNG]).into_bytes();
        let at = cut.min(content.len());
        content.splice(at..at, octets);
        let _ = try_it(ANN, &content);
    }
}
