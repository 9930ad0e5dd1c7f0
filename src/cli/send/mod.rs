//! `waypost send`: submission with sendmail's command line, also when the program is called `sendmail`.
//!
//! Exit statuses are sysexits': 0 taken by the relay, 64 usage, 65 bad message (no recipients), 69 refused for good,
//! 75 not taken now: try again.

mod message;
mod options;
mod wire;

use std::ffi::OsString;
use std::io::Read;
use std::net::SocketAddr;
use std::process::ExitCode;

use crate::config::{ListenerTls, Server};
use crate::mail::Address;
use options::Options;

/// Sendmail's options: -t (recipients from the header), -i (a lone dot does not end it), -f ADDRESS, -F NAME, -v.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Options of sendmail (-t -i -f ADDRESS -F NAME -v, --server HOST:PORT) and recipients.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS AND RECIPIENTS")]
    arguments: Vec<OsString>,
}

const USAGE: u8 = 64;
const DATA: u8 = 65;
const REFUSED: u8 = 69;
const TRY_AGAIN: u8 = 75;

/// Why a message was not handed over, with sendmail's exit status for it.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Message(String),
    #[error("the relay refused it: {0}")]
    Refused(String),
    #[error("not handed over: {0}")]
    TryAgain(String),
}

impl SendError {
    fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Message(_) => DATA,
            Self::Refused(_) => REFUSED,
            Self::TryAgain(_) => TRY_AGAIN,
        }
    }
}

/// `server` gives the relay's settings; asked only where `--server` is not given.
pub fn run(args: &Args, server: impl FnOnce() -> anyhow::Result<Server>) -> ExitCode {
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
    let relay = match &options.server {
        Some(relay) => relay.clone(),
        None => {
            let server = server().map_err(|error| SendError::TryAgain(format!("{error:#}")))?;
            listener(&server).ok_or_else(|| {
                SendError::TryAgain("no listener takes mail without TLS; name one with --server HOST:PORT".to_owned())
            })?
        }
    };
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
    let name = options.name.as_deref();
    let sender = match &options.sender {
        Some(sender) => sender.clone(),
        None => message::sender(&content).or_else(own_address),
    };
    let content = message::complete(content, sender.clone().or_else(own_address).as_ref(), name);
    let said = wire::submit(&relay, sender.as_ref(), &recipients, &content)?;
    if options.verbose {
        println!("{said}");
    }
    Ok(())
}

/// The first listener that a local program can speak to in the clear.
fn listener(server: &Server) -> Option<String> {
    let listener = server.listeners.iter().find(|listener| listener.tls != ListenerTls::Implicit)?;
    let mut address = listener.address;
    if address.ip().is_unspecified() {
        address = match address {
            SocketAddr::V4(v4) => SocketAddr::from(([127, 0, 0, 1], v4.port())),
            SocketAddr::V6(v6) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        };
    }
    Some(address.to_string())
}

/// Who runs this program: what sendmail takes for the sender when none is given.
fn own_address() -> Option<Address> {
    let user = ["LOGNAME", "USER", "USERNAME"].iter().find_map(|variable| std::env::var(variable).ok())?;
    let host = crate::os::hostname().unwrap_or_else(|| "localhost".to_owned());
    format!("{user}@{host}").parse().ok()
}
