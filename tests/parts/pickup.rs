//! The pickup folder of the built relay.

use std::path::Path;
use std::time::Duration;

use crate::support::relay::{Relay, Setup, waypost};
use crate::support::{BOUND, until, until_true};

fn relay() -> Relay {
    Setup::new()
        .route("name: scripts, match: {listener: pickup}, deliver: [picked]")
        .route("name: all, deliver: [out]")
        .provider("name: picked, transport: maildir, path: picked")
        .provider("name: out, transport: maildir, path: out")
        .start()
}

/// As a careful program does it: written under another name, then given its own.
fn put(relay: &Relay, name: &str, text: &str) {
    let folder = relay.path().join("data/pickup");
    until_true("the folder is made", BOUND, || folder.is_dir());
    std::fs::write(folder.join(format!("{name}.tmp")), text).unwrap();
    std::fs::rename(folder.join(format!("{name}.tmp")), folder.join(name)).unwrap();
}

fn mail(n: usize) -> String {
    format!(
        "X-Sender: app@shop.example\nX-Receiver: c{n}@d.example\nTo: all@d.example\nSubject: mark-{n:06}-\n\nhello\n"
    )
}

fn is_empty(folder: &Path) -> bool {
    let mut names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.all(|name| name == ".lock")
}

#[test]
fn files_are_sent_and_bad_ones_put_aside() {
    let relay = relay();
    put(&relay, "good.eml", &mail(1));
    put(&relay, "bad.eml", "From: app@shop.example\n\nfor nobody\n");
    let messages = relay.maildir("picked").wait_for(1);
    let text = String::from_utf8_lossy(&messages[0]).into_owned();
    assert!(text.contains("Received: by relay.example (waypost, from pickup)"), "{text}");
    assert!(
        text.ends_with("\r\n\r\nhello\r\n") && !text.contains("X-Sender") && !text.contains("X-Receiver"),
        "{text}"
    );
    let reason = until("the reason", BOUND, || {
        std::fs::read_to_string(relay.path().join("data/badmail/bad.reason.txt")).ok().filter(|text| !text.is_empty())
    });
    assert!(reason.contains("no recipient"), "{reason}");
    until_true("the folder is empty", BOUND, || is_empty(&relay.path().join("data/pickup")));
    relay.log().once("its route", |line| line.is("listener", "pickup") && line.is("routes", "scripts"));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(relay.path().join("data/pickup")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let explained = waypost(
        relay.path(),
        &["explain", "--config", ".", "--from", "a@b.example", "--to", "c@d.example", "--listener", "pickup"],
    );
    assert!(String::from_utf8_lossy(&explained.stdout).contains("scripts"));
}

#[test]
fn kill_9_loses_no_file() {
    const FILES: usize = 600;
    let mut relay = relay();
    for n in 0..FILES {
        put(&relay, &format!("{n}.eml"), &mail(n));
    }
    // In the middle of them, three times.
    for part in 1..4 {
        until_true("some are sent", BOUND, || relay.maildir("picked").count() >= FILES * part / 5);
        relay.kill_9();
        relay.restart();
    }
    until_true("all are sent", Duration::from_secs(60), || relay.maildir("picked").marks().len() == FILES);
    until_true("the folder is empty", BOUND, || is_empty(&relay.path().join("data/pickup")));
    // Each crash may cut off 16 files between the queue's word and their removal, and 32 attempts before their settlement.
    let again = relay.log().accepted().len().saturating_sub(FILES);
    assert!(again <= 3 * 16, "{again} files were taken in again");
    let twice = relay.maildir("picked").marks().values().filter(|count| **count > 1).count();
    assert!(twice <= 3 * (16 + 32), "{twice} of {FILES} came twice");
}
