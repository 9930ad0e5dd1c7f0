//! A next hop that keeps to the protocol up to one step, and there misbehaves in one way, so many times; afterwards it is
//! a mail host like any other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::mark_in;

/// Where it misbehaves: in place of what it had to say there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Greeting,
    Hello,
    StartTls,
    /// It has said 220 to STARTTLS, and what follows is no handshake.
    Handshake,
    /// EHLO under TLS.
    SecureHello,
    Mail,
    Rcpt,
    Data,
    /// Some of the content has been read.
    Content,
    /// The last octet of the content has been read, and the message is kept.
    Final,
    /// After a recipient that was put off.
    Reset,
    Quit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Reset,
    /// Neither reads nor writes.
    Hang,
    HalfClose,
    /// A reply without end, an octet at a time; amid the content, its octets are read that way.
    Drip,
    Garbage,
    EndlessLines,
    EndlessLine,
    Reply(&'static str),
}

#[derive(Clone)]
pub struct Script {
    pub step: Step,
    pub way: Way,
    pub times: usize,
    pub pipelining: bool,
    /// Offers CHUNKING.
    pub chunks: bool,
    /// Offers STARTTLS.
    pub tls: Option<Arc<ServerConfig>>,
}

/// What has happened so far.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub misbehaved: usize,
    /// Marks of messages that were answered with 250.
    pub taken: Vec<Option<u64>>,
    /// Messages that came whole while it misbehaved.
    pub kept: usize,
    /// MAIL without TLS.
    pub clear_mail: usize,
}

struct Shared {
    script: Script,
    seen: Mutex<Seen>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Shared {
    /// Waits for the end of the test, so long at most; true when it has come.
    fn ends_within(&self, pause: Duration) -> bool {
        let stop = self.stop.lock().unwrap();
        *self.stopped.wait_timeout_while(stop, pause, |stop| !*stop).unwrap().0
    }

    fn misbehaves(&self) -> bool {
        self.seen.lock().unwrap().misbehaved < self.script.times
    }
}

pub struct Peer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Peer {
    pub fn start(script: Script) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // Little room, so that a sender notices who does not read.
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(16).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let (seen, stop, stopped) = (Mutex::default(), Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { script, seen, stop, stopped });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if *for_thread.stop.lock().unwrap() {
                    return;
                }
                let shared = Arc::clone(&for_thread);
                if let Ok(stream) = stream {
                    std::thread::spawn(move || drop(Session::new(stream, &shared).and_then(Session::serve)));
                }
            }
        });
        Self { address, shared }
    }

    pub fn seen(&self) -> Seen {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        *self.shared.stop.lock().unwrap() = true;
        self.shared.stopped.notify_all();
        // Wakes the accepting thread, which then closes the port.
        let _ = TcpStream::connect(self.address);
    }
}

enum Wire {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    Gone,
}

struct Session<'a> {
    wire: Wire,
    socket: TcpStream,
    unread: Vec<u8>,
    shared: &'a Shared,
}

