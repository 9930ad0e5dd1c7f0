//! Clients that mean no good, in numbers, and a well-behaved one beside them: what its whole transactions take, and how much
//! memory the relay holds, before and meanwhile. Each kind is bounded in count and time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, sleep_until, timeout};

use crate::beside::{self, Latencies};
use crate::{Options, ms, processes};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// 10,000 connections that say EHLO and no more.
    Idle,
    /// 1,000 connections a second.
    Connects,
    /// 500 connections, half of them amid a command, half amid content, an octet a second each.
    Loris,
    /// Command lines of 1 MB, on ten connections.
    Line,
    /// 100,000 recipients of one message.
    Recipients,
    /// 2 GB of content.
    Data,
    /// 100 logins a second with wrong passwords.
    Logins,
}

/// Before anything happens, the well-behaved client has the relay to itself for so long.
const CALM: Duration = Duration::from_secs(5);
const CONNECTIONS: u32 = 10_000;
const CONNECTS: u32 = 1_000;
const LORIS: u32 = 500;
const LOGINS: u32 = 100;
/// What one reply may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the abuser saw.
#[derive(Default)]
struct Seen {
    /// Reply codes, and how a connection ended where none came.
    replies: RefCell<BTreeMap<String, u64>>,
    done: Cell<u64>,
}

impl Seen {
    fn count(&self, what: &str) {
        *self.replies.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }

    fn done(&self, count: u64) {
        self.done.set(self.done.get() + count);
    }
}

pub fn run(options: &Options, kind: Kind) -> bool {
    let (Some(to), Some(pid)) = (options.to, options.pid) else { panic!("--abuse needs --to and --pid") };
    let span = Duration::from_secs(options.seconds);
    let abuse = Arc::new(AtomicBool::new(false));
    let good = beside::start(to, abuse.clone());
    std::thread::sleep(CALM);
    let before = processes::resident(pid);
    abuse.store(true, Ordering::Relaxed);
    let over = Arc::new(AtomicBool::new(false));
    let watch = {
        let over = over.clone();
        std::thread::spawn(move || {
            let mut most: f64 = 0.0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(processes::resident(pid));
                std::thread::sleep(Duration::from_millis(100));
            }
            most
        })
    };
    let began = Instant::now();
    let seen = abusers(to, kind, span, options.sources);
    let took = began.elapsed();
    over.store(true, Ordering::Relaxed);
    let most = watch.join().expect("the watch ends");
    let good = good.end();
    let lost = options.arrivals.as_ref().map_or(0, |arrivals| {
        crate::wait(Duration::from_secs(options.patience), arrivals, || {
            good.acknowledged.iter().all(|n| arrivals.has(*n))
        });
        good.acknowledged.iter().filter(|n| !arrivals.has(**n)).count()
    });
    print!(
        "abuse={} did={} took_s={:.1} rss_mib={before:.0} most_mib={most:.0}",
        name(kind),
        seen.done.get(),
        took.as_secs_f64()
    );
    tell("calm", good.calm);
    tell("beside", good.beside);
    print!(" good_refused={} good_lost={lost}", good.refused);
    let replies: Vec<String> = seen.replies.borrow().iter().map(|(reply, count)| format!("{reply}:{count}")).collect();
    println!(" replies={}", replies.join(","));
    good.refused == 0 && lost == 0
}

