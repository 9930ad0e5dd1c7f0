//! The smart host, step by step through the dialogue.

use std::net::SocketAddr;

use bytes::Bytes;

use super::script::Server;
use super::*;
use crate::config::{Credentials, Flavor, Secret, SmtpSettings, SmtpTls};
use crate::transport::SmtpTransport;

pub(super) fn settings(host: &str, address: SocketAddr) -> SmtpSettings {
    SmtpSettings {
        host: host.to_owned(),
        port: address.port(),
        tls: SmtpTls::None,
        credentials: None,
        ca: None,
        source: None,
        flavor: None,
        chunking: false,
    }
}

pub(super) fn transport(settings: &SmtpSettings) -> SmtpTransport {
    SmtpTransport::new(&provider(), settings, &environment(FakeDns::default())).unwrap()
}

/// A script from pieces.
pub(super) fn script(parts: &[&[&'static str]]) -> Vec<&'static str> {
    parts.concat()
}

const OPEN: &[&str] = &["220 mx", ">EHLO relay.example", "250-mx", "250 PIPELINING"];
const GROUP: &[&str] = &[">MAIL FROM:<s@a.example>", ">RCPT TO:<r@b.example>", ">DATA"];
const TAKEN: &[&str] = &["250 2.1.0 ok", "250 2.1.5 ok", "354 go"];

/// One message to one recipient: its outcome, and whether the attempt says that the host may have it.
fn one(script: &[&'static str]) -> (String, bool) {
    run(async {
        let server = Server::start(&[script]).await;
        let (transport, attempt) = (transport(&settings("127.0.0.1", server.address)), attempt(&["r@b.example"]));
        let outcome = outcomes(&transport, &attempt).await;
        drop(transport);
        server.sessions().await;
        (outcome, attempt.progress.may_have_it())
    })
}

#[test]
fn before_the_content_nothing_is_in_doubt() {
    let opened = |rest: &[&'static str]| script(&[OPEN, GROUP, rest]);
    for (script, outcome) in [
        (vec!["554 no service"], "unavailable Server 554"),
        (vec!["421 busy"], "unavailable Server 421"),
        (vec!["421 4.7.0 too many of you"], "throttled 421"),
        (vec!["SSH-2.0-OpenSSH"], "unavailable Server"),
        (vec!["!flood 220-and"], "unavailable Server"),
        (vec!["!close"], "unavailable Connection"),
        (vec!["!hang"], "unavailable Timeout"),
        (vec!["220 mx", "!close"], "unavailable Connection"),
        (vec!["220 mx", ">EHLO", "!hang"], "unavailable Timeout"),
        (vec!["220 mx", ">EHLO", "250-half", "!hang"], "unavailable Timeout"),
        (vec!["220 mx", ">EHLO", "421 no", "!close"], "unavailable Server 421"),
        (vec!["220 mx", ">EHLO", "500 what", ">HELO", "550 no"], "unavailable Server 550"),
        (opened(&["!close"]), "unavailable Connection"),
        (opened(&["!hang"]), "unavailable Timeout"),
        (opened(&["garbage"]), "unavailable Server"),
        (opened(&["250-ok", "550 ok"]), "unavailable Server"),
        (opened(&["451 later", "503 no", "503 no", ">RSET", "250 ok"]), "deferred 451"),
        (opened(&["550 no", "503 no", "503 no", ">RSET", "250 ok"]), "rejected 550"),
        (opened(&["421 bye", "!close"]), "unavailable Server 421"),
        (opened(&["530 5.7.0 log in", "503 no", "503 no", ">RSET", "250 ok"]), "unavailable Credentials 530"),
        (opened(&["552 too big", "503 no", "503 no", ">RSET", "250 ok"]), "unsupported 552"),
        (opened(&["250 ok", "!close"]), "unavailable Connection"),
        (opened(&["250 ok", "450 later", "554 none", ">RSET", "250 ok"]), "deferred 450"),
        (opened(&["250 ok", "550 5.1.1 no", "554 none", ">RSET", "!hang"]), "rejected 550"),
        (opened(&["250 ok", "550 5.1.1 no", "354 go", ">.", "554 none", ">RSET", "250 ok"]), "rejected 550"),
        (opened(&["250 ok", "250 ok", "451 later", ">RSET", "250 ok"]), "deferred 451"),
        (opened(&["250 ok", "250 ok", "554 no", ">RSET", "!close"]), "rejected 554"),
        (opened(&["250 ok", "250 ok", "!hang"]), "unavailable Timeout"),
        (opened(&["250 ok", "250 ok", "250 what"]), "unavailable Server"),
    ] {
        assert_eq!(one(&script), (outcome.to_owned(), false), "{script:?}");
    }
}

#[test]
fn after_the_final_dot_only_a_reply_is_certain() {
    for (rest, outcome) in [
        (&["!content", "250 2.0.0 ok"][..], "delivered 250"),
        (&["!content", "!drip 250 2.0.0 ok"], "delivered 250"),
        (&["!content", "250 ok", "!close"], "delivered 250"),
        (&["!content", "451 4.3.0 later"], "deferred 451"),
        (&["!content", "554 5.7.1 spam"], "rejected 554"),
        (&["!content", "552 5.3.4 big"], "unsupported 552"),
        (&["!content", "421 4.3.2 down", "!close"], "unavailable Server 421"),
        (&["!content", "!close"], "unknown"),
        (&["!content", "!hang"], "unknown"),
        (&["!content", "250-half", "!close"], "unknown"),
        (&["!content", "garbage"], "unknown"),
        (&["!content", "354 go on"], "unknown"),
    ] {
        let script = script(&[OPEN, GROUP, TAKEN, rest]);
        assert_eq!(one(&script), (outcome.to_owned(), true), "{script:?}");
    }
}

#[test]
fn the_content_arrives_to_the_octet() {
    let (sessions, outcomes) = run(async {
        let server = Server::start(&[&script(&[OPEN, GROUP, TAKEN, &["!content", "250 Ok: queued as 4XyZ"]])]).await;
        let transport = transport(&settings("127.0.0.1", server.address));
        let outcomes = transport.attempt(&attempt(&["r@b.example"])).await;
        drop(transport);
        (server.sessions().await, outcomes)
    });
    assert_eq!(sessions[0].content, [CONTENT.replace("\r\n.dot", "\r\n..dot")]);
    let Outcome::Delivered { diagnosis, provider_id, dsn: _ } = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(provider_id.as_ref().map(|id| id.0.as_str()), Some("4XyZ"));
    assert_eq!(diagnosis.to_string(), "250 2.0.0 Ok: queued as 4XyZ (127.0.0.1)");
}

#[test]
fn a_server_with_dsn_is_known_to_tell_the_sender() {
    const WITH_DSN: &[&str] = &["220 mx", ">EHLO relay.example", "250-mx", "250-DSN", "250 PIPELINING"];
    for (open, tells) in [(OPEN, false), (WITH_DSN, true)] {
        let outcomes = run(async {
            let server = Server::start(&[&script(&[open, GROUP, TAKEN, &["!content", "250 ok"]])]).await;
            transport(&settings("127.0.0.1", server.address)).attempt(&attempt(&["r@b.example"])).await
        });
        assert!(matches!(&outcomes[..], [Outcome::Delivered { dsn, .. }] if *dsn == tells), "{outcomes:?}");
    }
}

/// More than the buffers of both sides hold.
fn large() -> Bytes {
    format!("Subject: large\r\n\r\n{}", "many octets in a line\r\n".repeat(1_000_000)).into()
}

#[test]
fn a_refusal_or_end_amid_the_content_is_certain() {
    for (rest, outcome) in [
        (&["!some", "552 5.3.4 too big", "!close"][..], "unsupported 552"),
        (&["!some", "451 disk full", "!close"], "deferred 451"),
        (&["!some", "!close"], "unavailable Connection"),
        (&["!some", "250 thank you"], "unavailable Server"),
    ] {
        run(async {
            let server = Server::start(&[&script(&[OPEN, GROUP, TAKEN, rest])]).await;
            let transport = transport(&settings("127.0.0.1", server.address));
            let attempt = attempt_with(&["r@b.example"], large());
            assert_eq!(outcomes(&transport, &attempt).await, outcome, "{rest:?}");
            assert!(!attempt.progress.may_have_it());
            drop(transport);
            server.sessions().await;
        });
    }
}

#[test]
fn large_content_arrives() {
    run(async {
        let server = Server::start(&[&script(&[OPEN, GROUP, TAKEN, &["!content", "250 ok"]])]).await;
        let transport = transport(&settings("127.0.0.1", server.address));
        assert_eq!(outcomes(&transport, &attempt_with(&["r@b.example"], large())).await, "delivered 250");
        drop(transport);
        assert_eq!(server.sessions().await[0].content[0].as_bytes(), large());
    });
}

#[test]
fn recipients_have_their_own_outcomes() {
    run(async {
        let group = [">MAIL", ">RCPT TO:<a@b.example>", ">RCPT TO:<c@b.example>", ">RCPT TO:<d@b.example>", ">DATA"];
        let replies = ["250 ok", "550 5.1.1 no", "250 ok", "450 later", "354 go", "!content", "250 ok"];
        let server = Server::start(&[&script(&[OPEN, &group, &replies])]).await;
        let transport = transport(&settings("127.0.0.1", server.address));
        let attempt = attempt(&["a@b.example", "c@b.example", "d@b.example"]);
        assert_eq!(outcomes(&transport, &attempt).await, "rejected 550, delivered 250, deferred 450");
    });
}

#[test]
fn recipients_beyond_the_servers_limit_follow_at_once() {
    run(async {
        let first = [">MAIL", ">RCPT TO:<a@b.example>", ">RCPT TO:<c@b.example>", ">DATA"];
        let replies = ["250 ok", "250 ok", "452 4.5.3 too many", "354 go", "!content", "250 ok"];
        let second = [">MAIL", ">RCPT TO:<c@b.example>", ">DATA", "250 ok", "250 ok", "354 go", "!content", "250 ok"];
        let server = Server::start(&[&script(&[OPEN, &first, &replies, &second])]).await;
        let transport = transport(&settings("127.0.0.1", server.address));
        let attempt = attempt(&["a@b.example", "c@b.example"]);
        assert_eq!(outcomes(&transport, &attempt).await, "delivered 250, delivered 250");
        drop(transport);
        assert_eq!(server.sessions().await[0].content.len(), 2);
    });
}

#[test]
fn connections_are_used_again() {
    run(async {
        let message = script(&[GROUP, TAKEN, &["!content", "250 ok"]]);
        let refused = script(&[GROUP, &["250 ok", "550 no", "554 none", ">RSET", "250 ok"]]);
        let server = Server::start(&[&script(&[OPEN, &message, &refused, &message])]).await;
        let transport = transport(&settings("127.0.0.1", server.address));
        for outcome in ["delivered 250", "rejected 550", "delivered 250"] {
            assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, outcome);
        }
        drop(transport);
        assert_eq!(server.sessions().await.len(), 1);
    });
}

#[test]
fn a_kept_connection_that_died_costs_nothing() {
    let message = script(&[GROUP, TAKEN, &["!content", "250 ok"]]);
    for end in [&["!close"][..], &["421 idle", "!close"], &[">MAIL", "421 enough", "!close"], &[">MAIL", "!close"]] {
        run(async {
            let first = script(&[OPEN, &message, end]);
            let server = Server::start(&[&first, &script(&[OPEN, &message])]).await;
            let transport = transport(&settings("127.0.0.1", server.address));
            for _ in 0..2 {
                assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "delivered 250", "{end:?}");
            }
            drop(transport);
            assert_eq!(server.sessions().await.len(), 2);
        });
    }
}

#[test]
fn idle_connections_take_their_leave() {
    run(async {
        let message = script(&[GROUP, TAKEN, &["!content", "250 ok", "!hang"]]);
        let server = Server::start(&[&script(&[OPEN, &message])]).await;
        let transport = transport(&settings("127.0.0.1", server.address));
        assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "delivered 250");
        // Ends when the transport, which is still there, has closed the connection.
        server.sessions().await;
        drop(transport);
    });
}

#[test]
fn passwords_and_what_refuses_them() {
    let credentials = Credentials { username: "u".to_owned(), password: Secret::new("p".to_owned()) };
    let hello = |offer| ["220 mx", ">EHLO", "250-mx", offer];
    let plain = ">AUTH PLAIN AHUAcA==";
    for (host, offer, rest, outcome) in [
        ("127.0.0.1", "250 AUTH PLAIN", &[plain, "235 in", ">MAIL", "450 no", ">RSET", "250 ok"][..], "deferred 450"),
        ("127.0.0.1", "250 AUTH PLAIN", &[plain, "535 5.7.8 no"], "unavailable Credentials 535"),
        ("127.0.0.1", "250 AUTH PLAIN", &[plain, "454 4.7.0 later"], "unavailable Server 454"),
        ("127.0.0.1", "250 AUTH PLAIN", &[plain, "!close"], "unavailable Connection"),
        ("127.0.0.1", "250 AUTH GSSAPI", &[], "unavailable Credentials"),
        ("smtp.example", "250 AUTH PLAIN", &[], "unavailable Credentials"),
    ] {
        run(async {
            let server = Server::start(&[&script(&[&hello(offer), rest])]).await;
            let dns = FakeDns { addresses: [("smtp.example", Ok(vec!["127.0.0.1"]))].into(), ..FakeDns::default() };
            let settings = SmtpSettings { credentials: Some(credentials.clone()), ..settings(host, server.address) };
            let transport = SmtpTransport::new(&provider(), &settings, &environment(dns)).unwrap();
            assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, outcome, "{host} {offer} {rest:?}");
            drop(transport);
            let sessions = server.sessions().await;
            let sent = |word: &str| sessions[0].lines.iter().any(|line| line.starts_with(word));
            assert_eq!(sent("AUTH"), rest.first() == Some(&plain), "{host} {offer}");
        });
    }
}

#[test]
fn all_addresses_of_a_host_are_tried() {
    run(async {
        let server = Server::start(&[&script(&[OPEN, GROUP, TAKEN, &["!content", "250 ok"]])]).await;
        // Nobody listens on the others.
        let addresses = vec!["127.0.0.41", "::1", "127.0.0.1", "127.0.0.42"];
        let dns = FakeDns { addresses: [("smtp.example", Ok(addresses))].into(), ..FakeDns::default() };
        let settings = settings("smtp.example", server.address);
        let transport = SmtpTransport::new(&provider(), &settings, &environment(dns)).unwrap();
        assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "delivered 250");
    });
}

