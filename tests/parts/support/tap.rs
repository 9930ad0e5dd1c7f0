//! A strict mail host that keeps the octets of the wire as they came: only `CRLF . CRLF` ends content, only CRLF a command.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::door::Door;
use super::{BOUND, loopback, until};

/// One transaction on the wire.
#[derive(Debug, Clone)]
pub struct Wire {
    /// MAIL's and RCPT's lines.
    pub envelope: Vec<String>,
    /// All behind 354, the final dot included, dots as they were sent.
    pub raw: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Wire>>,
}

pub struct Tap {
    pub address: SocketAddr,
    _door: Door,
    shared: Arc<Shared>,
}

impl Tap {
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let for_door = shared.clone();
        let door = Door::open(loopback(1, 0), move |stream, ends| serve(stream, &for_door, ends));
        Self { address: door.address, _door: door, shared }
    }

    pub fn seen(&self) -> Vec<Wire> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn wait_for(&self, count: usize) -> Vec<Wire> {
        let enough = || Some(self.seen()).filter(|seen| seen.len() >= count);
        until(&format!("{count} messages on the wire"), BOUND, enough)
    }
}

fn serve(mut stream: TcpStream, shared: &Shared, ends: &AtomicBool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let (mut octets, mut envelope) = (Vec::new(), Vec::new());
    stream.write_all(b"220 tap.example ESMTP\r\n")?;
    while let Some(line) = upto(&mut stream, &mut octets, b"\r\n", ends)? {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let reply = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => "250-tap.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES",
            "MAIL" | "RCPT" => {
                envelope.push(line);
                "250 2.1.0 Ok"
            }
            "DATA" => {
                stream.write_all(b"354 Go ahead\r\n")?;
                // An end may be all there is: the line that 354 answers ended in CRLF.
                octets.splice(..0, *b"\r\n");
                let Some(raw) = upto(&mut stream, &mut octets, b"\r\n.\r\n", ends)? else { return Ok(()) };
                let raw = raw[2..].to_vec();
                shared.seen.lock().unwrap().push(Wire { envelope: std::mem::take(&mut envelope), raw });
                "250 2.0.0 Ok"
            }
            "QUIT" => return stream.write_all(b"221 2.0.0 Bye\r\n"),
            "RSET" => {
                envelope.clear();
                "250 2.0.0 Ok"
            }
            _ => "500 5.5.1 What?",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
    }
    Ok(())
}

/// Takes all up to and with `end` from what was read, reading on as needed; `None` at the end of the connection or of the
/// test.
fn upto(stream: &mut TcpStream, octets: &mut Vec<u8>, end: &[u8], ends: &AtomicBool) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(at) = memchr::memmem::find(octets, end) {
            return Ok(Some(octets.drain(..at + end.len()).collect()));
        }
        let mut buffer = [0; 16 * 1024];
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => octets.extend_from_slice(&buffer[..count]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if ends.load(Ordering::SeqCst) {
                    return Ok(None);
                }
            }
            Err(e) => return Err(e),
        }
    }
}
