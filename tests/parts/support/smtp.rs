//! A small SMTP client that says exactly what it is told to.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// All lines without their codes, joined by line feeds.
    pub text: String,
}

pub struct Client {
    stream: BufReader<TcpStream>,
    pub greeting: Reply,
    /// The reply to EHLO.
    pub extensions: Reply,
}

impl Client {
    /// Connects, reads the greeting and says EHLO.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, Duration::from_secs(10))?)
    }

    /// The same over a connection that is there.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        let nothing = Reply { code: 0, text: String::new() };
        let mut client = Self { stream: BufReader::new(stream), greeting: nothing.clone(), extensions: nothing };
        client.greeting = client.reply()?;
        client.extensions = client.say("EHLO client.example")?;
        Ok(client)
    }

    pub fn reply(&mut self) -> io::Result<Reply> {
        let (mut text, mut code) = (String::new(), None);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            let bad = || io::Error::other(format!("not a reply: {line:?}"));
            let this = line.get(..3).and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
            if *code.get_or_insert(this) != this {
                return Err(bad());
            }
            text.push_str(line.get(4..).unwrap_or_default());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code: this, text });
            }
            text.push('\n');
        }
    }

    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    pub fn say(&mut self, line: &str) -> io::Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// One transaction, its envelope pipelined; gives the reply to the content, or the first refusal.
    pub fn mail(&mut self, from: &str, to: &[&str], content: &[u8]) -> io::Result<Reply> {
        let mut envelope = format!("MAIL FROM:<{from}>\r\n");
        for to in to {
            envelope.push_str(&format!("RCPT TO:<{to}>\r\n"));
        }
        envelope.push_str("DATA\r\n");
        self.write(envelope.as_bytes())?;
        let replies = (0..to.len() + 2).map(|_| self.reply()).collect::<io::Result<Vec<_>>>()?;
        let last = replies.last().cloned().unwrap_or_else(|| Reply { code: 0, text: String::new() });
        if last.code == 354 {
            self.write(&dotted(content))?;
            return self.reply();
        }
        let _ = self.say("RSET")?;
        Ok(replies.into_iter().find(|reply| reply.code >= 400).unwrap_or(last))
    }

    pub fn quit(mut self) {
        let _ = self.say("QUIT");
    }
}

/// Content as DATA carries it (RFC 5321, 4.5.2), final dot included.
pub fn dotted(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 8);
    for line in content.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}
