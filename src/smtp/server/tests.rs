//! Sessions as talks: octets in, replies out, with a driver that answers by rule.

mod lmtp;

use std::sync::Arc;

use bytes::BytesMut;
use proptest::prelude::*;

mod scram;

use scram::verifier;

use super::*;
use crate::mail::{BodyKind, Mid, Timestamp};

/// What a session did with a talk.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// First lines of replies, CRLF left out.
    replies: Vec<String>,
    /// Of each message that was stored: recipients and content.
    stored: Vec<(String, String)>,
    aborted: usize,
    closed: bool,
    user: Option<String>,
}

struct Talk {
    session: Session,
    octets: BytesMut,
    seen: Seen,
    begun: Option<(String, Vec<u8>)>,
    body: Option<BodyKind>,
}

const LOCAL: Peer = Peer { loopback: true, tls: false, must_authenticate: false };
const REMOTE: Peer = Peer { loopback: false, ..LOCAL };

fn settings() -> Settings {
    Settings {
        hostname: "relay.example".parse().unwrap(),
        lmtp: false,
        max_message_size: 60,
        max_recipients: 3,
        max_errors: 20,
        starttls: true,
        authentication: true,
        scram: false,
        old_auth: false,
    }
}

fn refuse(text: &str) -> Answer {
    let (code, rest) = text.split_once(' ').unwrap();
    let (status, text) = rest.split_once(' ').unwrap();
    Answer::Refuse(Reply::new(code.parse().unwrap(), status.parse().unwrap(), text))
}

impl Talk {
    fn new(settings: Settings, peer: Peer) -> Self {
        let mut out = Vec::new();
        let session = Session::new(Arc::new(settings), peer, &mut out);
        let mut talk = Self { session, octets: BytesMut::new(), seen: Seen::default(), begun: None, body: None };
        talk.act(out);
        talk.seen.replies.clear();
        talk
    }

    fn say(&mut self, octets: &[u8]) -> &mut Self {
        if self.session.is_closed() {
            return self;
        }
        self.octets.extend_from_slice(octets);
        let mut out = Vec::new();
        self.session.step(Input::Octets(&mut self.octets), &mut out);
        self.act(out);
        self
    }

    fn input(&mut self, input: Input<'_>) -> &mut Self {
        let mut out = Vec::new();
        self.session.step(input, &mut out);
        self.act(out);
        self
    }

    fn act(&mut self, actions: Vec<Action>) {
        let mut next = None;
        for action in actions {
            assert!(next.is_none() && !self.seen.closed, "{action:?} behind a question or the end");
            match action {
                Action::Reply(reply) => {
                    let text = reply.to_string();
                    self.seen.replies.push(text.lines().next().unwrap().to_owned());
                }
                Action::Ask(question) => next = Some(Input::Answer(self.answer(question))),
                Action::Begin(transaction) => {
                    let to: Vec<String> = transaction.recipients.iter().map(|r| r.address.to_string()).collect();
                    assert!(self.begun.replace((to.join(" "), Vec::new())).is_none());
                }
                Action::Content(octets) => self.begun.as_mut().unwrap().1.extend_from_slice(&octets),
                Action::Abort => {
                    self.begun.take().unwrap();
                    self.seen.aborted += 1;
                }
                Action::StartTls => next = Some(Input::TlsUp),
                Action::Close => self.seen.closed = true,
            }
        }
        assert_eq!(self.seen.closed, self.session.is_closed());
        self.seen.user = self.session.user().map(str::to_owned);
        if let Some(input) = next {
            let mut out = Vec::new();
            self.session.step(input, &mut out);
            self.session.step(Input::Octets(&mut self.octets), &mut out);
            self.act(out);
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Mail { reverse_path: Some(from), .. } if from.local() == "evil" => refuse("550 5.7.1 not you"),
            Question::Rcpt(to) if to.address.local() == "nobody" => refuse("550 5.1.1 no"),
            Question::Rcpt(to) if to.address.local() == "down" => refuse("421 4.3.2 bye"),
            Question::Mail { size: Some(50), .. } => refuse("452 4.3.1 full"),
            Question::Mail { .. } | Question::Rcpt(_) => Answer::Accept,
            Question::Authenticate { user, password } if password.expose() == "secret" => Answer::Authenticated(user),
            Question::Authenticate { .. } => refuse("535 5.7.8 no"),
            Question::Verifier { user } if user == "throttled" => refuse("454 4.7.0 later"),
            Question::Verifier { .. } => Answer::Challenge(Challenge { verifier: verifier(), nonce: "SERVER".into() }),
            Question::Proven { user, proven: true } => Answer::Authenticated(user),
            Question::Proven { .. } => refuse("535 5.7.8 no"),
            Question::Store { body } => {
                let (to, content) = self.begun.take().unwrap();
                self.body = Some(body);
                if content.starts_with(b"FULL") {
                    return refuse("452 4.3.1 full");
                }
                self.seen.stored.push((to, String::from_utf8_lossy(&content).into_owned()));
                Answer::Stored(Mid::new(Timestamp::UNIX_EPOCH, 1))
            }
        }
    }

