//! Everything on the other end of a socket misbehaves: next hops, clients, name servers. Against the built relay, with
//! scripted peers on loopback; needs no outside part.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod beside;
mod dns;
mod peer;
mod peers_in;
mod peers_out;
#[path = "../parts/support/mod.rs"]
#[allow(dead_code, reason = "shared with tests/parts, which uses all of it")]
mod support;

use support::relay::Relay;

const MIB: u64 = 1024 * 1024;
/// What a table may add to the relay's memory: the queue's page cache (32 MiB) fills with the mail beside it, and each of
/// some hundred sessions may hold half a megabyte. A peer without end that was kept would be hundreds of them.
const ROOM: u64 = 96 * MIB;

/// The most memory that the relay has held since it started, octets.
fn peak(relay: &mut Relay) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.process().id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// It runs, and none of its tasks has panicked.
fn assert_well(relay: &mut Relay) {
    assert!(relay.process().exited().is_none(), "the relay has ended");
    let panics: Vec<_> =
        relay.log().raw().lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect();
    assert_eq!(panics, Vec::<String>::new());
}
