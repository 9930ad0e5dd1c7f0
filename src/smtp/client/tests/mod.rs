//! The machine against scripted servers: what it says, and what it makes of the answers.

mod chunk;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::mail::{BodyKind, DsnRequest, Notify, Orcpt, Origin, Ret, Timestamp};

fn settings() -> Settings {
    Settings {
        hostname: "relay.example".parse().unwrap(),
        lmtp: false,
        starttls: StartTls::Never,
        secured: false,
        login: None,
        clear_login: false,
    }
}

fn login(settings: Settings) -> Settings {
    let login = Login { username: "u".to_owned(), password: Secret::new("p".to_owned()) };
    Settings { login: Some(login), clear_login: true, ..settings }
}

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        reverse_path: Some("s@a.example".parse().unwrap()),
        recipients: recipients.iter().map(|to| Recipient::new(to.parse().unwrap())).collect(),
        dsn: DsnRequest::default(),
        body: BodyKind::SevenBit,
        smtputf8: false,
        origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
        accepted_at: Timestamp::UNIX_EPOCH,
        header_size: 2,
        size: 100,
    }
}

/// Plays a session: the server's octets, cut as told; `<tls>` in them is where the handshake ends, `<end>` where the
/// connection does. Each line of what comes back is one thing that the machine said or did.
fn play(settings: &Settings, envelope: &Envelope, server: &str, cuts: &[usize]) -> Vec<String> {
    let mut player =
        Player { client: Client::new(settings.clone()), envelope, buffer: BytesMut::new(), begun: false, log: vec![] };
    let mut cuts = cuts.iter().copied();
    let closes = server.ends_with("<end>");
    for (n, part) in server.trim_end_matches("<end>").split("<tls>").enumerate() {
        if n > 0 {
            player.step(|client, _, out| client.step(Input::TlsUp, out));
        }
        let mut rest = part.as_bytes();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
            rest = later;
            player.buffer.extend_from_slice(now);
            player.step(|client, buffer, out| client.step(Input::Octets(buffer), out));
        }
    }
    player.step(|client, buffer, out| client.step(Input::Octets(buffer), out));
    if closes {
        player.step(|client, _, out| client.step(Input::Broken(Break::Closed), out));
    }
    player.log
}

struct Player<'a> {
    client: Client,
    envelope: &'a Envelope,
    buffer: BytesMut,
    begun: bool,
    log: Vec<String>,
}

impl Player<'_> {
    fn step(&mut self, act: impl FnOnce(&mut Client, &mut BytesMut, &mut Vec<Action>)) {
        let mut out = Vec::new();
        act(&mut self.client, &mut self.buffer, &mut out);
        for action in out {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(octets) => {
                let text = String::from_utf8(octets.to_vec()).unwrap();
                self.log.extend(text.split_terminator("\r\n").map(str::to_owned));
            }
            Action::StartTls => self.log.push("(handshake)".to_owned()),
            Action::Ready if !self.begun => {
                self.begun = true;
                let recipients: Vec<_> = self.envelope.recipients.iter().collect();
                let transaction = Transaction {
                    envelope: self.envelope,
                    recipients: &recipients,
                    size: self.envelope.size,
                    utf8_header: false,
                    chunk: Some(self.envelope.size as usize),
                };
                self.step(|client, _, out| client.step(Input::Transaction(transaction), out));
                self.step(|client, buffer, out| client.step(Input::Octets(buffer), out));
            }
            Action::Ready => self.log.push("(ready)".to_owned()),
            Action::SendContent => {
                self.log.push("(content)".to_owned());
                self.step(|client, _, out| client.step(Input::EndOfContent, out));
                self.step(|client, buffer, out| client.step(Input::Octets(buffer), out));
            }
            Action::SendWhole(commands) => {
                self.act(Action::Send(commands));
                self.act(Action::SendContent);
            }
            Action::Finished(verdicts) => self.log.extend(verdicts.iter().map(|verdict| match verdict {
                Verdict::Replied(step, reply) => format!("= {step}: {}", reply.code),
                Verdict::Lost(failure) => format!("= lost: {failure}"),
                Verdict::Unanswered(failure) => format!("= unanswered: {failure}"),
                Verdict::NotOffered(need) => format!("= not offered: {need:?}"),
            })),
            Action::Failed(failure) => self.log.push(format!("failed: {failure}")),
            Action::Close => self.log.push("(close)".to_owned()),
        }
    }
}

