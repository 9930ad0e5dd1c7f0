//! Delivery by MX, against a real DNS server and mail hosts on loopback addresses.

use crate::support::dns::Dns;
use crate::support::postfix::{self, delivered_to};
use crate::support::relay::{Relay, Setup};
use crate::support::sink::{Mail, Sink};
use crate::support::{BOUND, free_port, loopback, marked, until};

const SENDER: &str = "app@sender.example";

/// A relay that delivers by MX to `port`; the sender's own domain goes to a maildir, so that DSNs can be read.
fn relay(dns: &Dns, port: u16) -> Relay {
    Setup::new()
        .server(&dns.as_nameserver())
        .route("name: back, match: {recipient_domain: sender.example}, deliver: [bounces]")
        .route("name: out, deliver: [mx]")
        .provider(&format!("name: mx, transport: mx, port: {port}, tls: none, timeout: 5s"))
        .provider("name: bounces, transport: maildir, path: bounces")
        .start()
}

fn send(relay: &Relay, to: &[&str], mark: u64) {
    relay.send(SENDER, to, &marked(mark, SENDER, to[0], 500));
}

/// The DSN that came back.
fn bounce(relay: &Relay) -> String {
    String::from_utf8(relay.maildir("bounces").wait_for(1).remove(0)).unwrap()
}

fn recipients(mails: &[Mail]) -> Vec<String> {
    let mut all: Vec<_> = mails.iter().flat_map(|mail| mail.to.clone()).collect();
    all.sort();
    all
}

#[test]
#[ignore = "needs knotd"]
fn the_lowest_preference_first_and_the_next_host_when_it_is_dead() {
    let port = free_port();
    let dns = Dns::start(
        "a.example. MX 10 mx1.a.example.\na.example. MX 20 mx2.a.example.\na.example. MX 30 mx3.a.example.\n\
         mx1.a.example. A 127.0.0.4\nmx2.a.example. A 127.0.0.5\nmx3.a.example. A 127.0.0.6\n\
         b.example. MX 10 mx1.a.example.\nb.example. MX 5 mx2.a.example.",
    );
    // mx1 is down.
    let (second, third) = (Sink::at(loopback(5, port)), Sink::at(loopback(6, port)));
    let relay = relay(&dns, port);
    send(&relay, &["one@a.example"], 1);
    assert_eq!(recipients(&second.wait_for(1)), ["<one@a.example>"]);
    send(&relay, &["two@b.example"], 2);
    second.wait_for(2);
    assert_eq!(third.count(), 0);
    // A host that answers, but not now, is passed over as well (RFC 5321, 5.1).
    second.behave(|manners| manners.rcpt = Some("421 4.3.2 Closing"));
    send(&relay, &["three@a.example"], 3);
    third.wait_for(1);
}

#[test]
#[ignore = "needs knotd"]
fn equal_preferences_share() {
    const DOMAINS: u64 = 40;
    let port = free_port();
    let mut records = "mx1.a.example. A 127.0.0.4\nmx2.a.example. A 127.0.0.5\n".to_owned();
    for n in 0..DOMAINS {
        records.push_str(&format!("d{n}.example. MX 10 mx1.a.example.\nd{n}.example. MX 10 mx2.a.example.\n"));
    }
    let dns = Dns::start(&records);
    let (first, second) = (Sink::at(loopback(4, port)), Sink::at(loopback(5, port)));
    let relay = relay(&dns, port);
    // Each domain chooses on its own; all of them at one host would be a chance of 2^-39.
    for n in 0..DOMAINS {
        send(&relay, &[&format!("one@d{n}.example")], n);
        until("it arrives", BOUND, || (first.count() + second.count() > n as usize).then_some(()));
    }
    assert!(first.count() > 0 && second.count() > 0, "{} at one host, {} at the other", first.count(), second.count());
}

