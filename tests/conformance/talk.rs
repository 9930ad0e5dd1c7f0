//! One session: what a client says, what it hears, and what was understood.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use waypost::config::ScramVerifier;
use waypost::mail::{BodyKind, EnhancedStatus, Mid, Timestamp};
use waypost::smtp::reply::Reply;
use waypost::smtp::server::{Action, Answer, Challenge, Input, Peer, Question, Session, Settings};

/// Where the client comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// From this host, in clear.
    Local,
    /// Over a network, in clear.
    Network,
    /// Over a network, TLS from the start.
    Tls,
    /// Over a network, TLS from the start, and it must authenticate.
    Users,
    /// No certificate, no users.
    Bare,
}

pub const MOST_SIZE: u64 = 5_000;
pub const MOST_RECIPIENTS: usize = 150;

pub struct Talk {
    session: Session,
    octets: BytesMut,
    pub heard: Vec<Reply>,
    /// `from a@b.example`, `to c@d.example`, `user u`, `as NAME with ESMTP`, `7bit "content"`.
    pub understood: Vec<String>,
    content: Vec<u8>,
    pub ended: bool,
    /// What is in the client's packet behind STARTTLS is not its TLS.
    clear_is_over: bool,
}

impl Talk {
    pub fn new(door: Door) -> Self {
        let bare = door == Door::Bare;
        let settings = Settings {
            hostname: "relay.example".parse().unwrap(),
            lmtp: false,
            max_message_size: MOST_SIZE,
            max_recipients: MOST_RECIPIENTS,
            max_errors: 20,
            starttls: !bare,
            authentication: !bare,
            scram: !bare,
            old_auth: false,
        };
        let peer = Peer {
            loopback: matches!(door, Door::Local | Door::Bare),
            tls: matches!(door, Door::Tls | Door::Users),
            must_authenticate: door == Door::Users,
        };
        let mut out = Vec::new();
        let session = Session::new(Arc::new(settings), peer, &mut out);
        let mut talk = Self {
            session,
            octets: BytesMut::new(),
            heard: Vec::new(),
            understood: Vec::new(),
            content: Vec::new(),
            ended: false,
            clear_is_over: false,
        };
        talk.act(out);
        talk
    }

    /// Says it, in packets of so many octets.
    pub fn say(&mut self, octets: &[u8], packet: usize) -> &mut Self {
        self.clear_is_over = false;
        for packet in octets.chunks(packet) {
            if self.ended || self.clear_is_over {
                break;
            }
            self.octets.extend_from_slice(packet);
            let mut out = Vec::new();
            self.session.step(Input::Octets(&mut self.octets), &mut out);
            self.act(out);
        }
        self
    }

    fn act(&mut self, mut actions: Vec<Action>) {
        while !actions.is_empty() {
            let mut next = None;
            for action in std::mem::take(&mut actions) {
                match action {
                    Action::Reply(reply) => self.hear(reply),
                    Action::Ask(question) => next = Some(Input::Answer(self.answer(question))),
                    Action::Begin(transaction) => {
                        self.content.clear();
                        self.understood.push(format!(
                            "as {} with {}",
                            transaction.helo,
                            transaction.protocol.keyword()
                        ));
                    }
                    Action::Content(octets) => self.content.extend_from_slice(&octets),
                    Action::Abort => self.content.clear(),
                    Action::StartTls => {
                        self.clear_is_over = true;
                        next = Some(Input::TlsUp);
                    }
                    Action::Close => self.ended = true,
                }
            }
            if let Some(input) = next {
                self.session.step(input, &mut actions);
                self.session.step(Input::Octets(&mut self.octets), &mut actions);
            }
        }
    }

    /// What holds for every reply (RFC 5321, 4.2 and 4.5.3.1.5; RFC 2034, section 4; RFC 6531, 3.7.4.2).
    fn hear(&mut self, reply: Reply) {
        let text = reply.to_string();
        assert!(text.ends_with("\r\n") && text.is_ascii(), "{text:?}");
        assert!(text.split_inclusive("\r\n").all(|line| line.len() <= 512), "{text:?}");
        let plain = match reply.code {
            220 => self.heard.is_empty(),
            250 => reply.lines[0] == "relay.example",
            code => code / 100 == 3,
        };
        assert_eq!(reply.status.is_none(), plain, "{text:?}");
        if let Some(status) = reply.status {
            assert_eq!(status.to_string().as_bytes()[0], text.as_bytes()[0], "{text:?}");
        }
        self.heard.push(reply);
    }

    fn answer(&mut self, question: Question) -> Answer {
        let refuse =
            |code, status: &str| Answer::Refuse(Reply::new(code, status.parse::<EnhancedStatus>().unwrap(), "no"));
        match question {
            Question::Mail { reverse_path, .. } => {
                self.understood
                    .push(format!("from {}", reverse_path.map_or_else(|| "<>".to_owned(), |path| path.to_string())));
                Answer::Accept
            }
            Question::Rcpt(to) if to.address.local() == "nobody" => refuse(550, "5.1.1"),
            Question::Rcpt(to) => {
                self.understood.push(format!("to {}", to.address));
                Answer::Accept
            }
            Question::Authenticate { user, password } if password.expose() == "secret" => {
                self.understood.push(format!("user {user}"));
                Answer::Authenticated(user)
            }
            Question::Authenticate { .. } | Question::Proven { proven: false, .. } => refuse(535, "5.7.8"),
            Question::Verifier { .. } => {
                let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
                Answer::Challenge(Challenge { verifier: Arc::new(verifier()), nonce })
            }
            Question::Proven { user, proven: true } => {
                self.understood.push(format!("user {user}"));
                Answer::Authenticated(user)
            }
            Question::Store { body } => {
                let kind = match body {
                    BodyKind::SevenBit => "7bit",
                    BodyKind::EightBit => "8bit",
                };
                self.understood.push(format!("{kind} {:?}", String::from_utf8_lossy(&self.content)));
                Answer::Stored(Mid::new(Timestamp::UNIX_EPOCH, 1))
            }
        }
    }

    /// Codes with their enhanced status, from the `first` reply on; several of the same as `250 2.1.5 (100)`.
    pub fn codes(&self, first: usize) -> String {
        let mut codes: Vec<(String, usize)> = Vec::new();
        for reply in &self.heard[first..] {
            let code = reply.status.map_or_else(|| reply.code.to_string(), |status| format!("{} {status}", reply.code));
            match codes.last_mut() {
                Some((last, count)) if *last == code => *count += 1,
                _ => codes.push((code, 1)),
            }
        }
        let shown = codes.iter().map(|(code, n)| if *n == 1 { code.clone() } else { format!("{code} ({n})") });
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// Of the example of RFC 7677, section 3; the password is `pencil`.
fn verifier() -> ScramVerifier {
    ScramVerifier {
        iterations: 4096.try_into().unwrap(),
        salt: BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(),
        stored_key: key("WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="),
        server_key: key("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
    }
}

fn key(text: &str) -> [u8; 32] {
    BASE64.decode(text).unwrap().try_into().unwrap()
}
