//! Certificates of a running relay, as clients see them, and what `waypost check` says of them.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use waypost::os::Clock;

use crate::support::cert::Certificate;
use crate::support::process::tool;
use crate::support::relay::{Relay, Setup, waypost};
use crate::support::talk::Talk;
use crate::support::{BOUND, marked, until_true};

fn to_maildir(setup: Setup) -> Relay {
    setup.route("name: all, deliver: [out]").provider("name: out, transport: maildir, path: out").start()
}

/// OpenSSL's own client asks for `name`, and checks that the certificate is the one in `file` and bears it.
fn verifies(relay: &Relay, version: &str, name: &str, file: &Path) -> bool {
    let mut client = Command::new(tool("openssl"));
    client.args(["s_client", "-starttls", "smtp", "-connect", &relay.address.to_string(), version]);
    client.args(["-servername", name, "-verify_hostname", name, "-CAfile"]).arg(file).stdin(Stdio::null());
    let out = client.output().unwrap();
    String::from_utf8_lossy(&out.stdout).contains("Verify return code: 0 (ok)")
}

#[test]
#[ignore = "needs openssl"]
fn a_client_gets_the_certificate_that_bears_the_name_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, names: &[&str]| Certificate::write(&folder.path().join(name), names);
    let first = write("first", &["relay.example"]);
    let second = write("second", &["mail.b.example", "*.c.example"]);
    let relay = to_maildir(Setup::new().listener("tls: starttls").server(&format!(
        "tls: [{}, {}]",
        first.as_tls(),
        second.as_tls()
    )));
    for version in ["-tls1_2", "-tls1_3"] {
        for (name, file) in [("relay.example", &first), ("mail.b.example", &second), ("x.c.example", &second)] {
            assert!(verifies(&relay, version, name, &file.certificate), "{name} {version}");
            let other = if std::ptr::eq(file, &first) { &second } else { &first };
            assert!(!verifies(&relay, version, name, &other.certificate), "{name} {version}");
        }
        // Whoever asks for another name gets the first.
        assert!(!verifies(&relay, version, "other.example", &first.certificate));
    }
    // A listener's own goes before those of all.
    let own = to_maildir(
        Setup::new()
            .listener(&format!(
                "tls: starttls, certificate: \"{}\", key: \"{}\"",
                second.certificate.display(),
                second.key.display()
            ))
            .server(&format!("tls: {}", first.as_tls())),
    );
    assert!(verifies(&own, "-tls1_3", "mail.b.example", &second.certificate));
    assert!(!verifies(&own, "-tls1_3", "relay.example", &first.certificate));
}

#[test]
#[ignore = "needs openssl"]
fn a_certificate_is_renewed_while_the_relay_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let old = Certificate::write(&path.join("archive1"), &["relay.example"]);
    let new = Certificate::write(&path.join("archive2"), &["relay.example"]);
    symlink("archive1", path.join("live")).unwrap();
    let live = Certificate { certificate: path.join("live/cert.pem"), key: path.join("live/key.pem") };
    let relay = to_maildir(Setup::new().listener("tls: starttls").server(&format!("tls: {}", live.as_tls())));
    let in_use = |certificate: &Certificate| verifies(&relay, "-tls1_3", "relay.example", &certificate.certificate);
    assert!(in_use(&old) && !in_use(&new));

    // A session from before goes on.
    let mut client = relay.client();
    symlink("archive2", path.join("next")).unwrap();
    std::fs::rename(path.join("next"), path.join("live")).unwrap();
    until_true("the new certificate is in use", BOUND, || in_use(&new));
    assert_eq!(
        client.mail("a@x.example", &["b@y.example"], &marked(1, "a@x.example", "b@y.example", 300)).unwrap().code,
        250
    );

    // A bad one is told, with its file, and does not take the good one's place.
    std::fs::write(&new.key, "-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----\n").unwrap();
    until_true("the bad key is told", BOUND, || {
        let log = relay.log().raw();
        log.lines().any(|line| line.contains("WARN") && line.contains("live/key.pem") && line.contains("stays in use"))
    });
    assert!(in_use(&new));
}

#[test]
#[ignore = "needs openssl"]
fn without_a_certificate_the_relay_makes_one_and_says_so() {
    let mut relay = to_maildir(Setup::new().listener("tls: starttls"));
    let (certificate, key) =
        (relay.path().join("data/self-signed.cert.pem"), relay.path().join("data/self-signed.key.pem"));
    assert!(verifies(&relay, "-tls1_3", "relay.example", &certificate));
    assert!(verifies(&relay, "-tls1_2", "localhost", &certificate));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    relay.log().once_it_says("is made");
    let told = |what: &str| {
        let log = relay.log().raw();
        log.lines().filter(|line| line.contains("WARN") && line.contains("self-signed") && line.contains(what)).count()
    };
    assert_eq!((told("is made"), told("is used")), (1, 0), "{}", relay.log().raw());
    let first = std::fs::read(&certificate).unwrap();
    relay.stop(BOUND);
    relay.restart();
    assert_eq!(std::fs::read(&certificate).unwrap(), first, "it is used again");
    relay.log().once_it_says("is used");
}

