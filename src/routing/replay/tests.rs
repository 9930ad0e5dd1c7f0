//! Counting: weights, what is made up for by the route that was taken, what cannot be told.

use super::*;
use crate::config::{Assumed, Sources};

const PROVIDERS: &str =
    "providers:\n  - {name: a, transport: maildir, path: a}\n  - {name: b, transport: maildir, path: b}\n";

const SERVER: &str = "users:\n  - {name: news@s.example, password: \"${env:PASSWORD}\"}\n";

/// These, and one that takes the rest.
fn table(routes: &[&str]) -> Table {
    let list: String = routes.iter().map(|one| format!("  - {{name: {one}}}\n")).collect();
    let text = format!("routes:\n{list}  - {{name: rest, deliver: [a]}}\n");
    let sources = Sources::new("").with("waypost.yaml", SERVER);
    let sources = sources.with("providers/p.yaml", PROVIDERS).with("routes/r.yaml", text.as_str());
    let loaded = crate::config::load(&sources, &Assumed);
    Table::of(&loaded.config.unwrap_or_else(|| panic!("{text}: {:?}", loaded.problems)))
}

/// Hashes are `#` and as many letters as the address has; the key of some is not known.
struct Lengths(bool);

impl Unhash for Lengths {
    fn is(&self, hashed: &str, address: &str) -> Option<bool> {
        let (tag, domain) = hashed.rsplit_once('@')?;
        let (local, of) = address.rsplit_once('@')?;
        self.0.then(|| domain == of && tag.len() - 1 == local.len())
    }
}

fn clear(text: &str) -> Name<'_> {
    Name { text, hashed: text.starts_with('#') }
}

fn past<'a>(from: &'a str, to: &'a str, taken: Option<&'a str>) -> Past<'a> {
    let sender = (from != "<>").then(|| clear(from));
    Past { sender, recipient: clear(to), listener: "apps", client: None, user: None, size: 10, taken }
}

fn counted(old: &[&str], new: &[&str], mail: &[(&str, &str, Option<&str>)], unhash: &dyn Unhash) -> Replayed {
    let (old, new) = (table(old), table(new));
    let mut replay = Replay::new(&old, &new, unhash);
    mail.iter().for_each(|(from, to, taken)| replay.ask(&past(from, to, *taken)));
    replay.done()
}