    /// Says it all, and gives the codes of the replies.
    fn codes(&mut self, octets: &str) -> String {
        let before = self.seen.replies.len();
        self.say(octets.as_bytes());
        let codes = self.seen.replies[before..].iter().map(|reply| {
            let mut words = reply.split([' ', '-']);
            let (code, status) = (words.next().unwrap(), words.next().unwrap_or_default());
            if status.parse::<crate::mail::EnhancedStatus>().is_ok() { format!("{code} {status}") } else { code.into() }
        });
        codes.collect::<Vec<_>>().join(", ")
    }
}

/// A session behind EHLO.
fn talk() -> Talk {
    let mut talk = Talk::new(settings(), LOCAL);
    assert_eq!(talk.codes("EHLO me\r\n"), "250");
    talk
}

const ENVELOPE: &str = "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n";

/// Behind EHLO: what is said, and the codes of the replies.
fn check(table: &[(&str, &str)]) {
    for (said, codes) in table {
        assert_eq!(talk().codes(said), *codes, "{said:?}");
    }
}

#[test]
fn commands_in_and_out_of_order() {
    check(&[
        ("NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\nQUIT\r\n", "250 2.0.0, 250 2.0.0, 252 2.5.2, 214 2.0.0, 221 2.0.0"),
        ("RCPT TO:<c@d.example>\r\n", "503 5.5.1"),
        ("DATA\r\n", "503 5.5.1"),
        ("MAIL FROM:<>\r\nMAIL FROM:<>\r\n", "250 2.1.0, 503 5.5.1"),
        ("MAIL FROM:<>\r\nDATA\r\n", "250 2.1.0, 503 5.5.1"),
        ("MAIL FROM:<>\r\nRSET\r\nRCPT TO:<c@d.example>\r\n", "250 2.1.0, 250 2.0.0, 503 5.5.1"),
        ("MAIL FROM:<>\r\nEHLO me\r\nRCPT TO:<c@d.example>\r\n", "250 2.1.0, 250, 503 5.5.1"),
        ("MAIL FROM:<evil@b.example>\r\nRCPT TO:<c@d.example>\r\n", "550 5.7.1, 503 5.5.1"),
        ("MAIL FROM:<>\r\nRCPT TO:<nobody@d.example>\r\nDATA\r\n", "250 2.1.0, 550 5.1.1, 554 5.5.1"),
        ("MAIL FROM:<>\r\nRCPT TO:<down@d.example>\r\nNOOP\r\n", "250 2.1.0, 421 4.3.2"),
        ("MAIL FROM:<> SIZE=61\r\nMAIL FROM:<> SIZE=60\r\n", "552 5.3.4, 250 2.1.0"),
        ("MAIL FROM:<> SIZE=50\r\nMAIL FROM:<> SIZE=49\r\n", "452 4.3.1, 250 2.1.0"),
        ("MAIL FROM:<> BODY=BINARYMIME\r\n", "504 5.5.4"),
        ("MAIL FROM:<> X=Y\r\nMAIL FROM:<> RET=FULL RET=FULL\r\n", "555 5.5.4, 501 5.5.4"),
        ("MAIL FROM:<x>\r\n", "501 5.1.7"),
        ("MAIL FROM:<>\r\nRCPT TO:<x>\r\n", "250 2.1.0, 501 5.1.3"),
        ("MAIL FROM:<>\r\nRCPT TO:<ü@d.example>\r\n", "250 2.1.0, 553 5.6.7"),
        ("MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<ü@d.example>\r\n", "250 2.1.0, 250 2.1.5"),
        ("XYZZY\r\n\r\nEXPN x\r\nDATA x\r\n", "500 5.5.1, 500 5.5.1, 502 5.5.1, 501 5.5.4"),
        ("NOOP\nNOOP\r\nNOOP\r\n", "500 5.5.2, 250 2.0.0"),
        ("POST / HTTP/1.1\r\nEHLO x\r\n", "421 4.7.0"),
    ]);
    // A TLS hello, where none is due: told at once, and no more is read. Elsewhere such an octet is part of a bad line.
    for (hello, codes) in [
        ("\u{16}", "421 4.7.0"),
        ("\u{16}\u{3}\u{1}\u{2}\0NOOP\r\n", "421 4.7.0"),
        ("NOOP\r\n\u{16}\u{3}\r\n", "250 2.0.0, 500 5.5.2"),
    ] {
        let mut fresh = Talk::new(settings(), LOCAL);
        assert_eq!(fresh.codes(hello), codes, "{hello:?}");
        assert_eq!(fresh.session.spoke_tls(), hello.starts_with('\u{16}'));
    }
    let mut secured = Talk::new(settings(), Peer { tls: true, ..LOCAL });
    assert_eq!(secured.codes("\u{16}\r\n"), "500 5.5.2");
    let mut silent = Talk::new(settings(), LOCAL);
    assert_eq!(silent.codes("MAIL FROM:<>\r\nHELO x\r\nMAIL FROM:<>\r\n"), "503 5.5.1, 250, 250 2.1.0");
    let long = format!("NOOP {}\r\nNOOP\r\n", "x".repeat(5000));
    assert_eq!(talk().codes(&long), "500 5.5.2, 250 2.0.0");
}

