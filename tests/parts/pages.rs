//! The admin pages of the built relay: who is let in, what other sites cannot do, that text stays text, and what an operator does
//! there to queued mail.

use crate::support::browser::Browser;
use crate::support::hook::Hook;
use crate::support::process::{output, tool};
use crate::support::relay::{Relay, Setup};
use crate::support::sink::Sink;
use crate::support::{BOUND, marked, until, until_true};

const PAGES: [&str; 8] = [
    "/",
    "/?hours=6&by=provider",
    "/?hours=1",
    "/providers",
    "/routes",
    "/queue",
    "/trail?wanted=b%40customer.example",
    "/alerts",
];

/// A relay that holds what one sender sends, and whose only way out is deaf.
fn holding() -> Relay {
    Setup::new()
        .route("name: held, match: {sender_domain: held.example}, hold: looked at by people")
        .route("name: all, deliver: [nowhere]")
        .provider("name: nowhere, transport: smtp, host: 127.0.0.1, port: 1, tls: none")
        .start()
}

fn depth(browser: &mut Browser) -> String {
    let page = browser.get("/queue").body;
    let start = page.find("queue-summary").unwrap();
    let text = &page[start..];
    text[text.find("<strong>").unwrap() + 8..text.find("</strong>").unwrap()].to_owned()
}

#[test]
fn nobody_sees_a_page_before_signing_in() {
    let relay = Setup::new().route("name: all, discard: true").start();
    let mut browser = Browser::at(&relay);
    for (path, next) in [
        ("/queue?route=a&state=held", "/sign-in?next=%2Fqueue%3Froute%3Da%26state%3Dheld"),
        ("/", "/sign-in"),
        ("/routes", "/sign-in?next=%2Froutes"),
        ("/message/x", "/sign-in?next=%2Fmessage%2Fx"),
    ] {
        let page = browser.get(path);
        assert_eq!((page.status, page.header("location")), (303, next), "{path}");
        assert!(page.body.is_empty(), "{page:?}");
    }
    for path in ["/queue/confirm", "/queue/act", "/sign-out"] {
        assert_eq!(browser.post(path, &[("act", "delete"), ("scope", "all")]).status, 401, "{path}");
    }
    assert_eq!(browser.ask("GET", "/queue", &["X-Waypost-Live: 1"], "").status, 401);

    let wrong = browser.post("/sign-in", &[("token", "wrong"), ("next", "/queue")]);
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, ""), "{wrong:?}");
    assert!(wrong.body.contains("That is not the token"), "{wrong:?}");
    until_true("the wrong token is in the log", BOUND, || relay.log().raw().contains("asked with a wrong token"));

    let token = browser.token();
    let foreign = browser.post_from("/sign-in", &[("token", &token)], &["Origin: http://evil.example"]);
    assert_eq!((foreign.status, foreign.header("set-cookie")), (403, ""));
    let right = browser.post("/sign-in", &[("token", &token), ("next", "//evil.example")]);
    assert_eq!((right.status, right.header("location")), (303, "/"), "no way leads to another host");
    let cookie = right.header("set-cookie");
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains(&token), "{cookie}");
    assert_eq!(browser.get("/queue").status, 200);
    assert!(!relay.log().raw().contains(&token), "the token is in no log");

    browser = Browser::signed_in(&relay);
    assert_eq!(browser.submit("/sign-out", &[]).status, 303);
    assert_eq!(browser.get("/queue").status, 303, "signed out");
    let mut stranger = Browser::at(&relay);
    assert_eq!(stranger.ask("GET", "/api/v1/status", &[&format!("Cookie: {cookie}")], "").status, 401);
}

