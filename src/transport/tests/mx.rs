//! The exchangers: what DNS says, and which host gets the mail.

use std::io::Write as _;

use super::script::{Identity, Server};
use super::*;
use crate::config::{MxSettings, MxTls};
use crate::transport::MxTransport;

const OPEN: &[&str] = &["220 mx", ">EHLO", "250-mx", "250 PIPELINING"];
const MESSAGE: &[&str] = &[">MAIL", ">RCPT", ">DATA", "250 ok", "250 ok", "354 go", "!content", "250 ok"];

fn settings(port: u16) -> MxSettings {
    MxSettings { tls: MxTls::Opportunistic, port, destination_concurrency: 4, ca: None, source: None }
}

fn transport(settings: &MxSettings, dns: FakeDns) -> MxTransport {
    MxTransport::new(&provider(), settings, &environment(dns)).unwrap()
}

fn message() -> Attempt {
    bound_for("b.example", attempt(&["r@b.example"]))
}

/// Three exchangers, on addresses of their own.
fn three() -> FakeDns {
    FakeDns {
        mx: [("b.example", Ok(vec![(10, "one.example"), (20, "two.example"), (30, "three.example")]))].into(),
        addresses: [
            ("one.example", Ok(vec!["127.0.0.51"])),
            ("two.example", Ok(vec!["127.0.0.52"])),
            ("three.example", Ok(vec!["127.0.0.53"])),
        ]
        .into(),
    }
}

#[test]
fn only_answers_of_dns_bounce_mail() {
    let failed = || DnsError::Failed("SERVFAIL".to_owned());
    for (mx, addresses, outcome, status) in [
        (Err(DnsError::NoName), Err(DnsError::NoName), "rejected", "5.1.2"),
        (Err(failed()), Err(DnsError::NoName), "unavailable Connection", "4.4.3"),
        (Ok(vec![(0, "")]), Err(DnsError::NoName), "rejected", "5.1.10"),
        (Err(DnsError::NoRecord), Err(DnsError::NoRecord), "rejected", "5.4.4"),
        (Err(DnsError::NoRecord), Err(failed()), "unavailable Connection", "4.4.3"),
        (Ok(vec![(10, "gone.example"), (20, "127.0.0.1")]), Err(failed()), "rejected", "5.4.4"),
        (Ok(vec![(10, "b.example"), (20, "gone.example")]), Err(failed()), "unavailable Connection", "4.4.3"),
        (Ok(vec![(10, "relay.example"), (20, "b.example")]), Ok(vec!["127.0.0.1"]), "rejected", "5.4.6"),
    ] {
        run(async {
            let dns = FakeDns { mx: [("b.example", mx)].into(), addresses: [("b.example", addresses)].into() };
            let outcomes = transport(&settings(9), dns).attempt(&message()).await;
            assert_eq!(
                (brief(&outcomes[0]).as_str(), outcomes[0].diagnosis().status.to_string().as_str()),
                (outcome, status)
            );
        });
    }
}

#[test]
fn the_next_host_gets_what_the_first_does_not_take() {
    let required = |port| MxSettings { tls: MxTls::Require, ..settings(port) };
    let secure = [
        &["220 mx", ">EHLO", "250-mx", "250 STARTTLS", ">STARTTLS", "220 go", "!tls"][..],
        &[">EHLO", "250-mx", "250 PIPELINING"],
        MESSAGE,
    ]
    .concat();
    let clear = [OPEN, MESSAGE].concat();
    for (first, tls, second) in [
        (&["421 busy"][..], false, &clear),
        (&["554 go away"], false, &clear),
        (&["!close"], false, &clear),
        (&["!hang"], false, &clear),
        (&["220 mx", ">EHLO", "451 no"], false, &clear),
        (&["220 mx", ">EHLO", "250 mx"], true, &secure),
    ] {
        run(async {
            let identity = Identity::of(&["whoever.example"]);
            let one = Server::start_at("127.0.0.51:0", None, &[first]).await;
            let two = Server::start_at(&format!("127.0.0.52:{}", one.address.port()), Some(&identity), &[second]).await;
            let settings = if tls { required(one.address.port()) } else { settings(one.address.port()) };
            let transport = transport(&settings, three());
            assert_eq!(outcomes(&transport, &message()).await, "delivered 250", "{first:?}");
            drop(transport);
            one.sessions().await;
            two.sessions().await;
        });
    }
}

#[test]
fn refused_connections_and_missing_hosts_are_passed_over() {
    run(async {
        let server = Server::start_at("127.0.0.53:0", None, &[&[OPEN, MESSAGE].concat()]).await;
        let mut dns = three();
        dns.addresses.remove("two.example");
        let transport = transport(&settings(server.address.port()), dns);
        let outcomes = transport.attempt(&message()).await;
        assert_eq!(brief(&outcomes[0]), "delivered 250");
        assert_eq!(outcomes[0].diagnosis().remote.as_deref(), Some("three.example"));
    });
}

#[test]
fn all_hosts_out_is_unavailable() {
    run(async {
        let server = Server::start_at("127.0.0.51:0", None, &[&["554 no"]]).await;
        // Of the other two nobody listens.
        let transport = transport(&settings(server.address.port()), three());
        assert_eq!(outcomes(&transport, &message()).await, "unavailable Connection");
    });
}

