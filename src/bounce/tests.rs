use mail_parser::{MessageParser, MimeHeaders as _, PartType};
use proptest::prelude::*;

use super::*;
use crate::mail::{Address, EnhancedStatus, Orcpt, Severity};

const ORIGINAL: &str =
    "Received: from app\r\nMessage-ID: <1@app.example>\r\nSubject: Rechnung\r\n\r\nGuten Tag,\r\n.\r\n";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn envelope(original: &[u8], recipients: Vec<Recipient>) -> Envelope {
    let header_size = HeaderSection::size_in(original).unwrap_or(original.len());
    Envelope {
        reverse_path: Some("app@corp.example".parse().unwrap()),
        recipients,
        dsn: DsnRequest::default(),
        body: BodyKind::SevenBit,
        smtputf8: false,
        origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
        accepted_at: at(-7200),
        header_size: header_size as u32,
        size: original.len() as u64,
    }
}

fn to(address: &str) -> Recipient {
    Recipient::new(address.parse().unwrap())
}

fn by() -> By<'static> {
    By { hostname: "relay.corp.example", now: at(0), mid: Mid::new(at(0), 2) }
}

fn unknown_user() -> Diagnosis {
    let status = EnhancedStatus::new(Severity::Permanent, 1, 1);
    Diagnosis::remote("mx.b.example", 550, status, "no such user here")
}

fn report_on(kind: Kind, envelope: &Envelope, diagnosis: &Diagnosis, original: &[u8]) -> Option<Report> {
    let told: Vec<_> = (0..envelope.recipients.len() as u32)
        .map(|index| Told { index, diagnosis, last_attempt: Some(at(-60)) })
        .collect();
    let wanted = octets_wanted(kind, envelope) as usize;
    report(kind, Mid::new(at(-7200), 1), envelope, &told, &original[..wanted], &by())
}

/// What holds for every report, whatever is in it.
fn assert_sound(report: &Report) {
    let content = &report.content;
    assert_eq!(report.envelope.size, content.len() as u64);
    assert!(report.envelope.reverse_path.is_none());
    assert!(content.ends_with(b"--\r\n"));
    for line in content.split_inclusive(|b| *b == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() <= 1000, "{:?}", String::from_utf8_lossy(line));
        assert!(!line[..line.len() - 2].contains(&b'\r'));
    }
    assert_eq!(content.is_ascii(), report.envelope.body == BodyKind::SevenBit && !report.envelope.smtputf8);
    let header = &content[..report.envelope.header_size as usize];
    assert_eq!(HeaderSection::size_in(content), Some(header.len()));
    let parsed = MessageParser::new().parse(&content[..]).unwrap();
    let multipart = parsed.root_part();
    let kind = multipart.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    let PartType::Multipart(parts) = &multipart.body else { panic!("no parts") };
    assert_eq!(parts.len(), 3);
}