fn check(settings: &Settings, envelope: &Envelope, server: &str, expected: &[&str]) {
    for cuts in [&[][..], &[1; 2000][..], &[7; 500][..]] {
        assert_eq!(play(settings, envelope, server, cuts), expected, "{server:?}");
    }
}

const OPEN: &str = "220 mx ESMTP\r\n250-mx\r\n250 PIPELINING\r\n";

#[test]
fn a_message_goes_in_one_write() {
    check(
        &settings(),
        &envelope(&["a@b.example", "c@b.example"]),
        &format!("{OPEN}250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n"),
        &[
            "EHLO relay.example",
            "MAIL FROM:<s@a.example>",
            "RCPT TO:<a@b.example>",
            "RCPT TO:<c@b.example>",
            "DATA",
            "(content)",
            "= the content: 250",
            "= the content: 250",
            "(ready)",
        ],
    );
}

#[test]
fn each_recipient_has_its_own_reply() {
    check(
        &settings(),
        &envelope(&["a@b.example", "c@b.example", "d@b.example"]),
        &format!("{OPEN}250 ok\r\n550 no\r\n250 ok\r\n450 later\r\n354 go\r\n250 queued\r\n"),
        &[
            "EHLO relay.example",
            "MAIL FROM:<s@a.example>",
            "RCPT TO:<a@b.example>",
            "RCPT TO:<c@b.example>",
            "RCPT TO:<d@b.example>",
            "DATA",
            "(content)",
            "= RCPT: 550",
            "= the content: 250",
            "= RCPT: 450",
            "(ready)",
        ],
    );
}

/// The commands of a pipelined message to one recipient, then what follows.
fn pipelined(server: &str, after: &[&str]) {
    let sent = ["EHLO relay.example", "MAIL FROM:<s@a.example>", "RCPT TO:<a@b.example>", "DATA"];
    check(&settings(), &envelope(&["a@b.example"]), &format!("{OPEN}{server}"), &[&sent, after].concat());
}

#[test]
fn refusals_and_ends_of_a_pipelined_transaction() {
    pipelined("550 no\r\n503 no\r\n503 no\r\n250 reset\r\n", &["= MAIL: 550", "RSET", "(ready)"]);
    pipelined("250 ok\r\n550 no\r\n554 no valid\r\n250 reset\r\n", &["= RCPT: 550", "RSET", "(ready)"]);
    // RFC 2920, 3.1: DATA taken without recipients.
    pipelined("250 ok\r\n550 no\r\n354 go\r\n554 none\r\n250 ok\r\n", &[".", "= RCPT: 550", "RSET", "(ready)"]);
    pipelined("451 no\r\n250 ok\r\n354 go\r\n554 none\r\n250 ok\r\n", &[".", "= MAIL: 451", "RSET", "(ready)"]);
    pipelined("250 ok\r\n250 ok\r\n451 no\r\n250 ok\r\n", &["= DATA: 451", "RSET", "(ready)"]);
    pipelined("250 ok\r\n250 ok\r\n354 go\r\n554 spam\r\n", &["(content)", "= the content: 554", "(ready)"]);
    pipelined("250 ok\r\n421 bye\r\n", &["= RCPT: 421", "(close)"]);
    pipelined("250 ok\r\n250 ok\r\n421 bye\r\n", &["= DATA: 421", "(close)"]);
    pipelined("250 ok\r\n250 ok\r\n354 go\r\n421 bye\r\n", &["(content)", "= the content: 421", "(close)"]);
    pipelined("<end>", &["= lost: the server closed the connection (at MAIL)", "(close)"]);
    pipelined("250 ok\r\n250 ok\r\n<end>", &["= lost: the server closed the connection (at DATA)", "(close)"]);
    pipelined(
        "250 ok\r\n250 ok\r\n354 go\r\n<end>",
        &["(content)", "= unanswered: the server closed the connection (at the content)", "(close)"],
    );
    pipelined(
        "250 ok\r\n250 ok\r\n354 go\r\n250-half\r\n<end>",
        &["(content)", "= unanswered: the server closed the connection (at the content)", "(close)"],
    );
    pipelined(
        "250 ok\r\n250 ok\r\n250 what\r\n",
        &["= lost: the reply '250 what' makes no sense here (at DATA)", "(close)"],
    );
    pipelined("what?\r\n", &["= lost: 'what?' is no SMTP reply (at MAIL)", "(close)"]);
    pipelined("250 ok\r\n550 no\r\n554 no\r\n500 eh\r\n", &["= RCPT: 550", "RSET", "(close)"]);
}

