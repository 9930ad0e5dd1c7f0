//! SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677), as AUTH carries them (RFC 4954, 4). The channel is bound by the TLS
//! exporter (RFC 9266).
//!
//! The way of an exchange: the client's first message names the user, whose verifier is asked for; the client's second one
//! brings its proof, which is checked here, and whatever comes of it is told as an answer to a question, so that failures count.
//! The server's signature goes out as a challenge, and only behind the client's empty response is the user signed in.

use std::sync::Arc;

use super::auth::{BASE64, Step};
use super::{Action, Asking, Question, Session, State, replies};
use crate::config::ScramVerifier;
use crate::smtp::reply::Reply;
use crate::smtp::scram;
use base64::Engine as _;

/// What the driver gives for an exchange: the user's verifier, or a made-up one, and what the server adds to the nonce.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    pub verifier: Arc<ScramVerifier>,
    /// Printable, without a comma.
    pub nonce: String,
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Challenge")
    }
}

/// The client's first message.
#[derive(Debug)]
pub(super) struct First {
    user: String,
    /// What `c=` of the second message must hold.
    channel: Vec<u8>,
    bare: String,
    nonce: String,
}

/// The challenge is out.
#[derive(Debug)]
pub(super) struct Exchange {
    user: String,
    channel: Vec<u8>,
    /// Client's first and server's first, as the proof covers them.
    messages: String,
    nonce: String,
    verifier: Arc<ScramVerifier>,
}

/// Why an exchange ends early.
enum Fault {
    Malformed,
    /// A channel that is not bound as it should be, or somebody who acts for somebody else.
    Refused,
}

impl Session {
    /// SCRAM is offered where some user has a verifier; with a bound channel where TLS has what binds it.
    pub(super) fn offers_scram(&self, plus: bool) -> bool {
        self.settings.scram && (!plus || self.exporter.is_some())
    }

    pub(super) fn scram_first(&mut self, plus: bool, text: &str, out: &mut Vec<Action>) {
        match self.read_first(plus, text) {
            Ok(first) => {
                let user = first.user.clone();
                self.state = State::Asking(Asking::Verifier(Box::new(first)));
                out.push(Action::Ask(Question::Verifier { user }));
            }
            Err(Fault::Malformed) => self.blame(replies::auth_not_decoded(), 1, out),
            Err(Fault::Refused) => self.blame(replies::auth_failed(), super::FAILED_LOGIN, out),
        }
    }

    fn read_first(&self, plus: bool, text: &str) -> Result<First, Fault> {
        let (flag, rest) = text.split_once(',').ok_or(Fault::Malformed)?;
        let (acts_for, bare) = rest.split_once(',').ok_or(Fault::Malformed)?;
        let gs2 = text.get(..text.len() - bare.len()).unwrap_or_default();
        let mut channel = gs2.as_bytes().to_vec();
        match (flag, plus, self.exporter) {
            ("n", false, _) => {}
            // The client could bind the channel and was told that the server cannot: who told it that? (RFC 5802, 6)
            ("y", false, _) if self.offers_scram(true) => return Err(Fault::Refused),
            ("y", false, _) => {}
            ("p=tls-exporter", true, Some(exporter)) => channel.extend_from_slice(&exporter),
            _ if flag.starts_with("p=") || plus => return Err(Fault::Refused),
            _ => return Err(Fault::Malformed),
        }
        let mut attributes = bare.split(',');
        // `m=` would be an extension that must be understood.
        let user = attributes.next().and_then(|name| name.strip_prefix("n=")).ok_or(Fault::Malformed)?;
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).ok_or(Fault::Malformed)?;
        let user = name(user).ok_or(Fault::Malformed)?;
        if nonce.is_empty() || !nonce.bytes().all(|b| b.is_ascii_graphic()) || user.contains(char::is_control) {
            return Err(Fault::Malformed);
        }
        // GNU SASL says an empty name (against RFC 5802, 7) where it is told to act for nobody else.
        if !["", "a="].contains(&acts_for) {
            let acts_for = acts_for.strip_prefix("a=").and_then(name).ok_or(Fault::Malformed)?;
            if acts_for != user {
                return Err(Fault::Refused);
            }
        }
        Ok(First { user, channel, bare: bare.to_owned(), nonce: nonce.to_owned() })
    }

    /// The verifier is there: the server's first message.
    pub(super) fn scram_challenge(&mut self, first: First, challenge: Challenge) -> Reply {
        let Challenge { verifier, nonce } = challenge;
        let nonce = first.nonce + &nonce;
        let message = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        let reply = Reply::plain(334, BASE64.encode(&message));
        let messages = format!("{},{message}", first.bare);
        let exchange = Exchange { user: first.user, channel: first.channel, messages, nonce, verifier };
        self.state = State::Auth(Step::ScramProof(Box::new(exchange)));
        reply
    }

    /// The client's second message.
    pub(super) fn scram_proof(&mut self, exchange: Exchange, text: &str, out: &mut Vec<Action>) {
        let Some((without, proof)) = text.rsplit_once(",p=") else {
            return self.blame(replies::auth_not_decoded(), 1, out);
        };
        let mut attributes = without.split(',');
        let (channel, nonce) = (
            attributes.next().and_then(|channel| channel.strip_prefix("c=")),
            attributes.next().and_then(|nonce| nonce.strip_prefix("r=")),
        );
        let proof = BASE64.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let (Some(channel), Some(nonce), Some(proof)) = (channel, nonce, proof) else {
            return self.blame(replies::auth_not_decoded(), 1, out);
        };
        let covered = format!("{},{without}", exchange.messages);
        let verifier = &exchange.verifier;
        let bound = BASE64.decode(channel).is_ok_and(|channel| scram::same(&channel, &exchange.channel));
        let proven =
            bound && nonce == exchange.nonce && scram::proves(&verifier.stored_key, covered.as_bytes(), &proof);
        let signature = scram::signature(&verifier.server_key, covered.as_bytes());
        let last = BASE64.encode(format!("v={}", BASE64.encode(signature)));
        self.state = State::Asking(Asking::Proven(last));
        out.push(Action::Ask(Question::Proven { user: exchange.user, proven }));
    }
}

/// A saslname (RFC 5802, 7), prepared as one (RFC 4013).
fn name(text: &str) -> Option<String> {
    let mut pieces = text.split('=');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        let (sign, rest) = piece.split_at_checked(2)?;
        name.push(match sign {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    let prepared = stringprep::saslprep(&name).ok()?.into_owned();
    (!prepared.is_empty()).then_some(prepared)
}