#[test]
fn a_failure_reads_like_this() {
    let mut envelope = envelope(ORIGINAL.as_bytes(), vec![to("anna@b.example"), to("ben@c.example")]);
    envelope.dsn.envid = Some("QQ314159".to_owned());
    envelope.recipients[0].orcpt = Some(Orcpt { kind: "rfc822".to_owned(), address: "info@b.example".to_owned() });
    let expired =
        Diagnosis::local(EnhancedStatus::new(Severity::Transient, 4, 7), "given up after 5 days: no route to host");
    let unknown_user = unknown_user();
    let told = [
        Told { index: 0, diagnosis: &unknown_user, last_attempt: Some(at(-60)) },
        Told { index: 1, diagnosis: &expired, last_attempt: None },
    ];
    let mid = Mid::new(at(-7200), 1);
    let report = report(Kind::Failure, mid, &envelope, &told, ORIGINAL.as_bytes(), &by()).unwrap();
    assert_sound(&report);
    let text = String::from_utf8(report.content.to_vec()).unwrap().replace("\r\n", "\n").replace('\t', " ");
    insta::assert_snapshot!(text, @r#"
    From: Mail Delivery System <MAILER-DAEMON@relay.corp.example>
    To: <app@corp.example>
    Subject: Your message could not be delivered
    Date: Tue, 14 Nov 2023 22:13:20 +0000
    Message-ID: <01HF7YAT000000000000000002@relay.corp.example>
    Auto-Submitted: auto-replied
    MIME-Version: 1.0
    Content-Type: multipart/report; report-type=delivery-status;
     boundary="=_report_01HF7YAT000000000000000002"
    In-Reply-To: <1@app.example>
    References: <1@app.example>

    This is a report of a mail system in MIME format (RFC 3464).

    --=_report_01HF7YAT000000000000000002
    Content-Type: text/plain; charset=utf-8
    Content-Transfer-Encoding: 7bit

    This is the mail system at relay.corp.example.

    The message that you sent could not be delivered to the following
    recipients. It will not be tried again.

    <anna@b.example>
        mx.b.example said: 550 5.1.1 no such user here

    <ben@c.example>
        given up after 5 days: no route to host (4.4.7)

    Please check the addresses. If they are right, what was said above tells why
    the message was refused; show it to your own administrator, or to the
    recipient's.

    The message was accepted here on Tue, 14 Nov 2023 20:13:20 +0000 under the
    id 01HF7QF2R00000000000000001. The message is attached.

    --=_report_01HF7YAT000000000000000002
    Content-Type: message/delivery-status
    Content-Description: Delivery report

    Reporting-MTA: dns; relay.corp.example
    Original-Envelope-Id: QQ314159
    Arrival-Date: Tue, 14 Nov 2023 20:13:20 +0000

    Original-Recipient: rfc822; info@b.example
    Final-Recipient: rfc822; anna@b.example
    Action: failed
    Status: 5.1.1
    Remote-MTA: dns; mx.b.example
    Diagnostic-Code: smtp; 550 5.1.1 no such user here
    Last-Attempt-Date: Tue, 14 Nov 2023 22:12:20 +0000

    Final-Recipient: rfc822; ben@c.example
    Action: failed
    Status: 4.4.7
    Diagnostic-Code: x-waypost; given up after 5 days: no route to host

    --=_report_01HF7YAT000000000000000002
    Content-Type: message/rfc822

    Received: from app
    Message-ID: <1@app.example>
    Subject: Rechnung

    Guten Tag,
    .

    --=_report_01HF7YAT000000000000000002--
    "#);
}

#[test]
fn notify_decides_who_is_told() {
    let never = Notify::default();
    let failure = Notify { failure: true, ..never };
    let delay = Notify { delay: true, ..never };
    let success = Notify { success: true, ..never };
    let late = Kind::Delay { until: at(9) };
    for (notify, told) in [
        (None, [true, true, false, false]),
        (Some(never), [false; 4]),
        (Some(failure), [true, false, false, false]),
        (Some(delay), [false, true, false, false]),
        (Some(success), [false, false, true, true]),
    ] {
        let recipient = Recipient { notify, ..to("a@b.example") };
        let mut envelope = envelope(ORIGINAL.as_bytes(), vec![recipient]);
        for (kind, told) in [Kind::Failure, late, Kind::Relayed, Kind::Delivered].into_iter().zip(told) {
            let report = report_on(kind, &envelope, &unknown_user(), ORIGINAL.as_bytes());
            assert_eq!(report.is_some(), told, "{notify:?} {kind:?}");
        }
        envelope.reverse_path = None;
        assert!(report_on(Kind::Failure, &envelope, &unknown_user(), ORIGINAL.as_bytes()).is_none());
    }
}

#[test]
fn only_those_who_want_it_are_named() {
    let never = Recipient { notify: Some(Notify::default()), ..to("secret@b.example") };
    let envelope = envelope(ORIGINAL.as_bytes(), vec![never, to("open@b.example")]);
    let report = report_on(Kind::Failure, &envelope, &unknown_user(), ORIGINAL.as_bytes()).unwrap();
    let text = String::from_utf8_lossy(&report.content);
    assert!(text.contains("open@b.example") && !text.contains("secret@"));
    assert_eq!(report.envelope.recipients, [Recipient { notify: Some(Notify::default()), ..to("app@corp.example") }]);
}

#[test]
fn ret_decides_what_comes_back() {
    let long = format!("Subject: x\r\n\r\n{}", "line\r\n".repeat(15_000));
    let huge = format!("Subject: x\r\n\r\n{}", "line\r\n".repeat(200_000));
    let delay = Kind::Delay { until: at(9) };
    for (kind, ret, original, full) in [
        (Kind::Failure, None, ORIGINAL, true),
        (Kind::Failure, None, &long, false),
        (Kind::Failure, Some(Ret::Full), &long, true),
        (Kind::Failure, Some(Ret::Full), &huge, false),
        (Kind::Failure, Some(Ret::Headers), ORIGINAL, false),
        (delay, Some(Ret::Full), ORIGINAL, false),
    ] {
        let mut envelope = envelope(original.as_bytes(), vec![to("a@b.example")]);
        envelope.dsn.ret = ret;
        let report = report_on(kind, &envelope, &unknown_user(), original.as_bytes()).unwrap();
        assert_sound(&report);
        let text = String::from_utf8_lossy(&report.content);
        let marked = (text.contains("message/rfc822\r\n"), text.contains("text/rfc822-headers\r\n"));
        assert_eq!(marked, (full, !full), "{kind:?} {ret:?} {}", original.len());
        assert_eq!(text.contains(original), full);
        assert!(text.contains("Subject: "));
    }
}

#[test]
fn originals_beyond_ascii_travel_whole() {
    let eight = b"Subject: x\r\n\r\nGr\xfc\xdfe\r\n".as_slice();
    let utf8 = "Subject: Grüße\r\n\r\nGrüße\r\n".as_bytes();
    for (original, sender, kind, encoding) in [
        (eight, "app@corp.example", "message/rfc822", "8bit"),
        (utf8, "app@corp.example", "message/global", "base64"),
        (utf8, "äpp@corp.example", "message/global", "8bit"),
    ] {
        let mut envelope = envelope(original, vec![to("ü@b.example")]);
        envelope.reverse_path = Some(sender.parse::<Address>().unwrap());
        let report = report_on(Kind::Failure, &envelope, &unknown_user(), original).unwrap();
        assert_sound(&report);
        let text = String::from_utf8_lossy(&report.content);
        let head = format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n");
        assert!(text.contains(&head), "{text}");
        assert!(text.contains("Final-Recipient: utf-8; \\x{FC}@b.example\r\n"), "{text}");
        assert_eq!(report.envelope.smtputf8, !sender.is_ascii());
    }
}

#[test]
fn an_original_that_no_line_can_hold_comes_back_by_its_header() {
    let long = format!("Subject: {}\r\n\r\n{}\r\n", "s".repeat(2000), "b".repeat(2000));
    for original in [long.as_bytes(), b"A: b\r\n\r\nbare\nlf\r\n", b"A: b\r\n\r\nnul\0\r\n", b"A: \xff\xfe\r\n\r\n\nx"]
    {
        let envelope = envelope(original, vec![to("a@b.example")]);
        let report = report_on(Kind::Failure, &envelope, &unknown_user(), original).unwrap();
        assert_sound(&report);
        assert!(String::from_utf8_lossy(&report.content).contains("text/rfc822-headers"));
    }
}

proptest! {
    #[test]
    fn nothing_that_was_said_breaks_a_report(
        text in "\\PC{0,400}|[\\x00-\\x7f]{0,400}|(\r\n[A-Z]: [a-z]{0,9}){0,5}|x{990,1010}",
        remote in prop::option::of("[\\x00-\\x7fü]{0,40}"),
        code in prop::option::of(any::<u16>()),
        envid in prop::option::of("[\\x20-\\x7eü]{0,80}"),
        original in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'A'), Just(b':'), any::<u8>()], 0..80),
    ) {
        let mut envelope = envelope(&original, vec![to("a@b.example"), to("ü@b.example")]);
        envelope.dsn.envid = envid;
        let status = EnhancedStatus::new(Severity::Permanent, 1, 1);
        let mut diagnosis = Diagnosis::local(status, text.clone());
        // Also past the constructors that make it one line.
        diagnosis.text = text;
        diagnosis.remote = remote;
        diagnosis.code = code;
        for kind in [Kind::Failure, Kind::Delay { until: at(5) }] {
            let report = report_on(kind, &envelope, &diagnosis, &original).unwrap();
            assert_sound(&report);
        }
    }
}
