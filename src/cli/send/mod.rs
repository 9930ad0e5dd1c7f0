//! `waypost send`: submission with sendmail's command line, also when the program is called `sendmail`.
//!
//! A message that the relay cannot take now (it is down, hangs, or says 4yz) is put into its pickup folder, and counts as
//! sent. Exit statuses are sysexits': 0 taken or spooled, 64 usage, 65 bad message (no recipients), 67 no such user, 68 no
//! such host, 69 refused for good, 75 neither taken nor spooled: try again, 77 no permission.

mod message;
mod options;
mod spool;
mod wire;

use std::ffi::OsString;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use crate::config::{Authentication, Listener, ListenerProtocol, ListenerTls, Server};
use crate::mail::{Address, EnhancedStatus, Notify, Ret};
use crate::smtp::xtext;
use options::Options;

/// Sendmail's options: -t (recipients from the header), -i (a lone dot does not end it), -f ADDRESS, -F NAME, -v.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Options of sendmail (-t -i -f ADDRESS -F NAME -N -R -V -bs -v, --server HOST:PORT, --pickup DIR) and recipients.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS AND RECIPIENTS")]
    arguments: Vec<OsString>,
}

/// Why a message was not handed over, with sendmail's exit status for it.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Message(String),
    #[error("not sent, the relay refused {}: {}", .0.what, .0.said)]
    Refused(Refusal),
    /// The relay is down or takes nothing now.
    #[error("not sent, try again: {0}")]
    TryAgain(String),
}

/// A 5yz reply of the relay.
#[derive(Debug)]
pub struct Refusal {
    pub what: String,
    pub said: String,
}

impl SendError {
    /// `sysexits.h`.
    fn status(&self) -> u8 {
        const USAGE: u8 = 64;
        const DATA: u8 = 65;
        const NO_USER: u8 = 67;
        const NO_HOST: u8 = 68;
        const UNAVAILABLE: u8 = 69;
        const TRY_AGAIN: u8 = 75;
        const NO_PERMISSION: u8 = 77;
        match self {
            Self::Usage(_) => USAGE,
            Self::Message(_) => DATA,
            Self::TryAgain(_) => TRY_AGAIN,
            Self::Refused(Refusal { said, .. }) => {
                let status = said.split_whitespace().nth(1).and_then(|word| word.parse::<EnhancedStatus>().ok());
                match status.map(|status| (status.subject(), status.detail())) {
                    _ if said.starts_with("530") => NO_PERMISSION,
                    Some((1, 2)) => NO_HOST,
                    Some((1, _)) => NO_USER,
                    Some((6, _)) => DATA,
                    Some(_) | None => UNAVAILABLE,
                }
            }
        }
    }
}

/// What goes with the content.
pub struct Envelope<'a> {
    sender: Option<&'a Address>,
    recipients: &'a [Address],
    notify: Option<Notify>,
    ret: Option<Ret>,
    envid: Option<&'a str>,
}

impl Envelope<'_> {
    /// What stands between the angle brackets of MAIL.
    fn from(&self) -> String {
        self.sender.map(ToString::to_string).unwrap_or_default()
    }

    fn needs_smtputf8(&self) -> bool {
        self.sender.into_iter().chain(self.recipients).any(Address::needs_smtputf8)
    }

    /// RFC 3461, 4.3 and 4.4.
    fn mail_parameters(&self) -> String {
        let ret = match self.ret {
            Some(Ret::Full) => " RET=FULL",
            Some(Ret::Headers) => " RET=HDRS",
            None => "",
        };
        self.envid.map_or_else(|| ret.to_owned(), |envid| format!("{ret} ENVID={}", xtext::encode(envid)))
    }

    /// RFC 3461, 4.1.
    fn rcpt_parameters(&self) -> String {
        let Some(Notify { success, failure, delay }) = self.notify else { return String::new() };
        let asked = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let asked: Vec<_> = asked.iter().filter(|(asked, _)| *asked).map(|(_, word)| *word).collect();
        format!(" NOTIFY={}", if asked.is_empty() { "NEVER".to_owned() } else { asked.join(",") })
    }
}

const HELP: &str = "\
Submission as sendmail does it: the message comes on standard input

Usage: waypost send [OPTIONS] [RECIPIENT]...

  -t                   recipients are those of To, Cc and Bcc
  -i, -oi              a line with a lone dot does not end the message
  -f, -r ADDRESS       the reverse-path; <> is the null one
  -F NAME              the name beside it in From
  -N NEVER|success,failure,delay    what the sender wants to be told of
  -R full|hdrs         how much of the message a report brings back
  -V ENVID             what a report names the message by
  -bs                  speak SMTP on standard input
  -v                   print the dialogue
  --server HOST:PORT   another server than the relay of the configuration; nothing is spooled then
  --pickup DIR         the folder for what cannot be handed over now

What steers sendmail's own daemon, queue and logs is read and means nothing. Exit status: 0 sent or spooled, 64 usage, 65 no
recipients or bad content, 67 and 68 no such user or host, 69 refused for good, 75 neither sent nor spooled, 77 the relay
wants a password.";