#[test]
fn replies_within_the_session_are_final() {
    for (reply, outcome) in
        [("450 4.2.0 greylisted", "deferred 450"), ("550 no", "rejected 550"), ("421 closing", "deferred 421")]
    {
        run(async {
            let script = [OPEN, &[">MAIL", ">RCPT", ">DATA", "250 ok", reply, "554 none", ">", "250 ok"]].concat();
            let server = Server::start_at("127.0.0.51:0", None, &[&script]).await;
            let transport = transport(&settings(server.address.port()), three());
            assert_eq!(outcomes(&transport, &message()).await, outcome);
        });
    }
}

#[test]
fn no_more_than_a_few_hosts_are_tried() {
    run(async {
        let names = ["a.example", "b2.example", "c.example", "d.example", "e.example", "f.example"];
        let server = Server::start_at("127.0.0.66:0", None, &[&["220 mx"]]).await;
        let mx = names.iter().zip(1..).map(|(&name, preference)| (preference, name)).collect();
        let addresses = ["127.0.0.61", "127.0.0.62", "127.0.0.63", "127.0.0.64", "127.0.0.65", "127.0.0.66"];
        let addresses = names.iter().zip(addresses).map(|(&name, address)| (name, Ok(vec![address]))).collect();
        let dns = FakeDns { mx: [("b.example", Ok(mx))].into(), addresses };
        let transport = transport(&settings(server.address.port()), dns);
        assert_eq!(outcomes(&transport, &message()).await, "unavailable Connection");
    });
}

#[test]
fn a_domain_without_mx_is_its_own_exchanger() {
    run(async {
        let server = Server::start_at("127.0.0.1:0", None, &[&[OPEN, MESSAGE].concat()]).await;
        let dns = FakeDns {
            mx: [("b.example", Err(DnsError::NoRecord))].into(),
            addresses: [("b.example", Ok(vec!["127.0.0.1"]))].into(),
        };
        assert_eq!(outcomes(&transport(&settings(server.address.port()), dns), &message()).await, "delivered 250");
    });
}

#[test]
fn address_literals_ask_no_dns() {
    for (bind, domain) in [("127.0.0.2:0", "[127.0.0.2]"), ("[::1]:0", "[IPv6:::1]")] {
        run(async {
            let server = Server::start_at(bind, None, &[&[OPEN, MESSAGE].concat()]).await;
            let transport = transport(&settings(server.address.port()), FakeDns::default());
            let attempt = bound_for(domain, attempt(&["r@b.example"]));
            assert_eq!(outcomes(&transport, &attempt).await, "delivered 250", "{domain}");
        });
    }
}

#[test]
fn the_source_address_is_used_for_its_family() {
    run(async {
        let server = Server::start_at("127.0.0.51:0", None, &[&[OPEN, MESSAGE].concat()]).await;
        let source = "127.0.0.77".parse().unwrap();
        let settings = |port| MxSettings { source: Some(source), ..settings(port) };
        let mut dns = three();
        dns.addresses.insert("one.example", Ok(vec!["::1", "127.0.0.51"]));
        let ours = transport(&settings(server.address.port()), dns);
        assert_eq!(outcomes(&ours, &message()).await, "delivered 250");
        drop(ours);
        assert_eq!(server.sessions().await[0].client, Some(source));

        let mut dns = three();
        dns.mx.insert("b.example", Ok(vec![(10, "six.example")]));
        dns.addresses.insert("six.example", Ok(vec!["::1"]));
        assert_eq!(outcomes(&transport(&settings(9), dns), &message()).await, "unavailable Connection");
    });
}

#[test]
fn verify_checks_the_exchangers_name() {
    for (name, outcome) in [("one.example", "delivered 250"), ("b.example", "unavailable Tls")] {
        run(async {
            let identity = Identity::of(&[name]);
            let mut ca = tempfile::NamedTempFile::new().unwrap();
            ca.write_all(identity.pem.as_bytes()).unwrap();
            let script = [
                &["220 mx", ">EHLO", "250-mx", "250 STARTTLS", ">STARTTLS", "220 go", "!tls"][..],
                &[">EHLO", "250-mx", "250 PIPELINING"],
                MESSAGE,
            ]
            .concat();
            let server = Server::start_at("127.0.0.51:0", Some(&identity), &[&script]).await;
            let settings =
                MxSettings { tls: MxTls::Verify, ca: Some(ca.path().to_owned()), ..settings(server.address.port()) };
            let mut dns = three();
            dns.mx.insert("b.example", Ok(vec![(10, "one.example")]));
            assert_eq!(outcomes(&transport(&settings, dns), &message()).await, outcome, "{name}");
        });
    }
}

#[test]
fn connections_are_kept_for_their_domain_alone() {
    run(async {
        let twice = [OPEN, MESSAGE, MESSAGE].concat();
        let once = [OPEN, MESSAGE].concat();
        let mut dns = three();
        dns.mx.insert("c.example", Ok(vec![(10, "two.example")]));
        let one = Server::start_at("127.0.0.51:0", None, &[&twice]).await;
        let two = Server::start_at(&format!("127.0.0.52:{}", one.address.port()), None, &[&once]).await;
        let transport = transport(&settings(one.address.port()), dns);
        for domain in ["b.example", "c.example", "b.example"] {
            assert_eq!(outcomes(&transport, &bound_for(domain, attempt(&["r@b.example"]))).await, "delivered 250");
        }
        drop(transport);
        assert_eq!((one.sessions().await.len(), two.sessions().await.len()), (1, 1));
    });
}
