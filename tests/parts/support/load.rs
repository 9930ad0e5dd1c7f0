//! A stream of marked messages, and a record of those that were acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::marked;
use super::smtp::Client;

#[derive(Debug, Clone)]
pub struct Stream {
    pub to: SocketAddr,
    pub from: String,
    pub recipient: String,
    /// Messages a second; `None`: as fast as they are taken.
    pub rate: Option<u32>,
    pub sessions: usize,
    pub size: usize,
    /// Marks count up from here.
    pub first: u64,
    /// Ends by itself after so many.
    pub most: Option<u64>,
}

struct Shared {
    stream: Stream,
    stop: AtomicBool,
    next: AtomicU64,
    start: Instant,
    acknowledged: Mutex<Vec<(u64, Instant, Duration)>>,
    refused: Mutex<Vec<String>>,
}

/// A load that runs until it is stopped, or has sent all.
pub struct Load {
    shared: Arc<Shared>,
    sessions: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(stream: Stream) -> Self {
        let count = stream.sessions;
        let shared = Arc::new(Shared {
            next: AtomicU64::new(0),
            stream,
            stop: AtomicBool::new(false),
            start: Instant::now(),
            acknowledged: Mutex::default(),
            refused: Mutex::default(),
        });
        let sessions = (0..count)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || session(&shared))
            })
            .collect();
        Self { shared, sessions }
    }

    pub fn count(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// The marks of what was acknowledged so far.
    pub fn marks_so_far(&self) -> Vec<u64> {
        self.shared.acknowledged.lock().unwrap().iter().map(|(mark, ..)| *mark).collect()
    }

    /// Replies other than 250 to a content, so far.
    pub fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().unwrap().clone()
    }

    /// Stops, and gives what was acknowledged.
    pub fn stop(mut self) -> Acknowledged {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.end()
    }

    /// Waits until all of a bounded stream are sent.
    pub fn finish(mut self) -> Acknowledged {
        assert!(self.shared.stream.most.is_some(), "this stream has no end");
        self.end()
    }

    fn end(&mut self) -> Acknowledged {
        for session in self.sessions.drain(..) {
            session.join().unwrap();
        }
        Acknowledged(std::mem::take(&mut *self.shared.acknowledged.lock().unwrap()))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

/// Marks, when the final `250` came, and how long it took from the final dot.
pub struct Acknowledged(Vec<(u64, Instant, Duration)>);

impl Acknowledged {
    pub fn marks(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(mark, ..)| *mark)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Messages a second between the first and the last.
    pub fn rate(&self) -> f64 {
        let times = self.0.iter().map(|(_, at, _)| *at);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return 0.0 };
        self.0.len() as f64 / (last - first).as_secs_f64().max(0.001)
    }

    /// The time that `share` of all answers took at most.
    pub fn latency(&self, share: f64) -> Duration {
        let mut all: Vec<_> = self.0.iter().map(|(.., latency)| *latency).collect();
        all.sort();
        all.get((all.len() as f64 * share) as usize).or(all.last()).copied().unwrap_or_default()
    }
}

fn session(shared: &Shared) {
    let stream = &shared.stream;
    let mut client = None;
    while !shared.stop.load(Ordering::SeqCst) {
        let n = shared.next.fetch_add(1, Ordering::SeqCst);
        if stream.most.is_some_and(|most| n >= most) {
            return;
        }
        if let Some(rate) = stream.rate {
            let due = shared.start + Duration::from_secs_f64(n as f64 / f64::from(rate));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let mark = stream.first + n;
        let content = marked(mark, &stream.from, &stream.recipient, stream.size);
        // A broken connection is what the tests of crashes bring about: the next message tries a new one.
        let Some(session) = client.take().or_else(|| connect(shared)) else { continue };
        let mut session: Client = session;
        let before = Instant::now();
        match session.mail(&stream.from, &[&stream.recipient], &content) {
            Ok(reply) if reply.code == 250 => {
                shared.acknowledged.lock().unwrap().push((mark, Instant::now(), before.elapsed()));
                client = Some(session);
            }
            Ok(reply) => shared.refused.lock().unwrap().push(format!("{} {}", reply.code, reply.text)),
            Err(_) => {}
        }
    }
    if let Some(client) = client {
        client.quit();
    }
}

fn connect(shared: &Shared) -> Option<Client> {
    loop {
        match Client::connect(shared.stream.to) {
            Ok(client) if client.greeting.code == 220 => return Some(client),
            _ if shared.stop.load(Ordering::SeqCst) => return None,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
