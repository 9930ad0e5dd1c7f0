//! The server's session: whatever a client says, in whatever cuts, and whatever the driver answers.
//!
//! The talk is held twice, octet by octet and in larger pieces. Octet by octet, a model that knows only where commands,
//! content and chunks end says how many replies are due; the pieces have to give the same talk.
#![no_main]

use std::sync::Arc;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use waypost::config::ScramVerifier;
use waypost::mail::{BodyKind, Mid, Recipient};
use waypost::smtp::command::{self, Command};
use waypost::smtp::reply::Reply;
use waypost::smtp::server::{Action, Answer, Challenge, Input, Overdue, Peer, Question, Session, Settings};
use waypost_fuzz::{HEAD, Wheel, flights, has_bare_line_end, split};

const MOST_COMMAND: usize = 4096;
const MOST_AUTH: usize = 12_288;

/// What happened, told so that cuts cannot be seen in it.
#[derive(Debug, PartialEq)]
enum Seen {
    Did(Action),
    /// Whole content that someone was asked to store.
    Content(Vec<u8>),
}

struct Driver<'a> {
    settings: Arc<Settings>,
    peer: Peer,
    session: Session,
    octets: BytesMut,
    answers: Wheel<'a>,
    tls: bool,
    /// The rest of this flight came before TLS.
    drop_flight: bool,
    accepted: Vec<Recipient>,
    begun: Option<Vec<u8>>,
    seen: Vec<Seen>,
    replies: usize,
    last: Option<Reply>,
}

impl<'a> Driver<'a> {
    fn new(head: &'a [u8; HEAD]) -> Self {
        let flag = |bit: u8| head[0] >> bit & 1 == 1;
        let settings = Arc::new(Settings {
            hostname: "relay.example".parse().unwrap(),
            lmtp: false,
            max_message_size: if flag(5) { 60 } else { 3000 },
            max_recipients: if flag(6) { 1 } else { 3 },
            max_errors: 20,
            starttls: flag(3),
            authentication: flag(4),
            scram: flag(7),
            old_auth: false,
        });
        let peer = Peer { loopback: flag(0), tls: flag(1), must_authenticate: flag(2) };
        let mut out = Vec::new();
        let session = Session::new(Arc::clone(&settings), peer, &mut out);
        let mut driver = Self {
            settings,
            peer,
            session,
            octets: BytesMut::new(),
            answers: Wheel::new(&head[1..9]),
            tls: peer.tls,
            drop_flight: false,
            accepted: Vec::new(),
            begun: None,
            seen: Vec::new(),
            replies: 0,
            last: None,
        };
        driver.act(out);
        assert_eq!(driver.replies, 1, "one greeting");
        driver
    }

    fn say(&mut self, octets: &[u8]) {
        if self.drop_flight || self.session.is_closed() {
            return;
        }
        assert!(self.session.wants_octets());
        self.octets.extend_from_slice(octets);
        let mut out = Vec::new();
        self.session.step(Input::Octets(&mut self.octets), &mut out);
        self.act(out);
        assert!(self.octets.len() < MOST_AUTH, "{} octets are kept", self.octets.len());
    }

    fn input(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.session.step(input, &mut out);
        self.act(out);
    }