#[test]
fn every_answer_tells_the_browser_what_it_may_do() {
    let relay = holding();
    let mut browser = Browser::signed_in(&relay);
    let asset = |text: &str, kind: &str| {
        let start = text.find(&format!("/assets/{kind}")).unwrap();
        text[start..].split('"').next().unwrap().to_owned()
    };
    let page = browser.get("/queue").body;
    let assets = ["style.css", "script.js", "icon.svg"].map(|kind| asset(&page, kind));
    let paths = PAGES.iter().copied().chain(["/sign-in", "/message/nonsense", "/queue?state=odd"]);
    for path in paths.chain(assets.iter().map(String::as_str)) {
        let page = browser.get(path);
        let policy = page.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
        let cache = if path.starts_with("/assets") { "no-cache" } else { "no-store" };
        assert_eq!(page.header("cache-control"), cache, "{path}");
        assert_nothing_inline(path, &page.body);
    }
    assert_eq!(browser.get("/message/nonsense").status, 400);
    assert_eq!(browser.get("/message/01ARZ3NDEKTSV4RRFFQ69G5FAV").status, 404);
    browser.without_cookie();
    assert!(assets.iter().all(|path| browser.get(path).status == 200), "the sign-in page has its style");
}

fn assert_nothing_inline(path: &str, body: &str) {
    if path.starts_with("/assets") {
        return;
    }
    for inline in [" style=", "<style", " onclick=", " onload=", "javascript:", "http://", "https://"] {
        assert!(!body.contains(inline), "{path} has {inline}: {body}");
    }
    for (at, _) in body.match_indices("<script") {
        assert!(body[at..].starts_with("<script src=\"/assets/script.js"), "{path}: {}", &body[at..]);
    }
}

