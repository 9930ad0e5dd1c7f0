//! The built relay, with a configuration directory of its own.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::log::Log;
use super::maildir::Maildir;
use super::process::{Process, tool};
use super::smtp::Client;
use super::{BOUND, free_port, loopback, until};

pub const BINARY: &str = env!("CARGO_BIN_EXE_waypost");

/// A configuration to start from: one listener, a fast retry schedule.
#[derive(Default)]
pub struct Setup {
    listener: String,
    others: String,
    queue: String,
    server: String,
    routes: String,
    providers: String,
    env: Vec<(String, String)>,
    activated: bool,
}

impl Setup {
    pub fn new() -> Self {
        Self { queue: "retry: [1s]".to_owned(), ..Self::default() }
    }

    /// Further keys of the listener, in flow style: `tls: starttls, authentication: required`.
    pub fn listener(mut self, keys: &str) -> Self {
        self.listener = keys.to_owned();
        self
    }

    /// A further listener, in flow style without the braces.
    pub fn other_listener(mut self, keys: &str) -> Self {
        self.others.push_str(&format!("  - {{{keys}}}\n"));
        self
    }

    /// Keys of `queue`, in flow style; its path is added where they name none.
    pub fn queue(mut self, keys: &str) -> Self {
        self.queue = keys.to_owned();
        self
    }

    /// Further lines of `waypost.yaml`.
    pub fn server(mut self, yaml: &str) -> Self {
        self.server.push_str(yaml);
        self.server.push('\n');
        self
    }

    /// An entry of `routes`, in flow style without the braces.
    pub fn route(mut self, keys: &str) -> Self {
        self.routes.push_str(&format!("  - {{{keys}}}\n"));
        self
    }

    /// An entry of `providers`, in flow style without the braces.
    pub fn provider(mut self, keys: &str) -> Self {
        self.providers.push_str(&format!("  - {{{keys}}}\n"));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// systemd opens the relay's socket, and starts it when the first client comes.
    pub fn activated(mut self) -> Self {
        self.activated = true;
        self
    }

    pub fn start(self) -> Relay {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let comma = if self.listener.is_empty() { "" } else { ", " };
        let path = if self.queue.contains("path:") { "" } else { "path: data/queue.redb, " };
        // Relays of other tests run at the same time.
        let admin = if self.server.contains("admin:") { "" } else { "admin: {address: \"127.0.0.1:0\"}\n" };
        let server = format!(
            "hostname: relay.example\nlisteners:\n  - {{name: apps, address: \"127.0.0.1:{port}\"{comma}{}}}\n{}\
             queue: {{{path}{}}}\nlog: {{format: json, level: info}}\n{admin}{}",
            self.listener, self.others, self.queue, self.server
        );
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write("waypost.yaml", &server);
        write("routes/50-test.yaml", &format!("routes:\n{}", self.routes));
        write("providers/50-test.yaml", &format!("providers:\n{}", self.providers));
        let mut relay = Relay {
            process: None,
            beside: folder.path().join("data"),
            folder,
            address: loopback(1, port),
            env: self.env,
            activated: self.activated,
        };
        relay.restart();
        relay
    }
}

pub struct Relay {
    /// Ends before the folder goes.
    process: Option<Process>,
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    /// Where its queue lies.
    pub beside: PathBuf,
    env: Vec<(String, String)>,
    activated: bool,
}

/// A failed test shows what the relay said last.
impl Drop for Relay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let raw = self.log().raw();
            let lines: Vec<&str> = raw.lines().collect();
            eprintln!("the relay's log ends:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

impl Relay {
    /// Starts the relay again in its folder, and waits until it listens.
    pub fn restart(&mut self) {
        self.start_only();
        self.wait_for_listener();
    }

    fn start_only(&mut self) {
        assert!(self.process.is_none(), "the relay is running");
        let mut command = Command::new(BINARY);
        if self.activated {
            command = Command::new(tool("systemd-socket-activate"));
            command.arg("--listen").arg(self.address.to_string()).arg(BINARY);
        }
        command.arg("run").arg("--config").arg(self.path()).current_dir(self.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value))).env_remove("RUST_LOG");
        self.process = Some(Process::start("waypost", &mut command, &self.log_file()));
    }

    fn wait_for_listener(&mut self) {
        let (address, log) = (self.address, self.log());
        let process = self.process.as_mut().unwrap();
        until("the relay listens", BOUND, || {
            if let Some(status) = process.exited() {
                panic!("the relay ended at once, {status}:\n{}", log.raw());
            }
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
        });
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the relay runs")
    }

    /// A signal by its name (`HUP`).
    pub fn signal(&self, signal: &str) {
        self.process.as_ref().expect("the relay runs").signal(signal);
    }

    pub fn kill_9(&mut self) {
        self.process().kill_9();
        self.process = None;
    }

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self, bound: Duration) -> std::process::ExitStatus {
        self.process().signal("TERM");
        let status = self.process().wait(bound);
        self.process = None;
        status
    }

    /// The configuration directory, which is also the working directory.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn log_file(&self) -> PathBuf {
        self.path().join("relay.log")
    }

    pub fn log(&self) -> Log {
        Log::of(&self.log_file())
    }

    pub fn maildir(&self, path: &str) -> Maildir {
        Maildir::at(self.path().join(path))
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address).unwrap_or_else(|e| panic!("{e}; the relay's log:\n{}", self.log().raw()))
    }

    /// Hands in one message, which must be accepted; gives the reply's text.
    pub fn send(&self, from: &str, to: &[&str], content: &[u8]) -> String {
        let reply = self.client().mail(from, to, content).unwrap();
        assert_eq!(reply.code, 250, "{reply:?}; the relay's log:\n{}", self.log().raw());
        reply.text
    }
}

/// Runs a verb of `waypost queue` on the relay's directory.
pub fn queue(relay: &Relay, args: &[&str]) -> Output {
    waypost(relay.path(), &[&["queue", "--config", "."][..], args].concat())
}

/// What it prints, where it must go well.
pub fn good_queue(relay: &Relay, args: &[&str]) -> String {
    let out = queue(relay, args);
    let (text, told) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{args:?}: {}\n{text}\n{told}", out.status);
    text.into_owned()
}

/// What a verb of the binary prints, given that input.
pub fn waypost_with_input(args: &[&str], input: &str) -> String {
    let mut command = Command::new(BINARY);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Runs a verb of the binary in a folder.
pub fn waypost(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(args).current_dir(folder).env_remove("WAYPOST_CONFIG").env_remove("RUST_LOG");
    command.output().unwrap()
}
