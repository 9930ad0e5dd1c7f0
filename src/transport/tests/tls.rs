//! TLS in all its modes, against a server with a certificate of its own.

use std::io::Write as _;
use std::net::SocketAddr;

use tempfile::NamedTempFile;
use tokio::net::TcpStream;

use super::script::{Identity, Server};
use super::*;
use crate::config::{Credentials, Secret, SmtpSettings, SmtpTls, TlsFloor};
use crate::transport::tls::{Check, Tls};
use crate::transport::{SmtpTransport, TransportError};

const MESSAGE: &[&str] = &[">MAIL", ">RCPT", ">DATA", "250 ok", "250 ok", "354 go", "!content", "250 ok"];
const HELLO: &[&str] = &["220 mx", ">EHLO", "250-mx", "250 STARTTLS"];
const STARTTLS: &[&str] = &[">STARTTLS", "220 go", "!tls"];
const SECURE_HELLO: &[&str] = &[">EHLO", "250-mx", "250 PIPELINING"];

fn ca_file(identity: &Identity) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(identity.pem.as_bytes()).unwrap();
    file
}

fn settings(address: SocketAddr, tls: SmtpTls, ca: Option<&NamedTempFile>) -> SmtpSettings {
    SmtpSettings {
        host: "mx.example".to_owned(),
        port: address.port(),
        tls,
        credentials: None,
        ca: ca.map(|file| file.path().to_owned()),
        source: None,
        flavor: None,
        chunking: false,
    }
}

fn transport(settings: &SmtpSettings) -> SmtpTransport {
    let dns = FakeDns { addresses: [("mx.example", Ok(vec!["127.0.0.1"]))].into(), ..FakeDns::default() };
    SmtpTransport::new(&provider(), settings, &environment(dns)).unwrap()
}

