//! MAIL and RCPT (RFC 5321, 3.3): the envelope.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Action, Asking, Question, Session, State, Transaction, replies};
use crate::mail::{Address, Protocol, Recipient};
use crate::smtp::command::{ForwardPath, MailParams, RcptParams};

impl Session {
    pub(super) fn mail(&mut self, reverse_path: Option<Address>, params: MailParams, out: &mut Vec<Action>) {
        let Some(helo) = &self.helo else {
            return self.blame(
                replies::out_of_order(if self.settings.lmtp { "Send LHLO first" } else { "Send EHLO first" }),
                1,
                out,
            );
        };
        if !matches!(self.state, State::Idle) {
            return self.blame(replies::out_of_order("A transaction is open already"), 1, out);
        }
        if self.peer.must_authenticate && self.user.is_none() {
            let reply = if self.safe_for_passwords() || !self.settings.starttls {
                replies::must_authenticate()
            } else {
                replies::must_start_tls()
            };
            return self.blame(reply, 1, out);
        }
        // RFC 1870, 6.1.
        if params.size.is_some_and(|size| size > self.settings.max_message_size) {
            out.push(Action::Reply(replies::too_large(self.settings.max_message_size)));
            return;
        }
        let transaction = Transaction {
            reverse_path: reverse_path.clone(),
            recipients: Vec::new(),
            dsn: params.dsn,
            smtputf8: params.smtputf8,
            helo: helo.name.clone(),
            protocol: Protocol {
                extended: helo.extended,
                tls: self.tls,
                // A certificate is no AUTH (RFC 3848).
                authenticated: self.user.is_some() && !self.by_certificate,
                smtputf8: params.smtputf8,
                lmtp: self.settings.lmtp,
            },
            user: self.user.clone(),
            refused: false,
            taken: 0,
            known: HashMap::new(),
        };
        self.state = State::Asking(Asking::Mail(Box::new(transaction)));
        out.push(Action::Ask(Question::Mail { reverse_path, size: params.size }));
    }

    pub(super) fn rcpt(&mut self, forward_path: ForwardPath, params: RcptParams, out: &mut Vec<Action>) {
        let State::Open(transaction) = &mut self.state else {
            let text = match self.state {
                State::Between(_) => "No recipients behind BDAT",
                _ => "Send MAIL first",
            };
            return self.blame(replies::out_of_order(text), 1, out);
        };
        let address = match forward_path {
            ForwardPath::Mailbox(address) => address,
            ForwardPath::Postmaster => match Address::new("postmaster", self.settings.hostname.clone()) {
                Ok(address) => address,
                Err(_) => return self.blame(replies::local_error(), 1, out),
            },
        };
        // RFC 6531, 3.4.
        if address.needs_smtputf8() && !transaction.smtputf8 {
            transaction.refused = true;
            out.push(Action::Reply(replies::needs_smtputf8()));
            return;
        }
        // Given twice, delivered once; the parameters of the first hold.
        if transaction.has(&address) {
            transaction.taken += 1;
            out.push(Action::Reply(replies::recipient_ok()));
            return;
        }
        // RFC 5321, 4.5.3.1.10: 452 and 4.5.3 (RFC 3463, 3.6), so that the client sends the others in a further transaction.
        if transaction.recipients.len() >= self.settings.max_recipients {
            out.push(Action::Reply(replies::too_many_recipients(self.settings.max_recipients)));
            return;
        }
        let recipient = Recipient { address, notify: params.notify, orcpt: params.orcpt };
        if let State::Open(transaction) = std::mem::replace(&mut self.state, State::Idle) {
            self.state = State::Asking(Asking::Rcpt(transaction, recipient.clone()));
        }
        out.push(Action::Ask(Question::Rcpt(recipient)));
    }
}

/// From so many recipients on they are looked up by hash: a client that gives 100,000 must not cost the time of comparing
/// each with each.
const MANY: usize = 32;

impl Transaction {
    fn has(&self, address: &Address) -> bool {
        if self.known.is_empty() {
            return self.recipients.iter().any(|known| known.address == *address);
        }
        let at = self.known.get(&hash(address)).and_then(|at| self.recipients.get(*at));
        at.is_some_and(|known| known.address == *address)
    }

    pub(super) fn push(&mut self, recipient: Recipient) {
        let at = self.recipients.len();
        if at == MANY {
            self.known.extend(self.recipients.iter().enumerate().map(|(at, known)| (hash(&known.address), at)));
        }
        if at >= MANY {
            self.known.insert(hash(&recipient.address), at);
        }
        self.recipients.push(recipient);
    }
}

fn hash(address: &Address) -> u64 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    hasher.finish()
}