#[test]
fn recipients_are_bounded_and_each_is_there_once() {
    let mut talk = talk();
    let to = |name: &str| format!("RCPT TO:<{name}>\r\n");
    let said =
        ["c@d.example", "c@D.EXAMPLE", "C@d.example", "Postmaster", "x@d.example", "c@d.example"].map(to).concat();
    assert_eq!(
        talk.codes(&format!("MAIL FROM:<>\r\n{said}DATA\r\n.\r\n")),
        "250 2.1.0, 250 2.1.5, 250 2.1.5, 250 2.1.5, 250 2.1.5, 452 4.5.3, 250 2.1.5, 354, 250 2.0.0"
    );
    assert_eq!(talk.seen.stored[0].0, "c@d.example C@d.example postmaster@relay.example");
}

#[test]
fn a_peer_that_errs_too_often_is_left() {
    let mut talk = talk();
    assert_eq!(talk.codes(&"XYZZY\r\n".repeat(30)), format!("{}421 4.7.0", "500 5.5.1, ".repeat(20)));
    assert!(talk.seen.closed);
}

#[test]
fn data() {
    let mut talk = talk();
    let said = format!("{ENVELOPE}DATA\r\nA: b\r\n\r\n..c\r\n.\r\nQUIT\r\n");
    assert_eq!(talk.codes(&said), "250 2.1.0, 250 2.1.5, 354, 250 2.0.0, 221 2.0.0");
    assert_eq!(talk.seen.stored, [("c@d.example".to_owned(), "A: b\r\n\r\n.c\r\n".to_owned())]);
    assert!(talk.seen.replies[4].contains("queued as 0000000000"), "{}", talk.seen.replies[4]);
    assert_eq!(talk.body, Some(BodyKind::SevenBit));
}