#[test]
fn mail_is_counted_by_where_it_goes_and_the_most_frequent_comes_first() {
    let old = ["bulk, match: {sender: 'news@*'}, deliver: [a]", "s, match: {sender_domain: s.example}, deliver: [a]"];
    let new = ["bulk, match: {sender: 'news@*'}, deliver: [b]", "t, match: {sender_domain: s.example}, deliver: [a]"];
    let mut mail = Vec::new();
    let names: Vec<String> = (0..20).map(|n| format!("r{n}@customer.example")).collect();
    for name in &names {
        mail.push(("news@shop.example", name.as_str(), Some("bulk")));
        mail.push(("app@shop.example", name.as_str(), Some("rest")));
    }
    mail.extend([("news@shop.example", "r7@customer.example", Some("bulk")); 6]);
    mail.extend([("a@s.example", "r7@customer.example", Some("s")); 3]);
    mail.push(("<>", "r7@customer.example", Some("elsewhere")));
    let found = counted(&old, &new, &mail, &Lengths(false));
    let Comparison { asked, differ, same_way, untold, .. } = found.comparison;
    assert_eq!((asked, differ, same_way, untold, found.otherwise), (50, 29, 3, 0, 1));
    insta::assert_snapshot!(found.comparison.to_string(), @r"
    'bulk' by a → 'bulk' by b: 26
        news@shop.example to r7@customer.example, at apps (7 times)
        news@shop.example to r0@customer.example, at apps
        news@shop.example to r1@customer.example, at apps
        news@shop.example to r2@customer.example, at apps
        news@shop.example to r3@customer.example, at apps
        and 15 more
    's' by a → 't' by a, the same way: 3
        a@s.example to r7@customer.example, at apps (3 times)
    ");
    let same = counted(&old, &old, &mail, &Lengths(false));
    assert_eq!((same.comparison.asked, same.comparison.differ), (50, 0));
}

/// The trail has no header, but the route that took the mail tells what was in it.
#[test]
fn what_the_header_said_is_told_by_the_route_that_was_taken() {
    let by_header = "bulk, match: {header: {X-Class: bulk}}, deliver: [a]";
    let by_b = "bulk, match: {header: {X-Class: bulk}}, deliver: [b]";
    let other = "bulk, match: {header: {X-Other: bulk}}, deliver: [b]";
    let not = "bulk, match: {not: {header: {X-Class: bulk}}}, deliver: [b]";
    let mail = |taken| ("a@b.example", "x@r.example", taken);
    for (old, new, taken, differ, untold) in [
        (by_header, by_header, Some("bulk"), 0, 0),
        (by_header, by_b, Some("bulk"), 1, 0),
        (by_header, by_b, Some("rest"), 0, 0),
        // Whatever the header said, nobody knows which of the two took it.
        (by_header, by_b, None, 0, 1),
        (by_header, by_b, Some("gone-since"), 0, 1),
        // A field that no old route asked for.
        (by_header, other, Some("bulk"), 0, 1),
        (by_header, other, Some("rest"), 0, 1),
        (by_header, not, Some("bulk"), 1, 0),
        (by_header, not, Some("rest"), 1, 0),
        ("q, match: {sender_domain: q.example}, deliver: [b]", by_header, Some("rest"), 0, 1),
        (by_header, "q, match: {sender_domain: q.example}, deliver: [b]", Some("rest"), 0, 0),
        (by_header, "q, match: {sender_domain: b.example}, deliver: [b]", Some("rest"), 1, 0),
    ] {
        let found = counted(&[old], &[new], &[mail(taken)], &Lengths(false));
        let Comparison { asked, differ: differs, untold: cannot, .. } = found.comparison;
        assert_eq!((asked, differs, cannot), (1, differ, untold), "{old} {new} {taken:?}: {found:?}");
        assert_eq!((found.untold_for.header, found.untold_for.hashed), (untold, 0));
        assert_eq!(found.untold_for.fields.is_empty(), untold == 0);
    }
}

/// Two conditions of a route that was passed over: one of them did not hold, and which is not known.
#[test]
fn of_two_things_of_which_one_was_lacking_neither_is_known() {
    let owned = |chain: &str| {
        format!(
            "r, match: {{header: {{X-A: a}}, not: {{header: {{X-B: b}}}}}}, deliver: [{chain}]}}\n  \
             - {{name: q, match: {{header: {{X-A: a}}}}, deliver: [{chain}]"
        )
    };
    let (old, by_b) = (owned("a"), owned("b"));
    for (taken, new, differ, untold) in [
        // It had X-A, so it was X-B that kept it from `r`.
        ("q", by_b.as_str(), 1, 0),
        ("q", "s, match: {header: {X-B: b}}, deliver: [b]", 1, 0),
        ("r", by_b.as_str(), 1, 0),
        ("rest", by_b.as_str(), 0, 0),
        // Without X-A, nobody asked for X-B.
        ("rest", "s, match: {header: {X-B: b}}, deliver: [b]", 0, 1),
    ] {
        let found = counted(&[&old], &[new], &[("a@b.example", "x@r.example", Some(taken))], &Lengths(false));
        let told = (found.comparison.differ, found.comparison.untold);
        assert_eq!(told, (differ, untold), "{taken} {new}: {found:?}");
    }
}

#[test]
fn hashed_local_parts_are_told_apart_as_far_as_the_key_goes() {
    let to = "x@r.example";
    for (route, from, taken, with_key, without) in [
        // A domain is in clear, and any local part is one.
        ("r, match: {sender_domain: s.example}, deliver: [b]", "#1234@s.example", None, "differs", "differs"),
        ("r, match: {sender: '*@s.example'}, deliver: [b]", "#1234@s.example", None, "differs", "differs"),
        ("r, match: {sender: 'news@q.example'}, deliver: [b]", "#1234@s.example", None, "same", "same"),
        ("r, match: {sender: 'news@*'}, deliver: [b]", "#1234@s.example", None, "differs", "untold"),
        ("r, match: {sender: ['news@*', 'n*@*']}, deliver: [b]", "#12345@s.example", None, "untold", "untold"),
        ("r, match: {sender: 'news@s.example'}, deliver: [b]", "#12345@s.example", None, "same", "untold"),
        ("r, match: {sender: 'n*@s.example'}, deliver: [b]", "#1234@s.example", Some("rest"), "untold", "untold"),
        ("r, match: {not: {sender: 'news@*'}}, deliver: [b]", "#1234@s.example", None, "same", "untold"),
        ("r, match: {sender: '<>'}, deliver: [b]", "#1234@s.example", None, "same", "same"),
        ("r, match: {sender: '<>'}, deliver: [b]", "<>", None, "differs", "differs"),
    ] {
        for (key, wanted) in [(true, with_key), (false, without)] {
            let found = counted(&[], &[route], &[(from, to, taken)], &Lengths(key));
            let told = match (found.comparison.differ, found.untold_for.hashed) {
                (1, 0) => "differs",
                (0, 1) => "untold",
                (0, 0) => "same",
                other => panic!("{other:?}"),
            };
            assert_eq!(told, wanted, "{route} {from} {key}");
        }
    }
    // What the old table asks in the same words is told by the route that was taken.
    let news = |chain: &str| format!("r, match: {{sender: 'n*@s.example'}}, deliver: [{chain}]");
    for (taken, differ) in [("r", 1), ("rest", 0)] {
        let mail = [("#1234@s.example", to, Some(taken))];
        let found = counted(&[&news("a")], &[&news("b")], &mail, &Lengths(false));
        assert_eq!((found.comparison.differ, found.comparison.untold), (differ, 0), "{taken}");
    }
}

#[test]
fn users_listeners_clients_and_sizes_count() {
    let old = table(&[]);
    for (route, same) in [
        (
            "r, match: {user: 'bill*'}, deliver: [b]",
            Past { user: Some(clear("bob")), ..past("a@b.example", "x@r.example", None) },
        ),
        ("r, match: {user: 'bill*'}, deliver: [b]", past("a@b.example", "x@r.example", None)),
        ("r, match: {listener: pickup}, deliver: [b]", past("a@b.example", "x@r.example", None)),
        ("r, match: {client: 10.0.0.0/8}, deliver: [b]", past("a@b.example", "x@r.example", None)),
        ("r, match: {size: '>1MiB'}, deliver: [b]", past("a@b.example", "x@r.example", None)),
    ] {
        let new = table(&[route]);
        let mut replay = Replay::new(&old, &new, &Lengths(false));
        let client = "10.1.2.3".parse().ok();
        replay.ask(&same);
        replay.ask(&Past { user: Some(clear("billing")), listener: "pickup", client, size: 2_000_000, ..same });
        replay.ask(&same);
        let found = replay.done();
        assert_eq!((found.comparison.asked, found.comparison.differ), (3, 1), "{route}");
        assert!(found.comparison.to_string().contains("user billing, at pickup"), "{route}: {}", found.comparison);
    }
    // One whose local part is a hash.
    let new = table(&["r, match: {user: 'news@s.example'}, deliver: [b]"]);
    for (key, differ, hashed) in [(true, 1, 0), (false, 0, 1)] {
        let unhash = Lengths(key);
        let mut replay = Replay::new(&old, &new, &unhash);
        replay.ask(&Past { user: Some(clear("#1234@s.example")), ..past("a@b.example", "x@r.example", None) });
        let found = replay.done();
        assert_eq!((found.comparison.differ, found.untold_for.hashed), (differ, hashed));
    }
}

#[test]
fn mail_that_none_took_and_what_is_no_address_is_counted() {
    let only = "routes:\n  - {name: r, match: {header: {X-A: a}}, deliver: [a]}\n";
    let sources = Sources::new("").with("providers/p.yaml", PROVIDERS).with("routes/r.yaml", only);
    let old = Table::of(&crate::config::load(&sources, &Assumed).config.unwrap());
    let new = table(&[]);
    let mut replay = Replay::new(&old, &new, &Lengths(false));
    replay.ask(&past("a@b.example", "x@r.example", Some("-")));
    replay.ask(&past("a@b.example", "no address", Some("r")));
    let found = replay.done();
    assert_eq!((found.comparison.asked, found.comparison.differ, found.untold_for.unreadable), (2, 1, 1));
    assert!(found.comparison.to_string().starts_with("refused, no route takes it → 'rest' by a: 1\n"));
    assert_eq!(found.untold_for.to_string(), "1 cannot be told: an address does not read back\n");
}