/// `server` gives the relay's settings; asked only where `--server` is not given.
pub fn run(args: &Args, server: impl FnOnce() -> anyhow::Result<Server>) -> ExitCode {
    if args.arguments.first().is_some_and(|first| first == "--help") {
        say!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match send(&args.arguments, server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waypost send: {error}");
            ExitCode::from(error.status())
        }
    }
}

fn send(arguments: &[OsString], server: impl FnOnce() -> anyhow::Result<Server>) -> Result<(), SendError> {
    let options = Options::parse(arguments)?;
    // Another server's mail has no business in this one's folder, unless one is named.
    let (relay, pickup) = match &options.server {
        Some(relay) => (Some(relay.clone()), options.pickup.clone()),
        None => {
            let server = server().map_err(|error| SendError::TryAgain(format!("{error:#}")))?;
            let pickup = options.pickup.clone().or_else(|| server.pickup.as_ref().map(|pickup| pickup.path.clone()));
            (listener(&server), pickup)
        }
    };
    let no_relay = || {
        SendError::TryAgain(
            "no listener takes mail of this host without TLS and password; name one with --server HOST:PORT".to_owned(),
        )
    };
    if options.dialogue {
        return wire::dialogue(&relay.ok_or_else(no_relay)?);
    }
    let mut input = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut input)
        .map_err(|error| SendError::TryAgain(format!("the message cannot be read: {error}")))?;
    let content = message::read(&input, options.ignore_dots);
    let mut recipients = options.recipients.clone();
    if options.from_header {
        recipients.extend(message::recipients(&content)?);
    }
    recipients.sort();
    recipients.dedup();
    if recipients.is_empty() {
        return Err(SendError::Message("no recipients: name them, or give -t and a To field".to_owned()));
    }
    let sender = match &options.sender {
        Some(sender) => sender.clone(),
        None => message::sender(&content).or_else(own_address),
    };
    let content = message::complete(content, sender.clone().or_else(own_address).as_ref(), options.name.as_deref());
    let envelope = Envelope {
        sender: sender.as_ref(),
        recipients: &recipients,
        notify: options.notify,
        ret: options.ret,
        envid: options.envid.as_deref(),
    };
    let sent = relay.ok_or_else(no_relay).and_then(|relay| wire::submit(&relay, &envelope, &content, wire::REPLY));
    let said = match (sent, pickup) {
        (Err(SendError::TryAgain(why)), Some(pickup)) => {
            let spooled = spool::spool(&pickup, &envelope, &content);
            let file = spooled.map_err(|error| SendError::TryAgain(format!("{why}; and {error}")))?;
            format!("{why}; it waits for the relay in {}", file.display())
        }
        (sent, _) => sent?,
    };
    if options.verbose {
        say!("{said}");
    }
    Ok(())
}

/// The first listener that a local program can speak to in the clear and without a password.
fn listener(server: &Server) -> Option<String> {
    let listener = server.listeners.iter().find(|listener| is_open_to_this_host(listener))?;
    let mut address = listener.address;
    if address.ip().is_unspecified() {
        address = match address {
            SocketAddr::V4(v4) => SocketAddr::from((Ipv4Addr::LOCALHOST, v4.port())),
            SocketAddr::V6(v6) => SocketAddr::from((Ipv6Addr::LOCALHOST, v6.port())),
        };
    }
    Some(address.to_string())
}

fn is_open_to_this_host(listener: &Listener) -> bool {
    let own: IpAddr = match listener.address {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    // A listener on an address of its own sees this host come from there.
    let from = [own, listener.address.ip()];
    let allowed = listener.allow.iter().any(|allowed| from.iter().any(|ip| allowed.network.contains(ip)));
    // From a balancer, it would have to say whom it brings.
    let mut shut = listener.deny.iter().chain(&listener.proxy_protocol);
    let shut = shut.any(|net| from.iter().any(|ip| net.contains(ip)));
    let smtp = listener.protocol == ListenerProtocol::Smtp && listener.tls != ListenerTls::Implicit;
    smtp && !shut && (allowed || listener.authentication == Authentication::None)
}

/// Who runs this program: what sendmail takes for the sender when none is given.
fn own_address() -> Option<Address> {
    Address::new(&crate::os::username()?, options::here()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_sendmail_s_status() {
        for (said, status) in [
            ("550 5.1.1 no such user", 67),
            ("550 5.1.2 no such host", 68),
            ("550 5.7.1 No route takes mail for <a@b.example>", 69),
            ("552 5.3.4 too large", 69),
            ("550 5.6.0 Bare CR or LF in the content", 65),
            ("530 5.7.0 Authentication required", 77),
            ("554 no", 69),
        ] {
            let refusal = Refusal { what: "x".to_owned(), said: said.to_owned() };
            assert_eq!(SendError::Refused(refusal).status(), status, "{said}");
        }
    }
}
