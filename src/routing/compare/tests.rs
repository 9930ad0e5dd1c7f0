//! What two tables decide differently, found by probes of their own.

use super::{Comparer, Comparison};
use crate::config::{Assumed, Config, RouteTest, Sources};
use crate::mail::Address;
use crate::routing::{Facts, Table, probes};

const PROVIDERS: &str =
    "providers:\n  - {name: a, transport: maildir, path: a}\n  - {name: b, transport: maildir, path: b}\n";

fn load(routes: &str) -> (Config, Vec<RouteTest>) {
    let sources = Sources::new("").with("providers/p.yaml", PROVIDERS).with("routes/r.yaml", routes);
    let loaded = crate::config::load(&sources, &Assumed);
    let config = loaded.config.unwrap_or_else(|| panic!("{routes}: {:?}", loaded.problems));
    (config, loaded.tests)
}

fn table(config: &Config) -> Table {
    Table::new(config.routes.clone(), config.providers.clone())
}

fn compared(old: &str, new: &str) -> Comparison {
    let (old, new) = (load(old), load(new));
    let tables = (table(&old.0), table(&new.0));
    let mut comparer = Comparer::new(&tables.0, &tables.1);
    for probe in probes(&[(&old.0, &old.1), (&new.0, &new.1)]) {
        comparer.ask(&probe.facts(), 1);
    }
    comparer.done()
}

/// These, and one that takes the rest.
fn routes(list: &[&str]) -> String {
    let list: String = list.iter().map(|one| format!("  - {{name: {one}}}\n")).collect();
    format!("routes:\n{list}  - {{name: rest, deliver: [a]}}\n")
}

/// Each kind of change is found, and shown by a piece of mail that it moves.
#[test]
fn probes_find_what_a_change_moves() {
    let of_s = "r, match: {sender_domain: s.example}, deliver: [a]";
    let of_s_by_b = "r, match: {sender_domain: s.example}, deliver: [b]";
    let to_r = "q, match: {recipient_domain: r.example}, deliver: [b]";
    let (from_s, at) = ("someone@s.example to somebody@elsewhere.example", ", at default from 127.0.0.1, 1024 octets");
    let at_s = format!("{from_s}{at}");
    let both = "someone@s.example to somebody@r.example";
    for (old, new, group, sample) in [
        (&[of_s][..], &[of_s_by_b][..], "'r' by a → 'r' by b", at_s.as_str()),
        (
            &[of_s],
            &["r, match: {sender_domain: s.example}, deliver: [{a: 2, b: 1}]"],
            "'r' by a → 'r' by a 2 + b 1",
            from_s,
        ),
        (
            &[of_s],
            &["renamed, match: {sender_domain: s.example}, deliver: [a]"],
            "'r' by a → 'renamed' by a, the same way",
            from_s,
        ),
        (
            &[],
            &["r, match: {recipient: \"*@*.r.example\"}, deliver: [b]"],
            "'rest' by a → 'r' by b",
            "to somebody@sub.r.example",
        ),
        (
            &[],
            &["r, match: {recipient_domain: r.example}, reject: {text: no}"],
            "'rest' by a → 'r', reject: 550 5.7.1 no",
            "r.example",
        ),
        (
            &[],
            &["r, match: {sender: \"<>\"}, discard: true"],
            "'rest' by a → 'r', discard",
            "<> to somebody@elsewhere.example",
        ),
        (&[], &["r, match: {user: \"bill*\"}, hold: review"], "'rest' by a → 'r', hold: review", "user billx"),
        (
            &[],
            &["r, match: {listener: \"*\", client: 10.9.0.0/16}, deliver: [b]"],
            "'rest' by a → 'r' by b",
            "from 10.9.0.1",
        ),
        (&[], &["r, match: {listener: pickup}, deliver: [b]"], "'rest' by a → 'r' by b", "at pickup"),
        (
            &[],
            &["r, match: {header: {X-Class: \"bulk*\"}}, deliver: [b]"],
            "'rest' by a → 'r' by b",
            "with X-Class: bulkx",
        ),
        (
            &["r, match: {size: \">1MiB\"}, deliver: [b]"],
            &["r, match: {size: \">2MiB\"}, deliver: [b]"],
            "'r' by b → 'rest' by a",
            "1048577 octets",
        ),
        (
            &["r, match: {sender_domain: s.example, recipient_domain: r.example}, deliver: [b]"],
            &[],
            "'r' by b → 'rest' by a",
            both,
        ),
        (
            &["r, match: {not: {sender_domain: s.example}, recipient_domain: r.example}, deliver: [b]"],
            &["r, match: {recipient_domain: r.example}, deliver: [b]"],
            "'rest' by a → 'r' by b",
            both,
        ),
        // One before the other: only mail that both want is moved.
        (&[of_s, to_r], &[to_r, of_s], "'r' by a → 'q' by b", both),
    ] {
        let found = compared(&routes(old), &routes(new));
        let words = found.to_string();
        assert!(found.differ > 0 && words.contains(&format!("{group}: ")), "{old:?} {new:?}: {words}");
        assert!(words.contains(sample), "{old:?} {new:?}: {words}");
        assert_eq!(found.groups.len(), 1, "{words}");
        assert_eq!(compared(&routes(new), &routes(new)).differ, 0);
    }
}