/// `waypost check` on a listener with these files: what it prints, and its exit status.
fn checked(folder: &Path, certificate: &str, key: &str) -> (String, bool) {
    let yaml = format!(
        "hostname: relay.example\nlisteners:\n  - {{name: apps, address: \"127.0.0.1:0\", tls: starttls}}\ntls:\n  certificate: {certificate}\n  key: {key}\n"
    );
    std::fs::write(folder.join("waypost.yaml"), yaml).unwrap();
    let out = waypost(folder, &["check", "--config", "."]);
    (String::from_utf8(out.stdout).unwrap(), out.status.success())
}

#[test]
fn check_tells_what_is_wrong_with_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(waypost(path, &["init", "."]).status.success());
    let write = |name: &str, names: &[&str], days: Option<i64>| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        if let Some(days) = days {
            let then = Clock::system().wall() + jiff::SignedDuration::from_hours(days * 24);
            let day = jiff::tz::Offset::UTC.to_datetime(then).date();
            params.not_after = rcgen::date_time_ymd(day.year().into(), day.month() as u8, day.day() as u8);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(path.join(format!("{name}.cert")), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(path.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::set_permissions(path.join(format!("{name}.key")), PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("good", &["relay.example", "other.example"], None);
    write("wild", &["*.example"], None);
    write("elsewhere", &["mail.b.example"], None);
    write("expired", &["relay.example"], Some(-3));
    write("soon", &["relay.example"], Some(5));
    write("open", &["relay.example"], None);
    std::fs::set_permissions(path.join("open.key"), PermissionsExt::from_mode(0o640)).unwrap();
    std::fs::write(path.join("empty"), "").unwrap();

    for (certificate, key, good, words) in [
        ("good.cert", "good.key", true, &[][..]),
        ("wild.cert", "wild.key", true, &[]),
        (
            "elsewhere.cert",
            "elsewhere.key",
            true,
            &["waypost.yaml:5:16: warning:", "hostname 'relay.example'", "mail.b.example"],
        ),
        (
            "expired.cert",
            "expired.key",
            true,
            &["waypost.yaml:5:16: warning:", "expired.cert has expired on ", "renew it"],
        ),
        ("soon.cert", "soon.key", true, &["waypost.yaml:5:16: warning:", "soon.cert expires on ", "renew it"]),
        ("open.cert", "open.key", true, &["waypost.yaml:6:8: warning:", "(mode 0640)", "chmod 600", "open.key"]),
        ("good.cert", "wild.key", false, &["waypost.yaml:6:8: error:", "wild.key is not that of the certificate"]),
        ("empty", "good.key", false, &["waypost.yaml:5:16: error:", "empty is empty"]),
        ("good.cert", "empty", false, &["waypost.yaml:6:8: error:", "empty is empty"]),
        ("good.cert", "none", false, &["waypost.yaml:6:8: error:", "cannot read", "none"]),
        ("good.key", "good.key", false, &["waypost.yaml:5:16: error:", "no certificate"]),
    ] {
        let (printed, passed) = checked(path, certificate, key);
        assert_eq!(passed, good, "{certificate} {key}:\n{printed}");
        assert!(words.iter().all(|word| printed.contains(word)), "{certificate} {key}:\n{printed}");
        assert_eq!(printed.contains("warning:") || printed.contains("error:"), !words.is_empty(), "{printed}");
    }
    for (client_ca, good, words) in [
        ("good.cert", true, &[][..]),
        ("expired.cert", true, &["waypost.yaml:4:68: warning: the issuer", "expired.cert has expired on ", "renew it"]),
        ("empty", false, &["waypost.yaml:4:68: error:", "empty is empty"]),
        ("good.key", false, &["waypost.yaml:4:68: error:", "no certificate"]),
        ("none", false, &["waypost.yaml:4:68: error:", "cannot read", "none"]),
    ] {
        let yaml = format!(
            "hostname: relay.example\ntls: {{certificate: good.cert, key: good.key}}\nlisteners:\n  - {{name: apps, address: \"127.0.0.1:0\", tls: starttls, client_ca: {client_ca}}}\n"
        );
        std::fs::write(path.join("waypost.yaml"), yaml).unwrap();
        let out = waypost(path, &["check", "--config", "."]);
        let printed = String::from_utf8(out.stdout).unwrap();
        assert_eq!(out.status.success(), good, "{client_ca}:\n{printed}");
        assert!(words.iter().all(|word| printed.contains(word)), "{client_ca}:\n{printed}");
        assert_eq!(printed.contains("warning:") || printed.contains("error:"), !words.is_empty(), "{printed}");
    }
    // Where the files are not, as in a review, they are taken as given.
    checked(path, "none", "none");
    let out = waypost(path, &["check", "--config", ".", "--without-secrets"]);
    assert!(out.status.success(), "{out:?}");
}

/// A client set to TLS from the start would wait for minutes.
#[test]
fn tls_where_none_is_due_is_told_at_once() {
    for (tls, reply, told) in [
        ("none", "421 4.7.0 There is no TLS here", "this listener has none"),
        ("starttls", "421 4.7.0 TLS begins with STARTTLS here", "set the client to STARTTLS"),
    ] {
        let relay = to_maildir(Setup::new().listener(&format!("tls: {tls}")));
        let mut talk = Talk::connect([127, 0, 0, 1].into(), relay.address).unwrap();
        assert!(talk.reply().unwrap().starts_with("220 "));
        talk.write(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
        assert_eq!((talk.reply().unwrap().as_str(), talk.reply().unwrap().as_str()), (reply, ""));
        until_true("the log tells it", BOUND, || relay.log().raw().contains(told));
    }
}
