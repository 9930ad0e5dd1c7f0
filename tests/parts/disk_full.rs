//! A full disk: nothing is acknowledged that is not on it, and the relay goes on by itself when there is room again.

use std::path::{Path, PathBuf};

use crate::support::process::{as_root, output, own_uid};
use crate::support::relay::Setup;
use crate::support::sink::{AfterDot, Sink};
use crate::support::smtp::Client;
use crate::support::{BOUND, marked, until, until_true};

/// A small disk of its own.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path, size: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={size},uid={}", own_uid());
        output(as_root("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path));
        Self(path.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the relay that still holds its queue open ends only after this.
        let _ = as_root("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs root, to mount a small disk"]
fn it_says_452_and_recovers_by_itself() {
    fills_and_recovers("110m", "");
}

/// However little is kept back, settling has room: what was delivered must be written, or nothing ever frees the disk.
#[test]
#[ignore = "needs root, to mount a small disk"]
fn a_small_reserve_still_leaves_room_to_settle() {
    fills_and_recovers("24m", "min_free: 4MiB, ");
}

fn fills_and_recovers(size: &str, reserve: &str) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::mount(&folder.path().join("disk"), size);
    let sink = Sink::start();
    // Nothing leaves while the disk fills.
    sink.behave(|manners| manners.after_dot = AfterDot::Reply("451 4.3.0 not now"));
    let mut relay = Setup::new()
        .queue(&format!("retry: [1s], {reserve}path: \"{}/queue.redb\"", disk.0.display()))
        .route("name: all, deliver: [out]")
        .provider(&format!("name: out, transport: smtp, {}", sink.as_host()))
        .start();
    let mut client = relay.client();
    let mut acknowledged = Vec::new();
    // Far more than the disk holds.
    let refusal = (0..5_000).find_map(|mark| {
        let content = marked(mark, "a@shop.example", "b@customer.example", 200_000);
        let reply = client.mail("a@shop.example", &["b@customer.example"], &content).unwrap();
        if reply.code != 250 {
            return Some(reply);
        }
        acknowledged.push(mark);
        None
    });
    let refusal = refusal.expect("a full disk is noticed");
    assert_eq!((refusal.code, refusal.text.starts_with("4.3.1")), (452, true), "{refusal:?}");
    assert!(acknowledged.len() > 10, "full after {}", acknowledged.len());
    assert!(relay.process().exited().is_none());

    // Room comes from the relay's own deliveries, without a restart.
    sink.behave(|manners| manners.after_dot = AfterDot::Take);
    let there = || {
        let marks: std::collections::HashSet<_> = sink.mails().iter().filter_map(|mail| mail.mark()).collect();
        acknowledged.iter().all(|mark| marks.contains(mark))
    };
    until_true("all that was acknowledged arrives", BOUND, there);
    until("new mail is taken again", BOUND, || {
        let mut client = Client::connect(relay.address).ok()?;
        let content = marked(999_999, "a@shop.example", "b@customer.example", 200_000);
        let reply = client.mail("a@shop.example", &["b@customer.example"], &content).ok()?;
        (reply.code == 250).then_some(())
    });
    until_true("and delivered", BOUND, || sink.mails().iter().any(|mail| mail.mark() == Some(999_999)));
    relay.stop(BOUND);
    drop(disk);
}

/// Not an octet is free, and the relay was killed: its index must be mended, and what it delivers written down.
#[test]
#[ignore = "needs root, to mount a small disk"]
fn a_start_on_a_full_disk_delivers_what_is_queued() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::mount(&folder.path().join("disk"), "24m");
    let sink = Sink::start();
    sink.behave(|manners| manners.after_dot = AfterDot::Reply("451 4.3.0 not now"));
    let mut relay = Setup::new()
        .queue(&format!("retry: [1s], min_free: 4MiB, path: \"{}/queue.redb\"", disk.0.display()))
        .route("name: all, deliver: [out]")
        .provider(&format!("name: out, transport: smtp, {}", sink.as_host()))
        .start();
    relay.beside = disk.0.clone();
    for mark in 1..=20 {
        relay.send(
            "a@shop.example",
            &["b@customer.example"],
            &marked(mark, "a@shop.example", "b@customer.example", 20_000),
        );
    }
    assert_eq!(std::fs::metadata(disk.0.join("queue.reserve")).unwrap().len(), 1 << 20);
    relay.kill_9();
    let ballast = disk.0.join("ballast");
    let _ = std::io::copy(
        &mut std::io::Read::take(std::io::repeat(7), 64 << 20),
        &mut std::fs::File::create(&ballast).unwrap(),
    );
    sink.behave(|manners| manners.after_dot = AfterDot::Take);
    relay.restart();
    until_true("all that was queued arrives", BOUND, || {
        let marks: std::collections::HashSet<_> = sink.mails().iter().filter_map(|mail| mail.mark()).collect();
        (1..=20).all(|mark| marks.contains(&mark))
    });
    until_true("and is written down", BOUND, || relay.status()["queue"]["messages"] == 0);
    assert!(!disk.0.join("queue.reserve").exists());
    let mut client = relay.client();
    let content = marked(99, "a@shop.example", "b@customer.example", 20_000);
    let reply = client.mail("a@shop.example", &["b@customer.example"], &content).unwrap();
    assert_eq!((reply.code, reply.text.starts_with("4.3.1")), (452, true), "{reply:?}");
    relay.stop(BOUND);
    std::fs::remove_file(&ballast).unwrap();
    relay.restart();
    assert!(disk.0.join("queue.reserve").exists(), "there is room for it again");
    relay.stop(BOUND);
    drop(disk);
}

#[test]
#[ignore = "needs root, to mount a small disk"]
fn another_filling_the_disk_is_survived_too() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::mount(&folder.path().join("disk"), "24m");
    let sink = Sink::start();
    let mut relay = Setup::new()
        .queue(&format!("retry: [1s], min_free: 1MiB, path: \"{}/queue.redb\"", disk.0.display()))
        .route("name: all, deliver: [out]")
        .provider(&format!("name: out, transport: smtp, {}", sink.as_host()))
        .start();
    relay.beside = disk.0.clone();
    let content = |mark| marked(mark, "a@shop.example", "b@customer.example", 50_000);
    relay.send("a@shop.example", &["b@customer.example"], &content(1));
    sink.wait_for(1);
    let ballast = disk.0.join("ballast");
    // The last octet: what does not fit is not written, and that is the point.
    let _ = std::io::copy(
        &mut std::io::Read::take(std::io::repeat(7), 64 << 20),
        &mut std::fs::File::create(&ballast).unwrap(),
    );
    let mut client = relay.client();
    let reply = client.mail("a@shop.example", &["b@customer.example"], &content(2)).unwrap();
    assert_eq!(reply.code, 452, "{reply:?}");
    // Whoever is paged is told so by all that there is.
    let ready = relay.http("GET", "/readyz", &[], "");
    assert!(ready.status == 503 && ready.body.contains("the disk"), "{ready:?}");
    let told = relay.verb(&["status"]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.code() == Some(1) && text.contains("NEW MAIL IS NOT TAKEN:"), "{text}");
    std::fs::remove_file(&ballast).unwrap();
    until("mail is taken again", BOUND, || {
        let mut client = Client::connect(relay.address).ok()?;
        let reply = client.mail("a@shop.example", &["b@customer.example"], &content(3)).ok()?;
        (reply.code == 250).then_some(())
    });
    until_true("and delivered", BOUND, || sink.mails().iter().any(|mail| mail.mark() == Some(3)));
    assert!(sink.mails().iter().all(|mail| mail.mark() != Some(2)), "refused, and delivered all the same");
    relay.stop(BOUND);
    drop(disk);
}
