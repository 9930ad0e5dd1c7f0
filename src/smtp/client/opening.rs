//! From the greeting to the first transaction: EHLO or HELO, STARTTLS (RFC 3207), AUTH (RFC 4954).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};

use super::{Action, Capabilities, Client, Failure, Login, StartTls, State, Step};
use crate::smtp::reply::Reply;

/// Octets of the longest command line that every server takes (RFC 5321, 4.5.3.1.4). An initial response that would
/// exceed it waits for the server's challenge (RFC 4954, section 4).
const LONGEST_COMMAND: usize = 512;

/// The dialogue after AUTH: what a challenge is answered with.
pub(super) enum Auth {
    Plain(Bytes),
    LoginUsername {
        username: Bytes,
        password: Bytes,
    },
    LoginPassword(Bytes),
    /// All was said.
    Verdict,
}

/// Passwords are not printed.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth")
    }
}

impl Client {
    pub(super) fn greeting(&mut self, reply: Reply, out: &mut Vec<Action>) {
        if reply.is_positive() {
            self.extended_hello(out);
        } else if reply.is_intermediate() {
            self.senseless(reply, out);
        } else {
            self.fail(Failure::Refused(Step::Greeting, reply), out);
        }
    }

    fn extended_hello(&mut self, out: &mut Vec<Action>) {
        self.hello(if self.settings.lmtp { "LHLO" } else { "EHLO" }, State::ExpectEhlo, out);
    }

    fn hello(&mut self, verb: &str, state: State, out: &mut Vec<Action>) {
        self.state = state;
        out.push(Action::Send(format!("{verb} {}\r\n", self.settings.hostname).into()));
    }

    pub(super) fn ehlo(&mut self, reply: Reply, out: &mut Vec<Action>) {
        if reply.is_positive() {
            self.offered = Capabilities::of(&reply);
            self.after_hello(out);
        } else if reply.is_permanent() && !self.settings.lmtp {
            // The server knows no extensions, or none for us (RFC 5321, 3.2).
            self.hello("HELO", State::ExpectHelo, out);
        } else if reply.is_intermediate() {
            self.senseless(reply, out);
        } else {
            self.fail(Failure::Refused(self.at(), reply), out);
        }
    }

    pub(super) fn helo(&mut self, reply: Reply, out: &mut Vec<Action>) {
        if reply.is_positive() {
            self.offered = Capabilities::default();
            self.after_hello(out);
        } else if reply.is_intermediate() {
            self.senseless(reply, out);
        } else {
            self.fail(Failure::Refused(self.at(), reply), out);
        }
    }

    fn after_hello(&mut self, out: &mut Vec<Action>) {
        match self.settings.starttls {
            _ if self.settings.secured => self.login(out),
            StartTls::Never => self.login(out),
            StartTls::IfOffered | StartTls::Required if self.offered.starttls => {
                self.state = State::ExpectStartTls;
                out.push(Action::Send(Bytes::from_static(b"STARTTLS\r\n")));
            }
            StartTls::IfOffered => self.login(out),
            StartTls::Required => self.fail(Failure::NoStartTls, out),
        }
    }

    pub(super) fn starttls(&mut self, reply: Reply, octets: &mut BytesMut, out: &mut Vec<Action>) {
        if reply.is_positive() {
            // What stands behind the reply was not said under TLS: somebody else may have said it (RFC 3207, section 6).
            octets.clear();
            self.replies.clear();
            self.state = State::Handshake;
            out.push(Action::StartTls);
        } else if reply.is_intermediate() {
            self.senseless(reply, out);
        } else if self.settings.starttls == StartTls::IfOffered && reply.code != 421 {
            self.login(out);
        } else {
            self.fail(Failure::Refused(Step::StartTls, reply), out);
        }
    }

    pub(super) fn tls_up(&mut self, out: &mut Vec<Action>) {
        self.settings.secured = true;
        // RFC 3207, 4.2: what was learned before is forgotten.
        self.offered = Capabilities::default();
        self.extended_hello(out);
    }

    fn login(&mut self, out: &mut Vec<Action>) {
        let Some(Login { username, password }) = &self.settings.login else { return self.ready(out) };
        if !self.settings.secured && !self.settings.clear_login {
            return self.fail(Failure::ClearPassword, out);
        }
        let (command, auth) = if self.offered.auth_plain {
            let response = line(&format!("\0{username}\0{}", password.expose()));
            if "AUTH PLAIN ".len() + response.len() <= LONGEST_COMMAND {
                (Bytes::from([b"AUTH PLAIN ", &response[..]].concat()), Auth::Verdict)
            } else {
                (Bytes::from_static(b"AUTH PLAIN\r\n"), Auth::Plain(response))
            }
        } else if self.offered.auth_login {
            let (username, password) = (line(username), line(password.expose()));
            (Bytes::from_static(b"AUTH LOGIN\r\n"), Auth::LoginUsername { username, password })
        } else {
            return self.fail(Failure::NoAuth, out);
        };
        self.state = State::ExpectAuth(auth);
        out.push(Action::Send(command));
    }

    pub(super) fn auth(&mut self, auth: Auth, reply: Reply, out: &mut Vec<Action>) {
        let (response, next) = match auth {
            _ if reply.is_positive() => return self.ready(out),
            Auth::Plain(response) if reply.is_intermediate() => (response, Auth::Verdict),
            Auth::LoginUsername { username, password } if reply.is_intermediate() => {
                (username, Auth::LoginPassword(password))
            }
            Auth::LoginPassword(password) if reply.is_intermediate() => (password, Auth::Verdict),
            auth => {
                self.state = State::ExpectAuth(auth);
                return if reply.is_intermediate() {
                    self.senseless(reply, out)
                } else {
                    self.fail(Failure::Refused(Step::Auth, reply), out)
                };
            }
        };
        self.state = State::ExpectAuth(next);
        out.push(Action::Send(response));
    }
}

fn line(text: &str) -> Bytes {
    Bytes::from(BASE64.encode(text) + "\r\n")
}