#[test]
fn another_site_does_nothing_here() {
    let relay = holding();
    relay.send("a@held.example", &["b@customer.example"], &marked(1, "a@held.example", "b@customer.example", 300));
    let mut browser = Browser::signed_in(&relay);
    let token = browser.get("/queue").field("form_token");
    let all = [("act", "delete"), ("scope", "all")];
    let with = |token: &'static str| [("act", "delete"), ("scope", "all"), ("form_token", token)];
    let own = format!("Origin: http://{}", browser.address);
    for (what, page) in [
        ("no token", browser.post("/queue/act", &all)),
        ("a wrong token", browser.post("/queue/act", &with("x"))),
        ("another's token", browser.post("/queue/act", &with("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))),
    ] {
        assert_eq!(page.status, 403, "{what}: {page:?}");
    }
    let good = [("act", "delete"), ("scope", "all"), ("form_token", token.as_str())];
    for head in [
        vec!["Origin: http://evil.example"],
        vec!["Origin: null"],
        vec!["Origin: http://127.0.0.1:1"],
        vec!["Sec-Fetch-Site: cross-site"],
        vec![own.as_str(), "Sec-Fetch-Site: same-site"],
    ] {
        let page = browser.post_from("/queue/act", &good, &head);
        assert_eq!(page.status, 403, "{head:?}: {page:?}");
    }
    assert_eq!(browser.ask("GET", "/queue/act?act=delete&scope=all", &[], "").status, 405);
    assert_eq!(depth(&mut browser), "1 message");
    assert_eq!(browser.post_from("/queue/act", &good, &[&own]).status, 303, "and this server's own page does");
    assert_eq!(depth(&mut browser), "0 messages");
}

#[test]
fn text_from_outside_stays_text() {
    const EVIL: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";
    let sink = Sink::start();
    sink.behave(|manners| manners.rcpt = Some("450 4.2.1 <script>alert(3)</script>"));
    let relay = Setup::new()
        .queue("retry: [1h]")
        .route("name: all, deliver: [evil]")
        .provider(&format!("name: evil, transport: smtp, {}", sink.as_host()))
        .start();
    let from = "\"<script>alert(4)</script>\"@shop.example";
    let to = "\"<b>bold</b>\"@customer.example";
    let content = format!("From: <{from}>\r\nTo: <{to}>\r\nSubject: {EVIL}\r\n\r\nhello\r\n");
    let reply = relay.send(from, &[to], content.as_bytes());
    let mid = reply.split_whitespace().last().unwrap().to_owned();
    let mut browser = Browser::signed_in(&relay);
    let message = format!("/message/{mid}");
    until("the reply is shown", BOUND, || browser.get(&message).body.contains("alert(3)").then_some(()));
    let escaped = browser.get(&message).body;
    for part in ["&lt;script&gt;alert(3)", "&lt;script&gt;alert(1)", "&lt;img src=x", "&lt;b&gt;bold"] {
        assert!(escaped.contains(part), "{part} in {escaped}");
    }
    let query = "q%22%3E%3Cscript%3Ealert(5)%3C/script%3E";
    for path in [
        message,
        "/queue".to_owned(),
        format!("/queue?sender={query}%40x.example"),
        format!("/queue?reason={query}"),
        format!("/queue?state={query}"),
        format!("/queue?after={query}"),
        format!("/routes?from={query}&to={query}"),
        format!("/routes?to=a%40b.example&user={query}&header={query}:{query}"),
        format!("/message/{query}"),
        format!("/trail?wanted={query}"),
        "/trail?wanted=customer.example".to_owned(),
        format!("/sign-in?next={query}"),
    ] {
        let body = browser.get(&path).body;
        for raw in ["<script>", "<img", "<b>", "onerror=alert(2)>"] {
            assert!(!body.contains(raw), "{path} has {raw}: {body}");
        }
    }
}

#[test]
fn every_page_shows_an_empty_relay_and_a_busy_one() {
    let relay = holding();
    let mut browser = Browser::signed_in(&relay);
    for path in PAGES {
        let page = browser.get(path);
        assert_eq!(page.status, 200, "{path}: {page:?}");
        let part = browser.ask("GET", path, &["X-Waypost-Live: 1"], "");
        assert!(part.status == 200 && !part.body.contains("<html"), "{path}: {part:?}");
    }
    assert!(browser.get("/queue").body.contains("Nothing is queued"));
    for n in 0..120 {
        let from = format!("a{n}@{}.example", if n % 2 == 0 { "held" } else { "shop" });
        relay.send(&from, &["b@customer.example", "c@other.example"], &marked(n, &from, "b@customer.example", 300));
    }
    for path in PAGES {
        let page = browser.get(path);
        assert_eq!(page.status, 200, "{path}: {page:?}");
        assert_nothing_inline(path, &page.body);
    }
    // The list goes on from part to part, and comes to an end.
    let (mut path, mut seen) = ("/queue?state=held".to_owned(), 0);
    for _ in 0..4 {
        let body = browser.get(&path).body;
        seen += body.matches("type=\"checkbox\"").count();
        let Some(next) = body.split("rel=\"next\"").next().filter(|before| before.len() < body.len()) else { break };
        path = next.rsplit("href=\"").next().unwrap().split('"').next().unwrap().replace("&amp;", "&");
    }
    assert_eq!(seen, 60);

    let explained = browser.get("/routes?from=x%40held.example&to=y%40customer.example").body;
    assert!(explained.contains("takes route") && explained.contains("looked at by people"), "{explained}");
    let explained = browser.get("/routes?from=&to=y%40customer.example").body;
    assert!(explained.contains("sender_domain") && explained.contains("wants held.example"), "{explained}");
    for (query, says) in
        [("to=nonsense", "Recipient"), ("from=a%40b.example", "Recipient"), ("to=a%40b.example&size=big", "Size")]
    {
        let page = browser.get(&format!("/routes?{query}"));
        assert!(page.status == 200 && page.body.contains(&format!("{says}: ")), "{query}: {page:?}");
    }
}

#[test]
fn queued_mail_is_held_released_moved_and_deleted_after_a_count() {
    let relay = Setup::new()
        .queue("retry: [1h]")
        .route("name: never, match: {sender: nobody@nowhere.example}, deliver: [outbox]")
        .route("name: held, match: {sender_domain: held.example}, hold: looked at by people")
        .route("name: all, deliver: [nowhere]")
        .provider("name: nowhere, transport: smtp, host: 127.0.0.1, port: 1, tls: none, breaker: {probe_after: 1h}")
        .provider("name: outbox, transport: maildir, path: data/outbox")
        .start();
    let mids: Vec<String> = (0..3)
        .map(|n| {
            let content = marked(n, "a@held.example", "b@customer.example", 300);
            let reply = relay.send("a@held.example", &["b@customer.example"], &content);
            reply.split_whitespace().last().unwrap().to_owned()
        })
        .collect();
    let mut browser = Browser::signed_in(&relay);

    let none = browser.submit("/queue/confirm", &[("act", "release"), ("scope", "ticked")]);
    assert!(none.status == 400 && none.body.contains("No message is ticked"), "{none:?}");
    let confirm = browser
        .submit("/queue/confirm", &[("act", "delete"), ("scope", "ticked"), ("mid", &mids[0]), ("mid", &mids[1])]);
    assert!(confirm.body.contains("Delete 2 messages?"), "{confirm:?}");
    assert_eq!(depth(&mut browser), "3 messages", "asking does nothing");
    let done =
        browser.submit("/queue/act", &[("act", "delete"), ("scope", "ticked"), ("mid", &mids[0]), ("why", "a test")]);
    assert_eq!((done.status, done.header("location")), (303, "/queue"));
    assert!(browser.get("/queue").body.contains("1 message deleted."));
    assert!(!browser.get("/queue").body.contains("1 message deleted."), "it is told once");
    until_true("it is in the log who did it, and why", BOUND, || {
        relay
            .log()
            .raw()
            .lines()
            .any(|line| line.contains("\"act\":\"delete\"") && line.contains("alice") && line.contains("a test"))
    });

    let moved = browser.submit("/queue/act", &[("act", "move"), ("mid", &mids[1]), ("to_provider", "outbox")]);
    assert_eq!(moved.header("location"), format!("/message/{}", mids[1]));
    let told = browser.get(&format!("/message/{}", mids[1])).body;
    for words in ["1 message moved.", "provider outbox", "looked at by people"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(browser.submit("/queue/act", &[("act", "release"), ("mid", &mids[1])]).status, 303);
    relay.maildir("data/outbox").wait_for(1);
    // What has left the queue is known by the trail.
    until_true("its page tells what became of it", BOUND, || {
        let body = browser.get(&format!("/message/{}", mids[1])).body;
        ["Nothing of it is queued", "operator", "release", "alice", "delivered"].iter().all(|word| body.contains(word))
    });
    let traced = browser.get("/trail?wanted=b%40customer.example").body;
    assert!(mids.iter().all(|mid| traced.contains(mid.as_str())), "{traced}");
    assert!(browser.get("/trail?wanted=x%40y.example").body.contains("The trail has nothing of"));

    let wrong = browser.submit("/queue/act", &[("act", "move"), ("mid", &mids[2]), ("to_provider", "outbux")]);
    assert!(
        wrong.status == 400 && wrong.body.contains("did you mean &#39;outbox&#39;")
            || wrong.body.contains("did you mean 'outbox'"),
        "{wrong:?}"
    );
    let count = browser.submit(
        "/queue/confirm",
        &[("act", "bounce"), ("scope", "all"), ("route", "held"), ("sender", "*@held.example")],
    );
    assert!(count.body.contains("Bounce 1 message?") && count.body.contains("route=held"), "{count:?}");
    let all = browser.submit("/queue/act", &[("act", "delete"), ("scope", "all"), ("route", "held")]);
    assert_eq!(all.header("location"), "/queue?route=held");
    assert_eq!(depth(&mut browser), "0 messages");
}

#[test]
fn an_outage_is_told_and_a_provider_is_taken_out_by_hand() {
    let second = Sink::start();
    let relay = Setup::new()
        .route("name: all, deliver: [first, second]")
        .provider("name: first, transport: smtp, host: 127.0.0.1, port: 1, tls: none, breaker: {failures: 1, probe_after: 1h}")
        .provider(&format!("name: second, transport: smtp, {}", second.as_host()))
        .start();
    let mut browser = Browser::signed_in(&relay);
    assert!(browser.get("/").body.contains("All 2 providers take mail"));
    relay.send("a@shop.example", &["b@customer.example"], &marked(1, "a@shop.example", "b@customer.example", 300));
    second.wait_for(1);
    until_true("the overview tells what is out, why, and where its mail goes", BOUND, || {
        let body = browser.get("/").body;
        [
            "first is out",
            "Connection refused",
            "Next probe",
            "<strong>all</strong>: goes by <span class=\"member\">second",
        ]
        .iter()
        .all(|words| body.contains(words))
    });
    until_true("the charts have the message", BOUND, || {
        browser.get("/").body.contains("Delivered, each minute: 1 altogether")
    });

    let paused = browser.submit("/providers/second/pause", &[("for", "20m"), ("reason", "they move <house>")]);
    assert_eq!((paused.status, paused.header("location")), (303, "/providers#p-second"));
    let body = browser.get("/providers").body;
    assert!(body.contains("second is paused.") && body.contains("pause by alice: they move &lt;house&gt;"), "{body}");
    assert!(browser.get("/").body.contains("2 providers of 2 in trouble"));
    let resumed = browser.submit("/providers/second/resume", &[]);
    assert_eq!(resumed.status, 303);
    assert!(browser.get("/providers").body.contains("second is in use again."));
    for (path, fields, says) in [
        ("/providers/second/resume", vec![], "neither paused nor in a drill"),
        ("/providers/second/pause", vec![("for", "soon")], "soon"),
        ("/providers/nobody/drill", vec![("for", "1h")], "there is no provider"),
    ] {
        assert_eq!(browser.submit(path, &fields).status, 303, "{path}");
        let body = browser.get("/providers").body;
        assert!(body.contains("notice bad") && body.contains(says), "{path}: {body}");
    }
    assert_eq!(browser.submit("/providers/second/burn", &[]).status, 404);
    assert_eq!(browser.post("/providers/second/pause", &[("for", "1h")]).status, 403);
}

#[test]
#[ignore = "needs chromium and playwright-core"]
fn a_real_browser_opens_every_page_and_does_an_act() {
    let (sink, hook) = (Sink::start(), Hook::start());
    let relay = Setup::new()
        .queue("retry: [1h]")
        .server(&format!(
            "alerts: {{rules: {{breaker: 1s, disk: never}}, to: [{{webhook: \"{}\"}}, {{mail: ops@corp.example}}]}}",
            hook.url()
        ))
        .route("name: held, match: {sender_domain: held.example}, hold: looked at by people")
        .route("name: all, deliver: [first, second]")
        .provider("name: first, transport: smtp, host: 127.0.0.1, port: 1, tls: none, breaker: {failures: 1, probe_after: 1h}")
        .provider(&format!("name: second, transport: smtp, {}", sink.as_host()))
        .start();
    let senders = ["a@held.example", "b@held.example", "\"<svg/onload=alert(1)>\"@held.example", "c@shop.example"];
    for (n, from) in senders.iter().enumerate() {
        relay.send(from, &["d@customer.example"], &marked(n as u64, from, "d@customer.example", 300));
    }
    // The mail, and the alert's.
    sink.wait_for(2);
    hook.wait_for(1);
    let mut browser = Browser::signed_in(&relay);
    until_true("both targets were told", BOUND, || {
        let page = browser.get("/alerts").body;
        ["</span> told</span> webhook ", "</span> queued</span> mail "].iter().all(|word| page.contains(word))
    });
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut node = std::process::Command::new(tool("node"));
    node.env("NODE_PATH", here.join(".tools/playwright/node_modules")).arg(here.join("tests/parts/clients/pages.js"));
    node.arg(format!("http://{}", browser.address)).arg(browser.token()).arg(tool("chromium"));
    println!("{}", output(&mut node));
    assert_eq!(depth(&mut browser), "2 messages", "the browser has deleted one of three");
    until_true("it is in the log who did it", BOUND, || {
        relay.log().raw().lines().any(|line| line.contains("\"act\":\"delete\"") && line.contains("eyes"))
    });
}
