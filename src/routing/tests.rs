//! The table against configurations as users write them.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Decision, Facts, Table, check};
use crate::config::{self, Assumed, Config, RouteTest, Sources};
use crate::mail::{Address, HeaderSection};

fn load(routes: &str) -> (Config, Vec<RouteTest>) {
    let sources = Sources::new("").with("routes/a.yaml", routes).with(
        "providers/a.yaml",
        "providers:\n  - {name: out, transport: maildir, path: out}\n  - {name: mx, transport: mx}\n  - {name: other, transport: maildir, path: other}\n",
    );
    let loaded = config::load(&sources, &Assumed);
    let said: String = loaded.problems.iter().map(|problem| problem.render(&sources)).collect();
    (loaded.config.unwrap_or_else(|| panic!("{said}")), loaded.tests)
}

fn table(routes: &str) -> Table {
    let (config, _) = load(routes);
    Table::new(config.routes, config.providers)
}

/// The findings' messages, without places.
fn findings(routes: &str) -> Vec<String> {
    let (config, tests) = load(routes);
    check(&config, &tests).into_iter().map(|finding| finding.message).collect()
}

struct Mail<'a> {
    from: &'a str,
    to: &'a str,
    header: Option<&'static str>,
    size: Option<u64>,
    user: Option<&'a str>,
    client: &'a str,
}

const MAIL: Mail<'static> = Mail {
    from: "a@shop.example",
    to: "x@customer.example",
    header: Some("\r\n"),
    size: Some(1000),
    user: None,
    client: "127.0.0.1",
};

fn decide(table: &Table, mail: &Mail<'_>) -> String {
    let sender: Option<Address> = (mail.from != "<>").then(|| mail.from.parse().unwrap());
    let recipient: Address = mail.to.parse().unwrap();
    let header = mail.header.map(|header| HeaderSection::new(Bytes::from_static(header.as_bytes())));
    let facts = Facts {
        sender: sender.as_ref(),
        recipient: &recipient,
        listener: "local",
        client: Some(mail.client.parse().unwrap()),
        user: mail.user,
        header: header.as_ref(),
        size: mail.size,
    };
    let decision = match table.route(&facts) {
        Decision::Route(route) => route.name.to_string(),
        Decision::Undecided => "undecided".to_owned(),
        Decision::NoRoute => "none".to_owned(),
    };
    // Both ways to ask agree, where all is known.
    if facts.header.is_some() && facts.size.is_some() {
        assert_eq!(table.explain(&facts).route.unwrap_or("none".to_owned()), decision);
    }
    decision
}

#[test]
fn the_first_route_that_holds_wins_whatever_finds_it() {
    let table = table(
        r#"
routes:
  - {name: low, match: {sender: "boss@*", recipient_domain: db.corp.example}, deliver: [out]}
  - {name: internal, match: {recipient_domain: ["*.corp.example"]}, deliver: [mx]}
  - {name: exact, match: {recipient_domain: [a.example, b.example]}, deliver: [out]}
  - {name: shop, match: {sender_domain: shop.example, recipient_domain: "*.customer.example"}, deliver: [out]}
  - {name: from, match: {sender_domain: other.example}, deliver: [out]}
  - {name: bounces, match: {sender: "<>"}, deliver: [out]}
  - {name: people, match: {user: "b*", not: {client: 10.0.0.0/8}}, deliver: [out]}
  - {name: marked, match: {header: {X-Mail-Class: bulk}}, deliver: [out]}
  - {name: large, match: {size: ">10KiB"}, deliver: [out]}
  - {name: late, match: {recipient_domain: [c.example]}, deliver: [out]}
"#,
    );
    for (mail, route) in [
        (Mail { from: "boss@x.example", to: "a@db.corp.example", ..MAIL }, "low"),
        (Mail { to: "a@DB.Corp.Example", ..MAIL }, "internal"),
        (Mail { to: "a@corp.example", ..MAIL }, "none"),
        (Mail { to: "x@B.example", from: "a@other.example", ..MAIL }, "exact"),
        (Mail { to: "x@eu.customer.example", ..MAIL }, "shop"),
        (Mail { from: "a@OTHER.example", to: "x@c.example", ..MAIL }, "from"),
        (Mail { from: "<>", ..MAIL }, "bounces"),
        (Mail { user: Some("billing"), ..MAIL }, "people"),
        (Mail { user: Some("billing"), client: "10.1.2.3", ..MAIL }, "none"),
        (Mail { header: Some("x-mail-class:  bulk\r\n\r\n"), ..MAIL }, "marked"),
        (Mail { size: Some(10_241), ..MAIL }, "large"),
        (Mail { size: Some(10_240), ..MAIL }, "none"),
        (Mail { to: "x@c.example", ..MAIL }, "late"),
        // At RCPT neither header nor size is known: what they may still take is open, what was taken before is not.
        (Mail { header: None, size: None, ..MAIL }, "undecided"),
        (Mail { header: None, size: None, to: "x@c.example", ..MAIL }, "undecided"),
        (Mail { header: None, size: None, to: "x@a.example", ..MAIL }, "exact"),
    ] {
        assert_eq!(decide(&table, &mail), route, "{} -> {}", mail.from, mail.to);
    }
}

