//! A receiver of webhooks that keeps each request, and answers as it is told.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::Value;

use super::door::Door;
use super::{BOUND, loopback, until};

/// A POST as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// The request line and the header, as they came.
    pub head: String,
    pub body: Vec<u8>,
}

impl Call {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_default().to_owned()
    }

    pub fn field(&self, name: &str) -> Option<String> {
        let wanted = format!("{}:", name.to_ascii_lowercase());
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&wanted))?;
        Some(line[wanted.len()..].trim().to_owned())
    }

    /// As the documentation tells receivers to check it: the time is of now, and the HMAC is that of time, dot and body.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let Some(signature) = self.field("waypost-signature") else { return false };
        let part = |name: &str| signature.split(',').find_map(|part| part.strip_prefix(name)).unwrap_or_default();
        let (time, hex) = (part("t="), part("v1="));
        let octets: Option<Vec<u8>> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect();
        let age = waypost::os::Clock::system().wall().as_second() - time.parse::<i64>().unwrap_or(0);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signed = [time.as_bytes(), b".", &self.body].concat();
        (0..300).contains(&age) && octets.is_some_and(|octets| hmac::verify(&key, &signed, &octets).is_ok())
    }
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    /// Status lines of the next answers; then 200.
    answers: Mutex<Vec<&'static str>>,
}

pub struct Hook {
    pub address: SocketAddr,
    _door: Door,
    shared: Arc<Shared>,
}

impl Hook {
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let for_door = shared.clone();
        let door = Door::open(loopback(1, 0), move |stream, _| serve(stream, &for_door));
        Self { address: door.address, _door: door, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/services/hook", self.address)
    }

    /// The answers to the next calls, in order.
    pub fn answer(&self, lines: &[&'static str]) {
        *self.shared.answers.lock().unwrap() = lines.iter().rev().copied().collect();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    pub fn wait_for(&self, count: usize) -> Vec<Call> {
        until(&format!("{count} calls of the webhook"), BOUND, || (self.calls().len() >= count).then(|| self.calls()))
    }
}

/// One request, one answer, and the end: HTTP/1.1 with `Connection: close`.
fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut octets = Vec::new();
    let call = loop {
        let mut piece = [0; 16 * 1024];
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        octets.extend_from_slice(&piece[..count]);
        let Some(head) = memchr::memmem::find(&octets, b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&octets[..head]).into_owned();
        let length = text
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        if octets.len() >= head + 4 + length {
            break Call { head: text, body: octets[head + 4..head + 4 + length].to_vec() };
        }
    };
    shared.calls.lock().unwrap().push(call);
    let status = shared.answers.lock().unwrap().pop().unwrap_or("200 OK");
    stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").as_bytes())
}