#[test]
#[ignore = "needs knotd"]
fn no_mx_means_the_address_and_ipv6_works() {
    let port = free_port();
    let dns = Dns::start("plain.example. A 127.0.0.4\nsix.example. MX 10 mx.six.example.\nmx.six.example. AAAA ::1");
    let (four, six) = (Sink::at(loopback(4, port)), Sink::at(format!("[::1]:{port}").parse().unwrap()));
    let relay = relay(&dns, port);
    send(&relay, &["one@plain.example"], 1);
    assert_eq!(recipients(&four.wait_for(1)), ["<one@plain.example>"]);
    send(&relay, &["two@six.example"], 2);
    assert_eq!(recipients(&six.wait_for(1)), ["<two@six.example>"]);
}

#[test]
#[ignore = "needs knotd"]
fn an_mx_that_is_an_alias_and_a_domain_that_is_one() {
    let port = free_port();
    let dns = Dns::start(
        "a.example. MX 10 alias.a.example.\nalias.a.example. CNAME mx.a.example.\nmx.a.example. A 127.0.0.4\n\
         c.example. CNAME a.example.",
    );
    let host = Sink::at(loopback(4, port));
    let relay = relay(&dns, port);
    send(&relay, &["one@a.example"], 1);
    host.wait_for(1);
    send(&relay, &["two@c.example"], 2);
    host.wait_for(2);
}

#[test]
#[ignore = "needs knotd"]
fn domains_that_take_no_mail_bounce_at_once() {
    let dns = Dns::start("null.example. MX 0 .\nnothing.example. TXT \"no mail here\"");
    // Each code as its RFC has it: null MX (RFC 7505, 3), no such domain (RFC 3463, 3.2).
    for (to, status) in [("x@null.example", "5.1.10"), ("x@missing.example", "5.1.2"), ("x@nothing.example", "5.")] {
        let relay = relay(&dns, free_port());
        send(&relay, &[to], 1);
        let dsn = bounce(&relay);
        assert!(
            dsn.contains(&format!("Final-Recipient: rfc822;{to}"))
                || dsn.contains(&format!("Final-Recipient: rfc822; {to}")),
            "{dsn}"
        );
        assert!(dsn.contains("Action: failed") && dsn.contains(&format!("Status: {status}")), "{to}: {dsn}");
    }
}

#[test]
#[ignore = "needs knotd"]
fn many_recipients_of_a_domain_share_a_transaction() {
    let port = free_port();
    let dns = Dns::start("a.example. MX 10 mx.a.example.\nb.example. MX 10 mx.a.example.\nmx.a.example. A 127.0.0.4");
    let host = Sink::at(loopback(4, port));
    let relay = relay(&dns, port);
    send(&relay, &["1@a.example", "2@a.example", "3@a.example", "4@b.example"], 1);
    let mails = until("all are served", BOUND, || Some(host.mails()).filter(|m| recipients(m).len() == 4));
    assert_eq!(mails.len(), 2, "one transaction a domain: {mails:?}");
    assert!(mails.iter().all(|mail| mail.from.starts_with("<app@sender.example>")), "{mails:?}");
}

#[test]
#[ignore = "needs knotd"]
fn one_bad_recipient_costs_the_others_nothing() {
    let port = free_port();
    let dns = Dns::start("a.example. MX 10 mx.a.example.\nmx.a.example. A 127.0.0.4");
    let host = postfix_with_unknown_user(port);
    let relay = relay(&dns, port);
    send(&relay, &["good@a.example", "nobody@a.example", "fine@a.example"], 1);
    let mails = host.wait_for(2);
    let mut to: Vec<_> = mails.iter().flat_map(|m| delivered_to(m)).collect();
    to.sort();
    assert_eq!(to, ["fine@a.example", "good@a.example"]);
    let dsn = bounce(&relay);
    assert!(dsn.contains("nobody@a.example") && !dsn.contains("Final-Recipient: rfc822; good@a.example"), "{dsn}");
}

/// Postfix that refuses `nobody@a.example`.
fn postfix_with_unknown_user(port: u16) -> postfix::Postfix {
    postfix::Setup::new("mx.a.example", 4, port)
        .main("smtpd_recipient_restrictions = check_recipient_access inline:{ nobody@a.example=REJECT }, permit_mynetworks")
        .start()
}
