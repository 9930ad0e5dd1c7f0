//! The server that takes everything, and notes which messages came.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Which messages came: each counts once for each of its recipients.
pub struct Arrivals {
    base: Instant,
    first_number: u32,
    recipients: u32,
    seen: Vec<AtomicU32>,
    /// In which round each came first.
    rounds: Vec<AtomicU32>,
    round: AtomicU32,
    unexplained: AtomicU32,
    whole: AtomicU32,
    count: AtomicU64,
    /// Microseconds since `base`; 0: none came.
    first: AtomicU64,
    last: AtomicU64,
    /// When a tenth was there, and when nine tenths were.
    tenth: AtomicU64,
    ninth: AtomicU64,
}

impl Arrivals {
    pub fn new(first: u32, messages: u32, recipients: u32) -> Self {
        Self {
            base: Instant::now(),
            first_number: first,
            recipients,
            seen: (0..messages).map(|_| AtomicU32::new(0)).collect(),
            rounds: (0..messages).map(|_| AtomicU32::new(0)).collect(),
            round: AtomicU32::new(0),
            unexplained: AtomicU32::new(0),
            whole: AtomicU32::new(0),
            count: AtomicU64::new(0),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            tenth: AtomicU64::new(0),
            ninth: AtomicU64::new(0),
        }
    }

    pub fn came(&self, number: u32, recipients: u32) {
        let Some(index) = number.checked_sub(self.first_number).map(|n| n as usize) else { return };
        let (Some(seen), Some(first)) = (self.seen.get(index), self.rounds.get(index)) else { return };
        let before = seen.fetch_add(recipients, Ordering::Relaxed);
        let round = self.round.load(Ordering::Relaxed);
        if before == 0 {
            first.store(round, Ordering::Relaxed);
        } else if before >= self.recipients && first.load(Ordering::Relaxed) == round {
            self.unexplained.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let now = self.base.elapsed().as_micros() as u64 + 1;
        let _ = self.first.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        if before < self.recipients && before + recipients >= self.recipients {
            self.last.store(now, Ordering::Relaxed);
            let whole = self.whole.fetch_add(1, Ordering::Release) as usize + 1;
            let tenth = self.seen.len() / 10;
            if whole == tenth {
                self.tenth.store(now, Ordering::Relaxed);
            } else if whole == 9 * tenth {
                self.ninth.store(now, Ordering::Relaxed);
            }
        }
    }

    /// A kill came: what arrives from now on was sent after it, or was on its way.
    pub fn begin_round(&self, round: u32) {
        self.round.store(round, Ordering::Relaxed);
    }

    pub fn has(&self, number: u32) -> bool {
        self.seen.get(number as usize).is_some_and(|seen| seen.load(Ordering::Relaxed) >= self.recipients)
    }

    /// Messages that came twice between two kills.
    pub fn unexplained(&self) -> u32 {
        self.unexplained.load(Ordering::Relaxed)
    }

    pub fn complete(&self) -> bool {
        self.whole.load(Ordering::Acquire) as usize == self.seen.len()
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub fn missing(&self) -> usize {
        self.seen.iter().filter(|seen| seen.load(Ordering::Relaxed) < self.recipients).count()
    }

    pub fn duplicates(&self) -> u32 {
        self.seen.iter().map(|seen| seen.load(Ordering::Relaxed).saturating_sub(self.recipients)).sum()
    }

    pub fn first(&self, begin: Instant) -> Option<Duration> {
        self.at(&self.first, begin)
    }

    pub fn last(&self, begin: Instant) -> Option<Duration> {
        self.at(&self.last, begin)
    }

    /// Messages a second between the first and the last tenth.
    pub fn middle_rate(&self) -> f64 {
        let micros = self.ninth.load(Ordering::Relaxed).saturating_sub(self.tenth.load(Ordering::Relaxed));
        8.0 * (self.seen.len() / 10) as f64 / (micros.max(1) as f64 / 1e6)
    }

    fn at(&self, at: &AtomicU64, begin: Instant) -> Option<Duration> {
        match at.load(Ordering::Relaxed) {
            0 => None,
            micros => Some((self.base + Duration::from_micros(micros)).saturating_duration_since(begin)),
        }
    }
}

pub fn run(listener: TcpListener, arrivals: &Arrivals) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    listener.set_nonblocking(true).expect("a socket that does not block");
    let numbers = Rc::new(memmem::Finder::new(b"X-Load: ").into_owned());
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let mut sessions = futures_util::stream::FuturesUnordered::new();
        loop {
            tokio::select! {
                stream = listener.accept() => {
                    if let Ok((stream, _)) = stream {
                        sessions.push(session(stream, arrivals, numbers.clone()));
                    }
                }
                Some(_) = futures_util::StreamExt::next(&mut sessions), if !sessions.is_empty() => {}
            }
        }
    });
}

async fn session(mut stream: TcpStream, arrivals: &Arrivals, numbers: Rc<memmem::Finder<'_>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 sink.example ESMTP\r\n").await?;
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut replies = Vec::new();
    let note = |content: &[u8], recipients: u32| {
        let Some(found) = numbers.find(&content[..content.len().min(4096)]) else { return };
        let digits = content.get(found + 8..found + 18).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(number) = digits.and_then(|digits| digits.parse().ok()) {
            arrivals.came(number, recipients);
        }
    };
    let (mut data, mut chunk, mut recipients) = (false, None::<usize>, 0);
    // In data: octets that were looked through for its end already.
    let mut searched = 0;
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut at = 0;
        loop {
            if let Some(size) = chunk {
                let Some(content) = buffer.get(at..at + size) else { break };
                note(content, recipients);
                at += size;
                (chunk, recipients) = (None, 0);
                replies.extend(b"250 2.0.0 taken\r\n");
                continue;
            }
            if data {
                let from = at + searched;
                let Some(end) = memmem::find(&buffer[from..], b"\r\n.\r\n") else {
                    searched = (buffer.len() - at).saturating_sub(4);
                    break;
                };
                let content = &buffer[at..from + end];
                note(content, recipients);
                at = from + end + 5;
                (data, recipients, searched) = (false, 0, 0);
                replies.extend(b"250 2.0.0 taken\r\n");
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', &buffer[at..]) else { break };
            let line = &buffer[at..at + end];
            at += end + 1;
            match line.get(..4).map(<[u8]>::to_ascii_uppercase).as_deref() {
                Some(b"EHLO") => replies
                    .extend(b"250-sink.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"),
                Some(b"RCPT") => {
                    recipients += 1;
                    replies.extend(b"250 2.1.5 ok\r\n");
                }
                Some(b"DATA") => {
                    data = true;
                    replies.extend(b"354 go on\r\n");
                }
                // All of the content in one chunk, as the relay sends it.
                Some(b"BDAT") => {
                    let words = std::str::from_utf8(line).ok().map(|line| line.split_ascii_whitespace().nth(1));
                    chunk = words.flatten().and_then(|size| size.parse().ok());
                }
                Some(b"QUIT") => {
                    replies.extend(b"221 2.0.0 bye\r\n");
                    return stream.write_all(&replies).await;
                }
                _ => replies.extend(b"250 2.0.0 ok\r\n"),
            }
        }
        buffer.drain(..at);
        if !replies.is_empty() {
            stream.write_all(&replies).await?;
            replies.clear();
        }
    }
}
