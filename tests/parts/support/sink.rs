//! A mail host that records what it gets and misbehaves on order.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::door::Door;
use super::{BOUND, mark_in, until};

/// What the host does with a message whose final dot it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterDot {
    Take,
    /// The connection stays open and no answer comes. The message is kept, as a host may do.
    Silent,
    /// Closes without an answer; the message is kept.
    Close,
    Reply(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub struct Manners {
    pub after_dot: AfterDot,
    /// The reply to each RCPT, where it is no 250.
    pub rcpt: Option<&'static str>,
}

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Mail {
    /// MAIL's argument: reverse-path and parameters.
    pub from: String,
    /// The arguments of the accepted RCPTs.
    pub to: Vec<String>,
    pub content: Vec<u8>,
    pub at: Instant,
}

impl Mail {
    pub fn mark(&self) -> Option<u64> {
        mark_in(&self.content)
    }
}

struct Shared {
    manners: Mutex<Manners>,
    mails: Mutex<Vec<Mail>>,
}

pub struct Sink {
    pub address: SocketAddr,
    _door: Door,
    shared: Arc<Shared>,
}

impl Sink {
    /// Listens on a port of the system's choice.
    pub fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    pub fn at(address: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            manners: Mutex::new(Manners { after_dot: AfterDot::Take, rcpt: None }),
            mails: Mutex::default(),
        });
        let for_door = shared.clone();
        let door = Door::open(address, move |stream, ends| serve(stream, &for_door, ends));
        Self { address: door.address, _door: door, shared }
    }

    pub fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.shared.manners.lock().unwrap());
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.shared.mails.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.mails.lock().unwrap().len()
    }

    pub fn wait_for(&self, count: usize) -> Vec<Mail> {
        until(&format!("{count} messages at the sink"), BOUND, || (self.count() >= count).then(|| self.mails()))
    }

    /// `host: …, port: …` for a provider of transport `smtp`.
    pub fn as_host(&self) -> String {
        format!("host: {}, port: {}, tls: none", self.address.ip(), self.address.port())
    }
}

fn serve(stream: TcpStream, shared: &Shared, ends: &AtomicBool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // So that silent sessions notice the end of the test.
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 sink.example ESMTP")?;
    let (mut from, mut to) = (String::new(), Vec::new());
    while let Some(line) = line(&mut stream, ends)? {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
        let rest = rest.split_once(':').map_or(rest, |(_, path)| path).trim().to_owned();
        let manners = *shared.manners.lock().unwrap();
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                say(&mut stream, "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES")?
            }
            "MAIL" => {
                (from, to) = (rest, Vec::new());
                say(&mut stream, "250 2.1.0 Ok")?;
            }
            "RCPT" => match manners.rcpt {
                Some(refusal) => say(&mut stream, refusal)?,
                None => {
                    to.push(rest);
                    say(&mut stream, "250 2.1.5 Ok")?;
                }
            },
            "DATA" if to.is_empty() => say(&mut stream, "554 5.5.1 No valid recipients")?,
            "DATA" => {
                say(&mut stream, "354 Go ahead")?;
                let Some(content) = content(&mut stream, ends)? else { return Ok(()) };
                let mail = Mail { from: from.clone(), to: std::mem::take(&mut to), content, at: Instant::now() };
                match manners.after_dot {
                    AfterDot::Take => {
                        shared.mails.lock().unwrap().push(mail);
                        say(&mut stream, "250 2.0.0 Ok: queued as sink")?;
                    }
                    AfterDot::Reply(reply) => say(&mut stream, reply)?,
                    AfterDot::Close => {
                        shared.mails.lock().unwrap().push(mail);
                        return Ok(());
                    }
                    AfterDot::Silent => {
                        shared.mails.lock().unwrap().push(mail);
                        while self::line(&mut stream, ends)?.is_some() {}
                        return Ok(());
                    }
                }
            }
            "QUIT" => return say(&mut stream, "221 2.0.0 Bye"),
            "RSET" | "NOOP" | "HELO" => say(&mut stream, "250 2.0.0 Ok")?,
            _ => say(&mut stream, "502 5.5.2 Not implemented")?,
        }
    }
    Ok(())
}

fn say(stream: &mut BufReader<TcpStream>, line: &str) -> io::Result<()> {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes())
}

/// The next line; `None` at the end of the connection or of the test.
fn line(stream: &mut BufReader<TcpStream>, ends: &AtomicBool) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        match stream.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(None),
            Ok(_) if line.ends_with(b"\n") => return Ok(Some(line)),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if ends.load(Ordering::SeqCst) {
                    return Ok(None);
                }
            }
            Err(e) => return Err(e),
        }
    }
}

/// Content up to the final dot, with the dots taken out.
fn content(stream: &mut BufReader<TcpStream>, ends: &AtomicBool) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    while let Some(line) = line(stream, ends)? {
        if line == b".\r\n" {
            return Ok(Some(content));
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
    Ok(None)
}
