//! The admin server of the built relay: who is let in, what it tells during an outage, what it does when told.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use crate::relaying::Authority;
use crate::support::admin::named;
use crate::support::api::{Api, Mode};
use crate::support::cert::Certificate;
use crate::support::process::{output, tool};
use crate::support::relay::{Relay, Setup, waypost};
use crate::support::sink::Sink;
use crate::support::{BOUND, free_port, marked, until, until_true};

#[test]
fn strangers_hear_that_they_are_none() {
    let relay = Setup::new().route("name: all, discard: true").start();
    let good = format!("Authorization: Bearer {}", relay.token());
    assert_eq!(relay.http("GET", "/api/v1/status", &[&good], "").status, 200);
    let lower = good.to_lowercase();
    for (method, path, head, status, code) in [
        ("GET", "/api/v1/status", vec![], 401, "unauthorized"),
        ("GET", "/api/v1/status", vec!["Authorization: Bearer wrong"], 401, "unauthorized"),
        ("GET", "/api/v1/status", vec![lower.as_str()], 401, "unauthorized"),
        ("GET", "/api/v1/status", vec!["Authorization: Basic eDp5"], 401, "unauthorized"),
        ("GET", "/api/v1/openapi.json", vec![], 401, "unauthorized"),
        ("POST", "/api/v1/providers/x/pause", vec![], 401, "unauthorized"),
        ("GET", "/api/v1/status", vec![good.as_str(), "Host: evil.example"], 421, "wrong_host"),
        ("GET", "/healthz", vec!["Host: evil.example:8025"], 421, "wrong_host"),
        ("GET", "/metrics", vec!["Host: evil.example"], 421, "wrong_host"),
        ("GET", "/api/v1/nothing", vec![good.as_str()], 404, "not_found"),
        ("DELETE", "/api/v1/status", vec![good.as_str()], 405, "method_not_allowed"),
        ("POST", "/api/v1/providers/x/pause", vec![good.as_str()], 400, "bad_body"),
    ] {
        let answer = relay.http(method, path, &head, "");
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (status, Some(code)), "{path} {answer:?}");
        assert!(!answer.json()["error"]["message"].as_str().unwrap().is_empty());
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(relay.http("GET", path, &[], "").status, 200, "{path} needs no token on loopback");
    }
    assert!(relay.http("GET", "/api/v1/status", &[], "").head.to_lowercase().contains("www-authenticate: bearer"));
    let large = relay.http("POST", "/api/v1/providers/x/pause", &[&good], &" ".repeat(2 << 20));
    assert_eq!(large.status, 413);
    let mode = std::fs::metadata(relay.path().join("data/admin.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let told = || relay.log().lines().into_iter().filter(|line| line.message().contains("wrong token")).count();
    until_true("wrong tokens are told", BOUND, || told() > 0);
    assert_eq!(told(), 1, "once a minute");
    assert!(!relay.log().raw().contains(&relay.token()), "the token is in no log");
}

#[test]
fn verbs_say_why_they_cannot_reach_the_relay() {
    let mut relay = Setup::new().route("name: all, discard: true").start();
    let says = |out: std::process::Output, words: &[&str]| {
        let error = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let first = std::fs::read_to_string(relay.path().join("data/admin.token")).unwrap();
    relay.admin();
    std::fs::write(relay.path().join("data/admin.token"), "another\n").unwrap();
    says(relay.verb(&["status"]), &["refused the token"]);
    std::fs::write(relay.path().join("data/admin.token"), &first).unwrap();
    relay.told(&["status"]);
    // Files that were broken meanwhile do not hide the relay that runs, which tells of them.
    let routes = relay.path().join("routes");
    std::fs::rename(&routes, relay.path().join("away")).unwrap();
    let status = || String::from_utf8(relay.verb(&["status"]).stdout).unwrap();
    until_true("the broken configuration is told", BOUND, || status().contains("IS NOT IN FORCE"));
    std::fs::rename(relay.path().join("away"), &routes).unwrap();
    let server = relay.path().join("waypost.yaml");
    let before = std::fs::read_to_string(&server).unwrap();
    let other = before.replace("admin: {address: \"127.0.0.1:0\"", "admin: {address: \"127.0.0.1:9\"");
    assert_ne!(before, other);
    std::fs::write(&server, other).unwrap();
    let at = std::fs::read_to_string(relay.path().join("data/admin.address")).unwrap();
    says(
        relay.verb(&["status"]),
        &["no relay answers at http://127.0.0.1:9", "it was started to listen at", at.trim()],
    );
    std::fs::write(&server, before).unwrap();
    says(relay.verb(&["provider", "pause", "../status"]), &["no provider's name"]);
    says(relay.verb(&["provider", "pause", "nobody"]), &["there is no provider 'nobody'"]);
    assert!(relay.stop(BOUND).success());
    assert!(!relay.path().join("data/admin.token").exists() && !relay.path().join("data/admin.address").exists());
    says(relay.verb(&["status"]), &["the relay is not running", "admin.token"]);
    // One that was killed leaves both behind.
    relay.restart();
    relay.admin();
    relay.kill_9();
    says(relay.verb(&["status"]), &["no relay answers at", "is it running"]);
    relay.restart();
    assert_ne!(relay.token(), first.trim(), "each start has its own");
}

#[test]
fn a_taken_port_and_an_open_door_are_told_before_anything_starts() {
    let relay = Setup::new().route("name: all, discard: true").start();
    let address = relay.admin();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("routes")).unwrap();
    std::fs::write(folder.path().join("routes/a.yaml"), "routes: [{name: all, discard: true}]").unwrap();
    let starts = |admin: &str| {
        let yaml = format!("listeners: [{{name: a, address: \"127.0.0.1:{}\"}}]\nadmin: {admin}\n", free_port());
        std::fs::write(folder.path().join("waypost.yaml"), yaml).unwrap();
        let out = waypost(folder.path(), &["run", "--config", "."]);
        assert!(!out.status.success());
        String::from_utf8(out.stderr).unwrap()
    };
    let told = starts(&format!("{{address: \"{address}\"}}"));
    assert!(
        told.contains(&address.to_string()) && told.contains("`admin.address`") && told.contains("`admin: off`"),
        "{told}"
    );
    let told = starts("{address: \"0.0.0.0:8025\"}");
    assert!(told.contains("would be open to others in clear at 0.0.0.0:8025"), "{told}");
}

#[test]
#[ignore = "needs curl"]
fn beyond_loopback_it_is_tls_and_a_certificate_is_as_good_as_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = Certificate::write(&folder.path().join("server"), &["relay.example"]);
    let authority = Authority::write(folder.path(), &["alice", "foreign"]);
    let port = free_port();
    let mut relay = Setup::new()
        .env("WAYPOST_TEST_TOKEN", "a-token-of-our-own")
        .server(&format!(
            "admin: {{address: \"0.0.0.0:{port}\", token: \"${{env:WAYPOST_TEST_TOKEN}}\", client_ca: \"{}\", tls: {}}}",
            authority.file("ca.pem").display(),
            server.as_tls()
        ))
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: data/out")
        .start();
    let curl = |args: &[&str], path: &str| {
        let mut command = Command::new(tool("curl"));
        command.args(["-sk", "-o", "/dev/null", "-w", "%{http_code}"]).args(args);
        output(command.arg(format!("https://127.0.0.1:{port}{path}")))
    };
    let file = |name: &str| authority.file(name).display().to_string();
    let header = ["-H", "Authorization: Bearer a-token-of-our-own"];
    let (certificate, key) = (file("alice.pem"), file("alice.key"));
    let certified = ["--cert", certificate.as_str(), "--key", key.as_str()];
    let pause =
        [&certified[..], &["-H", "Content-Type: application/json", "-d", "{\"reason\": \"by certificate\"}"]].concat();
    for (args, path, code) in [
        (&[][..], "/healthz", "200"),
        (&[], "/api/v1/status", "401"),
        (&[], "/metrics", "401"),
        (&header, "/metrics", "200"),
        (&header, "/api/v1/status", "200"),
        (&certified, "/api/v1/status", "200"),
        (&pause, "/api/v1/providers/out/pause", "200"),
    ] {
        assert_eq!(curl(args, path), code, "{path} {args:?}");
    }
    let act = until("the act is in the log", BOUND, || {
        relay.log().lines().into_iter().find(|line| line.is("act", "provider pause"))
    });
    assert!(act.is("who", "alice") && act.is("why", "by certificate") && act.is("on", "out"), "{act:?}");
    // Verbs take the very certificate that the configuration names.
    let mut verb = Command::new(crate::support::relay::BINARY);
    verb.args(["status", "--config", "."]).current_dir(relay.path()).env("WAYPOST_TEST_TOKEN", "a-token-of-our-own");
    assert!(output(&mut verb).contains("PAUSED"), "the status tells it");
    let out = relay.verb(&["status"]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(error.contains("the token that `admin.token` of waypost.yaml names cannot be read"), "{error}");
    assert!(relay.stop(BOUND).success());
}

#[test]
fn an_outage_is_told_by_status_alone() {
    let primary = Api::start();
    let secondary = Sink::start();
    let relay = Setup::new()
        .env("WAYPOST_TEST_KEY", "SG.test")
        .queue("retry: [1h]")
        .route("name: internal, match: {recipient_domain: corp.example}, deliver: [primary]")
        .route("name: everything-else, deliver: [primary, secondary]")
        .provider(&format!(
            "name: primary, transport: sendgrid, api_key: \"${{env:WAYPOST_TEST_KEY}}\", endpoint: \"{}\", \
             breaker: {{failures: 5, within: 30s, probe_after: 1h, probe_max: 1h}}",
            primary.endpoint()
        ))
        .provider(&format!("name: secondary, transport: smtp, {}", secondary.as_host()))
        .start();
    let send = |mark: u64, to: &str| {
        relay.send("a@shop.example", &[to], &marked(mark, "a@shop.example", to, 500));
    };
    send(1, "b@customer.example");
    until_true("the primary has it", BOUND, || primary.taken().len() == 1);
    assert!(relay.told(&["status"]).contains("All providers are well."));

    primary.set(Mode::Answer(503, "", "{\"errors\":[{\"message\":\"we are down for maintenance\"}]}"));
    for mark in 2..12 {
        send(mark, "b@customer.example");
        send(100 + mark, "b@corp.example");
    }
    secondary.wait_for(10);
    until_true("what can go nowhere waits", BOUND, || named(&relay.status()["routes"], "internal")["waiting"] == 10);
    until_true("the rest has gone", BOUND, || relay.status()["queue"]["messages"] == 10);

    // What is out, since when, why, until when, where its mail goes, how much waits.
    let status = relay.status();
    let out = named(&status["providers"], "primary");
    assert_eq!(out["state"], "open");
    let opened = until("the log tells it", BOUND, || relay.log().breaker("primary", "open").into_iter().next());
    let since: jiff::Timestamp = out["since"].as_str().unwrap().parse().unwrap();
    assert!(opened.at().duration_since(since).abs().as_millis() < 1000, "{since} and {}", opened.at());
    assert!(out["last_error"]["text"].as_str().unwrap().contains("we are down for maintenance"), "{out:#}");
    let until: jiff::Timestamp = out["until"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.duration_since(since).as_secs(), 3600);
    assert_eq!(named(&status["routes"], "everything-else")["goes_to"], serde_json::json!(["secondary"]));
    let stuck = named(&status["routes"], "internal");
    assert_eq!((&stuck["goes_to"], &stuck["waiting"]), (&serde_json::json!([]), &serde_json::json!(10)));
    assert!(stuck["oldest"].is_string());
    let gone = named(&status["routes"], "everything-else");
    assert_eq!((&gone["accepted"], &gone["delivered"], &gone["waiting"]), (&11.into(), &11.into(), &0.into()));
    let listener = named(&status["listeners"], "apps");
    assert_eq!((&listener["accepted"], &listener["listening"]), (&21.into(), &true.into()));

    let told = relay.verb(&["status"]);
    assert_eq!(told.status.code(), Some(1), "some mail can go nowhere");
    let told = String::from_utf8(told.stdout).unwrap();
    println!("{told}");
    for words in [
        "primary is OUT since ",
        "we are down for maintenance",
        "next probe at ",
        "route internal: its mail WAITS for primary until ",
        "; 10 wait",
        "route everything-else: its mail goes to secondary; nothing waits",
    ] {
        let one_line = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line.contains(words.trim()), "no '{words}' in:\n{told}");
    }
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    let json: serde_json::Value = serde_json::from_slice(&relay.verb(&["status", "--json"]).stdout).unwrap();
    assert_eq!(named(&json["providers"], "primary")["state"], "open");
    assert!(!told.contains("SG.test") && !json.to_string().contains("SG.test"), "no secret is told");
}