#[test]
fn data_that_is_refused_leaves_the_session_in_order() {
    for (content, reply, body) in [
        ("a\nb\r\n", "550 5.6.0", None),
        ("a\r\n.\nMAIL FROM:<>\r\n", "550 5.6.0", None),
        (&format!("{}\r\n", "x".repeat(59)), "552 5.3.4", None),
        (&format!("{}\r\n", "x".repeat(58)), "250 2.0.0", Some(BodyKind::SevenBit)),
        ("FULL\r\n", "452 4.3.1", Some(BodyKind::SevenBit)),
        ("ü\r\n", "250 2.0.0", Some(BodyKind::EightBit)),
    ] {
        let mut talk = talk();
        let said = format!("{ENVELOPE}DATA\r\n{content}.\r\n{ENVELOPE}");
        let codes = format!("250 2.1.0, 250 2.1.5, 354, {reply}, 250 2.1.0, 250 2.1.5");
        assert_eq!(talk.codes(&said), codes, "{content:?}");
        assert_eq!((talk.body, talk.seen.aborted), (body, usize::from(body.is_none())), "{content:?}");
    }
}

#[test]
fn chunks() {
    for (said, codes, content) in [
        ("BDAT 3\r\na\r\nBDAT 3 LAST\r\n.\r\n", "250 2.0.0, 250 2.0.0", Some("a\r\n.\r\n")),
        ("BDAT 3\r\na\r\nBDAT 0 LAST\r\n", "250 2.0.0, 250 2.0.0", Some("a\r\n")),
        ("BDAT 0 LAST\r\n", "250 2.0.0", Some("")),
        ("BDAT 0\r\nBDAT 1 LAST\r\na", "250 2.0.0, 250 2.0.0", Some("a\r\n")),
        ("BDAT 3\r\na\r\nRSET\r\nNOOP\r\n", "250 2.0.0, 250 2.0.0, 250 2.0.0", None),
        ("BDAT 3\r\na\r\nDATA\r\nBDAT 0 LAST\r\n", "250 2.0.0, 503 5.5.1, 250 2.0.0", Some("a\r\n")),
        ("BDAT 3\r\na\r\nRCPT TO:<x@y.example>\r\n", "250 2.0.0, 503 5.5.1", None),
        ("BDAT 3\r\na\r\nMAIL FROM:<>\r\n", "250 2.0.0, 503 5.5.1", None),
        // One chunk is bad: so is the message, and none of its later chunks begins another one.
        ("BDAT 3\r\na\nbBDAT 7 LAST\r\nNOOP\r\nxNOOP\r\n", "550 5.6.0, 503 5.5.1, 250 2.0.0", None),
        ("BDAT 2\r\na\rBDAT 1 LAST\r\nb", "250 2.0.0, 550 5.6.0", None),
        ("BDAT 2 LAST\r\na\r", "550 5.6.0", None),
        (&format!("BDAT 61\r\n{}BDAT 1 LAST\r\nx", "x".repeat(61)), "552 5.3.4, 503 5.5.1", None),
        ("BDAT x\r\nMAIL FROM:<>\r\n", "501 5.5.4", None),
        ("BDAT 5 LAST\r\nFULL\r", "550 5.6.0", None),
        ("BDAT 6 LAST\r\nFULL\r\nMAIL FROM:<>\r\n", "452 4.3.1, 250 2.1.0", None),
    ] {
        let mut talk = talk();
        assert_eq!(talk.codes(&format!("{ENVELOPE}{said}")), format!("250 2.1.0, 250 2.1.5, {codes}"), "{said:?}");
        assert_eq!(talk.seen.stored.first().map(|(_, content)| content.as_str()), content, "{said:?}");
    }
    // Without an envelope the octets are read over, for they are no commands.
    check(&[
        ("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", "503 5.5.1, 250 2.0.0"),
        ("MAIL FROM:<>\r\nRCPT TO:<nobody@x.example>\r\nBDAT 1\r\na", "250 2.1.0, 550 5.1.1, 554 5.5.1"),
    ]);
    let mut half = talk();
    half.codes("MAIL FROM:<>\r\nRCPT TO:<nobody@x.example>\r\nBDAT 1\r\na");
    // What remains of a message whose first chunk was refused is not taken for a whole one.
    assert_eq!(half.codes("RCPT TO:<c@d.example>\r\nBDAT 3 LAST\r\nb\r\n"), "503 5.5.1, 503 5.5.1");
}

