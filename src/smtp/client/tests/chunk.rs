//! A message in one write, by BDAT.

use super::*;

const CHUNKS: &str = "220 mx ESMTP\r\n250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n";

/// What comes of a transaction for two, by what the server says to it.
fn comes_to(server: &str, expected: &[&str]) {
    let sent = [
        "EHLO relay.example",
        "MAIL FROM:<s@a.example>",
        "RCPT TO:<a@b.example>",
        "RCPT TO:<c@b.example>",
        "BDAT 100 LAST",
        "(content)",
    ];
    let envelope = envelope(&["a@b.example", "c@b.example"]);
    check(&settings(), &envelope, &format!("{CHUNKS}{server}"), &[&sent[..], expected].concat());
}

#[test]
fn content_follows_its_commands_unasked() {
    comes_to("250 a\r\n250 b\r\n250 c\r\n250 taken\r\n", &["= the content: 250", "= the content: 250", "(ready)"]);
}

#[test]
fn each_recipient_has_its_own_answer() {
    comes_to("250 a\r\n550 b\r\n250 c\r\n250 taken\r\n", &["= RCPT: 550", "= the content: 250", "(ready)"]);
    comes_to(
        "250 a\r\n250 b\r\n452 c\r\n554 spam\r\n250 reset\r\n",
        &["= the content: 554", "= RCPT: 452", "RSET", "(ready)"],
    );
}

#[test]
fn a_refusal_before_the_content_stands() {
    comes_to(
        "250 a\r\n550 b\r\n450 c\r\n503 none\r\n250 reset\r\n",
        &["= RCPT: 550", "= RCPT: 450", "RSET", "(ready)"],
    );
    comes_to("451 a\r\n503 b\r\n503 c\r\n503 d\r\n250 reset\r\n", &["= MAIL: 451", "= MAIL: 451", "RSET", "(ready)"]);
    // A server that takes a message for nobody.
    comes_to("250 a\r\n550 b\r\n550 c\r\n250 taken\r\n", &["= RCPT: 550", "= RCPT: 550", "(ready)"]);
}

#[test]
fn a_server_that_leaves_is_believed() {
    comes_to("421 bye\r\n", &["= MAIL: 421", "= MAIL: 421", "(close)"]);
    comes_to("250 a\r\n250 b\r\n421 bye\r\n<end>", &["= RCPT: 421", "= RCPT: 421", "(close)"]);
    comes_to("250 a\r\n421 bye\r\n<end>", &["= RCPT: 421", "= RCPT: 421", "(close)"]);
    comes_to("250 a\r\n250 b\r\n550 c\r\n421 bye\r\n", &["= the content: 421", "= RCPT: 550", "(close)"]);
}

/// Exim says 421 to a recipient and goes on: whom it took gets the message.
#[test]
fn a_server_that_says_so_and_stays_is_heard_to_the_end() {
    comes_to("250 a\r\n250 b\r\n421 slow down\r\n250 taken\r\n", &["= the content: 250", "= RCPT: 421", "(close)"]);
    comes_to("250 a\r\n421 slow down\r\n250 c\r\n554 spam\r\n", &["= RCPT: 421", "= the content: 554", "(close)"]);
    comes_to("250 a\r\n421 b\r\n421 c\r\n503 none\r\n", &["= RCPT: 421", "= RCPT: 421", "(close)"]);
    // Nothing is left to wait for.
    comes_to("250 a\r\n550 b\r\n421 c\r\n", &["= RCPT: 550", "= RCPT: 421", "(close)"]);
    // Whether it went on as far as the content, nobody knows.
    let closed = "= unanswered: the server closed the connection (at the content)";
    comes_to("250 a\r\n421 b\r\n250 c\r\n<end>", &["= RCPT: 421", closed, "(close)"]);
    let garbage = "= unanswered: 'x' is no SMTP reply (at the content)";
    comes_to("250 a\r\n250 b\r\n421 c\r\nx\r\n", &[garbage, "= RCPT: 421", "(close)"]);
}

