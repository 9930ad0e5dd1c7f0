//! Verbs whose reader goes away, as `head` does, end quietly; where the output is lost otherwise, they say so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs::File;
use std::process::{Command, Output, Stdio};

const VERBS: [&[&str]; 6] = [
    &["version"],
    &["version", "--json"],
    &["schema", "waypost"],
    &["completions", "bash"],
    &["explain", "--from", "a@b.example", "--to", "c@d.example"],
    &["check", "--json"],
];

fn run(verb: &[&str], out: impl Into<Stdio>) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(verb).current_dir(folder.path()).env_remove("WAYPOST_CONFIG").stdout(out).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for verb in VERBS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = run(verb, writer);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            out.status.success() && !said.contains("roken pipe") && !said.contains("panicked"),
            "{verb:?}: {out:?}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_is_lost_is_an_error() {
    for verb in VERBS {
        let out = run(verb, File::options().write(true).open("/dev/full").unwrap());
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && said.contains("No space left"), "{verb:?}: {out:?}");
    }
}
