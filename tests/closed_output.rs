//! Verbs whose reader goes away, as `head` does, end quietly; where the output is lost otherwise, they say so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs::File;
use std::io::PipeWriter;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const VERBS: [&[&str]; 6] = [
    &["version"],
    &["version", "--json"],
    &["schema", "waypost"],
    &["completions", "bash"],
    &["explain", "--from", "a@b.example", "--to", "c@d.example"],
    &["check", "--json"],
];

fn run_in(folder: &Path, verb: &[&str], out: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(verb).current_dir(folder).env_remove("WAYPOST_CONFIG").stdout(out).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

fn run(verb: &[&str], out: impl Into<Stdio>) -> Output {
    run_in(tempfile::tempdir().unwrap().path(), verb, out)
}

/// A pipe that nobody reads.
fn closed() -> PipeWriter {
    std::io::pipe().unwrap().1
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for verb in VERBS {
        let out = run(verb, closed());
        assert!(out.status.success() && out.stderr.is_empty(), "{verb:?}: {out:?}");
    }
}

/// `waypost diff … --fail-on-change | head` must still fail.
#[test]
fn the_answer_stays_bad_where_nobody_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for (of, chain) in [("a", "one"), ("b", "two")] {
        write(&format!("{of}/routes/a.yaml"), &format!("routes: [{{name: all, deliver: {chain}}}]"));
        let provider = |name| format!("{{name: {name}, transport: maildir, path: {name}}}");
        write(&format!("{of}/providers/a.yaml"), &format!("providers: [{}, {}]", provider("one"), provider("two")));
    }
    write("bad/routes/a.yaml", "routes: [{name: all, deliver: nowhere}]");
    let bad: [&[&str]; 6] = [
        &["diff", "a", "b", "--fail-on-change"],
        &["diff", "a", "b", "--fail-on-change", "--json"],
        &["check", "--config", "bad"],
        &["check", "--config", "bad", "--json"],
        &["health", "--config", "a"],
        &["health", "--config", "a", "--json"],
    ];
    for verb in bad {
        for out in [run_in(folder.path(), verb, Stdio::null()), run_in(folder.path(), verb, closed())] {
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.code() == Some(1) && !said.contains("roken pipe"), "{verb:?}: {out:?}");
        }
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
