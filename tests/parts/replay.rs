//! `waypost diff --replay`: how much of the mail that the built relay took would go another way.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::relay::{Relay, Setup, waypost};
use crate::support::{marked, until_true};

const SENT: [(&str, &[&str]); 5] = [
    ("app@shop.example", &["bob@customer.example"]),
    ("app@shop.example", &["bob@customer.example", "eve@elsewhere.example"]),
    ("news@shop.example", &["bob@customer.example"]),
    ("news@shop.example", &["drop@customer.example"]),
    ("News2@shop.example", &["keep@customer.example"]),
];

/// Mail that came in, two days ago and now; and a directory beside the relay's where its table is another one.
fn relay(server: &str) -> Relay {
    let relay = Setup::new()
        .server(server)
        .route("name: dropped, match: {recipient: 'drop@*'}, discard: true")
        .route("name: marked, match: {header: {X-Class: bulk}}, deliver: [out]")
        .route("name: kept, match: {recipient: 'keep@*'}, hold: to be looked at")
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start();
    for (n, (from, to)) in (1..).zip(SENT) {
        relay.send(from, to, &marked(n, from, to[0], 300));
    }
    let content = b"From: news@shop.example\r\nSubject: x\r\nX-Class: bulk\r\n\r\nHello.\r\n";
    relay.send("news@shop.example", &["bob@customer.example"], content);
    until_true("it is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 4);
    relay
}

fn branch(relay: &Relay, change: impl Fn(&str) -> String) {
    for name in ["waypost.yaml", "routes/50-test.yaml", "providers/50-test.yaml"] {
        let text = std::fs::read_to_string(relay.path().join(name)).unwrap();
        let path = relay.path().join("branch").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, change(&text)).unwrap();
    }
}

fn diff(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let out = waypost(folder, &[&["diff", ".", "branch"], args].concat());
    (out.status.code(), String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap())
}

fn replayed(folder: &Path, args: &[&str]) -> Value {
    let (_, told) = diff(folder, &[&["--json", "--replay", "1h"], args].concat());
    let json: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let mut replay = json["replay"].clone();
    // An hour before each call.
    assert!(replay.as_object_mut().unwrap().remove("since").is_some());
    replay
}

/// Counts of a report: asked, other way, same way by another route, untold.
fn counts(replay: &Value) -> [u64; 4] {
    ["asked", "differ", "same_way", "untold"].map(|name| replay[name].as_u64().unwrap())
}

#[test]
fn the_mail_of_the_last_days_is_counted_by_what_would_become_of_it() {
    let mut relay = relay("reload: manual");
    branch(&relay, |text| {
        let text = text.replace(
            "all, deliver: [out]",
            "news, match: {sender: 'news@*'}, deliver: [other]}\n  - {name: all, deliver: [out]",
        );
        let text = text.replace("recipient: 'keep@*'", "recipient: 'nobody@*'");
        text.replace("  - {name: out,", "  - {name: other, transport: maildir, path: other}\n  - {name: out,")
    });
    let path = relay.path().to_owned();
    // Seven recipients: news to bob goes another way, what was kept goes on, and what was marked as bulk was not moved.
    let wanted = "of 7 recipients in the last 7 days, 2 (28.6%) would go another way\n";
    let (running, while_running) = diff(&path, &["--replay", "7d"]);
    assert_eq!(running, Some(0), "{while_running}");
    assert!(while_running.contains(wanted), "{while_running}");
    for line in [
        "'all' by out → 'news' by other: 1\n    news@shop.example to bob@customer.example, at apps\n",
        "'kept', hold: to be looked at → 'all' by out: 1\n    News2@shop.example to keep@customer.example, at apps\n",
        "the trail goes back to ",
    ] {
        assert!(while_running.contains(line), "{line}: {while_running}");
    }
    assert!(!while_running.contains("cannot be told"), "{while_running}");
    assert_eq!(diff(&path, &["--replay", "7d", "--fail-on-change"]).0, Some(1));
    let json = replayed(&path, &[]);
    assert_eq!((counts(&json), &json["messages"], &json["otherwise"]), ([7, 2, 0, 0], &6.into(), &0.into()));

    assert!(relay.stop(Duration::from_secs(20)).success());
    assert_eq!(diff(&path, &["--replay", "7d"]).1, while_running, "the file says what the relay said");
    // A copy of the trail, with the folder or the file named.
    std::fs::create_dir(path.join("copy")).unwrap();
    std::fs::copy(path.join("data/audit.redb"), path.join("copy/audit.redb")).unwrap();
    std::fs::remove_file(path.join("data/audit.redb")).unwrap();
    for copy in ["copy", "copy/audit.redb"] {
        assert_eq!(replayed(&path, &["--trail", copy]), json, "{copy}");
    }
    let (status, told) = diff(&path, &["--replay", "7d"]);
    assert!(status == Some(1) && told.contains("data/audit.redb: name the configuration"), "{told}");
    // What the old table says of itself moves nothing.
    let same = waypost(&path, &["diff", ".", ".", "--replay", "1d", "--trail", "copy", "--fail-on-change"]);
    let told = String::from_utf8(same.stdout).unwrap();
    assert!(
        same.status.success() && told.contains("of 7 recipients in the last day, all would go the same way\n"),
        "{told}"
    );
}

