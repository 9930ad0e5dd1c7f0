//! The newcomer's way: a bare binary, no configuration, curl, a file.

use std::process::Command;

use crate::support::maildir::Maildir;
use crate::support::process::{Process, output, tool};
use crate::support::relay::BINARY;
use crate::support::smtp::Client;
use crate::support::{BOUND, loopback, until};

const CONTENT: &str = "From: a@example.com\r\nTo: b@example.com\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\
    Message-ID: <first@example.com>\r\nSubject: the first\r\n\r\nHello.\r\n.\r\n.. two dots\r\n\r\ntrailing blanks   \r\n\tEnd\r\n";

/// Starts the relay in an empty folder, and hands in `file` as curl does it.
fn submit_by_curl(file: &[u8], curl: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.arg("run").current_dir(folder.path()).env_remove("WAYPOST_CONFIG").env_remove("RUST_LOG");
    let log = folder.path().join("log");
    let mut process = Process::start("waypost", &mut command, &log);
    until("the relay listens on its default address", BOUND, || {
        let log = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(process.exited().is_none(), "the relay ended:\n{}", log());
        Client::connect(loopback(1, 2525)).ok().map(Client::quit)
    });
    let path = folder.path().join("FILE");
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new(tool("curl"));
    command.args(["-sS", "smtp://127.0.0.1:2525", "--mail-from", "a@example.com", "--mail-rcpt", "b@example.com"]);
    output(command.arg("-T").arg(&path).args(curl));
    Maildir::at(folder.path().join("data/outbox")).wait_for(1).remove(0)
}

/// What stands before `content`, which must be the end of `message`.
fn before<'a>(message: &'a [u8], content: &[u8]) -> &'a str {
    let shown = String::from_utf8_lossy(message);
    assert!(message.ends_with(content), "the content was changed:\n{shown}");
    std::str::from_utf8(&message[..message.len() - content.len()]).unwrap()
}

/// One test for both ways: there is one default port.
#[test]
#[ignore = "needs curl"]
fn curl_to_maildir() {
    byte_for_byte();
    a_file_with_unix_line_ends_and_little_header();
}

fn byte_for_byte() {
    let message = submit_by_curl(CONTENT.as_bytes(), &[]);
    let trace = before(&message, CONTENT.as_bytes());
    assert_eq!(trace.matches("Received: from ").count(), 1, "{trace}");
    for line in trace.lines().filter(|line| !line.starts_with(['\t', ' '])) {
        let (name, _) = line.split_once(':').unwrap();
        assert!(["Return-Path", "Received", "Delivered-To"].contains(&name), "no trace field: {line}");
    }
    assert!(trace.contains("for <b@example.com>"), "{trace}");
}

fn a_file_with_unix_line_ends_and_little_header() {
    let message = submit_by_curl(b"Subject: short\n\nHello\n", &["--crlf"]);
    let text = String::from_utf8(message).unwrap();
    assert!(text.ends_with("\r\n\r\nHello\r\n"), "{text:?}");
    // What a submitter left out is added (RFC 6409, 8.3 and 8.4).
    for field in ["Date: ", "Message-ID: <", "Subject: short\r\n"] {
        assert_eq!(text.matches(field).count(), 1, "{field} in {text}");
    }
}