#[test]
fn an_owners_file_takes_that_owners_mail_alone() {
    let table = table("owner: {sender: ['*@shop.example']}\nroutes: [{name: all, deliver: [out]}]");
    assert_eq!(decide(&table, &MAIL), "all");
    assert_eq!(decide(&table, &Mail { from: "a@other.example", ..MAIL }), "none");
}

#[test]
fn a_route_that_gets_no_mail_is_told_with_who_takes_it() {
    for (earlier, later, shadowed) in [
        ("{}", "{recipient_domain: a.example}", true),
        ("{recipient_domain: ['*.example']}", "{recipient_domain: [a.example, '*.b.example']}", true),
        ("{recipient_domain: ['*.example']}", "{recipient_domain: [a.example, a.test]}", false),
        ("{recipient_domain: a.example}", "{recipient_domain: a.example, sender: 'x@*'}", true),
        ("{recipient_domain: a.example, sender: 'x@*'}", "{recipient_domain: a.example}", false),
        ("{recipient_domain: a.example}", "{recipient: 'x@a.example'}", true),
        ("{client: 10.0.0.0/8}", "{client: 10.1.0.0/16}", true),
        ("{client: 10.1.0.0/16}", "{client: 10.0.0.0/8}", false),
        ("{size: '>1MiB'}", "{size: '>=2MiB'}", true),
        ("{size: '>=2MiB'}", "{size: '>1MiB'}", false),
        ("{header: {X-Class: 'b*'}}", "{header: {x-class: bulk, X-Other: y}}", true),
        ("{not: {sender: 'a@b.example'}}", "{not: {sender: '*@b.example'}}", true),
        ("{not: {sender: '*@b.example'}}", "{not: {sender: 'a@b.example'}}", false),
    ] {
        let found = findings(&format!(
            "routes:\n  - {{name: earlier, match: {earlier}, deliver: [out]}}\n  - {{name: later, match: {later}, deliver: [out]}}\n"
        ));
        assert_eq!(!found.is_empty(), shadowed, "{earlier} {later}: {found:?}");
        for message in found {
            assert!(
                message.starts_with("route 'later' never takes any mail: route 'earlier' (routes/a.yaml:2:"),
                "{message}"
            );
        }
    }
    let union = findings(
        "routes:\n  - {name: a, match: {recipient_domain: a.example}, deliver: [out]}\n  - {name: b, match: {recipient_domain: b.example}, deliver: [out]}\n  - {name: both, match: {recipient_domain: [a.example, b.example]}, deliver: [out]}\n",
    );
    assert!(union.len() == 1 && union[0].contains("'a'") && union[0].contains("'b'"), "{union:?}");
}

#[test]
fn a_failing_test_says_what_happens_instead_and_why() {
    let routes = "
routes:
  - {name: internal, match: {recipient_domain: corp.example}, deliver: [mx, out]}
  - {name: rest, deliver: [out]}
tests:
  - {from: a@b.example, to: x@corp.example, route: internal, chain: [mx, out]}
  - {from: a@b.example, to: x@corp.example, route: rest}
  - {from: a@b.example, to: x@other.example, route: internal}
  - {from: a@b.example, to: x@corp.example, route: internal, chain: [mx]}
";
    assert_eq!(
        findings(routes),
        [
            "test fails: <x@corp.example> should take route 'rest', but it takes 'internal', which comes before 'rest'",
            "test fails: <x@other.example> should take route 'internal', but it takes 'rest': 'internal' does not match, recipient_domain is other.example, wants corp.example",
            "test fails: the chain for <x@corp.example> should be [mx], but is [mx, out]",
        ]
    );
}