/// By DATA a server with one reply too many would be found out at its 354.
#[test]
fn an_answer_about_addresses_is_none_about_the_content() {
    let lost = "= unanswered: the reply '250 ok' makes no sense here (at the content)";
    comes_to("250 a\r\n250 a again\r\n250 b\r\n250 2.1.5 ok\r\n", &[lost, lost, "(close)"]);
}

#[test]
fn no_answer_to_what_was_sent_is_no_answer() {
    let closed = "= unanswered: the server closed the connection (at MAIL)";
    comes_to("<end>", &[closed, closed, "(close)"]);
    let closed = "= unanswered: the server closed the connection (at the content)";
    comes_to("250 a\r\n550 b\r\n250 c\r\n<end>", &["= RCPT: 550", closed, "(close)"]);
    let garbage = "= unanswered: 'hello' is no SMTP reply (at RCPT)";
    comes_to("250 a\r\nhello\r\n", &[garbage, garbage, "(close)"]);
}

/// It does not have the message, and takes its lines for commands: whoever goes on talking gets into it deeper.
#[test]
fn a_server_that_offers_chunks_and_knows_none_is_left() {
    for code in ["500", "501", "502", "503", "504", "555", "521 5.5.1", "550 5.5.2", "554 5.5.4"] {
        let lost = format!("= lost: the reply '{} what?' makes no sense here (at the content)", &code[..3]);
        comes_to(&format!("250 a\r\n250 b\r\n250 c\r\n{code} what?\r\n"), &[&lost, &lost, "(close)"]);
    }
    comes_to(
        "250 a\r\n250 b\r\n250 c\r\n550 5.7.1 spam\r\n250 reset\r\n",
        &["= the content: 550", "= the content: 550", "RSET", "(ready)"],
    );
}

/// While the content is on its way: what decides the message ends the session too.
#[test]
fn an_answer_amid_the_content() {
    let early = |said: &[u8]| {
        let mut client = Client::new(settings());
        let mut out = Vec::new();
        client.step(Input::Octets(&mut BytesMut::from(CHUNKS)), &mut out);
        let envelope = envelope(&["a@b.example"]);
        let recipients: Vec<_> = envelope.recipients.iter().collect();
        let transaction =
            Transaction { envelope: &envelope, recipients: &recipients, size: 9, utf8_header: false, chunk: Some(9) };
        client.step(Input::Transaction(transaction), &mut out);
        out.clear();
        client.step(Input::Octets(&mut BytesMut::from(said)), &mut out);
        (client.at(), out)
    };
    assert_eq!(early(b"250 a\r\n"), (Step::Rcpt, vec![]));
    assert_eq!(early(b"250 a\r\n250 b\r\n"), (Step::Content, vec![]));
    let (_, out) = early(b"250 a\r\n250 b\r\n552 too large\r\n");
    assert!(
        matches!(&out[..], [Action::Finished(verdicts), Action::Close]
        if matches!(&verdicts[..], [Verdict::Replied(Step::Content, reply)] if reply.code == 552)),
        "{out:?}"
    );
    let (_, out) = early(b"250 a\r\n250 b\r\n250 taken\r\n");
    assert!(
        matches!(&out[..], [Action::Finished(verdicts), Action::Close]
        if matches!(&verdicts[..], [Verdict::Lost(Failure::Garbage { .. })])),
        "{out:?}"
    );
}

#[test]
fn chunks_are_for_servers_that_take_commands_in_groups_and_for_smtp() {
    let envelope = envelope(&["a@b.example"]);
    let by_data = |settings: &Settings, server: &str| {
        let said = play(settings, &envelope, server, &[]);
        assert!(said.iter().all(|line| !line.starts_with("BDAT")), "{said:?}");
    };
    by_data(&settings(), "220 mx\r\n250-mx\r\n250 CHUNKING\r\n250 a\r\n250 b\r\n354 go\r\n250 taken\r\n");
    by_data(&Settings { lmtp: true, ..settings() }, &format!("{CHUNKS}250 a\r\n250 b\r\n354 go\r\n250 taken\r\n"));
}
