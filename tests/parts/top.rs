//! `waypost top` on a real terminal: a frame is there, keys work, and the terminal is as it was however it ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::process::tool;
use crate::support::relay::{BINARY, Relay, Setup, waypost};
use crate::support::{marked, until_true};

fn relay() -> Relay {
    let relay = Setup::new()
        .route("name: kept, match: {recipient: 'keep@*'}, hold: to be looked at")
        .route("name: all, deliver: [nowhere, out]")
        .provider("name: nowhere, transport: smtp, host: 127.0.0.1, port: 1, tls: none")
        .provider("name: out, transport: maildir, path: out")
        .start();
    for (n, to) in [(1, "bob@customer.example"), (2, "keep@customer.example")] {
        relay.send("app@shop.example", &[to], &marked(n, "app@shop.example", to, 300));
    }
    until_true("it is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 1);
    relay
}

/// A terminal on which the verb runs.
struct Terminal {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Terminal {
    fn start(relay: &Relay, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(tool("python3"));
        command
            .args(["-c", include_str!("clients/terminal.py"), BINARY, "top", "--config"])
            .arg(relay.path())
            .args(args);
        command.env_remove("NO_COLOR").envs(env.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.to, "{command}").unwrap();
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    fn does(&mut self, command: &str) {
        assert_eq!(self.ask(command), "ok", "{command}");
    }

    /// It has ended well, and all is as it was: settings, screen, cursor, line wrap.
    fn ended(mut self) {
        let told: Value = serde_json::from_str(&self.ask("end")).unwrap();
        assert_eq!((&told["status"], &told["as_before"]), (&0.into(), &true.into()), "{told}");
        let last = told["last"].as_str().unwrap();
        let given_back = last.find("\u{1b}[?1049l").expect("the screen is left");
        assert_eq!(&last[given_back + 8..], "", "nothing is written behind");
        assert!(last.contains("\u{1b}[?25h") && last.contains("\u{1b}[?7h"), "cursor and line wrap: {last:?}");
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
#[ignore = "needs python3"]
fn it_watches_the_relay_until_q() {
    let mut relay = relay();
    let mut top = Terminal::start(&relay, &["--every", "200ms"], &[]);
    top.does("wait \u{1b}[?1049h");
    // In the order in which the screen is drawn, before the first answer and with it.
    for text in ["sort: as given", "LAST ERROR", "nowhere", "4.4.1 connecting", "GOES TO", "(hold)"] {
        top.does(&format!("wait {text}"));
    }
    top.does("type s");
    top.does("wait sort: busiest");
    top.does("type p");
    top.does("wait PAUSED");
    top.does("type p");
    top.does("wait every 200ms");
    // A screen that is made smaller is drawn anew.
    top.does("size 40 8");
    top.does("wait \u{1b}[2J");
    top.does("wait lines 1-3 of");
    top.does("type \\x1b[B");
    top.does("wait lines 2-4 of");
    top.does("size 100 30");
    top.does("wait LISTENER");
    // While the relay is away, that is told, and it is found again, at another port.
    assert!(relay.stop(Duration::from_secs(20)).success());
    top.does("wait NO ANSWER");
    relay.restart();
    top.does("wait in 0.0/s");
    top.does("type q");
    top.ended();
}

#[test]
#[ignore = "needs python3"]
fn the_terminal_is_given_back_also_at_ctrl_c_and_sigterm() {
    let relay = relay();
    for end in ["type \\x03", "signal TERM", "signal INT"] {
        let mut top = Terminal::start(&relay, &[], &[("NO_COLOR", "1")]);
        top.does("wait PROVIDER");
        top.does(end);
        top.ended();
    }
}

#[test]
fn without_a_terminal_one_frame_is_printed() {
    let mut relay = relay();
    let path = relay.path().to_owned();
    for args in [&["top", "--config", ".", "--every", "100ms"][..], &["top", "--config", ".", "--once"]] {
        let out = waypost(&path, args);
        let told = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{told}");
        for text in
            ["waypost ", "in 0.0/s   delivered 0.0/s", "\nPROVIDER", "\nROUTE", "\nLISTENER", "127.0.0.1:", "(hold)"]
        {
            assert!(told.contains(text), "{text}: {told}");
        }
        assert!(!told.contains('\u{1b}') && told.lines().all(|line| line.chars().count() <= 80), "{told}");
    }
    let out = waypost(&path, &["top", "--config", ".", "--once", "--json", "--every", "100ms"]);
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&json["rates"]["all"]["accepted"], &json["rates"]["routes"]["all"]["bounced"]),
        (&0.0.into(), &0.0.into())
    );
    assert_eq!(json["status"]["queue"]["held"], 1);
    relay.stop(Duration::from_secs(20));
    let out = waypost(&path, &["top", "--config", ".", "--once"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("the relay is not running"), "{out:?}");
    assert_eq!(waypost(&path, &["top", "--every", "1ms"]).status.code(), Some(2));
}