#[test]
fn an_explanation_reads_as_text() {
    let table = table(
        "routes:
  - {name: internal, match: {recipient_domain: ['*.corp.example']}, deliver: [mx]}
  - {name: marked, match: {header: {X-Class: bulk}}, hold: wait}
  - {name: rest, match: {not: {client: 10.0.0.0/8}}, deliver: [{mx: 80, out: 20}, other], rate: 50/s}
",
    );
    let recipient: Address = "x@customer.example".parse().unwrap();
    let header = HeaderSection::new(Bytes::from_static(b"\r\n"));
    let facts = Facts {
        sender: None,
        recipient: &recipient,
        listener: "local",
        client: Some("127.0.0.1".parse().unwrap()),
        user: None,
        header: Some(&header),
        size: Some(1),
    };
    let text = table.explain(&facts).to_string();
    assert_eq!(
        text,
        "x@customer.example from <>
  takes route 'rest' (routes/a.yaml:4:12)
  deliver through
    1. mx: 80 of 100, mx to the recipient domain's mail exchangers (opportunistic TLS), concurrency 100
       out: 20 of 100, maildir to out, concurrency 32
    2. other: maildir to other, concurrency 32
  rate 50/s (burst 5), priority normal, on_throttle wait, on_unknown next, sticky message
  earlier routes
    'internal' (routes/a.yaml:2:12): recipient_domain: is customer.example, wants *.corp.example
    'marked' (routes/a.yaml:3:12): header: is X-Class absent, wants X-Class: bulk
"
    );
}

/// A `match` over a small world, so that routes often overlap.
fn matches() -> impl Strategy<Value = String> {
    let domain = prop::sample::select(vec!["a.x", "b.x", "*.x", "*", "c.a.x", "*.a.x"]);
    let address = prop::sample::select(vec!["'u@a.x'", "'*@a.x'", "'u@*'", "'*@*'", "'<>'"]);
    let client = prop::sample::select(vec!["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"]);
    let size = prop::sample::select(vec!["'>5'", "'>=9'", "'<5'", "'<=9'"]);
    let plain = (
        prop::option::of(prop::collection::vec(domain.clone().prop_map(|d| format!("'{d}'")), 1..3)),
        prop::option::of(prop::collection::vec(address.clone(), 1..3)),
        prop::option::of(client),
        prop::option::of(size),
        prop::option::of(address),
        prop::option::of(domain),
    );
    plain.prop_map(|(domains, senders, client, size, not_sender, not_domain)| {
        let mut keys = Vec::new();
        keys.extend(domains.map(|domains| format!("recipient_domain: [{}]", domains.join(", "))));
        keys.extend(senders.map(|senders| format!("sender: [{}]", senders.join(", "))));
        keys.extend(client.map(|client| format!("client: {client}")));
        keys.extend(size.map(|size| format!("size: {size}")));
        let mut not = Vec::new();
        not.extend(not_sender.map(|sender| format!("sender: {sender}")));
        not.extend(not_domain.map(|domain| format!("recipient_domain: '{domain}'")));
        if !not.is_empty() {
            keys.push(format!("not: {{{}}}", not.join(", ")));
        }
        format!("{{{}}}", keys.join(", "))
    })
}

proptest! {
    #[test]
    fn what_is_called_shadowed_never_gets_mail(
        all in prop::collection::vec(matches(), 2..5),
        mails in prop::collection::vec((0..4usize, 0..5usize, 0..3usize, 0..12u64), 40),
    ) {
        let rows = all.iter().enumerate().map(|(n, keys)| format!("  - {{name: r{n}, match: {keys}, deliver: [out]}}\n"));
        let routes = format!("routes:\n{}", rows.collect::<String>());
        let shadowed: Vec<String> = findings(&routes)
            .iter()
            .filter_map(|message| message.strip_prefix("route '")?.split('\'').next().map(str::to_owned))
            .collect();
        let table = table(&routes);
        for (from, to, client, size) in mails {
            let mail = Mail {
                from: ["u@a.x", "v@a.x", "u@b.x", "<>"][from],
                to: ["t@a.x", "t@b.x", "t@c.a.x", "t@d.c.a.x", "t@y"][to],
                client: ["10.1.0.1", "10.2.0.1", "192.0.2.1"][client],
                size: Some(size),
                ..MAIL
            };
            let route = decide(&table, &mail);
            prop_assert!(!shadowed.contains(&route), "{routes}: {route} takes {} -> {}", mail.from, mail.to);
        }
    }
}