    /// As `ingress/connection.rs` does.
    fn act(&mut self, mut actions: Vec<Action>) {
        while !actions.is_empty() {
            let (mut answer, mut secure, mut ends) = (None, false, false);
            for action in std::mem::take(&mut actions) {
                assert!(!ends, "{action:?} behind a question, a handshake or the end");
                ends = matches!(action, Action::Ask(_) | Action::StartTls | Action::Close);
                match &action {
                    Action::Reply(reply) => self.reply(reply),
                    Action::Ask(question) => answer = Some(self.answer(question)),
                    Action::Begin(transaction) => {
                        assert!(self.begun.replace(Vec::new()).is_none(), "content within content");
                        assert_eq!(transaction.recipients, self.accepted);
                        assert!((1..=self.settings.max_recipients).contains(&transaction.recipients.len()));
                        assert_eq!(transaction.protocol.tls, self.tls);
                        assert_eq!(transaction.user.as_deref(), self.session.user());
                    }
                    Action::Content(octets) => {
                        self.begun.as_mut().expect("content of nothing").extend_from_slice(octets);
                        continue;
                    }
                    Action::Abort => drop(self.begun.take().expect("nothing to abort")),
                    Action::StartTls => secure = true,
                    Action::Close => assert!(self.session.is_closed()),
                }
                self.seen.push(Seen::Did(action));
            }
            if secure {
                assert!(!self.tls && self.settings.starttls);
                self.octets.clear();
                (self.tls, self.drop_flight) = (true, true);
                self.session.step(Input::TlsUp, &mut actions);
            }
            if let Some((answer, good)) = answer {
                self.session.step(Input::Answer(answer), &mut actions);
                match actions.first() {
                    Some(Action::Reply(reply)) => assert_eq!(reply.is_positive() || reply.code == 334, good, "{reply:?}"),
                    other => panic!("{other:?} to an answer"),
                }
            }
            self.session.step(Input::Octets(&mut self.octets), &mut actions);
        }
        assert_ne!(self.session.wants_octets(), self.session.is_closed());
    }

    fn reply(&mut self, reply: &Reply) {
        let text = reply.to_string();
        assert!(text.ends_with("\r\n") && !has_bare_line_end(text.as_bytes()), "{text:?}");
        for line in text.split_terminator("\r\n") {
            // RFC 5321, 4.5.3.1.5; RFC 6531, 3.7.4.2.
            assert!(line.len() <= 510, "{} octets in a line: {line:?}", line.len());
            assert!(line.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~')), "{line:?}");
        }
        self.replies += 1;
        self.last = Some(reply.clone());
    }

    /// The answer, and whether the reply must be a success.
    fn answer(&mut self, question: &Question) -> (Answer, bool) {
        match question {
            Question::Mail { .. } => {
                assert!(!self.peer.must_authenticate || self.session.user().is_some());
                self.accepted.clear();
            }
            Question::Rcpt(recipient) => {
                assert!(self.accepted.iter().all(|known| known.address != recipient.address));
            }
            Question::Authenticate { user, .. } => {
                assert!(self.tls || self.peer.loopback, "a password in clear");
                assert!(!user.contains(char::is_control));
            }
            Question::Verifier { user } | Question::Proven { user, .. } => {
                assert!(self.tls || self.peer.loopback, "a login in clear");
                assert!(!user.contains(char::is_control));
            }
            Question::Store { body } => {
                let content = self.begun.take().expect("nothing to store");
                assert!(!has_bare_line_end(&content) && (content.is_empty() || content.ends_with(b"\r\n")));
                assert!(content.len() as u64 <= self.settings.max_message_size);
                assert_eq!(*body == BodyKind::EightBit, !content.is_ascii());
                self.seen.push(Seen::Content(content));
            }
        }
        let refuse = |code| (Answer::Refuse(Reply { code, status: None, lines: vec!["no".to_owned()] }), false);
        match (self.answers.case(8), question) {
            (4, _) => refuse(550),
            (5, _) => refuse(421),
            // No refusal at all.
            (6, _) => refuse(250),
            (7, Question::Store { .. }) => (Answer::Accept, false),
            (7, _) => (Answer::Stored(Mid::from_bits(1)), false),
            (_, Question::Mail { .. }) => (Answer::Accept, true),
            (_, Question::Rcpt(recipient)) => {
                self.accepted.push(recipient.clone());
                (Answer::Accept, true)
            }
            (_, Question::Authenticate { user, .. } | Question::Proven { user, .. }) => {
                (Answer::Authenticated(user.clone()), true)
            }
            (_, Question::Verifier { .. }) => {
                let verifier = ScramVerifier {
                    iterations: std::num::NonZeroU32::MIN,
                    salt: b"salt".to_vec(),
                    stored_key: [1; 32],
                    server_key: [2; 32],
                };
                (Answer::Challenge(Challenge { verifier: Arc::new(verifier), nonce: "SERVER".to_owned() }), true)
            }
            (_, Question::Store { .. }) => (Answer::Stored(Mid::from_bits(2)), true),
        }
    }

    /// What may happen while a client is silent.
    fn event(&mut self, case: u8) {
        self.drop_flight = false;
        let before = self.replies;
        match case {
            5 => self.input(Input::Shutdown),
            6 => self.input(Input::TimedOut(Overdue::Silence)),
            7 => self.input(Input::TlsUp),
            // A driver at fault.
            8 => self.input(Input::Answer(Answer::Accept)),
            _ => {}
        }
        let spoken = self.replies - before;
        assert!(spoken == 0 || spoken == 1 && self.session.is_closed(), "{spoken} replies to nothing");
    }
}

/// Knows where what a client says ends, and nothing of what it means.
struct Model {
    mode: Mode,
    /// Of the command, or of the content.
    line: Vec<u8>,
    skipping: bool,
}

enum Mode {
    Command,
    Auth,
    Data,
    Chunk(u64),
}

impl Model {
    /// Whether a reply is due behind this octet.
    fn takes(&mut self, octet: u8) -> bool {
        let most = match &mut self.mode {
            Mode::Chunk(left) => {
                *left -= 1;
                return *left == 0;
            }
            Mode::Data => {
                self.line.push(octet);
                return self.line.ends_with(b"\r\n.\r\n");
            }
            Mode::Command => MOST_COMMAND,
            Mode::Auth => MOST_AUTH,
        };
        let behind_cr = self.line.last() == Some(&b'\r');
        self.line.push(octet);
        if behind_cr && octet == b'\n' {
            let line = std::mem::take(&mut self.line);
            if std::mem::replace(&mut self.skipping, false) {
                return false;
            }
            if let (Mode::Command, Ok(Command::Bdat { size, .. })) =
                (&self.mode, command::parse(&line[..line.len() - 2]))
                && size > 0
            {
                self.mode = Mode::Chunk(size);
                return false;
            }
            return true;
        }
        if self.skipping {
            return false;
        }
        self.skipping = behind_cr || octet == b'\n' || self.line.len() == most;
        self.skipping
    }