fn name(kind: Kind) -> String {
    kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn tell(when: &str, mut latencies: Latencies) {
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    print!(
        " {when}_count={} {when}_p50_ms={:.1} {when}_p99_ms={:.1} {when}_max_ms={:.1}",
        latencies.len(),
        ms(at(0.5)),
        ms(at(0.99)),
        ms(at(1.0))
    );
}

fn abusers(to: SocketAddr, kind: Kind, span: Duration, sources: u8) -> Rc<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let seen = Rc::new(Seen::default());
    let door = Rc::new(Door { to, sources: sources.max(1), seen: seen.clone() });
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let until = tokio::time::Instant::now() + span;
        match kind {
            Kind::Idle => idle(door, until).await,
            Kind::Connects => paced(door, CONNECTS, span, connect).await,
            Kind::Loris => many(door, LORIS, move |door, n| loris(door, n, until)).await,
            Kind::Line => many(door, 10, move |door, n| lines(door, n, until)).await,
            Kind::Recipients => recipients(&door).await,
            Kind::Data => data(&door).await,
            Kind::Logins => paced(door, LOGINS, span, login).await,
        }
    });
    seen
}

/// Where they go, and from which addresses: 127.0.0.66 and on.
struct Door {
    to: SocketAddr,
    sources: u8,
    seen: Rc<Seen>,
}

struct Guest {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Door {
    /// Connects and reads the greeting; `None` where there is none.
    async fn enter(&self, n: u32) -> Option<Guest> {
        let source = Ipv4Addr::new(127, 0, 0, 66 + (n % u32::from(self.sources)) as u8);
        let connected = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(source.into(), 0))?;
            socket.connect(self.to).await
        };
        match timeout(PATIENCE, connected).await {
            Ok(Ok(stream)) => {
                let mut guest = Guest { stream, buffer: Vec::new() };
                (guest.reply(&self.seen, true).await == Some(220)).then_some(guest)
            }
            _ => {
                self.seen.count("unconnected");
                None
            }
        }
    }
}

impl Guest {
    async fn say(&mut self, octets: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(octets)).await?
    }

    /// The code of the next reply, counted where it is of interest; `None`: the connection has ended.
    async fn reply(&mut self, seen: &Seen, counted: bool) -> Option<u16> {
        let code = match timeout(PATIENCE, self.next()).await {
            Ok(Ok(code)) => Some(code),
            Ok(Err(_)) => None,
            Err(_) => {
                seen.count("no_answer");
                return None;
            }
        };
        if counted {
            seen.count(&code.map_or_else(|| "ended".to_owned(), |code| code.to_string()));
        }
        code
    }

    async fn next(&mut self) -> io::Result<u16> {
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.get(3) != Some(&b'-') {
                    let code = line.get(..3).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
                    return code.ok_or_else(|| io::Error::other("a reply without a code"));
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Up to an accepted recipient.
    async fn envelope(&mut self, seen: &Seen) -> Option<()> {
        self.say(b"EHLO abuse.example\r\nMAIL FROM:<a@abuse.example>\r\nRCPT TO:<b@abuse.example>\r\n").await.ok()?;
        for _ in 0..3 {
            self.reply(seen, false).await.filter(|code| *code == 250)?;
        }
        Some(())
    }
}

async fn many<F: Future<Output = ()> + 'static>(door: Rc<Door>, count: u32, one: impl Fn(Rc<Door>, u32) -> F) {
    let tasks: Vec<_> = (0..count).map(|n| tokio::task::spawn_local(one(door.clone(), n))).collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
}

