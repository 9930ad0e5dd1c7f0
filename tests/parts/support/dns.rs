//! An authoritative DNS server (Knot) that serves the whole tree, from the root: what its zone does not name does not
//! exist.

use std::process::Command;
use std::time::Duration;

use super::process::{Process, tool};
use super::{BOUND, free_port, until_true};

pub struct Dns {
    _server: Process,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Dns {
    /// Serves these records, in zone file form with full names (`corp.example. MX 10 mx1.corp.example.`).
    pub fn start(records: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, port) = (folder.path().display(), free_port());
        let zone = format!(
            "$ORIGIN .\n$TTL 60\n@ SOA ns.root. admin.root. 1 3600 600 86400 60\n@ NS ns.root.\nns.root. A 127.0.0.1\n{records}\n"
        );
        std::fs::write(folder.path().join("root.zone"), zone).unwrap();
        let configuration = format!(
            "server:\n    listen: 127.0.0.1@{port}\n    rundir: \"{path}\"\n    udp-workers: 1\n    tcp-workers: 1\n    \
             background-workers: 1\ndatabase:\n    storage: \"{path}\"\nlog:\n  - target: stderr\n    any: info\nzone:\n  - \
             domain: .\n    storage: \"{path}\"\n    file: root.zone\n    zonefile-sync: -1\n    journal-content: none\n"
        );
        let file = folder.path().join("knot.conf");
        std::fs::write(&file, configuration).unwrap();
        let log = folder.path().join("knot.log");
        let mut server = Process::start("knotd", Command::new(tool("knotd")).arg("-c").arg(&file), &log);
        until_true("the DNS server answers", BOUND, || {
            assert!(server.exited().is_none(), "{}", std::fs::read_to_string(&log).unwrap_or_default());
            answers(port)
        });
        Self { _server: server, _folder: folder, port }
    }

    /// The line of `waypost.yaml` that sends the relay here.
    pub fn as_nameserver(&self) -> String {
        format!("dns: {{nameservers: [\"127.0.0.1:{}\"]}}", self.port)
    }
}

/// Asks for the root's SOA over UDP.
fn answers(port: u16) -> bool {
    const QUERY: [u8; 17] = [0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1];
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = [0; 512];
    socket.send_to(&QUERY, ("127.0.0.1", port)).is_ok()
        && socket.recv(&mut answer).is_ok_and(|n| n > 12 && answer[3] & 0x0f == 0 && answer[7] > 0)
}
