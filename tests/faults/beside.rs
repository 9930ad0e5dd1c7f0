//! Somebody well-behaved beside those who are not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::marked;
use crate::support::sink::Sink;
use crate::support::smtp::Client;

/// What it may wait at most: on a busy machine, for a relay that is not optimised.
const PATIENCE: Duration = Duration::from_secs(5);

/// The recipient of the mail that it sends.
pub const RECIPIENT: &str = "good@customer.example";

/// A client that hands in one message after the other, each on a connection of its own, and waits until it is delivered.
pub struct Beside {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(usize, Duration)>>,
}

impl Beside {
    /// `good` must be where the relay sends mail for `RECIPIENT`, and get no other.
    pub fn start(relay: SocketAddr, good: Sink) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let for_thread = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !for_thread.load(Ordering::SeqCst) {
                let began = Instant::now();
                let content = marked(count as u64, "app@sender.example", RECIPIENT, 500);
                let mut client = Client::connect(relay).unwrap();
                let reply = client.mail("app@sender.example", &[RECIPIENT], &content).unwrap();
                assert_eq!(reply.code, 250, "{reply:?}");
                client.quit();
                count += 1;
                good.wait_for(count);
                slowest = slowest.max(began.elapsed());
            }
            (count, slowest)
        });
        Self { stop, thread: Some(thread) }
    }

    /// How many messages it got through, and how long one of them took at most. Fails the test where it was not served as
    /// well as ever.
    pub fn end(mut self) -> (usize, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        let (count, slowest) = self.thread.take().unwrap().join().unwrap();
        assert!(count > 5 && slowest < PATIENCE, "{count} messages, the slowest took {slowest:?}");
        (count, slowest)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