#[test]
fn without_pipelining_it_goes_step_by_step() {
    let open = "220 mx\r\n250 mx\r\n";
    let both = envelope(&["a@b.example", "c@b.example"]);
    let hello = "EHLO relay.example";
    let (mail, a, c) = ("MAIL FROM:<s@a.example>", "RCPT TO:<a@b.example>", "RCPT TO:<c@b.example>");
    check(
        &settings(),
        &both,
        &format!("{open}550 no\r\n250 ok\r\n"),
        &[hello, mail, "= MAIL: 550", "= MAIL: 550", "RSET", "(ready)"],
    );
    check(
        &settings(),
        &both,
        &format!("{open}250 ok\r\n550 no\r\n551 no\r\n250 ok\r\n"),
        &[hello, mail, a, c, "= RCPT: 550", "= RCPT: 551", "RSET", "(ready)"],
    );
    check(
        &settings(),
        &both,
        &format!("{open}250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n250 ok\r\n"),
        &[hello, mail, a, c, "DATA", "(content)", "= RCPT: 550", "= the content: 250", "(ready)"],
    );
}

#[test]
fn openings_that_fail() {
    let to = envelope(&["a@b.example"]);
    let required = Settings { starttls: StartTls::Required, ..settings() };
    let clear = Settings { clear_login: false, ..login(settings()) };
    for (settings, server, last) in [
        (settings(), "421 busy\r\n", "the greeting was refused: 421 busy"),
        (settings(), "554 go away\r\n", "the greeting was refused: 554 go away"),
        (settings(), "354 what\r\n", "the reply '354 what' makes no sense here (at the greeting)"),
        (settings(), "SSH-2.0-x\r\n", "'SSH-2.0-x' is no SMTP reply (at the greeting)"),
        (settings(), "<end>", "the server closed the connection (at the greeting)"),
        (settings(), "220 mx\r\n421 busy\r\n", "EHLO was refused: 421 busy"),
        (settings(), "220 mx\r\n502 what\r\n550 no\r\n", "EHLO was refused: 550 no"),
        (required.clone(), "220 mx\r\n250 mx\r\n", "STARTTLS is required and not offered"),
        (required, "220 mx\r\n250-mx\r\n250 STARTTLS\r\n454 no\r\n", "STARTTLS was refused: 454 no"),
        (
            clear,
            "220 mx\r\n250-mx\r\n250 AUTH PLAIN\r\n",
            "the password is not sent without TLS: set `tls: starttls` or `tls: implicit`",
        ),
        (login(settings()), "220 mx\r\n250-mx\r\n250 AUTH GSSAPI\r\n", "neither AUTH PLAIN nor AUTH LOGIN is offered"),
        (login(settings()), "220 mx\r\n250-mx\r\n250 AUTH PLAIN\r\n535 no\r\n", "AUTH was refused: 535 no"),
    ] {
        for cuts in [&[][..], &[1; 200][..]] {
            let log = play(&settings, &to, server, cuts);
            assert_eq!(log[log.len() - 2..], [format!("failed: {last}"), "(close)".to_owned()], "{server:?}");
            assert!(!log.iter().any(|line| line.starts_with("MAIL")), "{log:?}");
        }
    }
}