#[test]
fn a_host_that_cannot_be_found_is_out_and_bounces_nothing() {
    for error in [DnsError::NoName, DnsError::NoRecord, DnsError::Failed("SERVFAIL".to_owned())] {
        run(async {
            let dns = FakeDns { addresses: [("smtp.example", Err(error))].into(), ..FakeDns::default() };
            let settings = settings("smtp.example", "127.0.0.1:9".parse().unwrap());
            let transport = SmtpTransport::new(&provider(), &settings, &environment(dns)).unwrap();
            assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "unavailable Connection");
        });
    }
}

#[test]
fn the_providers_own_hosts_are_understood() {
    run(async {
        let group = script(&[GROUP, TAKEN, &["!content", "451 Authentication failed: Maximum credits exceeded"]]);
        let server = Server::start(&[&script(&[OPEN, &group])]).await;
        let dns = FakeDns { addresses: [("smtp.sendgrid.net", Ok(vec!["127.0.0.1"]))].into(), ..FakeDns::default() };
        let settings = settings("smtp.sendgrid.net", server.address);
        let transport = SmtpTransport::new(&provider(), &settings, &environment(dns)).unwrap();
        let outcome = outcomes(&transport, &attempt(&["r@b.example"])).await;
        assert_eq!(outcome, "unavailable Quota { retry_after: None } 451");
        drop(transport);
        let content = &server.sessions().await[0].content[0];
        assert_eq!(content, "Subject: hi\r\n\r\nbody\r\n..dot\r\n", "X-SMTPAPI is not for submitters");
    });
    let ses = SmtpSettings { flavor: Some(Flavor::Ses), ..settings("127.0.0.1", "127.0.0.1:9".parse().unwrap()) };
    assert_eq!(transport(&ses).most_recipients(), 50);
}