#[test]
fn a_pause_holds_across_a_kill_and_ends_when_it_is_told() {
    let (primary, secondary) = (Sink::start(), Sink::start());
    let mut relay = Setup::new()
        .route("name: all, deliver: [primary, secondary]")
        .provider(&format!("name: primary, transport: smtp, {}", primary.as_host()))
        .provider(&format!("name: secondary, transport: smtp, {}", secondary.as_host()))
        .start();
    let content = |mark| marked(mark, "a@shop.example", "b@customer.example", 500);
    relay.send("a@shop.example", &["b@customer.example"], &content(1));
    primary.wait_for(1);
    let told = relay.told(&["provider", "pause", "primary", "--for", "2h", "--reason", "they move house"]);
    assert!(
        told.starts_with("primary is paused until ") && told.contains("`waypost provider resume primary`"),
        "{told}"
    );
    relay.send("a@shop.example", &["b@customer.example"], &content(2));
    secondary.wait_for(1);

    relay.kill_9();
    relay.restart();
    relay.send("a@shop.example", &["b@customer.example"], &content(3));
    secondary.wait_for(2);
    let paused = relay.provider("primary");
    assert_eq!((&paused["state"], &paused["order"]["reason"]), (&"paused".into(), &"they move house".into()));
    let by = paused["order"]["by"].as_str().unwrap().to_owned();
    let told = relay.told(&["status"]);
    assert!(told.contains("primary is PAUSED since") && told.contains(&format!("by {by}: they move house")), "{told}");
    let order: serde_json::Value =
        serde_json::from_str(&relay.told(&["provider", "resume", "primary", "--json"])).unwrap();
    assert_eq!((&order["kind"], &order["by"]), (&"pause".into(), &by.into()));
    relay.send("a@shop.example", &["b@customer.example"], &content(4));
    primary.wait_for(2);
    // What it had taken when the relay was killed may have come twice.
    assert!(secondary.mails().iter().all(|mail| mail.mark() != Some(4)), "it goes to the primary again");
    let out = relay.verb(&["provider", "resume", "primary"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("neither paused nor in a drill"));
    let acts = until("the acts are in the log", BOUND, || {
        let acts: Vec<_> = relay.log().lines().into_iter().filter(|line| line.message() == "operator").collect();
        (acts.len() >= 2).then_some(acts)
    });
    assert!(acts[0].is("act", "provider pause") && acts[0].is("why", "they move house"), "{acts:?}");
    assert!(acts[1].is("act", "provider resume"), "{acts:?}");
}

#[test]
fn a_drill_plays_an_outage_that_ends_by_itself() {
    let (primary, secondary) = (Sink::start(), Sink::start());
    let relay = Setup::new()
        .route("name: all, deliver: [primary, secondary]")
        .provider(&format!(
            "name: primary, transport: smtp, {}, breaker: {{failures: 2, within: 30s}}",
            primary.as_host()
        ))
        .provider(&format!("name: secondary, transport: smtp, {}", secondary.as_host()))
        .start();
    let send = |mark| {
        let content = marked(mark, "a@shop.example", "b@customer.example", 500);
        relay.send("a@shop.example", &["b@customer.example"], &content);
    };
    relay.told(&["provider", "drill", "primary", "--for", "5s", "--reason", "fire drill"]);
    for mark in 0..5 {
        send(mark);
    }
    secondary.wait_for(5);
    assert_eq!(primary.count(), 0);
    let opened = until("its breaker opens", BOUND, || relay.log().breaker("primary", "open").into_iter().next());
    assert!(opened.text("cause").unwrap().contains("a drill: fire drill"), "{opened:?}");
    until_true("it ends by itself", BOUND, || relay.provider("primary")["order"].is_null());
    send(6);
    primary.wait_for(1);
}

#[test]
fn readiness_says_why_not() {
    let mut relay = Setup::new().queue("retry: [1h], max_messages: 3").route("name: all, hold: for review").start();
    assert_eq!(relay.http("GET", "/readyz", &[], "").json(), serde_json::json!({"ready": true, "reasons": []}));
    let health = |relay: &Relay, says: &str, code: i32| {
        let out = relay.verb(&["health"]);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.code() == Some(code) && said.contains(says) && said.lines().count() == 1, "{said}");
    };
    health(&relay, "ready: new mail is taken", 0);
    // Whoever may not read the token may ask that.
    let token = relay.path().join("data/admin.token");
    std::fs::rename(&token, token.with_extension("aside")).unwrap();
    health(&relay, "ready: new mail is taken", 0);
    std::fs::rename(token.with_extension("aside"), &token).unwrap();
    for mark in 0..3 {
        let content = marked(mark, "a@shop.example", "b@customer.example", 500);
        relay.send("a@shop.example", &["b@customer.example"], &content);
    }
    let full = relay.http("GET", "/readyz", &[], "");
    assert_eq!((full.status, full.json()["ready"].clone()), (503, false.into()));
    assert!(full.json()["reasons"][0].as_str().unwrap().contains("max_messages"), "{full:?}");
    assert_eq!(relay.http("GET", "/healthz", &[], "").status, 200, "it is alive all the same");
    health(&relay, "holds as much as it may (3 messages, `max_messages` is 3)", 1);
    let json = relay.verb(&["health", "--json"]).stdout;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&json).unwrap(), full.json());
    let told = relay.verb(&["status"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stdout).contains("NEW MAIL IS NOT TAKEN:"));
    assert!(relay.stop(Duration::from_secs(20)).success());
    health(&relay, "not ready: the relay is not running", 1);
}