#[test]
fn authentication() {
    const GOOD: &str = "AHUAc2VjcmV0"; // NUL u NUL secret
    const BAD: &str = "AHUAd3Jvbmc=";
    for (said, codes, user) in [
        (format!("AUTH PLAIN {GOOD}\r\n"), "235 2.7.0", Some("u")),
        (format!("auth plain\r\n{GOOD}\r\n"), "334, 235 2.7.0", Some("u")),
        ("AUTH PLAIN dQB1AHNlY3JldA==\r\n".into(), "235 2.7.0", Some("u")), // u acts for u
        ("AUTH PLAIN dQB1AHNlY3JldA\r\n".into(), "235 2.7.0", Some("u")),   // no padding
        ("AUTH PLAIN dgB1AHNlY3JldA==\r\n".into(), "535 5.7.8", None),      // u acts for v
        ("AUTH LOGIN\r\ndQ==\r\nc2VjcmV0\r\n".into(), "334, 334, 235 2.7.0", Some("u")),
        ("AUTH LOGIN dQ==\r\nc2VjcmV0\r\n".into(), "334, 235 2.7.0", Some("u")),
        (format!("AUTH PLAIN {BAD}\r\nAUTH PLAIN {GOOD}\r\n"), "535 5.7.8, 235 2.7.0", Some("u")),
        (format!("AUTH PLAIN {GOOD}\r\nAUTH PLAIN {GOOD}\r\n"), "235 2.7.0, 503 5.5.1", Some("u")),
        (format!("MAIL FROM:<>\r\nAUTH PLAIN {GOOD}\r\n"), "250 2.1.0, 503 5.5.1", None),
        ("AUTH PLAIN\r\n*\r\nNOOP\r\n".into(), "334, 501 5.7.0, 250 2.0.0", None),
        ("AUTH LOGIN\r\ndQ==\r\n*\r\nNOOP\r\n".into(), "334, 334, 501 5.7.0, 250 2.0.0", None),
        ("AUTH PLAIN ????\r\nAUTH PLAIN =\r\n".into(), "501 5.5.2, 501 5.5.2", None),
        ("AUTH PLAIN AHU=\r\n".into(), "501 5.5.2", None),
        ("AUTH PLAIN AHUKeABzZWNyZXQ=\r\n".into(), "501 5.5.2", None), // a line feed in the name
        ("AUTH CRAM-MD5\r\nAUTH\r\n".into(), "504 5.5.4, 501 5.5.4", None),
        (format!("AUTH PLAIN\r\n{}\r\nNOOP\r\n", "A".repeat(12_288)), "334, 500 5.5.6, 250 2.0.0", None),
        (format!("AUTH PLAIN\r\n{}\r\n", "A".repeat(12_284)), "334, 501 5.5.2", None),
        (
            format!("{}{}", format!("AUTH PLAIN {BAD}\r\n").repeat(5), GOOD),
            "535 5.7.8, 535 5.7.8, 535 5.7.8, 535 5.7.8, 421 4.7.0",
            None,
        ),
    ] {
        let mut talk = talk();
        assert_eq!(talk.codes(&said), codes, "{said:?}");
        assert_eq!(talk.seen.user.as_deref(), user, "{said:?}");
    }
}

#[test]
fn passwords_pass_no_network_in_clear() {
    let auth = "AUTH PLAIN AHUAc2VjcmV0\r\n";
    let hello = |talk: &mut Talk| {
        let mut out = Vec::new();
        talk.session.step(Input::Octets(&mut BytesMut::from("EHLO me\r\n")), &mut out);
        format!("{out:?}")
    };
    let mut clear = Talk::new(settings(), REMOTE);
    assert!(!hello(&mut clear).contains("AUTH"));
    assert_eq!(clear.codes(auth), "538 5.7.11");
    assert_eq!(clear.codes("STARTTLS\r\n"), "220 2.0.0");
    assert!(hello(&mut clear).contains("AUTH PLAIN LOGIN"));
    assert_eq!(clear.codes(auth), "235 2.7.0");

    let mut off = Talk::new(Settings { authentication: false, ..settings() }, LOCAL);
    assert!(!hello(&mut off).contains("AUTH"));
    assert_eq!(off.codes(auth), "502 5.5.1");
}