/// So many a second, for so long.
async fn paced<F: Future<Output = ()> + 'static>(
    door: Rc<Door>,
    rate: u32,
    span: Duration,
    one: impl Fn(Rc<Door>, u32) -> F,
) {
    let began = tokio::time::Instant::now();
    let mut tasks = Vec::new();
    for n in 0..(f64::from(rate) * span.as_secs_f64()) as u32 {
        sleep_until(began + Duration::from_secs_f64(f64::from(n) / f64::from(rate))).await;
        tasks.push(tokio::task::spawn_local(one(door.clone(), n)));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
}

async fn idle(door: Rc<Door>, until: tokio::time::Instant) {
    const AT_ONCE: u32 = 100;
    let guests = Rc::new(RefCell::new(Vec::new()));
    let each = {
        let guests = guests.clone();
        move |door: Rc<Door>, n: u32| {
            let guests = guests.clone();
            async move {
                for n in (n..CONNECTIONS).step_by(AT_ONCE as usize) {
                    let Some(mut guest) = door.enter(n).await else { continue };
                    if guest.say(b"EHLO idle.example\r\n").await.is_ok()
                        && guest.reply(&door.seen, false).await == Some(250)
                    {
                        door.seen.done(1);
                    }
                    guests.borrow_mut().push(guest);
                }
            }
        }
    };
    many(door, AT_ONCE, each).await;
    sleep_until(until).await;
    guests.borrow_mut().clear();
}

async fn connect(door: Rc<Door>, n: u32) {
    door.seen.done(1);
    if let Some(mut guest) = door.enter(n).await
        && guest.say(b"QUIT\r\n").await.is_ok()
    {
        guest.reply(&door.seen, false).await;
    }
}

async fn login(door: Rc<Door>, n: u32) {
    // NUL billing NUL wrong.
    const WRONG: &[u8] = b"EHLO abuse.example\r\nAUTH PLAIN AGJpbGxpbmcAd3Jvbmc=\r\n";
    door.seen.done(1);
    if let Some(mut guest) = door.enter(n).await
        && guest.say(WRONG).await.is_ok()
        && guest.reply(&door.seen, false).await == Some(250)
    {
        guest.reply(&door.seen, true).await;
    }
}

async fn loris(door: Rc<Door>, n: u32, until: tokio::time::Instant) {
    let Some(mut guest) = door.enter(n).await else { return };
    if n.is_multiple_of(2) {
        if guest.envelope(&door.seen).await.is_none() || guest.say(b"DATA\r\n").await.is_err() {
            return;
        }
        guest.reply(&door.seen, true).await;
    }
    while tokio::time::Instant::now() < until && guest.say(b"x").await.is_ok() {
        door.seen.done(1);
        sleep(Duration::from_secs(1)).await;
    }
}

async fn lines(door: Rc<Door>, n: u32, until: tokio::time::Instant) {
    let line = [vec![b'x'; 1_000_000], b"\r\n".to_vec()].concat();
    while tokio::time::Instant::now() < until {
        let Some(mut guest) = door.enter(n).await else { return };
        while tokio::time::Instant::now() < until && guest.say(&line).await.is_ok() {
            if guest.reply(&door.seen, true).await != Some(500) {
                break;
            }
            door.seen.done(1);
        }
    }
}

async fn recipients(door: &Door) {
    const COUNT: u64 = 100_000;
    const BATCH: u64 = 1_000;
    let Some(mut guest) = door.enter(0).await else { return };
    if guest.envelope(&door.seen).await.is_none() {
        return;
    }
    for batch in 0..COUNT / BATCH {
        let said: String =
            (0..BATCH).map(|n| format!("RCPT TO:<rcpt{}@abuse.example>\r\n", batch * BATCH + n)).collect();
        if guest.say(said.as_bytes()).await.is_err() {
            return;
        }
        for _ in 0..BATCH {
            if guest.reply(&door.seen, true).await.is_none() {
                return;
            }
            door.seen.done(1);
        }
    }
}

async fn data(door: &Door) {
    const OCTETS: u64 = 2 << 30;
    let Some(mut guest) = door.enter(0).await else { return };
    if guest.envelope(&door.seen).await.is_none() || guest.say(b"DATA\r\n").await.is_err() {
        return;
    }
    guest.reply(&door.seen, true).await;
    let piece = [b"x".repeat(76), b"\r\n".to_vec()].concat().repeat(1024);
    let mut sent = 0;
    while sent < OCTETS {
        if guest.say(&piece).await.is_err() {
            return door.seen.count("cut_off");
        }
        sent += piece.len() as u64;
        door.seen.done(piece.len() as u64);
    }
    if guest.say(b".\r\n").await.is_ok() {
        guest.reply(&door.seen, true).await;
    }
}
