//! `waypost queue`: asked of the running relay, and done on its files when it is stopped.

use std::time::Duration;

use serde_json::Value;

use crate::support::relay::{BINARY, Relay, Setup, good_queue, queue, waypost};
use crate::support::{BOUND, marked, until, until_true};

/// What comes from held.example waits for a person; all else for a provider that is not there.
fn relay() -> Relay {
    Setup::new()
        .queue("retry: [1h]")
        .route("name: review, match: {sender_domain: held.example}, hold: reviewed by hand")
        .route("name: mine, match: {sender: nobody@nowhere.example}, deliver: [out]")
        .route("name: all, deliver: [dead]")
        .provider("name: dead, transport: smtp, host: 127.0.0.1, port: 9, tls: none, breaker: {failures: 1000}")
        .provider("name: out, transport: maildir, path: out")
        .server("pickup: none")
        .start()
}

fn json(relay: &Relay, args: &[&str]) -> Value {
    let text = good_queue(relay, &[args, &["--json"][..]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

fn mids(relay: &Relay, args: &[&str]) -> Vec<String> {
    let list = json(relay, &[&["list"][..], args].concat());
    list.as_array().unwrap().iter().map(|entry| entry["mid"].as_str().unwrap().to_owned()).collect()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} in {value}"))
}

/// Of each three messages one is held.
fn send(relay: &Relay, messages: u64) {
    for n in 0..messages {
        let from = if n % 3 == 0 { "app@held.example" } else { "app@shop.example" };
        relay.send(from, &["b@one.example", "c@two.example"], &marked(n, from, "b@one.example", 500));
    }
}

/// The same with the relay running and with it stopped.
fn everything_is_done(relay: &Relay) {
    assert_eq!(number(&json(relay, &["count"]), "messages"), 12);
    assert_eq!(json(relay, &["count", "--state", "held"])["recipients"], 8);
    let text = good_queue(relay, &["list", "--state", "held"]);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("app@held.example > b@one.example (+1) review held: reviewed by hand"), "{text}");
    let waiting = mids(relay, &["--route", "all"]);
    assert_eq!(waiting.len(), 8);
    let shown = good_queue(relay, &["show", &waiting[0]]);
    assert!(shown.contains("route all") && shown.contains("Subject: mark-") && !shown.contains("brown fox"), "{shown}");
    assert!(good_queue(relay, &["show", &waiting[0], "--content"]).contains("brown fox"));
    assert_eq!(json(relay, &["show", &waiting[0]])["legs"][0]["recipients"][0]["address"], "b@one.example");

    // A filter asks first, and there is nobody to be asked.
    let out = queue(relay, &["hold", "--route", "all"]);
    assert_eq!(out.status.code(), Some(2));
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(told.contains("would be held: 8 messages, 16 recipients") && told.contains("--yes"), "{told}");
    assert_eq!(queue(relay, &["delete"]).status.code(), Some(2), "nothing is meant");
    let dry = json(relay, &["delete", "--recipient", "two.example", "--dry-run"]);
    assert_eq!((number(&dry, "messages"), number(&dry, "recipients"), &dry["dry_run"]), (12, 12, &Value::Bool(true)));

    // A name that nobody has finds nothing, and says why.
    for args in [&["count", "--route", "nosuch"][..], &["delete", "--dry-run", "--route", "nosuch"]] {
        let out = queue(relay, args);
        assert!(out.status.success(), "{out:?}");
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(told.contains("no route 'nosuch'; it has review, mine, all"), "{told}");
    }
    let out = queue(relay, &["list", "--provider", "dread"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("no provider 'dread'"), "{out:?}");
    let out = queue(relay, &["count", "--route", "mine"]);
    assert_eq!(String::from_utf8_lossy(&out.stderr), "", "it is there, and has nothing");

    let held = json(relay, &["hold", "--route", "all", "--yes", "--reason", "the provider is sold"]);
    assert_eq!((number(&held, "messages"), number(&held, "recipients")), (8, 16), "{held}");
    assert_eq!(number(&json(relay, &["count", "--saying", "provider is SOLD"]), "messages"), 8);
    assert_eq!(number(&json(relay, &["release", &waiting[0]]), "messages"), 1);
    // Its turn at the dead provider may just be under way.
    until_true("it was tried", BOUND, || {
        good_queue(relay, &["show", &waiting[0]]).contains("route all")
            && mids(relay, &["--state", "waiting"]).len() == 1
    });

    let gone = queue(relay, &["delete", &waiting[1], "01ARZ3NDEKTSV4RRFFQ69G5FAV"]);
    assert_eq!(gone.status.code(), Some(1), "one of them is not there");
    let told = String::from_utf8_lossy(&gone.stdout).into_owned();
    assert!(
        told.contains("deleted: 1 message, 2 recipients") && told.contains("01ARZ3NDEKTSV4RRFFQ69G5FAV: not in"),
        "{told}"
    );
    assert_eq!(number(&json(relay, &["bounce", &waiting[2], "--reason", "never mind"]), "recipients"), 2);
    let reports = mids(relay, &["--sender", "<>"]);
    assert_eq!(reports.len(), 1);
    assert!(good_queue(relay, &["show", &reports[0], "--content"]).contains("gave it up: never mind"));
    assert_eq!(number(&json(relay, &["delete", &reports[0]]), "messages"), 1);
    let wrong = queue(relay, &["move", &waiting[3], "--to-route", "mien"]);
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && told.contains("did you mean 'mine'?"), "{told}");
    assert_eq!(number(&json(relay, &["move", &waiting[3], "--to-route", "mine"]), "messages"), 1);
    assert_eq!(number(&json(relay, &["move", &waiting[4], "--to-provider", "out"]), "messages"), 1);
    assert_eq!(number(&json(relay, &["count"]), "messages"), 10);
}

/// The content of a file of `export`, and the fields in front of it.
fn split(file: &str) -> (&str, &str) {
    let at = file.find("X-Waypost-Origin").unwrap();
    let end = at + file[at..].find("\r\n").unwrap() + 2;
    file.split_at(end)
}

fn comes_back(relay: &Relay) {
    let folder = relay.path().join("exported");
    let mid = &mids(relay, &["--state", "held", "--route", "review"])[0];
    let content = good_queue(relay, &["export", mid, "--content-only"]);
    good_queue(relay, &["export", mid, "--to", folder.to_str().unwrap()]);
    let file = folder.join(format!("{mid}.eml"));
    let exported = std::fs::read_to_string(&file).unwrap();
    let (front, behind) = split(&exported);
    assert_eq!(behind, content);
    assert!(front.starts_with("X-Sender: <app@held.example>\r\nX-Receiver: <b@one.example>\r\n"), "{front}");
    let before = json(relay, &["show", mid]);
    assert!(!queue(relay, &["export", mid, "--to", folder.to_str().unwrap()]).status.success(), "nothing is replaced");
    good_queue(relay, &["delete", mid]);
    let back = json(relay, &["import", file.to_str().unwrap(), "--hold", "--reason", "it comes back"]);
    let new = back[0]["mid"].as_str().unwrap().to_owned();
    assert_eq!(good_queue(relay, &["export", &new, "--content-only"]), content, "octet for octet");
    let after = json(relay, &["show", &new]);
    for same in ["from", "size", "listener", "client", "helo", "user", "ret", "envid", "smtputf8", "body", "header"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!(before["legs"][0]["recipients"], after["legs"][0]["recipients"]);
    // A file of somebody's own is taken as by the pickup folder: its Bcc goes, and it gets its Received.
    let own = relay.path().join("own.eml");
    std::fs::write(&own, "From: a@shop.example\nTo: x@one.example\nBcc: y@two.example\nSubject: own\n\nhello\n")
        .unwrap();
    let answer = json(relay, &["import", own.to_str().unwrap(), "--hold"]);
    let own = answer[0]["mid"].as_str().unwrap().to_owned();
    let content = good_queue(relay, &["export", &own, "--content-only"]);
    assert!(
        content.starts_with("Received: ") && !content.contains("Bcc") && content.ends_with("\r\n\r\nhello\r\n"),
        "{content}"
    );
    assert_eq!(json(relay, &["show", &own])["legs"][0]["recipients"].as_array().unwrap().len(), 2);
    good_queue(relay, &["delete", &own, &new]);
}

fn tried(relay: &Relay) {
    until_true("all was tried", BOUND, || mids(relay, &["--provider", "dead", "--saying", "refused"]).len() == 8);
}

#[test]
fn the_queue_is_operated_while_the_relay_runs() {
    let mut relay = relay();
    send(&relay, 12);
    tried(&relay);
    everything_is_done(&relay);
    // The two that were moved: they are held still, and go by their new way once they are let go.
    let moved = mids(&relay, &["--provider", "out"]);
    assert_eq!(moved.len(), 1);
    let released = json(&relay, &["release", "--state", "held", "--saying", "sold", "--yes"]);
    assert_eq!(number(&released, "messages"), 5, "{released}");
    assert_eq!(relay.maildir("out").wait_for(2).len(), 2);
    comes_back(&relay);
    let log = until("the acts are in the log", BOUND, || {
        Some(relay.log().raw()).filter(|log| log.contains("\"act\":\"release\""))
    });
    assert!(log.contains("\"who\":") && log.contains("the provider is sold"), "{log}");
    // Nothing of it was done in memory alone.
    let before = mids(&relay, &[]);
    relay.kill_9();
    assert_eq!(mids(&relay, &[]), before);
}

#[test]
fn the_queue_is_operated_while_the_relay_is_stopped() {
    let mut relay = relay();
    send(&relay, 12);
    tried(&relay);
    // What it had not brought into its index is replayed.
    relay.kill_9();
    let early = queue(&relay, &["release", "--saying", "reviewed", "--dry-run"]);
    assert!(early.status.success(), "{}", String::from_utf8_lossy(&early.stderr));
    everything_is_done(&relay);
    relay.restart();
    let released = json(&relay, &["release", "--saying", "sold", "--yes"]);
    assert_eq!(number(&released, "messages"), 5, "{released}");
    assert_eq!(relay.maildir("out").wait_for(2).len(), 2);
    relay.stop(Duration::from_secs(30));
    comes_back(&relay);
}

#[test]
fn without_a_queue_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("conf");
    let made = waypost(folder.path(), &["init", config.to_str().unwrap()]);
    assert!(made.status.success());
    let out = waypost(folder.path(), &["queue", "list", "--config", config.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1));
    assert!(told.contains("there is no queue at"), "{told}");
    assert!(!config.join("data").exists(), "{told}");
}

/// `waypost queue import *.eml | head -1` takes all of them; a part of a backup is none.
#[test]
fn what_is_to_be_done_is_done_where_nobody_reads_the_answer() {
    let relay = relay();
    let unread = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(BINARY);
        command.args(["queue", "--config", "."]).args(args).current_dir(relay.path());
        command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    for n in 1..=3 {
        let mail = format!("X-Sender: a@held.example\r\nX-Receiver: r{n}@d.example\r\nSubject: {n}\r\n\r\nhello\r\n");
        std::fs::write(relay.path().join(format!("{n}.eml")), mail).unwrap();
    }
    let out = unread(&["import", "1.eml", "2.eml", "3.eml"]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(number(&json(&relay, &["count"]), "messages"), 3);
    let out = unread(&["list"]);
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let out = unread(&["snapshot", "-"]);
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && told.contains("the snapshot cannot be written"), "{out:?}");
}

/// What is due and goes nowhere says why, and until when: the running relay knows, the queue's files do not.
#[test]
fn mail_that_is_due_says_what_it_waits_for() {
    let mut relay = Setup::new()
        .queue("retry: [1h]")
        .route("name: all, deliver: [dead]")
        .provider(
            "name: dead, transport: smtp, host: 127.0.0.1, port: 9, tls: none, breaker: {failures: 1, probe_after: 1h}",
        )
        .server("pickup: none")
        .start();
    let send =
        || relay.send("app@shop.example", &["b@one.example"], &marked(1, "app@shop.example", "b@one.example", 300));
    send();
    until_true("the breaker is open", BOUND, || {
        waypost(relay.path(), &["status"]).stdout.windows(6).any(|w| w == b"is OUT")
    });
    send();
    let waits =
        |entry: &Value| entry["waits"].as_str().unwrap_or_default().contains("for dead, not to be tried before");
    until_true("the second is due", BOUND, || json(&relay, &["list"]).as_array().unwrap().iter().any(waits));
    let list = json(&relay, &["list"]);
    let (tried, due) = (&list[0], &list[1]);
    assert_eq!((&tried["waits"], &tried["until"]), (&Value::Null, &Value::Null), "it waits for its time alone");
    assert!(waits(due) && due["until"].as_str() > due["due"].as_str(), "{due}");
    let text = good_queue(&relay, &["list"]);
    assert!(text.contains(" all due, waits for dead, not to be tried before 20"), "{text}");
    let mid = due["mid"].as_str().unwrap().to_owned();
    let shown = good_queue(&relay, &["show", &mid]);
    assert!(shown.contains("waits for dead, not to be tried") && !shown.contains("due now"), "{shown}");
    relay.stop(BOUND);
    let shown = good_queue(&relay, &["show", &mid]);
    assert!(shown.contains("it is due, and was not tried yet"), "{shown}");
}