    /// A reply was due, and this one came.
    fn hears(&mut self, reply: &Reply) {
        match reply.code {
            334 => self.mode = Mode::Auth,
            354 => {
                self.mode = Mode::Data;
                // The line that 354 answers ended in it.
                self.line = b"\r\n".to_vec();
            }
            _ => {
                if matches!(self.mode, Mode::Data) {
                    self.line.clear();
                }
                self.mode = Mode::Command;
            }
        }
    }
}

fn octet_by_octet(head: &[u8; HEAD], wire: &[u8]) -> Vec<Seen> {
    let (mut driver, mut events) = (Driver::new(head), Wheel::new(&head[9..12]));
    let mut model = Model { mode: Mode::Command, line: Vec::new(), skipping: false };
    let mut spoken = false;
    for flight in flights(wire) {
        for octet in flight {
            if driver.drop_flight || driver.session.is_closed() {
                break;
            }
            let before = driver.replies;
            // A handshake of TLS (RFC 8446, 5.1) where none is due is answered at its first octet.
            let hello = !std::mem::replace(&mut spoken, true) && *octet == 22 && !driver.tls;
            let due = hello || model.takes(*octet);
            driver.say(&[*octet]);
            // Where it ends, there is a farewell.
            let farewell = driver.replies == before + 2 && due && driver.session.is_closed();
            assert!(
                farewell || driver.replies == before + usize::from(due),
                "{} replies, {due}: {:?}",
                driver.replies - before,
                driver.seen
            );
            if let (true, Some(reply)) = (due, &driver.last) {
                model.hears(reply);
            }
        }
        driver.event(events.case(9));
    }
    driver.seen
}

fn in_pieces(head: &[u8; HEAD], wire: &[u8]) -> Vec<Seen> {
    let (mut driver, mut events, mut cuts) = (Driver::new(head), Wheel::new(&head[9..12]), Wheel::new(&head[12..]));
    for mut flight in flights(wire) {
        while !flight.is_empty() {
            driver.say(cuts.cut(&mut flight));
        }
        driver.event(events.case(9));
    }
    driver.seen
}

fuzz_target!(|data: &[u8]| {
    let Some((head, wire)) = split(data) else { return };
    assert_eq!(octet_by_octet(head, wire), in_pieces(head, wire));
});
