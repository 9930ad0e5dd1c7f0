//! The client: sessions that send message after message, with pipelining (RFC 2920).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Options;

pub struct Sent {
    pub refused: u32,
    /// From the end of the content to its reply, of each message.
    pub latencies: Vec<Duration>,
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
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut wire = Wire { stream, buffer: Vec::with_capacity(4096), at: 0 };
    let mut sent = Sent { refused: 0, latencies: Vec::new() };
    wire.reply().await?;
    wire.stream.write_all(b"EHLO load.example\r\n").await?;
    wire.reply().await?;
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= messages {
            break;
        }
        wire.stream.write_all(&message.envelope).await?;
        let mut taken = wire.reply().await? == 250;
        for _ in 0..message.recipients {
            taken &= wire.reply().await? == 250;
        }
        taken &= wire.reply().await? == 354;
        if !taken {
            return Err(io::Error::other("an envelope was refused"));
        }
        wire.stream.write_all(&message.content(first + n)).await?;
        let begin = Instant::now();
        match wire.reply().await? {
            250 => sent.latencies.push(begin.elapsed()),
            _ => sent.refused += 1,
        }
    }
    wire.stream.write_all(b"QUIT\r\n").await?;
    wire.reply().await?;
    Ok(sent)
}

struct Message {
    recipients: u32,
    envelope: Vec<u8>,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Message {
    fn new(options: &Options) -> Self {
        let mut envelope = b"MAIL FROM:<load@sender.example>\r\n".to_vec();
        for n in 0..options.recipients {
            envelope.extend(format!("RCPT TO:<sink{n}@recipient.example>\r\n").bytes());
        }
        envelope.extend(b"DATA\r\n");
        let before = b"From: <load@sender.example>\r\nTo: <sink0@recipient.example>\r\nSubject: load\r\n\
            Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nX-Load: "
            .to_vec();
        let mut after = Vec::with_capacity(options.size + 256);
        let line = [b"x".repeat(76), b"\r\n".to_vec()].concat();
        while before.len() + 110 + after.len() < options.size {
            after.extend(&line);
        }
        after.extend(b".\r\n");
        Self { recipients: options.recipients, envelope, before, after }
    }

    fn content(&self, n: u32) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.before.len() + self.after.len() + 64);
        content.extend(&self.before);
        content.extend(format!("{n:010}\r\nMessage-ID: <{n:010}@load.example>\r\n\r\n").bytes());
        content.extend(&self.after);
        content
    }
}

struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

impl Wire {
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
