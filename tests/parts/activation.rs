//! systemd opens the listener's socket: the relay takes it over, and needs no privilege for the port.

use crate::support::process::{Process, tool};
use crate::support::relay::{BINARY, Setup};
use crate::support::{BOUND, free_port, loopback, marked, until};

fn setup() -> Setup {
    Setup::new().route("name: all, deliver: [out]").provider("name: out, transport: maildir, path: out")
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn the_socket_of_systemd_is_the_listeners() {
    let mut relay = setup().activated().start();
    // The port is taken already: had the relay asked for it, it would not have started.
    relay.send("a@sender.example", &["b@customer.example"], &marked(1, "a@sender.example", "b@customer.example", 600));
    let maildir = relay.maildir("out");
    maildir.wait_for(1);
    assert!(relay.stop(BOUND).success());
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn a_socket_of_no_listener_is_an_error() {
    let mut relay = setup().start();
    relay.stop(BOUND);
    let other = loopback(1, free_port());
    let log = relay.path().join("activated.log");
    let mut command = std::process::Command::new(tool("systemd-socket-activate"));
    command.arg("--listen").arg(other.to_string()).arg(BINARY).arg("run").arg("--config").arg(relay.path());
    let mut process = Process::start("systemd-socket-activate", command.current_dir(relay.path()), &log);
    // The first client has it started.
    let status = until("its end", BOUND, || {
        let _ = std::net::TcpStream::connect(other);
        process.exited()
    });
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(!status.success() && said.contains(&format!("systemd passed a socket at {other}")), "{said}");
}