#[test]
fn who_must_authenticate_gets_nowhere_without() {
    let peer = Peer { must_authenticate: true, ..LOCAL };
    let mut local = Talk::new(settings(), peer);
    assert_eq!(local.codes("EHLO x\r\nMAIL FROM:<>\r\n"), "250, 530 5.7.0");
    assert_eq!(local.codes("AUTH PLAIN AHUAc2VjcmV0\r\nMAIL FROM:<>\r\n"), "235 2.7.0, 250 2.1.0");
    let mut remote = Talk::new(settings(), Peer { loopback: false, ..peer });
    remote.codes("EHLO x\r\nMAIL FROM:<>\r\n");
    assert!(remote.seen.replies.last().unwrap().contains("STARTTLS"));
}

#[test]
fn starttls_forgets_what_came_before() {
    let mut talk = talk();
    assert_eq!(
        talk.codes("AUTH PLAIN AHUAc2VjcmV0\r\nMAIL FROM:<>\r\nSTARTTLS\r\nRCPT TO:<evil@x.example>\r\n"),
        "235 2.7.0, 250 2.1.0, 220 2.0.0"
    );
    assert_eq!(talk.seen.user, None);
    assert_eq!(talk.codes("MAIL FROM:<>\r\nEHLO me\r\nSTARTTLS\r\n"), "503 5.5.1, 250, 503 5.5.1");
    let mut off = Talk::new(Settings { starttls: false, ..settings() }, LOCAL);
    assert_eq!(off.codes("STARTTLS\r\n"), "502 5.5.1");
}

#[test]
fn silence_and_shutdown_end_a_session_in_good_order() {
    let mut idle = talk();
    idle.input(Input::TimedOut(Overdue::Silence));
    assert_eq!((idle.seen.replies.last().unwrap().get(..9), idle.seen.closed), (Some("421 4.4.2"), true));

    let mut idle = talk();
    idle.say(ENVELOPE.as_bytes()).input(Input::Shutdown);
    assert_eq!((idle.seen.replies.last().unwrap().get(..9), idle.seen.closed), (Some("421 4.3.2"), true));

    for (begin, rest) in [("DATA\r\na", "\r\n.\r\nNOOP\r\n"), ("BDAT 1\r\na", "BDAT 0 LAST\r\nNOOP\r\n")] {
        let mut busy = talk();
        busy.say(ENVELOPE.as_bytes()).say(begin.as_bytes()).input(Input::Shutdown);
        assert!(!busy.seen.closed, "{begin:?}");
        assert_eq!(busy.codes(rest), "250 2.0.0, 421 4.3.2");
        assert_eq!(busy.seen.stored[0].1, "a\r\n");
    }

    let mut stuck = talk();
    stuck.say(ENVELOPE.as_bytes()).say(b"DATA\r\na").input(Input::Shutdown).input(Input::TimedOut(Overdue::Silence));
    assert_eq!((stuck.seen.aborted, stuck.seen.closed), (1, true));
}

#[test]
fn content_is_given_up_once_and_only_where_it_has_begun() {
    const OPEN: &str = "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n";
    for (said, aborted) in [
        (format!("{OPEN}DATA\r\nab"), 1),
        (format!("{OPEN}DATA\r\n{}", "x".repeat(100)), 1),
        (format!("{OPEN}BDAT 200\r\n{}", "x".repeat(100)), 1),
        ("BDAT 200\r\nab".to_owned(), 0),
    ] {
        for input in [Input::TimedOut(Overdue::Silence), Input::Answer(Answer::Accept)] {
            let mut talk = talk();
            talk.say(said.as_bytes()).input(input);
            assert_eq!((talk.seen.aborted, talk.seen.closed), (aborted, true), "{said:?}");
        }
    }
}