#[test]
fn helo_where_ehlo_is_unknown() {
    check(
        &settings(),
        &envelope(&["a@b.example"]),
        "220 mx\r\n500 what\r\n250 mx\r\n<end>",
        &[
            "EHLO relay.example",
            "HELO relay.example",
            "MAIL FROM:<s@a.example>",
            "= lost: the server closed the connection (at MAIL)",
            "(close)",
        ],
    );
}

#[test]
fn what_came_before_tls_is_dropped() {
    let required = Settings { starttls: StartTls::Required, ..settings() };
    // The injected EHLO reply would offer PIPELINING; all that counts came after the handshake.
    let injected =
        "220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n250-mx\r\n250 PIPELINING\r\n<tls>250 mx\r\n250 ok\r\n";
    assert_eq!(
        play(&required, &envelope(&["a@b.example"]), injected, &[]),
        [
            "EHLO relay.example",
            "STARTTLS",
            "(handshake)",
            "EHLO relay.example",
            "MAIL FROM:<s@a.example>",
            "RCPT TO:<a@b.example>"
        ],
    );
}

#[test]
fn starttls_is_taken_where_offered() {
    let opportunistic = Settings { starttls: StartTls::IfOffered, ..settings() };
    let to = envelope(&["a@b.example"]);
    check(
        &opportunistic,
        &to,
        "220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n<tls>250 mx\r\n<end>",
        &[
            "EHLO relay.example",
            "STARTTLS",
            "(handshake)",
            "EHLO relay.example",
            "MAIL FROM:<s@a.example>",
            "= lost: the server closed the connection (at MAIL)",
            "(close)",
        ],
    );
    check(
        &opportunistic,
        &to,
        "220 mx\r\n250-mx\r\n250 STARTTLS\r\n454 no\r\n",
        &["EHLO relay.example", "STARTTLS", "MAIL FROM:<s@a.example>"],
    );
}

#[test]
fn passwords_go_by_plain_or_login() {
    let to = envelope(&["a@b.example"]);
    check(
        &login(settings()),
        &to,
        "220 mx\r\n250-mx\r\n250 AUTH LOGIN PLAIN\r\n235 in\r\n",
        &["EHLO relay.example", "AUTH PLAIN AHUAcA==", "MAIL FROM:<s@a.example>"],
    );
    check(
        &login(settings()),
        &to,
        "220 mx\r\n250-mx\r\n250 AUTH LOGIN\r\n334 VXNlcg\r\n334 UGFzcw\r\n235 in\r\n",
        &["EHLO relay.example", "AUTH LOGIN", "dQ==", "cA==", "MAIL FROM:<s@a.example>"],
    );
    let long = Login { username: "u".repeat(400), password: Secret::new("p".to_owned()) };
    let log = play(
        &Settings { login: Some(long), ..login(settings()) },
        &to,
        "220 mx\r\n250-mx\r\n250 AUTH PLAIN\r\n334 \r\n235 in\r\n",
        &[],
    );
    assert_eq!((log[1].as_str(), log[3].as_str()), ("AUTH PLAIN", "MAIL FROM:<s@a.example>"));
}