/// RFC 6152, section 3. A signature would break: that is another provider's mail, or comes back.
#[test]
fn a_server_without_8bitmime_gets_seven_bits_or_nothing() {
    let said = |content: &'static str, script: &[&'static str]| {
        run(async {
            let server = Server::start(&[script]).await;
            let (transport, mut attempt) = (
                transport(&settings("127.0.0.1", server.address)),
                attempt_with(&["r@b.example"], content.as_bytes().into()),
            );
            Arc::get_mut(&mut attempt.envelope).unwrap().body = BodyKind::EightBit;
            let outcome = transport.attempt(&attempt).await.remove(0);
            drop(transport);
            (outcome, server.sessions().await.remove(0))
        })
    };
    const PLAIN: &str = "Subject: s\r\n\r\nf\u{fc}r = 1\r\n.\r\n";
    let taken = &["250 ok", "250 ok", "354 go", "!content", "250 2.0.0 ok"][..];
    let (outcome, session) =
        said(PLAIN, &script(&[&["220 mx", ">EHLO", "250-mx", "250-SIZE", "250 PIPELINING"], GROUP, taken]));
    assert_eq!(brief(&outcome), "delivered 250");
    let converted = "Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                     Content-Transfer-Encoding: quoted-printable\r\n\r\nf=C3=BCr =3D 1\r\n..\r\n";
    assert_eq!(session.content, [converted]);
    // The dot that was put in front of the last line is not part of the message.
    assert_eq!(session.lines[1], format!("MAIL FROM:<s@a.example> SIZE={}", converted.len() - 1));

    let offered = &["220 mx", ">EHLO", "250-mx", "250-8BITMIME", "250 PIPELINING"];
    let (outcome, session) = said(PLAIN, &script(&[offered, GROUP, taken]));
    assert_eq!(brief(&outcome), "delivered 250");
    assert_eq!(session.content, [PLAIN.replace("\r\n.\r\n", "\r\n..\r\n")]);
    assert_eq!(session.lines[1], "MAIL FROM:<s@a.example> BODY=8BITMIME");

    const SIGNED: &str = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{fc}\r\n--b--\r\n";
    let (outcome, session) = said(SIGNED, &script(&[OPEN]));
    assert_eq!(brief(&outcome), "unsupported");
    assert_eq!(
        outcome.diagnosis().to_string(),
        "5.6.3 the server does not offer 8BITMIME, and the content cannot be converted: a part that is signed \
         (multipart/signed) must not be altered (127.0.0.1)"
    );
    assert_eq!(session.lines, ["EHLO relay.example"]);
}