#[test]
fn what_no_route_takes_is_told() {
    let only = |name: &str| {
        format!("routes:\n  - {{name: {name}, match: {{recipient_domain: {name}.example}}, deliver: [a]}}\n")
    };
    let words = compared(&only("r"), &only("q")).to_string();
    assert!(words.contains("'r' by a → refused, no route takes it: "), "{words}");
    assert!(words.contains("refused, no route takes it → 'q' by a: "), "{words}");
}

#[test]
fn owners_and_tests_are_probed() {
    let file = |chain: &str| {
        format!(
            "owner: {{sender: \"*@shop.example\"}}\nroutes:\n  - {{name: r, deliver: [{chain}]}}\ntests:\n  \
             - {{from: app@shop.example, to: x@customer.example, header: {{X-A: b}}, size: 5MiB, route: r}}\n"
        )
    };
    let words = compared(&file("a"), &file("b")).to_string();
    assert!(words.contains("someone@shop.example to somebody@elsewhere.example"), "{words}");
    assert!(
        words
            .contains("app@shop.example to x@customer.example, with X-A: b, at default from 127.0.0.1, 5242880 octets"),
        "{words}"
    );
}

fn facts<'a>(from: &'a Address, to: &'a Address) -> Facts<'a> {
    Facts { sender: Some(from), recipient: to, listener: "apps", client: None, user: None, header: None, size: Some(1) }
}

#[test]
fn weights_count_and_what_the_header_decides_is_not_told() {
    let config = |list: &[&str]| load(&routes(list)).0;
    let by_header = table(&config(&["r, match: {header: {X-A: b}}, deliver: [b]"]));
    let by_domain = table(&config(&["s, match: {recipient_domain: r.example}, deliver: [b]"]));
    let plain = table(&config(&[]));
    let (from, to) = ("a@b.example".parse().unwrap(), "x@r.example".parse().unwrap());
    let ask = |old: &Table, new: &Table, weights: &[u64]| {
        let mut comparer = Comparer::new(old, new);
        weights.iter().for_each(|weight| comparer.ask(&facts(&from, &to), *weight));
        comparer.done()
    };
    let told = ask(&by_header, &by_domain, &[7, 3]);
    assert_eq!((told.asked, told.differ, told.untold), (10, 0, 10));
    let told = ask(&plain, &by_domain, &[7, 3, 1, 1, 1, 1, 1]);
    assert_eq!((told.asked, told.differ, told.untold, told.groups[0].samples.len()), (15, 15, 0, 5));
    assert!(told.to_string().ends_with("    and 2 more\n"), "{told}");
}

/// A million pieces of mail, through tables of two hundred routes.
#[test]
fn a_million_decisions_need_no_more_memory_than_one() {
    let list = |chain: &str| {
        let one = |n: u32| {
            let chain = if n.is_multiple_of(10) { chain } else { "a" };
            format!(
                "  - {{name: r{n}, match: {{sender_domain: \"*.s{n}.example\", recipient_domain: r{n}.example}}, deliver: [{chain}]}}\n"
            )
        };
        format!("routes:\n{}  - {{name: rest, deliver: [a]}}\n", (0..200).map(one).collect::<String>())
    };
    let tables = (table(&load(&list("a")).0), table(&load(&list("b")).0));
    let address = |text: String| -> Address { text.parse().unwrap() };
    let mail: Vec<_> =
        (0..200).map(|n| (address(format!("a@x.s{n}.example")), address(format!("b@r{n}.example")))).collect();
    let mut comparer = Comparer::new(&tables.0, &tables.1);
    for _ in 0..5_000 {
        mail.iter().for_each(|(from, to)| comparer.ask(&facts(from, to), 1));
    }
    let found = comparer.done();
    assert_eq!((found.asked, found.differ, found.groups.len()), (1_000_000, 100_000, 20));
}
