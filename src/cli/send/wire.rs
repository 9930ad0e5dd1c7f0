//! Hands one message to the relay over SMTP: one transaction, blocking.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::SendError;
use crate::mail::Address;

/// A local relay answers at once; longer than this it is not well.
const CONNECT: Duration = Duration::from_secs(10);
const REPLY: Duration = Duration::from_secs(300);

/// Submits, and gives the relay's last reply.
pub fn submit(
    relay: &str,
    sender: Option<&Address>,
    recipients: &[Address],
    content: &[u8],
) -> Result<String, SendError> {
    let unreachable = |error: std::io::Error| SendError::TryAgain(format!("no relay at {relay}: {error}"));
    let address = relay.to_socket_addrs().map_err(unreachable)?.next();
    let address = address.ok_or_else(|| SendError::TryAgain(format!("no relay at {relay}: no address")))?;
    let stream = TcpStream::connect_timeout(&address, CONNECT).map_err(unreachable)?;
    stream.set_read_timeout(Some(REPLY)).map_err(unreachable)?;
    stream.set_write_timeout(Some(REPLY)).map_err(unreachable)?;
    let mut wire = Wire { reader: BufReader::new(stream) };
    wire.reply(220)?;
    let greeting =
        wire.command(&format!("EHLO {}", crate::os::hostname().unwrap_or_else(|| "localhost".to_owned())), 250)?;
    let utf8 = sender.into_iter().chain(recipients).any(Address::needs_smtputf8);
    let eight_bit = if greeting.contains("8BITMIME") && !content.is_ascii() { " BODY=8BITMIME" } else { "" };
    let utf8 = if utf8 { " SMTPUTF8" } else { "" };
    let from = sender.map(ToString::to_string).unwrap_or_default();
    wire.command(&format!("MAIL FROM:<{from}>{eight_bit}{utf8}"), 250)?;
    for recipient in recipients {
        wire.command(&format!("RCPT TO:<{recipient}>"), 250)?;
    }
    wire.command("DATA", 354)?;
    let mut stuffed = Vec::with_capacity(content.len() + 64);
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    wire.write(&stuffed)?;
    let said = wire.reply(250)?;
    // It is the relay's now, whatever it answers here.
    let _ = wire.command("QUIT", 221);
    Ok(said)
}

struct Wire {
    reader: BufReader<TcpStream>,
}

impl Wire {
    fn command(&mut self, line: &str, wanted: u16) -> Result<String, SendError> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply(wanted)
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), SendError> {
        self.reader.get_mut().write_all(octets).map_err(broken)
    }

    /// A reply with the wanted code, its lines joined.
    fn reply(&mut self, wanted: u16) -> Result<String, SendError> {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).map_err(broken)? == 0 {
                return Err(SendError::TryAgain("the relay closed the connection".to_owned()));
            }
            said.push_str(line.trim_end());
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
            said.push('\n');
        }
        match said.get(..3).and_then(|code| code.parse::<u16>().ok()) {
            Some(code) if code == wanted => Ok(said),
            Some(500..600) => Err(SendError::Refused(said)),
            Some(_) | None => Err(SendError::TryAgain(format!("the relay said: {said}"))),
        }
    }
}

fn broken(error: std::io::Error) -> SendError {
    SendError::TryAgain(format!("the connection to the relay broke: {error}"))
}
