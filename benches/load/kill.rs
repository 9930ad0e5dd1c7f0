//! kill -9 under load, again and again: what was acknowledged must arrive.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::{Options, source, wait};

/// Starts the relay, loads it, kills it, `rounds` times; then lets it deliver what it still has. False where mail was lost
/// or sent twice for no reason.
pub fn run(options: &Options, rounds: u32, relay: &[String]) -> bool {
    let to = options.to.expect("--kills needs --to");
    let arrivals = options.arrivals.as_ref().expect("--kills needs --listen");
    let next = Arc::new(AtomicU32::new(0));
    let mut acknowledged = Vec::new();
    let begin = Instant::now();
    for round in 0..rounds {
        // What the last relay sent is read by then.
        std::thread::sleep(Duration::from_millis(50));
        arrivals.begin_round(round);
        let mut child = start(relay, to);
        let sending = source::until_broken(to, options, &next);
        std::thread::sleep(Duration::from_millis(rand::random_range(20..options.span.max(21))));
        child.kill().expect("a process that can be killed");
        child.wait().expect("a process that ends");
        acknowledged.extend(sending.join().expect("no session panics"));
        if (round + 1) % 50 == 0 {
            eprintln!(
                "{} rounds, {} acknowledged, {:.0} s",
                round + 1,
                acknowledged.len(),
                begin.elapsed().as_secs_f64()
            );
        }
    }
    arrivals.begin_round(rounds);
    let mut child = start(relay, to);
    wait(Duration::from_secs(options.patience), arrivals, || acknowledged.iter().all(|n| arrivals.has(*n)));
    let sent = next.load(Ordering::Relaxed).min(options.messages);
    let lost: Vec<_> = acknowledged.iter().filter(|n| !arrivals.has(**n)).collect();
    println!(
        "rounds={rounds} sent={sent} acknowledged={} lost={} duplicates={} without_a_kill_between={}",
        acknowledged.len(),
        lost.len(),
        arrivals.duplicates(),
        arrivals.unexplained()
    );
    child.kill().expect("a process that can be killed");
    child.wait().expect("a process that ends");
    if !lost.is_empty() {
        eprintln!("lost: {:?}", &lost[..lost.len().min(20)]);
    }
    lost.is_empty() && arrivals.unexplained() == 0
}

fn start(relay: &[String], to: SocketAddr) -> Child {
    let log = File::options().append(true).create(true).open(Path::new("relay.log")).expect("a log");
    let mut child = Command::new(&relay[0])
        .args(&relay[1..])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("a relay that starts");
    let begin = Instant::now();
    while TcpStream::connect(to).is_err() {
        assert!(child.try_wait().expect("its state").is_none(), "the relay ended at once: see relay.log");
        assert!(begin.elapsed() < Duration::from_secs(30), "the relay does not listen");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}
