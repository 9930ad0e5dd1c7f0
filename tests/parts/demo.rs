//! `waypost demo`: a newcomer sees a failover, all mail is counted, and nothing is left behind.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::relay::BINARY;
use crate::support::{BOUND, until, until_true};

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["demo", "--quick"]).env("TMPDIR", folder).current_dir(folder);
    command
}

fn left(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The number before a text of the count at the end.
fn counted(transcript: &str, what: &str) -> u64 {
    let line =
        transcript.lines().find(|line| line.ends_with(what)).unwrap_or_else(|| panic!("no '{what}' in:\n{transcript}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Processes that were started in the folder and are there still.
fn running_in(folder: &Path) -> usize {
    let folder = folder.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    processes
        .filter(|file| std::fs::read(file).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&folder)))
        .count()
}

#[test]
fn one_command_shows_an_outage_and_counts_the_mail() {
    let folder = tempfile::tempdir().unwrap();
    let out = demo(folder.path()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    let order = [
        "admin page     http://127.0.0.1:",
        ">>> the demo cuts primary",
        "the relay: primary is out: 421 4.3.2",
        "<<< the demo puts primary back",
        "the relay: a message has found primary well",
        "messages were accepted",
    ];
    let places: Vec<_> = order.iter().map(|words| text.find(words)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in:\n{text}");
    assert_eq!((counted(&text, " lost"), counted(&text, " came twice")), (0, 0), "{text}");
    let (accepted, primary, secondary) = (
        counted(&text, "were accepted (250) by the relay"),
        counted(&text, "came out at primary"),
        counted(&text, "came out at secondary"),
    );
    assert!(accepted > 50 && primary > 5 && secondary > 5 && primary + secondary == accepted, "{text}");
    assert_eq!(left(folder.path()), Vec::<std::path::PathBuf>::new());
    assert_eq!(running_in(folder.path()), 0);
}

#[test]
fn ctrl_c_ends_it_clean_at_any_time() {
    for words in ["the relay      takes mail", "the demo cuts primary", "primary is out"] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = demo(folder.path()).args(["--rounds", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut text = String::new();
        let mut piece = [0; 4096];
        while !text.contains(words) {
            let count = out.read(&mut piece).unwrap();
            assert!(count > 0, "it ended by itself:\n{text}");
            text.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(status.success());
        out.read_to_string(&mut text).unwrap();
        let status = until("the end of the demo", BOUND, || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{text}");
        assert!(text.contains("SIGINT: the demo ends"), "{text}");
        assert_eq!((counted(&text, " lost"), counted(&text, " came twice")), (0, 0), "{text}");
        assert_eq!(left(folder.path()), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn a_demo_that_is_killed_takes_its_relay_along() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path()).stdout(Stdio::null()).spawn().unwrap();
    until_true("the relay runs", BOUND, || running_in(folder.path()) == 1);
    child.kill().unwrap();
    child.wait().unwrap();
    if cfg!(target_os = "linux") {
        until_true("the relay is gone, too", BOUND, || running_in(folder.path()) == 0);
    }
}