#[test]
fn parameters_are_those_that_the_server_offers() {
    let mut full = envelope(&["a@b.example", "c@b.example"]);
    full.body = BodyKind::EightBit;
    full.dsn = DsnRequest { ret: Some(Ret::Headers), envid: Some("a+b".to_owned()) };
    full.recipients[0].notify = Some(Notify { success: true, failure: true, delay: false });
    full.recipients[0].orcpt = Some(Orcpt { kind: "rfc822".to_owned(), address: "o=x@b.example".to_owned() });
    full.recipients[1].notify = Some(Notify::default());
    full.recipients[1].orcpt = Some(Orcpt { kind: "utf-8".to_owned(), address: "ü+x@b.example".to_owned() });
    check(
        &settings(),
        &full,
        "220 mx\r\n250-mx\r\n250-SIZE 100\r\n250-DSN\r\n250-8BITMIME\r\n250 PIPELINING\r\n",
        &[
            "EHLO relay.example",
            "MAIL FROM:<s@a.example> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=a+2Bb",
            "RCPT TO:<a@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o+3Dx@b.example",
            r"RCPT TO:<c@b.example> NOTIFY=NEVER ORCPT=utf-8;\x{FC}\x{2B}x@b.example",
            "DATA",
        ],
    );
    full.reverse_path = None;
    check(
        &settings(),
        &full,
        OPEN,
        &["EHLO relay.example", "MAIL FROM:<>", "RCPT TO:<a@b.example>", "RCPT TO:<c@b.example>", "DATA"],
    );
}

#[test]
fn what_is_not_offered_is_told_without_a_word() {
    let size = "220 mx\r\n250-mx\r\n250 SIZE 99\r\n";
    check(
        &settings(),
        &envelope(&["a@b.example"]),
        size,
        &["EHLO relay.example", "= not offered: Size(99)", "(ready)"],
    );
    check(
        &settings(),
        &envelope(&["å@b.example", "c@b.example"]),
        &format!("{OPEN}250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n"),
        &[
            "EHLO relay.example",
            "MAIL FROM:<s@a.example>",
            "RCPT TO:<c@b.example>",
            "DATA",
            "(content)",
            "= not offered: Smtputf8",
            "= the content: 250",
            "(ready)",
        ],
    );
    check(
        &settings(),
        &envelope(&["å@b.example"]),
        "220 mx\r\n250-mx\r\n250 SMTPUTF8\r\n250 ok\r\n",
        &["EHLO relay.example", "MAIL FROM:<s@a.example> SMTPUTF8", "RCPT TO:<å@b.example>"],
    );
}

/// Runs a client up to where it sends content.
fn sending() -> (Client, Vec<Action>) {
    let (mut client, mut out) = (Client::new(settings()), Vec::new());
    let envelope = envelope(&["a@b.example"]);
    client.step(Input::Octets(&mut OPEN.as_bytes().into()), &mut out);
    let recipients: Vec<_> = envelope.recipients.iter().collect();
    let transaction =
        Transaction { envelope: &envelope, recipients: &recipients, size: 1, utf8_header: false, chunk: None };
    client.step(Input::Transaction(transaction), &mut out);
    client.step(Input::Octets(&mut b"250 ok\r\n250 ok\r\n354 go\r\n"[..].into()), &mut out);
    assert_eq!(out.pop(), Some(Action::SendContent));
    (client, Vec::new())
}

#[test]
fn a_refusal_amid_the_content_counts_and_closes() {
    let (mut client, mut out) = sending();
    client.step(Input::Octets(&mut b"552 5.3.4 too big\r\n"[..].into()), &mut out);
    let too_big = Reply::new(552, "5.3.4".parse().unwrap(), "too big");
    assert_eq!(out, [Action::Finished(vec![Verdict::Replied(Step::Content, too_big)]), Action::Close]);

    let (mut client, mut out) = sending();
    client.step(Input::Octets(&mut b"250 early\r\n"[..].into()), &mut out);
    assert!(
        matches!(&out[..], [Action::Finished(verdicts), Action::Close] if matches!(verdicts[..], [Verdict::Lost(_)]))
    );

    let (mut client, mut out) = sending();
    client.step(Input::Broken(Break::TimedOut), &mut out);
    assert!(
        matches!(&out[..], [Action::Finished(verdicts), Action::Close] if matches!(verdicts[..], [Verdict::Lost(_)]))
    );
}

#[test]
fn octets_that_nobody_asked_for_end_an_idle_session() {
    let (mut client, mut out) = (Client::new(settings()), Vec::new());
    client.step(Input::Octets(&mut OPEN.as_bytes().into()), &mut out);
    assert_eq!(out.pop(), Some(Action::Ready));
    out.clear();
    client.step(Input::Octets(&mut b"421 idle too long\r\n"[..].into()), &mut out);
    assert_eq!(out, [Action::Close]);
}