#[test]
fn what_the_trail_does_not_keep_is_told_as_such() {
    let relay = relay("audit: {addresses: hashed}\nreload: manual");
    branch(&relay, |text| {
        let text = text.replace("X-Class: bulk", "X-Other: bulk");
        text.replace("'keep@*'", "'keep*@*'").replace("name: all,", "name: rest,")
    });
    let path = relay.path();
    let json = replayed(path, &[]);
    // What was marked as bulk may have the other field too, and so may all that were not dropped.
    assert_eq!((counts(&json), &json["untold_for"]["header"]), ([7, 0, 0, 6], &6.into()));
    assert_eq!(json["untold_for"]["fields"], serde_json::json!(["X-Other"]));
    let (_, told) = diff(path, &["--replay", "1h"]);
    let line = "6 cannot be told: routes ask for fields that the trail does not keep (X-Other)\n";
    assert!(told.contains(line), "{told}");

    branch(&relay, |text| text.replace("'keep@*'", "'kee*@*'").replace("name: all,", "name: rest,"));
    let json = replayed(path, &[]);
    // By the key it is known that none of the others is keep@, and not whether it begins as that does.
    assert_eq!((counts(&json), &json["untold_for"]["hashed"]), ([7, 0, 0, 5], &5.into()));
    branch(&relay, |text| text.replace("'keep@*'", "'bob@*'").replace("name: all,", "name: rest,"));
    let json = replayed(path, &[]);
    assert_eq!(counts(&json), [7, 5, 1, 0], "{json}");
    let told = serde_json::to_string(&json).unwrap();
    assert!(!told.contains("bob@") && told.contains("@customer.example"), "{told}");
}

#[test]
fn a_span_without_mail_and_a_trail_that_is_none_are_told() {
    let mut relay = relay("reload: manual");
    let path = relay.path().to_owned();
    branch(&relay, |text| text.replace("[out]", "[other]").replace("name: out", "name: other"));
    relay.stop(Duration::from_secs(20));
    // A span that is over before the first of it came.
    let (status, told) = diff(&path, &["--replay", "0s"]);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("the audit trail has no mail of the last 0s\nits last record is of 20"), "{told}");
    let trail = path.join("data/audit.redb");
    let octets = std::fs::read(&trail).unwrap();
    std::fs::write(&trail, &octets[..octets.len() / 3]).unwrap();
    let (status, told) = diff(&path, &["--replay", "7d"]);
    assert!(status == Some(1) && told.contains("audit.redb cannot be opened: it is damaged"), "{told}");
    std::fs::write(&trail, "Dear diary").unwrap();
    assert_eq!(diff(&path, &["--replay", "7d"]).0, Some(1));
    let server = std::fs::read_to_string(path.join("waypost.yaml")).unwrap();
    std::fs::write(path.join("waypost.yaml"), format!("{server}\naudit: off\n")).unwrap();
    let (status, told) = diff(&path, &["--replay", "7d"]);
    assert!(status == Some(1) && told.contains("`audit: off` is in ./waypost.yaml"), "{told}");
    for bad in [&["--replay", "7"][..], &["--replay", "soon"], &["--trail", "data"]] {
        assert_eq!(diff(&path, bad).0, Some(2), "{bad:?}");
    }
}