/// A message over a server that has a certificate for `name`; trusted or not.
fn check(name: &str, trusted: bool, tls: SmtpTls, floor: Option<TlsFloor>, scripts: &[&[&[&'static str]]]) -> String {
    run(async {
        let identity = Identity::of(&[name]);
        let ca = ca_file(&identity);
        let scripts: Vec<Vec<&'static str>> = scripts.iter().map(|parts| parts.concat()).collect();
        let scripts: Vec<&[&'static str]> = scripts.iter().map(Vec::as_slice).collect();
        let server = Server::start_tls(&identity, &scripts).await;
        let transport = transport(&settings(server.address, tls, trusted.then_some(&ca)));
        let attempt = attempt(&["r@b.example"]);
        let attempt = match floor {
            Some(floor) => with_floor(attempt, floor),
            None => attempt,
        };
        let outcome = outcomes(&transport, &attempt).await;
        drop(transport);
        server.sessions().await;
        outcome
    })
}

#[test]
fn starttls_with_a_good_certificate() {
    let script: &[&[&str]] = &[HELLO, STARTTLS, SECURE_HELLO, MESSAGE];
    assert_eq!(check("mx.example", true, SmtpTls::StartTls, None, &[script]), "delivered 250");
    assert_eq!(check("mx.example", true, SmtpTls::None, Some(TlsFloor::Verify), &[script]), "delivered 250");
    assert_eq!(check("other.example", false, SmtpTls::None, Some(TlsFloor::Require), &[script]), "delivered 250");
    assert_eq!(check("other.example", false, SmtpTls::Opportunistic, None, &[script]), "delivered 250");
}

#[test]
fn a_bad_certificate_stops_where_it_counts() {
    let script: &[&[&str]] = &[HELLO, STARTTLS];
    for (name, trusted) in [("other.example", true), ("mx.example", false)] {
        assert_eq!(check(name, trusted, SmtpTls::StartTls, None, &[script]), "unavailable Tls");
        let floor = Some(TlsFloor::Verify);
        assert_eq!(check(name, trusted, SmtpTls::Opportunistic, floor, &[script]), "unavailable Tls");
        assert_eq!(check(name, trusted, SmtpTls::Implicit, None, &[&[&["!tls"]]]), "unavailable Tls");
    }
}

#[test]
fn what_is_wrong_is_told_in_words() {
    run(async {
        let told = async |identity: &Identity, trusted: bool, script: &[&'static str]| {
            let server = Server::start_tls(identity, &[script]).await;
            let ca = ca_file(identity);
            let tls = Tls::new(trusted.then_some(ca.path())).unwrap();
            let stream = TcpStream::connect(server.address).await.unwrap();
            tls.handshake(stream, "mx.example", Check::Certificate).await.err().unwrap()
        };
        let mut issuer = rcgen::CertificateParams::new(vec!["mx.example".to_owned()]).unwrap();
        issuer.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let (good, other) = (Identity::of(&["mx.example"]), Identity::of(&["other.example"]));
        for (words, identity, trusted, script) in [
            ("comes from an issuer that is not trusted here", &good, false, &["!tls"]),
            ("is one of an issuer (CA:TRUE)", &Identity::with(&issuer), true, &["!tls"]),
            ("not valid for name \"mx.example\"", &other, true, &["!tls"]),
            ("what it answers is no TLS", &good, true, &["220 mx"]),
        ] {
            let told = told(identity, trusted, script).await;
            assert!(told.contains(words), "{words}: {told}");
        }
    });
}

#[test]
fn starttls_that_is_not_there() {
    let bare: &[&[&str]] = &[&["220 mx", ">EHLO", "250 mx"]];
    assert_eq!(check("mx.example", true, SmtpTls::StartTls, None, &[bare]), "unavailable Tls");
    assert_eq!(check("mx.example", true, SmtpTls::None, Some(TlsFloor::Require), &[bare]), "unavailable Tls");
    let clear: &[&[&str]] = &[&["220 mx", ">EHLO", "250-mx", "250 PIPELINING"], MESSAGE];
    assert_eq!(check("mx.example", true, SmtpTls::Opportunistic, None, &[clear]), "delivered 250");
    let refused: &[&[&str]] = &[HELLO, &[">STARTTLS", "454 no"]];
    assert_eq!(check("mx.example", true, SmtpTls::StartTls, None, &[refused]), "unavailable Tls 454");
}

#[test]
fn implicit_tls() {
    let script: &[&[&str]] = &[&["!tls", "220 mx"], SECURE_HELLO, MESSAGE];
    assert_eq!(check("mx.example", true, SmtpTls::Implicit, None, &[script]), "delivered 250");
    // A server that speaks in clear there.
    assert_eq!(check("mx.example", true, SmtpTls::Implicit, None, &[&[&["220 mx"]]]), "unavailable Tls");
}

#[test]
fn what_fails_as_an_opportunity_goes_on_in_clear() {
    let clear: &[&[&str]] = &[&["220 mx", ">EHLO", "250-mx", "250-STARTTLS", "250 PIPELINING"], MESSAGE];
    for broken in [&["this is no handshake"][..], &["!close"], &["!hang"], &["!tls", "!close"]] {
        let first: &[&[&str]] = &[HELLO, &[">STARTTLS", "220 go"], broken];
        assert_eq!(
            check("mx.example", true, SmtpTls::Opportunistic, None, &[first, clear]),
            "delivered 250",
            "{broken:?}"
        );
        let outcome = check("mx.example", true, SmtpTls::Opportunistic, Some(TlsFloor::Require), &[first]);
        assert!(outcome.starts_with("unavailable"), "{broken:?}: {outcome}");
    }
}

#[test]
fn a_password_does_not_go_on_in_clear() {
    run(async {
        let broken = [HELLO, &[">STARTTLS", "220 go", "this is no handshake"]].concat();
        let server = Server::start(&[&broken, &["220 mx", ">EHLO", "250-mx", "250 AUTH PLAIN"]]).await;
        let login = Credentials { username: "u".to_owned(), password: Secret::new("p".to_owned()) };
        let settings =
            SmtpSettings { credentials: Some(login), ..settings(server.address, SmtpTls::Opportunistic, None) };
        let transport = transport(&settings);
        assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "unavailable Tls");
        assert!(!server.sessions().await[1].lines.iter().any(|line| line.starts_with("AUTH")));
    });
}

#[test]
fn octets_put_before_the_handshake_are_not_obeyed() {
    // The injected replies would offer PIPELINING, and take everything.
    let injected = "220 go\r\n250-mx\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n250 stolen";
    let inject: &[&[&str]] =
        &[HELLO, &[">STARTTLS", injected, "!tls", ">EHLO", "250 mx", ">MAIL", "550 mine", ">RSET", "250 ok"]];
    let outcome = check("mx.example", true, SmtpTls::StartTls, None, &[inject]);
    // Either they came with the reply and were dropped, or after it and broke the handshake.
    assert!(["rejected 550", "unavailable Tls"].contains(&outcome.as_str()), "{outcome}");
}

#[test]
fn a_kept_connection_serves_no_stricter_route() {
    run(async {
        let identity = Identity::of(&["mx.example"]);
        let ca = ca_file(&identity);
        let clear = [&["220 mx", ">EHLO", "250-mx", "250 PIPELINING"], MESSAGE].concat();
        let secure = [HELLO, STARTTLS, SECURE_HELLO, MESSAGE].concat();
        // The server's second connection comes while the first is still kept.
        let server = Server::start_tls(&identity, &[&[&clear[..], &["!close"]].concat(), &secure]).await;
        let transport = transport(&settings(server.address, SmtpTls::None, Some(&ca)));
        assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "delivered 250");
        let strict = with_floor(attempt(&["r@b.example"]), TlsFloor::Verify);
        assert_eq!(outcomes(&transport, &strict).await, "delivered 250");
        drop(transport);
        server.sessions().await;
    });
}

#[test]
fn a_ca_file_must_hold_certificates() {
    let empty = NamedTempFile::new().unwrap();
    let address = "127.0.0.1:9".parse().unwrap();
    for ca in [empty.path().to_owned(), empty.path().join("missing")] {
        let settings = SmtpSettings { ca: Some(ca), ..settings(address, SmtpTls::StartTls, None) };
        let made = SmtpTransport::new(&provider(), &settings, &environment(FakeDns::default()));
        assert!(matches!(made.err(), Some(TransportError::Ca { .. })));
    }
}
