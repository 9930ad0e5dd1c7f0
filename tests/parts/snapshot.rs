//! `waypost queue snapshot` and `restore`: a queue is lost, and comes back.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use crate::support::load::{Load, Stream};
use crate::support::relay::{BINARY, Relay, Setup, good_queue, queue};
use crate::support::sink::{AfterDot, Sink};
use crate::support::{BOUND, marked, until_true};

/// What it says when it must not go well.
fn bad(relay: &Relay, args: &[&str]) -> String {
    let out = queue(relay, args);
    assert_eq!(out.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn lose_the_queue(relay: &Relay) {
    std::fs::remove_file(relay.beside.join("queue.redb")).unwrap();
    std::fs::remove_dir_all(relay.beside.join("queue.journal")).unwrap();
}

fn marks(sink: &Sink) -> HashMap<u64, usize> {
    let mut marks = HashMap::new();
    for mail in sink.mails() {
        *marks.entry(mail.mark().unwrap()).or_default() += 1;
    }
    marks
}

/// Its disk is gone a moment after the snapshot: all that was acknowledged before that arrives, once.
#[test]
fn a_snapshot_under_load_brings_all_back() {
    let sink = Sink::start();
    sink.behave(|manners| manners.after_dot = AfterDot::Reply("451 4.3.0 not now"));
    let mut relay = Setup::new()
        .queue("retry: [1s], min_free: 0MB")
        .route("name: all, deliver: [out]")
        .provider(&format!("name: out, transport: smtp, {}, breaker: {{failures: 1000}}", sink.as_host()))
        .start();
    // Content in a file of its own.
    let large = marked(5_000_000, "app@shop.example", "someone@customer.example", 400_000);
    relay.send("app@shop.example", &["someone@customer.example"], &large);
    let load = Load::start(Stream {
        to: relay.address,
        from: "app@shop.example".to_owned(),
        recipient: "someone@customer.example".to_owned(),
        rate: None,
        sessions: 8,
        size: 5_000,
        first: 0,
        most: None,
    });
    until_true("the load is taken", BOUND, || load.count() > 1_500);
    let before: Vec<u64> = load.marks_so_far();
    let told = good_queue(&relay, &["snapshot", "backup.snapshot", "--json"]);
    let after = load.count();
    assert!(after > before.len(), "no mail was taken meanwhile");
    relay.kill_9();
    drop(load);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let queued = told["messages"].as_u64().unwrap();
    assert!(queued > before.len() as u64, "{told} {}", before.len());

    lose_the_queue(&relay);
    let told = good_queue(&relay, &["restore", "backup.snapshot"]);
    assert!(told.contains(&format!("{queued} messages")) && told.contains("sent again"), "{told}");
    sink.behave(|manners| manners.after_dot = AfterDot::Take);
    relay.restart();
    until_true("all of it arrives", Duration::from_secs(120), || sink.count() as u64 >= queued);
    until_true("and nothing is left", BOUND, || good_queue(&relay, &["count", "--json"]).contains("\"messages\": 0"));
    let marks = marks(&sink);
    assert!(before.iter().chain([&5_000_000]).all(|mark| marks.get(mark) == Some(&1)), "missing, or twice");
    assert_eq!((marks.len() as u64, sink.count() as u64), (queued, queued));
    let large_again = sink.mails().into_iter().find(|mail| mail.mark() == Some(5_000_000)).unwrap();
    assert!(large_again.content.ends_with(&large), "octet for octet");
    relay.stop(Duration::from_secs(30));
}

#[test]
fn what_is_no_whole_snapshot_changes_nothing() {
    let mut relay = Setup::new()
        .queue("retry: [1h]")
        .route("name: review, match: {sender_domain: held.example}, hold: reviewed by hand")
        .route("name: all, deliver: [dead]")
        .provider("name: dead, transport: smtp, host: 127.0.0.1, port: 9, tls: none, breaker: {failures: 1000}")
        .start();
    for n in 0..10 {
        let from = if n % 2 == 0 { "app@held.example" } else { "app@shop.example" };
        relay.send(from, &["b@one.example", "c@two.example"], &marked(n, from, "b@one.example", 5_000));
    }
    until_true("all was tried", BOUND, || good_queue(&relay, &["count", "--saying", "refused"]).contains("5 messages"));
    // All but the numbers of parts, which begin anew.
    let list = |relay: &Relay| {
        let mut list: serde_json::Value = serde_json::from_str(&good_queue(relay, &["list", "--json"])).unwrap();
        list.as_array_mut().unwrap().iter_mut().for_each(|part| drop(part.as_object_mut().unwrap().remove("number")));
        list
    };
    let before = list(&relay);

    let told = good_queue(&relay, &["snapshot", "one.snapshot"]);
    assert!(told.starts_with("one.snapshot: 10 messages, "), "{told}");
    assert!(bad(&relay, &["snapshot", "one.snapshot"]).contains("--force"));
    good_queue(&relay, &["snapshot", "one.snapshot", "--force"]);
    assert!(bad(&relay, &["snapshot", "nowhere/one.snapshot"]).contains("nowhere"));
    let piped = queue(&relay, &["snapshot", "-"]).stdout;
    std::fs::write(relay.path().join("piped.snapshot"), piped).unwrap();
    let told = good_queue(&relay, &["restore", "piped.snapshot", "--dry-run"]);
    assert!(told.starts_with("piped.snapshot is whole: a snapshot of ") && told.contains("10 messages"), "{told}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(relay.path().join("one.snapshot")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "mail is private");
    }
    // What is replaced is a file, and nothing else.
    std::fs::create_dir(relay.path().join("folder")).unwrap();
    assert!(bad(&relay, &["snapshot", "folder", "--force"]).contains("no plain file"));
    // A full disk, as far as a test has one.
    let full = Command::new("sh")
        .args(["-c", &format!("exec {BINARY} queue --config . snapshot - > /dev/full")])
        .current_dir(relay.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&full.stderr);
    assert!(full.status.code() == Some(1) && told.contains("the snapshot cannot be written: No space left"), "{told}");

    // The relay has it open.
    let told = bad(&relay, &["restore", "one.snapshot"]);
    assert!(told.contains("there is a queue at") && told.contains("stop the relay"), "{told}");
    relay.stop(Duration::from_secs(30));
    assert!(bad(&relay, &["restore", "one.snapshot"]).contains("move the queue away"));
    assert_eq!(list(&relay), before, "untouched");
    // With it stopped, the queue's files are read.
    good_queue(&relay, &["snapshot", "stopped.snapshot"]);

    let file = std::fs::read(relay.path().join("stopped.snapshot")).unwrap();
    let mut altered = file.clone();
    altered[file.len() - 5_000] ^= 4;
    std::fs::write(relay.path().join("altered"), altered).unwrap();
    std::fs::write(relay.path().join("cut"), &file[..file.len() / 2]).unwrap();
    lose_the_queue(&relay);
    for (name, says) in [
        ("altered", "is damaged at octet"),
        ("cut", "ends too early"),
        ("waypost.yaml", "is no snapshot of waypost's"),
        ("missing", "missing"),
    ] {
        let told = bad(&relay, &["restore", name]);
        assert!(told.contains(says) && told.contains(name), "{told}");
        assert!(!relay.beside.join("queue.redb").exists() && !relay.beside.join("queue.redb.restoring").exists());
    }
    let elsewhere = good_queue(&relay, &["restore", "stopped.snapshot", "--into", "elsewhere", "--json"]);
    assert!(elsewhere.contains("elsewhere/queue.redb") && !relay.beside.join("queue.redb").exists(), "{elsewhere}");
    good_queue(&relay, &["restore", "stopped.snapshot"]);
    // Reasons, attempts and ages are as they were.
    assert_eq!(list(&relay), before);
    relay.restart();
    assert_eq!(list(&relay), before);
    assert!(good_queue(&relay, &["release", "--state", "held", "--yes"]).contains("5 messages"));
    relay.stop(Duration::from_secs(30));
}

/// As `queue snapshot -` writes it, `queue restore -` reads it.
#[test]
fn a_snapshot_comes_back_by_standard_input() {
    let sink = Sink::start();
    let mut relay = Setup::new()
        .route("name: all, hold: wait for me")
        .provider(&format!("name: out, transport: smtp, {}", sink.as_host()))
        .start();
    relay.send("app@shop.example", &["someone@customer.example"], &marked(1, "app@shop.example", "s@c.example", 9000));
    relay.stop(BOUND);
    good_queue(&relay, &["snapshot", "kept"]);
    let restore = |args: &[&str]| {
        let file = std::fs::File::open(relay.path().join("kept")).unwrap();
        let mut command = Command::new(BINARY);
        command.current_dir(relay.path()).args(["queue", "--config", ".", "restore", "-"]).args(args).stdin(file);
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    assert!(restore(&["--dry-run"]).starts_with("standard input is whole: "), "{}", restore(&["--dry-run"]));
    let told = restore(&["--into", "anew"]);
    assert!(told.contains("1 message"), "{told}");
    let names: Vec<_> =
        std::fs::read_dir(relay.path().join("anew")).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
