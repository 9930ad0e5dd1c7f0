//! HAProxy in front: the relay knows its clients by their own addresses, whichever version of the PROXY protocol brings them.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::support::cert::Certificate;
use crate::support::process::{Process, output, tool};
use crate::support::relay::{Relay, Setup};
use crate::support::sink::Sink;
use crate::support::smtp::Client;
use crate::support::{BOUND, free_port, loopback, marked, until, until_true};

/// HAProxy, its frontends passing all connections on to the relay, each by another `server` line.
struct HaProxy {
    _process: Process,
    fronts: Vec<SocketAddr>,
}

impl HaProxy {
    fn start(folder: &Path, relay: SocketAddr, servers: &[&str]) -> Self {
        let fronts: Vec<SocketAddr> = servers.iter().map(|_| loopback(1, free_port())).collect();
        let mut text =
            "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n".to_owned();
        for (n, (front, server)) in fronts.iter().zip(servers).enumerate() {
            text.push_str(&format!("listen front{n}\n  bind {front}\n  server relay {relay} {server}\n"));
        }
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(tool("haproxy"));
        command.arg("-db").arg("-f").arg(&file);
        let process = Process::start("haproxy", &mut command, &folder.join("haproxy.log"));
        for front in &fronts {
            until("HAProxy listens", BOUND, || TcpStream::connect(front).ok());
        }
        Self { _process: process, fronts }
    }
}

/// A client of this address.
fn connect_from(source: u8, to: SocketAddr) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(loopback(source, 0).ip(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Client::over(socket.into()).unwrap()
}

/// Clients of 127.0.0.9 may relay and go one way, those of 127.0.0.10 may and go another, all others may not.
fn relay(listener: &str, certificate: Option<&Certificate>, nine: &Sink, ten: &Sink) -> Relay {
    let tls = certificate.map_or(String::new(), |certificate| {
        let (certificate, key) = (certificate.certificate.display(), certificate.key.display());
        format!("tls: {{certificate: \"{certificate}\", key: \"{key}\"}}")
    });
    let keys = "proxy_protocol: [127.0.0.1], allow: [127.0.0.9, 127.0.0.10]";
    Setup::new()
        .listener(&format!("{keys}{listener}"))
        .server(&tls)
        .route("name: nine, match: {client: 127.0.0.9}, deliver: [nine]")
        .route("name: rest, deliver: [ten]")
        .provider(&format!("name: nine, transport: smtp, {}", nine.as_host()))
        .provider(&format!("name: ten, transport: smtp, {}", ten.as_host()))
        .start()
}

#[test]
#[ignore = "needs haproxy"]
fn the_client_is_the_one_behind_the_balancer() {
    let (nine, ten) = (Sink::start(), Sink::start());
    let relay = relay("", None, &nine, &ten);
    let folder = tempfile::tempdir().unwrap();
    let balancer = HaProxy::start(
        folder.path(),
        relay.address,
        &["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c check inter 100ms"],
    );
    let content = |mark| marked(mark, "app@sender.example", "to@customer.example", 600);
    for (n, front) in balancer.fronts.iter().enumerate() {
        for source in [9, 10, 11] {
            let mut client = connect_from(source, *front);
            let reply = client.mail("app@sender.example", &["to@customer.example"], &content(n as u64)).unwrap();
            assert_eq!(reply.code, if source == 11 { 550 } else { 250 }, "front {n}, 127.0.0.{source}: {reply:?}");
        }
    }
    for (sink, address) in [(&nine, "[127.0.0.9]"), (&ten, "[127.0.0.10]")] {
        sink.wait_for(3);
        for mail in sink.mails() {
            let content = String::from_utf8(mail.content).unwrap();
            assert!(content.contains(address) && !content.contains("[127.0.0.1]"), "{content}");
        }
    }
    for address in ["127.0.0.9", "127.0.0.10", "127.0.0.11"] {
        relay.log().once_it_says(&format!("\"client\":\"{address}\""));
    }
    let log = relay.log().raw();
    assert!(!log.contains("\"client\":\"127.0.0.1\""), "{log}");

    // Past the balancer nobody speaks for itself, and what is no header is told.
    assert!(Client::connect(relay.address).is_err());
    until_true("it is told", BOUND, || relay.log().raw().contains("a balancer did not say whom it brings"));
}

#[test]
#[ignore = "needs haproxy and curl"]
fn tls_begins_behind_the_header() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), &["relay.example"]);
    let (nine, ten) = (Sink::start(), Sink::start());
    let relay = relay(", tls: implicit", Some(&certificate), &nine, &ten);
    let balancer = HaProxy::start(folder.path(), relay.address, &["send-proxy", "send-proxy-v2"]);
    let file = folder.path().join("mail.eml");
    std::fs::write(&file, marked(1, "app@sender.example", "to@customer.example", 600)).unwrap();
    for front in &balancer.fronts {
        let mut curl = Command::new(tool("curl"));
        curl.args(["--silent", "--show-error", "--interface", "127.0.0.9", "--cacert"]).arg(&certificate.certificate);
        curl.args(["--connect-to", &format!("relay.example:465:{front}"), "--url", "smtps://relay.example:465"]);
        curl.args(["--mail-from", "app@sender.example", "--mail-rcpt", "to@customer.example", "-T"]).arg(&file);
        output(&mut curl);
    }
    nine.wait_for(2);
    assert_eq!(ten.count(), 0);
    drop(relay);
}
