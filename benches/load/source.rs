//! The client: sessions that send message after message, with pipelining (RFC 2920).

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Options;

pub struct Sent {
    pub refused: u32,
    /// From the end of the content to its reply, of each message.
    pub latencies: Vec<Duration>,
}

/// Sends until the relay is gone; gives the numbers of those that were acknowledged.
pub fn until_broken(to: SocketAddr, options: &Options, next: &Arc<AtomicU32>) -> JoinHandle<Vec<u32>> {
    let (next, message, sessions, most) = (next.clone(), Message::new(options), options.sessions, options.messages);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let message = Rc::new(message);
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let sessions: Vec<_> = (0..sessions)
                .map(|_| {
                    let (next, message) = (next.clone(), message.clone());
                    tokio::task::spawn_local(async move {
                        let mut acknowledged = Vec::new();
                        // The end of a session is the kill.
                        let _ = send_until(to, &next, most, &message, |n| acknowledged.push(n)).await;
                        acknowledged
                    })
                })
                .collect();
            let mut all = Vec::new();
            for session in sessions {
                all.extend(session.await.expect("no session panics"));
            }
            all
        })
    })
}

async fn send_until(
    to: SocketAddr,
    next: &AtomicU32,
    most: u32,
    message: &Message,
    mut acknowledged: impl FnMut(u32),
) -> io::Result<()> {
    let mut wire = Wire::open(to).await?;
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= most {
            return Ok(());
        }
        if wire.send(message, n, &mut None).await? == 250 {
            acknowledged(n);
        }
    }
}

pub fn run(to: SocketAddr, options: &Options) -> Sent {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let next = Rc::new(AtomicU32::new(0));
    let message = Rc::new(Message::new(options));
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let sessions: Vec<_> = (0..options.sessions)
            .map(|_| {
                tokio::task::spawn_local(session(to, next.clone(), options.first, options.messages, message.clone()))
            })
            .collect();
        let mut sent = Sent { refused: 0, latencies: Vec::with_capacity(options.messages as usize) };
        for session in sessions {
            let one =
                session.await.expect("no session panics").unwrap_or_else(|error| panic!("a session broke: {error}"));
            sent.refused += one.refused;
            sent.latencies.extend(one.latencies);
        }
        sent
    })
}

async fn session(
    to: SocketAddr,
    next: Rc<AtomicU32>,
    first: u32,
    messages: u32,
    message: Rc<Message>,
) -> io::Result<Sent> {
    let mut wire = Wire::open(to).await?;
    let mut sent = Sent { refused: 0, latencies: Vec::new() };
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= messages {
            break;
        }
        let mut latency = None;
        match wire.send(&message, first + n, &mut latency).await? {
            250 => sent.latencies.extend(latency),
            _ => sent.refused += 1,
        }
    }
    wire.stream.write_all(b"QUIT\r\n").await?;
    wire.reply().await?;
    Ok(sent)
}

struct Message {
    recipients: u32,
    domains: u32,
    /// With one domain, that of each message.
    envelope: Vec<u8>,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Message {
    fn new(options: &Options) -> Self {
        let envelope = envelope("load@sender.example", options.recipients, |n| format!("sink{n}@recipient.example"));
        let before = b"From: <load@sender.example>\r\nTo: <sink0@recipient.example>\r\nSubject: load\r\n\
            Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nX-Load: "
            .to_vec();
        let mut after = Vec::with_capacity(options.size + 256);
        let line = [b"x".repeat(76), b"\r\n".to_vec()].concat();
        while before.len() + 110 + after.len() < options.size {
            after.extend(&line);
        }
        after.extend(b".\r\n");
        Self { recipients: options.recipients, domains: options.domains, envelope, before, after }
    }

    fn envelope(&self, number: u32) -> Cow<'_, [u8]> {
        if self.domains <= 1 {
            return Cow::Borrowed(&self.envelope);
        }
        let (sender, domain) = (number % 50, number % self.domains);
        let recipient = |n| format!("r{number}.{n}@d{domain}.example");
        Cow::Owned(envelope(&format!("app@s{sender}.example"), self.recipients, recipient))
    }

    fn content(&self, n: u32) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.before.len() + self.after.len() + 64);
        content.extend(&self.before);
        content.extend(format!("{n:010}\r\nMessage-ID: <{n:010}@load.example>\r\n\r\n").bytes());
        content.extend(&self.after);
        content
    }
}

fn envelope(sender: &str, recipients: u32, recipient: impl Fn(u32) -> String) -> Vec<u8> {
    let mut envelope = format!("MAIL FROM:<{sender}>\r\n").into_bytes();
    for n in 0..recipients {
        envelope.extend(format!("RCPT TO:<{}>\r\n", recipient(n)).bytes());
    }
    envelope.extend(b"DATA\r\n");
    envelope
}

struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

impl Wire {
    async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let mut wire = Self { stream, buffer: Vec::with_capacity(4096), at: 0 };
        wire.reply().await?;
        wire.stream.write_all(b"EHLO load.example\r\n").await?;
        wire.reply().await?;
        Ok(wire)
    }

    /// One transaction; the code of its last reply, and how long that took.
    async fn send(&mut self, message: &Message, number: u32, latency: &mut Option<Duration>) -> io::Result<u16> {
        self.stream.write_all(&message.envelope(number)).await?;
        let mut taken = self.reply().await? == 250;
        for _ in 0..message.recipients {
            taken &= self.reply().await? == 250;
        }
        taken &= self.reply().await? == 354;
        if !taken {
            return Err(io::Error::other("an envelope was refused"));
        }
        self.stream.write_all(&message.content(number)).await?;
        let begin = Instant::now();
        let code = self.reply().await?;
        *latency = Some(begin.elapsed());
        Ok(code)
    }

    /// The code of the next reply.
    async fn reply(&mut self) -> io::Result<u16> {
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.buffer[self.at..]) {
                let line = &self.buffer[self.at..self.at + end];
                let code = line.get(..3).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
                let last = line.get(3) != Some(&b'-');
                self.at += end + 1;
                if last {
                    return code.ok_or_else(|| io::Error::other("a reply without a code"));
                }
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
