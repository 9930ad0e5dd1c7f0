//! What the tests share. Every process and thread that a value here starts ends with the value.

pub mod admin;
pub mod api;
pub mod browser;
pub mod cert;
pub mod collector;
pub mod dns;
pub mod door;
pub mod dovecot;
pub mod hook;
pub mod load;
pub mod log;
pub mod maildir;
pub mod moto;
pub mod postfix;
pub mod process;
pub mod relay;
pub mod sink;
pub mod slapd;
pub mod smtp;
pub mod talk;
pub mod tap;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the tests need to be quick on an idle machine and true on a busy one.
pub const BOUND: Duration = Duration::from_secs(30);

/// Asks `probe` again and again until it has an answer; fails the test after `bound`.
pub fn until<T>(what: &str, bound: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < bound, "not within {bound:?}: {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The same for a condition.
pub fn until_true(what: &str, bound: Duration, mut probe: impl FnMut() -> bool) {
    until(what, bound, || probe().then_some(()));
}

/// A port nobody listens on, outside the range from which the system itself gives ports away.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 1_000) as u16 * 20;
    until("a free port", BOUND, || {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 22_000;
        // All loopback addresses are asked at once: mail hosts share a port across 127.0.0.x.
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok().then_some(port)
    })
}

pub fn loopback(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), port)
}

/// Held by tests that measure: the test runner's threads would otherwise disturb each other (nextest has a rule of its
/// own for that).
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The full measure of a test, or the short one that every run can afford.
pub fn long<T>(long: T, short: T) -> T {
    if std::env::var_os("WAYPOST_LONG").is_some_and(|value| value != "0") { long } else { short }
}

/// The number in `mark-000123-`, by which tests know a message in whatever form it arrives.
pub fn mark_in(octets: &[u8]) -> Option<u64> {
    const BEFORE: &[u8] = b"mark-";
    let start = memchr::memmem::find(octets, BEFORE)? + BEFORE.len();
    let digits = octets[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&octets[start..start + digits]).ok()?.parse().ok()
}

/// A message that carries a mark.
pub fn marked(mark: u64, from: &str, to: &str, size: usize) -> Vec<u8> {
    let mut text = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nSubject: mark-{mark:06}-\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <{mark}.test@sender.example>\r\n\r\n"
    );
    while text.len() < size {
        text.push_str("The quick brown fox jumps over the lazy dog, and the relay carries every octet of it.\r\n");
    }
    text.push_str("end\r\n");
    text.into_bytes()
}