/// The session is over, in whatever way.
fn over() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl<'a> Session<'a> {
    fn new(stream: TcpStream, shared: &'a Shared) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // So that silent sessions notice the end of the test.
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let socket = stream.try_clone()?;
        Ok(Self { wire: Wire::Clear(stream), socket, unread: Vec::new(), shared })
    }

    fn serve(mut self) -> io::Result<()> {
        let script = &self.shared.script;
        self.comes_to(Step::Greeting)?;
        self.say("220 peer.example ESMTP")?;
        let mut secure = false;
        let mut puts_off = false;
        loop {
            let line = String::from_utf8_lossy(&self.line()?).to_ascii_uppercase();
            match line.split([' ', ':']).next().unwrap_or_default().trim_end() {
                "EHLO" => {
                    self.comes_to(if secure { Step::SecureHello } else { Step::Hello })?;
                    let pipelining = if script.pipelining { "250-PIPELINING\r\n" } else { "" };
                    let tls = if script.tls.is_some() && !secure { "250-STARTTLS\r\n" } else { "" };
                    let chunks = if script.chunks { "250-CHUNKING\r\n" } else { "" };
                    self.say(&format!("250-peer.example\r\n{pipelining}{chunks}{tls}250 8BITMIME"))?;
                }
                "HELO" => self.say("250 peer.example")?,
                "STARTTLS" => {
                    self.comes_to(Step::StartTls)?;
                    self.say("220 go ahead")?;
                    self.comes_to(Step::Handshake)?;
                    let config = script.tls.clone().ok_or_else(over)?;
                    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                    match std::mem::replace(&mut self.wire, Wire::Gone) {
                        Wire::Clear(stream) => self.wire = Wire::Tls(Box::new(StreamOwned::new(connection, stream))),
                        Wire::Tls(_) | Wire::Gone => return Err(over()),
                    }
                    secure = true;
                }
                "MAIL" => {
                    self.shared.seen.lock().unwrap().clear_mail += usize::from(!secure);
                    self.comes_to(Step::Mail)?;
                    self.say("250 2.1.0 Ok")?;
                }
                "RCPT" => {
                    self.comes_to(Step::Rcpt)?;
                    puts_off = script.step == Step::Reset && self.shared.misbehaves();
                    self.say(if puts_off { "450 4.2.1 later" } else { "250 2.1.5 Ok" })?;
                }
                "DATA" if puts_off => self.say("503 5.5.1 No recipients")?,
                "DATA" => {
                    self.comes_to(Step::Data)?;
                    self.say("354 go ahead")?;
                    let content = self.content()?;
                    self.has_all(&content)?;
                }
                "BDAT" => {
                    self.comes_to(Step::Data)?;
                    let size = line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).ok_or_else(over)?;
                    while self.unread.len() < size {
                        self.more()?;
                    }
                    let content: Vec<u8> = self.unread.drain(..size).collect();
                    if puts_off {
                        self.say("503 5.5.1 No recipients")?;
                    } else {
                        self.has_all(&content)?;
                    }
                }
                "RSET" => {
                    self.comes_to(Step::Reset)?;
                    self.say("250 2.0.0 Ok")?;
                }
                "QUIT" => {
                    self.comes_to(Step::Quit)?;
                    return self.say("221 2.0.0 Bye");
                }
                _ => self.say("502 5.5.2 Not implemented")?,
            }
        }
    }

    fn has_all(&mut self, content: &[u8]) -> io::Result<()> {
        if self.shared.script.step == Step::Final && self.shared.misbehaves() {
            self.shared.seen.lock().unwrap().kept += 1;
        }
        self.comes_to(Step::Final)?;
        self.shared.seen.lock().unwrap().taken.push(mark_in(content));
        self.say("250 2.0.0 Ok: queued")
    }

    fn comes_to(&mut self, step: Step) -> io::Result<()> {
        if self.shared.script.step != step {
            return Ok(());
        }
        {
            let mut seen = self.shared.seen.lock().unwrap();
            if seen.misbehaved >= self.shared.script.times {
                return Ok(());
            }
            seen.misbehaved += 1;
        }
        self.misbehave(step)?;
        Err(over())
    }

    fn misbehave(&mut self, step: Step) -> io::Result<()> {
        // A drip or a stream of octets in the shape of the reply that is due, but that it never ends.
        let code = match step {
            Step::Greeting | Step::StartTls => "220",
            Step::Data => "354",
            _ => "250",
        };
        match self.shared.script.way {
            Way::Reset => {
                socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))?;
                Ok(())
            }
            Way::Hang => {
                while !self.shared.ends_within(Duration::from_secs(60)) {}
                Ok(())
            }
            Way::HalfClose => {
                self.socket.shutdown(Shutdown::Write)?;
                self.read_to_the_end()
            }
            Way::Drip if step == Step::Content => {
                let mut octet = [0];
                while !self.shared.ends_within(Duration::from_millis(50)) && self.read(&mut octet)? > 0 {}
                Ok(())
            }
            Way::Drip => {
                for octet in format!("{code}-").bytes().chain(std::iter::repeat(b'x')) {
                    self.write(&[octet])?;
                    if self.shared.ends_within(Duration::from_millis(100)) {
                        break;
                    }
                }
                Ok(())
            }
            Way::Garbage => {
                let mut state: u32 = 7;
                let mut octets = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                };
                let garbage: Vec<u8> = (0..4096).map(|_| octets()).chain(*b"\r\n\0\r\n").collect();
                self.write(&garbage)?;
                self.read_to_the_end()
            }
            Way::EndlessLines => {
                let lines = format!("{code}-endless\r\n").repeat(4096);
                loop {
                    self.write(lines.as_bytes())?;
                }
            }
            Way::EndlessLine => {
                self.write(format!("{code} ").as_bytes())?;
                loop {
                    self.write(&[b'x'; 64 * 1024])?;
                }
            }
            Way::Reply(reply) => {
                self.say(reply)?;
                self.read_to_the_end()
            }
        }
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.write(format!("{line}\r\n").as_bytes())
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Clear(stream) => stream.write_all(octets),
            Wire::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()),
            Wire::Gone => Err(over()),
        }
    }

    /// Waits for octets; 0 at the end of the connection or of the test.
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.wire {
                Wire::Clear(stream) => stream.read(octets),
                Wire::Tls(stream) => stream.read(octets),
                Wire::Gone => return Ok(0),
            };
            match read {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if *self.shared.stop.lock().unwrap() {
                        return Ok(0);
                    }
                }
                read => return read,
            }
        }
    }

    fn read_to_the_end(&mut self) -> io::Result<()> {
        let mut octets = [0; 4096];
        while self.read(&mut octets)? > 0 {}
        Ok(())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut octets = [0; 16 * 1024];
        match self.read(&mut octets)? {
            0 => Err(over()),
            n => {
                self.unread.extend_from_slice(&octets[..n]);
                Ok(())
            }
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.unread) {
                return Ok(self.unread.drain(..=end).collect());
            }
            self.more()?;
        }
    }

    /// Content up to the final dot.
    fn content(&mut self) -> io::Result<Vec<u8>> {
        const END: &[u8] = b"\r\n.\r\n";
        let mut searched = 0;
        loop {
            if self.unread.len() > 16 * 1024 {
                self.comes_to(Step::Content)?;
            }
            if let Some(end) = memchr::memmem::find(&self.unread[searched..], END) {
                return Ok(self.unread.drain(..searched + end + END.len()).collect());
            }
            searched = self.unread.len().saturating_sub(END.len());
            self.more()?;
        }
    }
}
