//! Hands one message to the relay over SMTP: one transaction, blocking. Or lets the caller speak to it (`-bs`).

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::{Envelope, Refusal, SendError};

/// A local relay answers at once; longer than this it is not well.
const CONNECT: Duration = Duration::from_secs(10);
pub const REPLY: Duration = Duration::from_secs(60);

fn connect(relay: &str, patience: Duration) -> Result<TcpStream, SendError> {
    let unreachable = |error: io::Error| SendError::TryAgain(format!("no relay at {relay}: {error}"));
    let mut last = None;
    // `localhost` is two addresses, and the relay may have one of them.
    for address in relay.to_socket_addrs().map_err(unreachable)? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(patience)).map_err(unreachable)?;
                stream.set_write_timeout(Some(patience)).map_err(unreachable)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| SendError::TryAgain(format!("no relay at {relay}: no address")), unreachable))
}

/// Submits, and gives the relay's last reply.
pub fn submit(relay: &str, envelope: &Envelope<'_>, content: &[u8], patience: Duration) -> Result<String, SendError> {
    let mut wire = Wire { reader: BufReader::new(connect(relay, patience)?) };
    wire.reply(220, "connecting")?;
    let greeting = wire.command(&format!("EHLO {}", super::options::here()), 250, "EHLO")?;
    let offers =
        |keyword: &str| greeting.lines().any(|line| line.get(4..).is_some_and(|line| line.starts_with(keyword)));
    let eight_bit = if offers("8BITMIME") && !content.is_ascii() { " BODY=8BITMIME" } else { "" };
    let utf8 = if envelope.needs_smtputf8() { " SMTPUTF8" } else { "" };
    let (mail, rcpt) =
        if offers("DSN") { (envelope.mail_parameters(), envelope.rcpt_parameters()) } else { Default::default() };
    let from = envelope.from();
    wire.command(&format!("MAIL FROM:<{from}>{eight_bit}{utf8}{mail}"), 250, &format!("sender <{from}>"))?;
    for recipient in envelope.recipients {
        wire.command(&format!("RCPT TO:<{recipient}>{rcpt}"), 250, &format!("recipient <{recipient}>"))?;
    }
    wire.command("DATA", 354, "DATA")?;
    let mut stuffed = Vec::with_capacity(content.len() + 64);
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    wire.write(&stuffed)?;
    let said = wire.reply(250, "the message")?;
    // It is the relay's now, whatever it answers here.
    let _ = wire.command("QUIT", 221, "QUIT");
    Ok(said)
}

struct Wire {
    reader: BufReader<TcpStream>,
}

impl Wire {
    fn command(&mut self, line: &str, wanted: u16, what: &str) -> Result<String, SendError> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply(wanted, what)
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), SendError> {
        self.reader.get_mut().write_all(octets).map_err(broken)
    }

    /// A reply with the wanted code, its lines joined. `what` it answers, for the message about another one.
    fn reply(&mut self, wanted: u16, what: &str) -> Result<String, SendError> {
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
            Some(500..600) => Err(SendError::Refused(Refusal { what: what.to_owned(), said })),
            Some(_) | None => Err(SendError::TryAgain(format!("the relay said to {what}: {said}"))),
        }
    }
}

fn broken(error: io::Error) -> SendError {
    SendError::TryAgain(format!("the connection to the relay broke: {error}"))
}

/// The caller's dialogue, octet for octet: its standard input is the client, its standard output hears the server.
pub fn dialogue(relay: &str) -> Result<(), SendError> {
    let mut from_relay = match connect(relay, REPLY) {
        Ok(stream) => stream,
        Err(error) => {
            // In the words that it waits for.
            say!("421 4.3.2 {error}\r");
            return Err(error);
        }
    };
    // A caller may think between its commands; the relay has time-outs of its own.
    from_relay.set_read_timeout(None).map_err(broken)?;
    let mut to_relay = from_relay.try_clone().map_err(broken)?;
    // Ends with the process where the relay hangs up first.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut to_relay);
        let _ = to_relay.shutdown(Shutdown::Write);
    });
    let mut out = io::stdout().lock();
    let mut reader = BufReader::new(&mut from_relay);
    loop {
        let seen = match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(octets) => {
                out.write_all(octets).and_then(|()| out.flush()).map_err(broken)?;
                octets.len()
            }
            Err(error) => return Err(broken(error)),
        };
        reader.consume(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_says_nothing_is_to_be_tried_again() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let envelope = Envelope { sender: None, recipients: &[], notify: None, ret: None, envid: None };
        let relay = silent.local_addr().unwrap().to_string();
        let said = submit(&relay, &envelope, b"", Duration::from_millis(20));
        assert!(matches!(said, Err(SendError::TryAgain(_))), "{said:?}");
    }
}
