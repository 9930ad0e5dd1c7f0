//! A client that does nothing wrong: one whole transaction after the other, each on a connection of its own.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub type Latencies = Vec<Duration>;

#[derive(Default)]
pub struct Result {
    /// Before `abuse` was set, and since.
    pub calm: Latencies,
    pub beside: Latencies,
    /// The numbers of messages that were acknowledged.
    pub acknowledged: Vec<u32>,
    pub refused: u32,
}

pub struct Beside {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result>,
}

/// Between two transactions.
const PAUSE: Duration = Duration::from_millis(5);

pub fn start(to: SocketAddr, abuse: Arc<AtomicBool>) -> Beside {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let mut result = Result::default();
        for number in 0.. {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let (abused, began) = (abuse.load(Ordering::Relaxed), Instant::now());
            match transaction(to, number) {
                Ok(()) => result.acknowledged.push(number),
                Err(error) => {
                    eprintln!("the well-behaved client: {error}");
                    result.refused += 1;
                }
            }
            let latencies = if abused { &mut result.beside } else { &mut result.calm };
            latencies.push(began.elapsed());
            std::thread::sleep(PAUSE);
        }
        result
    });
    Beside { stop, thread }
}

impl Beside {
    pub fn end(self) -> Result {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the client ends")
    }
}

/// From the connection to the reply to QUIT.
fn transaction(to: SocketAddr, number: u32) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(60))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut stream = BufReader::new(stream);
    expect(&mut stream, 220)?;
    say(&mut stream, b"EHLO good.example\r\n", &[250])?;
    let envelope = b"MAIL FROM:<good@sender.example>\r\nRCPT TO:<good@recipient.example>\r\nDATA\r\n";
    say(&mut stream, envelope, &[250, 250, 354])?;
    let mut content = format!(
        "From: <good@sender.example>\r\nTo: <good@recipient.example>\r\nSubject: good\r\n\
         Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nX-Load: {number:010}\r\nMessage-ID: <{number}@good.example>\r\n\r\n"
    );
    while content.len() < 4096 {
        content.push_str("The quick brown fox jumps over the lazy dog, and the relay carries all of it.\r\n");
    }
    content.push_str(".\r\n");
    say(&mut stream, content.as_bytes(), &[250])?;
    say(&mut stream, b"QUIT\r\n", &[221])
}

fn say(stream: &mut BufReader<TcpStream>, octets: &[u8], codes: &[u16]) -> io::Result<()> {
    stream.get_mut().write_all(octets)?;
    codes.iter().try_for_each(|code| expect(stream, *code))
}

fn expect(stream: &mut BufReader<TcpStream>, code: u16) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !line.starts_with(&code.to_string()) {
            return Err(io::Error::other(format!("{code} was due, this came: {}", line.trim_end())));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
