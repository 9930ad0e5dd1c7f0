//! Postfix on every side of the relay: before it, behind it as smart host, and as receiving MX.

use mail_parser::{MessageParser, MimeHeaders as _};

use crate::support::dns::Dns;
use crate::support::log::Line;
use crate::support::postfix::{self, Postfix, delivered_to};
use crate::support::relay::{Relay, Setup};
use crate::support::{BOUND, free_port, marked, until_true};

const SENDER: &str = "app@sender.example";

fn to_maildir(setup: Setup) -> Relay {
    setup.route("name: all, deliver: [out]").provider("name: out, transport: maildir, path: out").start()
}

/// A relay whose smart host is `host`; mail to the sender's domain goes to a maildir.
fn through(host: &Postfix, keys: &str, env: &[(&str, &str)]) -> Relay {
    let mut setup = Setup::new()
        .route("name: back, match: {recipient_domain: sender.example}, deliver: [bounces]")
        .route("name: out, deliver: [smarthost]")
        .provider(&format!(
            "name: smarthost, transport: smtp, host: {}, port: {}, {keys}",
            host.address.ip(),
            host.address.port()
        ))
        .provider("name: bounces, transport: maildir, path: bounces");
    for (name, value) in env {
        setup = setup.env(name, value);
    }
    setup.start()
}

#[test]
#[ignore = "needs postfix"]
fn postfix_hands_mail_in() {
    let relay = to_maildir(Setup::new());
    let sender = postfix::Setup::new("sender.example", 7, free_port()).relays_to(relay.address).start();
    let body = "From: app@sender.example\nTo: one@a.example\nSubject: mark-000001- from Postfix\n\n.leading dot\n..two\n\nend\n";
    sender.sendmail(SENDER, &["one@a.example", "two@b.example"], body.as_bytes());
    let messages = relay.maildir("out").wait_for(1);
    let text = String::from_utf8_lossy(&messages[0]).into_owned();
    assert!(text.ends_with("\r\n\r\n.leading dot\r\n..two\r\n\r\nend\r\n"), "{text}");
    until_true("Postfix is rid of it", BOUND, || sender.log().contains("status=sent (250 2.0.0 "));
    relay.log().once("the message", Line::is_accepted);
    let accepted = relay.log().accepted();
    assert_eq!(accepted.len(), 1);
    assert!(accepted[0].is("from", SENDER) && accepted[0].is("recipients", "2"), "{accepted:?}");
}

#[test]
#[ignore = "needs postfix"]
fn postfix_uses_tls_where_the_relay_offers_it() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = crate::support::cert::Certificate::write(folder.path(), &["relay.example"]);
    let relay = to_maildir(Setup::new().listener("tls: starttls").server(&format!(
        "tls: {{certificate: \"{}\", key: \"{}\"}}",
        certificate.certificate.display(),
        certificate.key.display()
    )));
    let sender = postfix::Setup::new("sender.example", 7, free_port())
        .relays_to(relay.address)
        .main("smtp_tls_security_level = encrypt")
        .start();
    sender.sendmail(SENDER, &["one@a.example"], &marked(1, SENDER, "one@a.example", 300));
    let messages = relay.maildir("out").wait_for(1);
    assert!(String::from_utf8_lossy(&messages[0]).contains("(waypost) with ESMTPS\r\n"), "{messages:?}");
}

#[test]
#[ignore = "needs postfix and sasl2-bin"]
fn smart_host_with_starttls_and_auth() {
    let host = postfix::Setup::new("smart.example", 3, free_port()).starttls().user("relay", "hunter2").start();
    let relay = through(
        &host,
        "tls: opportunistic, credentials: {username: relay@smart.example, password: \"${env:WAYPOST_TEST_PASSWORD}\"}",
        &[("WAYPOST_TEST_PASSWORD", "hunter2")],
    );
    let content = marked(1, SENDER, "one@a.example", 20_000);
    relay.send(SENDER, &["one@a.example", "two@b.example"], &content);
    let messages = host.wait_for(2);
    let mut to: Vec<_> = messages.iter().flat_map(|m| delivered_to(m)).collect();
    to.sort();
    assert_eq!(to, ["one@a.example", "two@b.example"]);
    assert!(messages.iter().all(|m| m.ends_with(&content)));
    assert!(host.log().contains("sasl_username=relay"), "{}", host.log());
    assert!(host.log().contains("TLS connection established"), "{}", host.log());
    assert_eq!(relay.log().attempts_once(1).len(), 1, "one transaction for both");
    assert!(!relay.log().raw().contains("hunter2"));
}

