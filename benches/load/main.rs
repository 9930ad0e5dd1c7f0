//! A load for relays, and the sink behind them: messages with numbers, so that what was lost or sent twice is told, and not
//! only how fast it went.
//!
//! ```text
//! cargo bench --bench load -- --to 127.0.0.1:2525 --listen 127.0.0.1:2600 --sessions 100 --messages 20000 --size 4096
//! ```
//!
//! The relay must hand all its mail to `--listen`. Without `--listen` nothing is awaited (a backlog is built); without
//! `--to` the sink alone runs until it has `--messages` (a backlog drains). With `--kills` it starts the relay itself, from
//! the command behind `--`, and kills it as often. With `--abuse` it misbehaves. Prints one line of `key=value`.

mod abuse;
mod api;
mod beside;
mod kill;
mod processes;
mod sink;
mod source;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;

#[derive(Parser)]
struct Options {
    /// The relay's address.
    #[arg(long)]
    to: Option<SocketAddr>,
    /// Where the sink listens.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Speak the providers' APIs at `--listen` instead of SMTP; the certificate to trust is written to this file.
    #[arg(long)]
    api: Option<std::path::PathBuf>,
    /// Sessions at once, each kept open for all its messages.
    #[arg(long, default_value_t = 20)]
    sessions: u32,
    #[arg(long, default_value_t = 10_000)]
    messages: u32,
    /// Octets of a message.
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Recipients of each message.
    #[arg(long, default_value_t = 1)]
    recipients: u32,
    /// Domains of the recipients; with more than one, each message has its own recipient, and one of fifty senders.
    #[arg(long, default_value_t = 1)]
    domains: u32,
    /// The number of the first message.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// The relay's process: its processor time, with that of its children, is told.
    #[arg(long)]
    pid: Option<u32>,
    /// Seconds without any arrival after which the rest is given up.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Rounds that end with a kill -9, at most `--span` milliseconds after the start.
    #[arg(long)]
    kills: Option<u32>,
    #[arg(long, default_value_t = 400)]
    span: u64,
    /// Abuse of this kind, for `--seconds`, from so many addresses; `--to` and `--pid` say whose.
    #[arg(long)]
    abuse: Option<abuse::Kind>,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 8)]
    sources: u8,
    /// The command that starts the relay.
    #[arg(last = true)]
    relay: Vec<String>,
    #[arg(skip)]
    arrivals: Option<Arc<sink::Arrivals>>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let mut options = Options::parse();
    options.arrivals = options.listen.map(|listen| {
        let arrivals = Arc::new(sink::Arrivals::new(options.first, options.messages, options.recipients));
        let theirs = arrivals.clone();
        if let Some(certificate) = &options.api {
            api::run(listen, certificate, theirs);
            return arrivals;
        }
        let listener = std::net::TcpListener::bind(listen).unwrap_or_else(|error| panic!("{listen}: {error}"));
        std::thread::spawn(move || sink::run(listener, &theirs));
        arrivals
    });
    if let Some(rounds) = options.kills {
        std::process::exit(i32::from(!kill::run(&options, rounds, &options.relay)));
    }
    if let Some(to) = options.to {
        wait_for(to);
    }
    if let Some(kind) = options.abuse {
        std::process::exit(i32::from(!abuse::run(&options, kind)));
    }
    let before = options.pid.map(processes::cpu);
    let begin = Instant::now();
    let sent = options.to.map(|to| source::run(to, &options));
    let accepted = begin.elapsed();
    let arrivals = options.arrivals.as_deref();
    if let Some(arrivals) = arrivals {
        wait(Duration::from_secs(options.patience), arrivals, || arrivals.complete());
    }
    let whole = begin.elapsed();
    report(&options, begin, accepted, whole, sent, arrivals, before);
}

/// Until somebody listens there.
fn wait_for(relay: SocketAddr) {
    let begin = Instant::now();
    while std::net::TcpStream::connect(relay).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(30), "nobody listens at {relay}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Until all are there, or none came for so long.
fn wait(patience: Duration, arrivals: &sink::Arrivals, complete: impl Fn() -> bool) {
    let (mut seen, mut since) = (0, Instant::now());
    while !complete() {
        std::thread::sleep(Duration::from_millis(2));
        let now = arrivals.count();
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > patience {
            break;
        }
    }
}

fn report(
    options: &Options,
    begin: Instant,
    accepted: Duration,
    whole: Duration,
    sent: Option<source::Sent>,
    arrivals: Option<&sink::Arrivals>,
    before: Option<f64>,
) {
    let messages = f64::from(options.messages);
    print!("sessions={} messages={} size={}", options.sessions, options.messages, options.size);
    if let Some(mut sent) = sent {
        print!(" accepted_s={:.0} refused={}", messages / accepted.as_secs_f64(), sent.refused);
        sent.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (sent.latencies.len() as f64 * share) as usize;
            sent.latencies.get(index.min(sent.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        print!(" p50_ms={:.2} p99_ms={:.2} max_ms={:.2}", ms(at(0.5)), ms(at(0.99)), ms(at(1.0)));
    }
    if let Some(arrivals) = arrivals {
        // Measured to the last arrival, not to the end of the wait.
        let last = arrivals.last(begin).unwrap_or(whole);
        let first = arrivals.first(begin).unwrap_or(whole);
        print!(" end_to_end_s={:.0} first_ms={:.0}", messages / last.as_secs_f64(), ms(first));
        print!(" middle_s={:.0}", arrivals.middle_rate());
        print!(" missing={} duplicates={}", arrivals.missing(), arrivals.duplicates());
    }
    if let (Some(pid), Some(before)) = (options.pid, before) {
        print!(" cpu_ms_per_1000={:.0}", (processes::cpu(pid) - before) * 1e6 / messages);
        print!(" rss_mib={:.0}", processes::resident(pid));
    }
    println!();
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