/// Octets that look much like a server's.
fn servers() -> impl Strategy<Value = String> {
    let reply = prop_oneof![
        6 => Just("250 ok\r\n".to_owned()),
        2 => Just("220 mx\r\n".to_owned()),
        2 => Just("250-mx\r\n250-STARTTLS\r\n250 PIPELINING\r\n".to_owned()),
        2 => Just("354 go\r\n".to_owned()),
        1 => "[2-5][0-5][0-9][ -][ -~]{0,10}\r?\n",
        1 => "[ -~]{0,10}\r\n",
    ];
    (proptest::collection::vec(reply, 0..14), any::<bool>())
        .prop_map(|(replies, end)| format!("220 mx\r\n{}{}", replies.concat(), if end { "<end>" } else { "" }))
}

proptest! {
    #[test]
    fn how_octets_are_cut_makes_no_difference(
        server in servers(),
        cuts in proptest::collection::vec(1..30usize, 0..60),
    ) {
        let to = envelope(&["a@b.example", "c@b.example"]);
        prop_assert_eq!(play(&settings(), &to, &server, &cuts), play(&settings(), &to, &server, &[]));
    }

    #[test]
    fn any_octets_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..300), tls in any::<bool>()) {
        let starttls = if tls { StartTls::IfOffered } else { StartTls::Never };
        let (mut client, mut out) = (Client::new(Settings { starttls, ..settings() }), Vec::new());
        client.step(Input::Octets(&mut BytesMut::from(&octets[..])), &mut out);
        client.step(Input::Octets(&mut BytesMut::from(OPEN)), &mut out);
        client.step(Input::Octets(&mut BytesMut::from(&octets[..])), &mut out);
    }
}

/// A session of LMTP to three recipients, up to the content.
fn lmtp(server: &str, after: &[&str]) {
    let sent = [
        "LHLO relay.example",
        "MAIL FROM:<s@a.example>",
        "RCPT TO:<a@b.example>",
        "RCPT TO:<c@b.example>",
        "RCPT TO:<d@b.example>",
        "DATA",
    ];
    check(
        &Settings { lmtp: true, ..settings() },
        &envelope(&["a@b.example", "c@b.example", "d@b.example"]),
        &format!("{OPEN}{server}"),
        &[&sent, after].concat(),
    );
}

/// RFC 2033, 4.2.
#[test]
fn lmtp_has_a_reply_for_each_recipient() {
    for (server, after) in [
        (
            "250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n552 5.2.2 full\r\n250 saved\r\n",
            &["(content)", "= the content: 552", "= RCPT: 550", "= the content: 250", "(ready)"][..],
        ),
        (
            "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 saved\r\n<end>",
            &[
                "(content)",
                "= the content: 250",
                "= unanswered: the server closed the connection (at the content)",
                "= unanswered: the server closed the connection (at the content)",
                "(close)",
            ],
        ),
        (
            "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 saved\r\n421 closing\r\n",
            &["(content)", "= the content: 250", "= the content: 421", "= the content: 421", "(close)"],
        ),
        (
            "250 ok\r\n550 no\r\n550 no\r\n550 no\r\n503 none\r\n250 ok\r\n",
            &["= RCPT: 550", "= RCPT: 550", "= RCPT: 550", "RSET", "(ready)"],
        ),
        // Nobody would answer the dot.
        (
            "250 ok\r\n550 no\r\n550 no\r\n550 no\r\n354 go\r\n",
            &["= RCPT: 550", "= RCPT: 550", "= RCPT: 550", "(close)"],
        ),
    ] {
        lmtp(server, after);
    }
    // An SMTP server: there is no way back to EHLO.
    check(
        &Settings { lmtp: true, ..settings() },
        &envelope(&["a@b.example"]),
        "220 mx ESMTP\r\n500 what\r\n",
        &["LHLO relay.example", "failed: EHLO was refused: 500 what", "(close)"],
    );
}
