//! The client's session, its reader of replies included: whatever a server says, in whatever cuts.
//!
//! The talk is held twice, octet by octet and in larger pieces, and has to be the same.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use waypost::config::Secret;
use waypost::mail::{BodyKind, DsnRequest, Envelope, Notify, Orcpt, Origin, Recipient, Ret, Timestamp};
use waypost::smtp::client::{
    Action, Break, Client, Input, Login, Settings, StartTls, Step, Transaction, Verdict, status_of,
};
use waypost::smtp::command;
use waypost_fuzz::{HEAD, Wheel, flights, has_bare_line_end, split};

/// Octets of a reply's line.
const LONGEST_LINE: usize = 2048;

struct Driver<'a> {
    client: Client,
    settings: &'a Settings,
    envelope: &'a Envelope,
    utf8_header: bool,
    /// The content is at hand.
    chunk: bool,
    /// Transactions follow as soon as they can.
    eager: bool,
    octets: BytesMut,
    /// The rest of this flight came before TLS.
    drop_flight: bool,
    transactions: usize,
    running: bool,
    /// What goes out is no command, but base64.
    authenticating: bool,
    content: Content,
    ended: bool,
    log: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    None,
    Sending,
    Sent,
}

impl Driver<'_> {
    fn say(&mut self, octets: &[u8]) {
        if self.drop_flight || self.ended {
            return;
        }
        self.octets.extend_from_slice(octets);
        loop {
            let (before, did) = (self.octets.len(), self.log.len());
            self.input(&mut |client, octets, out| client.step(Input::Octets(octets), out));
            if self.ended || self.drop_flight {
                break;
            }
            if self.log.len() == did {
                assert!(self.octets.len() < LONGEST_LINE, "{} octets are kept", self.octets.len());
                if self.octets.len() == before {
                    break;
                }
            }
        }
    }

    fn input(&mut self, step: &mut dyn FnMut(&mut Client, &mut BytesMut, &mut Vec<Action>)) {
        let mut actions = Vec::new();
        step(&mut self.client, &mut self.octets, &mut actions);
        let mut next = None;
        for action in actions {
            assert!(!self.ended, "{action:?} behind the end");
            assert!(next.is_none() || action == Action::Close, "{action:?} behind what needs the driver");
            match &action {
                Action::Send(octets) => self.sends(octets),
                Action::StartTls => {
                    assert!(self.settings.starttls != StartTls::Never && self.octets.is_empty());
                    self.drop_flight = true;
                    next = Some(Action::StartTls);
                }
                Action::Ready => {
                    assert!(!self.running && self.client.is_idle());
                    self.authenticating = false;
                    assert!(self.settings.starttls != StartTls::Required || self.client.is_secured());
                    next = Some(Action::Ready);
                }
                Action::SendContent => {
                    assert!(self.running && self.content == Content::None);
                    self.content = Content::Sending;
                }
                Action::SendWhole(commands) => {
                    assert!(self.running && self.content == Content::None && self.chunk && self.client.takes_chunks());
                    self.sends(commands);
                    self.content = Content::Sending;
                }
                Action::Finished(verdicts) => self.finished(verdicts),
                Action::Failed(failure) => {
                    assert!(!self.running && self.transactions == 0);
                    assert!(!failure.to_string().is_empty());
                }
                Action::Close => {
                    assert!(!self.running, "closed without verdicts");
                    self.ended = true;
                }
            }
            self.log.push(action);
        }
        match next {
            _ if self.ended => {}
            Some(Action::StartTls) => self.input(&mut |client, _, out| client.step(Input::TlsUp, out)),
            Some(_) if self.eager => self.begin(),
            _ => {}
        }
    }

    fn begin(&mut self) {
        if self.transactions == 3 {
            return self.input(&mut |client, _, out| client.step(Input::Quit, out));
        }
        self.transactions += 1;
        (self.running, self.content) = (true, Content::None);
        let (envelope, utf8_header, chunk) = (self.envelope, self.utf8_header, self.chunk.then_some(100));
        self.input(&mut |client, _, out| {
            let recipients: Vec<&Recipient> = envelope.recipients.iter().collect();
            let size = envelope.size;
            let transaction = Transaction { envelope, recipients: &recipients, size, utf8_header, chunk };
            client.step(Input::Transaction(transaction), out);
        });
    }

    /// Whatever goes out is whole lines, and our own server could read all of them.
    fn sends(&mut self, octets: &[u8]) {
        assert!(octets.ends_with(b"\r\n") && !has_bare_line_end(octets));
        if octets.starts_with(b"AUTH ") {
            assert!(self.client.is_secured() || self.settings.clear_login, "a password in clear");
            self.authenticating = true;
        } else if self.authenticating {
            return;
        }
        for line in octets[..octets.len() - 2].split(|&b| b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(line == b"." || command::parse(line).is_ok(), "{:?}", String::from_utf8_lossy(line));
        }
    }

    fn finished(&mut self, verdicts: &[Verdict]) {
        assert!(std::mem::replace(&mut self.running, false), "finished twice");
        assert_eq!(verdicts.len(), self.envelope.recipients.len());
        for verdict in verdicts {
            match verdict {
                Verdict::Replied(Step::Content, reply) => {
                    assert!(self.content == Content::Sent || !reply.is_positive(), "taken before it was sent");
                }
                Verdict::Replied(step, reply) => {
                    assert!(reply.is_transient() || reply.is_permanent(), "{reply:?}");
                    let _ = status_of(*step, reply);
                }
                Verdict::Unanswered(_) => assert_eq!(self.content, Content::Sent),
                Verdict::Lost(_) => assert!(self.content != Content::Sent || self.client.misread_chunk()),
                Verdict::NotOffered(_) => {}
            }
        }
        self.content = Content::None;
    }

    /// What a driver may do while the server is silent.
    fn event(&mut self, case: u8) {
        self.drop_flight = false;
        if self.ended {
            return;
        }
        match case {
            5 => self.input(&mut |client, _, out| client.step(Input::Broken(Break::Closed), out)),
            6 => self.input(&mut |client, _, out| client.step(Input::Broken(Break::TimedOut), out)),
            7 if self.client.is_idle() => self.input(&mut |client, _, out| client.step(Input::Quit, out)),
            _ if self.client.is_idle() => self.begin(),
            _ if self.content == Content::Sending => {
                self.content = Content::Sent;
                self.input(&mut |client, _, out| client.step(Input::EndOfContent, out));
            }
            _ => {}
        }
        self.say(b"");
    }
}

