//! AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN; SCRAM is in `scram`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::lines::Line;
use super::scram::Exchange;
use super::{Action, Asking, Question, Session, State, replies};
use crate::config::Secret;
use crate::smtp::command::Fault;
use crate::smtp::reply::Reply;

/// What the next line of the exchange is.
#[derive(Debug)]
pub(super) enum Step {
    Plain,
    LoginName,
    LoginPassword {
        user: String,
    },
    /// The client's first message; with `plus`, of -PLUS.
    Scram {
        plus: bool,
    },
    ScramProof(Box<Exchange>),
    /// The server has proven itself too; the client's empty response ends it.
    ScramEnd {
        user: String,
    },
}

/// Some clients leave the padding out.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Session {
    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<String>, out: &mut Vec<Action>) {
        let reply = if !self.settings.authentication {
            replies::fault(&Fault::NotOffered)
        } else if self.helo.is_none() {
            replies::out_of_order("Send EHLO first")
        } else if self.user.is_some() && !self.by_certificate {
            replies::out_of_order("Authenticated already")
        } else if !matches!(self.state, State::Idle) {
            replies::out_of_order("No authentication within a transaction")
        } else if !self.safe_for_passwords() {
            replies::encryption_required()
        } else {
            let step = match mechanism {
                "PLAIN" => Step::Plain,
                "LOGIN" => Step::LoginName,
                "SCRAM-SHA-256" if self.offers_scram(false) => Step::Scram { plus: false },
                "SCRAM-SHA-256-PLUS" if self.offers_scram(true) => Step::Scram { plus: true },
                _ => return self.blame(replies::unknown_mechanism(&self.mechanisms()), 1, out),
            };
            return match initial {
                // RFC 4954, 4: `=` stands for an initial response that is empty.
                Some(initial) => self.auth_response(step, initial.trim_start_matches('=').as_bytes(), out),
                None => self.challenge(step, out),
            };
        };
        self.blame(reply, 1, out);
    }

    fn challenge(&mut self, step: Step, out: &mut Vec<Action>) {
        out.push(Action::Reply(Reply::plain(
            334,
            match step {
                Step::Plain | Step::Scram { .. } | Step::ScramProof(_) | Step::ScramEnd { .. } => "",
                Step::LoginName => "VXNlcm5hbWU6",
                Step::LoginPassword { .. } => "UGFzc3dvcmQ6",
            },
        )));
        self.state = State::Auth(step);
    }

    /// A line while the exchange goes on. Whatever is wrong with it ends the exchange.
    pub(super) fn auth_line(&mut self, line: Line, out: &mut Vec<Action>) {
        let State::Auth(step) = std::mem::replace(&mut self.state, State::Idle) else { return };
        match line {
            Line::Unfinished => self.state = State::Auth(step),
            Line::Whole(line) if &line[..] == b"*" => self.blame(replies::auth_cancelled(), 1, out),
            Line::Whole(line) => self.auth_response(step, &line, out),
            Line::TooLong => self.blame(replies::auth_line_too_long(), 1, out),
            Line::BareLineEnd => self.blame(replies::auth_not_decoded(), 1, out),
        }
    }

    fn auth_response(&mut self, step: Step, response: &[u8], out: &mut Vec<Action>) {
        let Some(text) = BASE64.decode(response.trim_ascii()).ok().and_then(|octets| String::from_utf8(octets).ok())
        else {
            return self.blame(replies::auth_not_decoded(), 1, out);
        };
        match step {
            Step::Scram { plus } => self.scram_first(plus, &text, out),
            Step::ScramProof(exchange) => self.scram_proof(*exchange, &text, out),
            Step::ScramEnd { user } if text.is_empty() => {
                self.sign_in(user);
                out.push(Action::Reply(replies::authenticated()));
            }
            Step::ScramEnd { .. } => self.blame(replies::auth_not_decoded(), 1, out),
            Step::LoginName => self.challenge(Step::LoginPassword { user: text }, out),
            Step::LoginPassword { user } => self.authenticate(user, text, out),
            // RFC 4616, 2: `[authzid] NUL authcid NUL passwd`.
            Step::Plain => match text.split('\0').collect::<Vec<_>>()[..] {
                // To act for someone else is not offered.
                [acts_for, user, _] if !acts_for.is_empty() && acts_for != user => {
                    self.blame(replies::auth_failed(), super::FAILED_LOGIN, out);
                }
                [_, user, password] => self.authenticate(user.to_owned(), password.to_owned(), out),
                _ => self.blame(replies::auth_not_decoded(), 1, out),
            },
        }
    }

    /// Whoever the certificate named before.
    pub(super) fn sign_in(&mut self, user: String) {
        self.user = Some(user);
        self.by_certificate = false;
    }

    /// In the order in which the most clients get on best: some take the first that they know.
    pub(super) fn mechanisms(&self) -> String {
        let mut mechanisms = "PLAIN LOGIN".to_owned();
        for (plus, name) in [(false, " SCRAM-SHA-256"), (true, " SCRAM-SHA-256-PLUS")] {
            if self.offers_scram(plus) {
                mechanisms.push_str(name);
            }
        }
        mechanisms
    }

    fn authenticate(&mut self, user: String, password: String, out: &mut Vec<Action>) {
        // Names go into logs and trace fields.
        if user.contains(|c: char| c.is_control()) {
            return self.blame(replies::auth_not_decoded(), 1, out);
        }
        self.state = State::Asking(Asking::Authenticate);
        out.push(Action::Ask(Question::Authenticate { user, password: Secret::new(password) }));
    }
}