#[test]
fn an_answer_behind_the_end_says_nothing() {
    let mut talk = talk();
    talk.codes("QUIT\r\n");
    let replies = talk.seen.replies.len();
    talk.input(Input::Answer(Answer::Accept));
    assert_eq!((talk.seen.replies.len(), talk.seen.closed), (replies, true));
}

/// RFC 5321, 4.5.3.1.5; RFC 6531, 3.7.4.2.
#[test]
fn replies_are_short_and_in_ascii() {
    let long = "x".repeat(3000);
    for argument in ["<ü> SMTPUTF8", "<a@b.example> ü=1", &format!("<{long}>"), &format!("<a@b.example> {long} {long}")]
    {
        let mut talk = talk();
        talk.say(format!("MAIL FROM:{argument}\r\n").as_bytes());
        let reply = talk.seen.replies.last().unwrap();
        assert!(reply.starts_with('5') && reply.is_ascii() && reply.len() <= 510, "{reply}");
    }
}

#[test]
fn only_stored_makes_a_250() {
    for answer in [Answer::Accept, Answer::Authenticated("u".into()), refuse("250 2.0.0 Ok"), refuse("354 2.0.0 Ok")] {
        let mut talk = talk();
        let mut out = Vec::new();
        talk.say(ENVELOPE.as_bytes());
        let mut said = BytesMut::from("DATA\r\n.\r\n");
        talk.session.step(Input::Octets(&mut said), &mut out);
        assert!(matches!(out.pop(), Some(Action::Ask(Question::Store { .. }))));
        talk.session.step(Input::Answer(answer), &mut out);
        assert!(matches!(out.pop(), Some(Action::Reply(reply)) if reply.code == 451));
    }
}

#[test]
fn nothing_is_read_while_a_question_is_open() {
    let mut talk = talk();
    let (mut out, mut octets) = (Vec::new(), BytesMut::from("MAIL FROM:<>\r\nRSET\r\n"));
    talk.session.step(Input::Octets(&mut octets), &mut out);
    talk.session.step(Input::Octets(&mut octets), &mut out);
    assert_eq!((&octets[..], out.len(), talk.session.wants_octets()), (&b"RSET\r\n"[..], 1, false));
}

fn talks() -> impl Strategy<Value = Vec<u8>> {
    let parts = vec![
        "EHLO x\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "RCPT TO:<c@d.example>\r\n",
        "RCPT TO:<nobody@d.example>\r\n",
        "DATA\r\n",
        "BDAT 4\r\n",
        "BDAT 3 LAST\r\n",
        "a\r\n",
        ".\r\n",
        ".",
        "\r",
        "\n",
        "\r\n",
        "..\r\n",
        "RSET\r\n",
        "AUTH LOGIN\r\n",
        "dQ==\r\n",
        "c2VjcmV0\r\n",
        "*\r\n",
        "XYZZY\r\n",
        "ü",
        "FULL",
        "QUIT\r\n",
        "\0",
        "BDAT x\r\n",
        "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
        "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 3\r\n",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
    ];
    proptest::collection::vec(proptest::sample::select(parts), 0..30).prop_map(|parts| parts.concat().into_bytes())
}

fn seen(talk: &[u8], cuts: &[usize]) -> Seen {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (talk.len() + 1)).chain([0, talk.len()]).collect();
    cuts.sort_unstable();
    let mut session = self::talk();
    for ends in cuts.windows(2) {
        session.say(&talk[ends[0]..ends[1]]);
    }
    session.seen
}

proptest! {
    #[test]
    fn replies_ignore_how_octets_are_cut(talk in talks(), cuts in proptest::collection::vec(any::<usize>(), 0..12)) {
        prop_assert_eq!(seen(&talk, &cuts), seen(&talk, &[]));
    }

    #[test]
    fn no_octets_panic(octets in proptest::collection::vec(any::<u8>(), 0..300), cuts in proptest::collection::vec(any::<usize>(), 0..4)) {
        seen(&octets, &cuts);
    }
}