#[test]
#[ignore = "needs postfix"]
fn a_certificate_that_is_checked() {
    let host = postfix::Setup::new("localhost", 1, free_port()).starttls().start();
    let ca = host.certificate.clone().unwrap();
    // `starttls` checks the name: of the two hosts only the one that the certificate names is given mail.
    let relay = Setup::new()
        .route("name: good, match: {recipient: \"good@*\"}, deliver: [named]")
        .route("name: bad, deliver: [numbered, fallback]")
        .provider(&format!(
            "name: named, transport: smtp, host: localhost, port: {}, tls: starttls, ca: \"{}\"",
            host.address.port(),
            ca.display()
        ))
        .provider(&format!(
            "name: numbered, transport: smtp, host: 127.0.0.1, port: {}, tls: starttls, ca: \"{}\"",
            host.address.port(),
            ca.display()
        ))
        .provider("name: fallback, transport: maildir, path: fallback")
        .start();
    relay.send(SENDER, &["good@a.example"], &marked(1, SENDER, "good@a.example", 300));
    assert_eq!(delivered_to(&host.wait_for(1)[0]), ["good@a.example"]);
    relay.send(SENDER, &["bad@a.example"], &marked(2, SENDER, "bad@a.example", 300));
    relay.maildir("fallback").wait_for(1);
    assert_eq!(host.count(), 1);
    relay.log().once("what the other host came to", |a| a.is("provider", "numbered") && a.is("outcome", "unavailable"));
}

#[test]
#[ignore = "needs postfix"]
fn a_wrong_password_is_no_bounce() {
    let host = postfix::Setup::new("smart.example", 3, free_port()).starttls().user("relay", "hunter2").start();
    let relay = Setup::new()
        .env("WAYPOST_TEST_PASSWORD", "wrong")
        .route("name: all, deliver: [smarthost, fallback]")
        .provider(&format!(
            "name: smarthost, transport: smtp, host: 127.0.0.3, port: {}, tls: opportunistic, credentials: {{username: relay, \
             password: \"${{env:WAYPOST_TEST_PASSWORD}}\"}}",
            host.address.port()
        ))
        .provider("name: fallback, transport: maildir, path: fallback")
        .start();
    relay.send(SENDER, &["one@a.example"], &marked(1, SENDER, "one@a.example", 300));
    relay.maildir("fallback").wait_for(1);
    relay.log().once("the attempt", |a| a.is("provider", "smarthost") && a.is("outcome", "unavailable"));
    relay.log().once("that refused credentials open the breaker at once", |line| line.is_breaker("smarthost", "open"));
}

#[test]
#[ignore = "needs postfix and knotd"]
fn postfix_as_mx_and_the_dsn_of_what_it_refuses() {
    let port = free_port();
    let host = postfix::Setup::new("mx.a.example", 2, port)
        .starttls()
        .main("smtpd_recipient_restrictions = check_recipient_access inline:{ { nobody@a.example = 550 5.1.1 no such user } }, permit_mynetworks")
        .start();
    let dns = Dns::start("a.example. MX 10 mx.a.example.\nmx.a.example. A 127.0.0.2");
    let relay = Setup::new()
        .server(&dns.as_nameserver())
        .route("name: back, match: {recipient_domain: sender.example}, deliver: [bounces]")
        .route("name: out, deliver: [mx]")
        .provider(&format!("name: mx, transport: mx, port: {port}, tls: opportunistic"))
        .provider("name: bounces, transport: maildir, path: bounces")
        .start();
    let mut client = relay.client();
    for line in [
        "MAIL FROM:<app@sender.example> RET=HDRS ENVID=QQ314159",
        "RCPT TO:<nobody@a.example> NOTIFY=FAILURE ORCPT=rfc822;first+2Baddress@a.example",
        "RCPT TO:<someone@a.example> NOTIFY=NEVER",
    ] {
        assert_eq!(client.say(line).unwrap().code, 250, "{line}");
    }
    assert_eq!(client.say("DATA").unwrap().code, 354);
    client.write(&crate::support::smtp::dotted(&marked(1, SENDER, "nobody@a.example", 300))).unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    assert_eq!(delivered_to(&host.wait_for(1)[0]), ["someone@a.example"]);
    assert!(host.log().contains("TLS connection established"), "{}", host.log());
    dsn_is_as_rfc_3464_has_it(&relay.maildir("bounces").wait_for(1)[0]);
}

fn dsn_is_as_rfc_3464_has_it(dsn: &[u8]) {
    let text = String::from_utf8_lossy(dsn).into_owned();
    let message = MessageParser::default().parse(dsn).unwrap();
    let kind = message.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")), "{text}");
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"), "{text}");
    let to = message.to().and_then(|to| to.first()).and_then(|to| to.address());
    assert_eq!(to, Some("app@sender.example"), "{text}");
    assert!(text.contains("Auto-Submitted: auto-"), "{text}");
    assert_eq!(
        message.parts.iter().filter(|part| part.is_content_type("message", "delivery-status")).count(),
        1,
        "{text}"
    );
    for field in [
        "Original-Envelope-Id: QQ314159",
        "Reporting-MTA: dns; relay.example",
        "Original-Recipient: rfc822; first+address@a.example",
        "Final-Recipient: rfc822; nobody@a.example",
        "Action: failed",
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.a.example",
        "Diagnostic-Code: smtp; 550 ",
    ] {
        // The space behind the semicolon is a matter of taste.
        assert!(text.contains(field) || text.contains(&field.replace("; ", ";")), "{field} is not in:\n{text}");
    }
    // RET=HDRS: the header section alone comes back.
    assert!(text.contains("mark-000001-") && !text.contains("quick brown fox"), "{text}");
    assert!(text.contains("text/rfc822-headers"), "{text}");
}