fn talk(head: &[u8; HEAD], wire: &[u8], mut cut: impl for<'r> FnMut(&mut &'r [u8]) -> &'r [u8]) -> Vec<Action> {
    let flag = |octet: u8, bit: u8| octet >> bit & 1 == 1;
    let starttls = match head[0] & 3 {
        0 => StartTls::Never,
        1 => StartTls::IfOffered,
        _ => StartTls::Required,
    };
    let secured = flag(head[0], 2);
    let password = if flag(head[0], 5) { "p".repeat(400) } else { "p".to_owned() };
    let settings = Settings {
        hostname: "relay.example".parse().unwrap(),
        lmtp: flag(head[0], 6),
        starttls: if secured { StartTls::Never } else { starttls },
        secured,
        login: flag(head[0], 3).then(|| Login { username: "u".to_owned(), password: Secret::new(password) }),
        clear_login: flag(head[0], 4),
    };
    let mut recipients = vec![Recipient::new("ann@customer.example".parse().unwrap())];
    if flag(head[1], 0) {
        recipients.push(Recipient::new("ü@bücher.example".parse().unwrap()));
    }
    if flag(head[1], 1) {
        recipients.push(Recipient {
            address: "\"a >b\\\\\"@[IPv6:::1]".parse().unwrap(),
            notify: Some(Notify { success: true, failure: flag(head[1], 2), delay: true }),
            orcpt: Some(Orcpt { kind: "utf-8".to_owned(), address: "ü +=@x".to_owned() }),
        });
    }
    let envelope = Envelope {
        reverse_path: flag(head[1], 3).then(|| "s@a.example".parse().unwrap()),
        recipients,
        dsn: DsnRequest { ret: Some(Ret::Headers), envid: Some("a+b=c d".to_owned()) },
        body: if flag(head[1], 4) { BodyKind::EightBit } else { BodyKind::SevenBit },
        smtputf8: false,
        origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
        accepted_at: Timestamp::UNIX_EPOCH,
        header_size: 2,
        size: 100,
    };
    let mut events = Wheel::new(&head[2..8]);
    let mut driver = Driver {
        client: Client::new(settings.clone()),
        settings: &settings,
        envelope: &envelope,
        utf8_header: flag(head[1], 5),
        chunk: flag(head[1], 7),
        eager: !flag(head[1], 6),
        octets: BytesMut::new(),
        drop_flight: false,
        transactions: 0,
        running: false,
        authenticating: false,
        content: Content::None,
        ended: false,
        log: Vec::new(),
    };
    for mut flight in flights(wire) {
        while !flight.is_empty() {
            driver.say(cut(&mut flight));
        }
        driver.event(events.case(8));
    }
    if !driver.ended {
        driver.input(&mut |client, _, out| client.step(Input::Broken(Break::Closed), out));
        assert!(driver.ended && !driver.running);
    }
    driver.log
}

fuzz_target!(|data: &[u8]| {
    let Some((head, wire)) = split(data) else { return };
    let mut cuts = Wheel::new(&head[8..]);
    let in_pieces = talk(head, wire, |rest| cuts.cut(rest));
    let mut single = Wheel::new(&[0]);
    assert_eq!(talk(head, wire, |rest| single.cut(rest)), in_pieces);
});
