//! What is refused, when, and with which words.

use super::*;

#[tokio::test]
async fn routes_refuse_at_rcpt_where_they_can() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    let said = "EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<refused@a.example>\r\nRCPT TO:<stranger@a.example>\r\nDATA\r\n";
    let replies = client.ask(said, 5).await;
    assert_eq!(replies[2], "550 5.7.2 not here\r\n");
    assert_eq!(replies[3], "550 5.7.1 No route takes mail for <stranger@a.example>\r\n");
    assert!(replies[4].starts_with("554 5.5.1 "), "{}", replies[4]);
}

#[tokio::test]
async fn routes_that_ask_for_the_content_refuse_at_its_end() {
    let relay = Relay::start(listener()).await;
    let big = format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(2000));

    let mut client = relay.client().await;
    assert_eq!(client.codes(envelope(&["large"]), 4).await, "250, 250 2.1.0, 250 2.1.5, 354");
    assert_eq!(client.ask(&big, 1).await, ["550 5.7.2 too large for this route\r\n"]);
    assert!(relay.legs().await.is_empty());
    // The next transaction is in order.
    client.codes(envelope(&["large"]), 4).await;
    assert_eq!(client.codes("Subject: x\r\n\r\n.\r\n", 1).await, "250 2.0.0");
    assert_eq!(relay.legs().await.len(), 1);

    // One recipient is refused and one is not: the reply is for both, so the refused one bounces later.
    client.codes(envelope(&["large", "x"]), 5).await;
    assert_eq!(client.codes(&big, 1).await, "250 2.0.0");
    let routes: Vec<String> = relay.legs().await.iter().map(|claim| claim.leg.lane.route.to_string()).collect();
    assert_eq!(routes, ["rest", "large", "rest"]);
}

#[tokio::test]
async fn content_is_refused_for_what_is_in_it() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    for (content, code) in [
        (format!("{}\r\n", "Received: x\r\n".repeat(100)), "554 5.4.6"),
        (format!("{}\r\n", "Received: x\r\n".repeat(99)), "250 2.0.0"),
        (format!("A: {}\r\n\r\n", "x".repeat(1024 * 1024)), "552 5.3.4"),
        (format!("A: b\r\n\r\n{}\r\n", "x".repeat(4 * 1024 * 1024)), "552 5.3.4"),
        ("A: \0\r\n\r\n".to_owned(), "550 5.6.0"),
        ("A: b\r\n\r\nbare\nline\r\n".to_owned(), "550 5.6.0"),
        ("A: b\r\n\r\nsmuggled\r\n.\nMAIL FROM:<evil@b.example>\r\n".to_owned(), "550 5.6.0"),
    ] {
        client.codes(envelope(&["x"]), 4).await;
        assert_eq!(client.codes(format!("{content}.\r\n"), 1).await, code, "{:?}", &content[..content.len().min(40)]);
    }
    assert_eq!(relay.legs().await.len(), 1);
}

#[tokio::test]
async fn a_queue_that_cannot_take_mail_is_told() {
    let mut server = server();
    server.queue.min_free = Size(u64::MAX);
    let full = Relay::with(listener(), &server).await;
    let mut client = full.client().await;
    // Before the content comes.
    assert_eq!(client.codes(ENVELOPE, 3).await, "250, 452 4.3.1, 503 5.5.1");
    assert_eq!(client.codes("NOOP\r\n", 1).await, "250 2.0.0");

    let closed = Relay::start(listener()).await;
    let mut client = closed.client().await;
    client.codes(envelope(&["x"]), 4).await;
    closed.queue.close().await;
    assert_eq!(client.codes("A: b\r\n\r\n.\r\n", 1).await, "421 4.3.2");
    assert!(client.gone().await);
}

#[tokio::test]
async fn strangers_may_not_relay() {
    for (authentication, mail, rcpt) in [
        (Authentication::None, "250 2.1.0", "550 5.7.1"),
        (Authentication::Optional, "250 2.1.0", "530 5.7.0"),
        (Authentication::Required, "530 5.7.0", "503 5.5.1"),
    ] {
        let relay = Relay::start(Listener { authentication, allow: Vec::new(), ..listener() }).await;
        assert_eq!(relay.client().await.codes(ENVELOPE, 3).await, format!("250, {mail}, {rcpt}"), "{authentication:?}");
    }
    // Whom `allow` names needs no authentication, though others do.
    let relay = Relay::start(Listener { authentication: Authentication::Required, ..listener() }).await;
    assert_eq!(relay.client().await.codes(ENVELOPE, 3).await, "250, 250 2.1.0, 250 2.1.5");
}

#[tokio::test]
async fn users_send_as_themselves_and_relay() {
    let relay =
        Relay::start(Listener { authentication: Authentication::Required, allow: Vec::new(), ..listener() }).await;
    let mut client = relay.client().await;
    assert_eq!(client.codes("EHLO me\r\nAUTH PLAIN AGJpbGxpbmcAd3Jvbmc=\r\n", 2).await, "250, 535 5.7.8");
    assert_eq!(client.codes(LOGIN, 1).await, "235 2.7.0");
    assert_eq!(client.codes("MAIL FROM:<boss@b.example>\r\n", 1).await, "550 5.7.1");
    let said = "MAIL FROM:<a@billing.example>\r\nRCPT TO:<x@y.example>\r\nDATA\r\nA: b\r\n\r\n.\r\n";
    assert_eq!(client.codes(said, 4).await, "250 2.1.0, 250 2.1.5, 354, 250 2.0.0");
    let claim = relay.legs().await.remove(0);
    assert_eq!(claim.envelope.origin.user.as_deref(), Some("billing"));
    let content = String::from_utf8(relay.content().await).unwrap();
    assert!(content.contains(" with ESMTPA\r\n") && !content.contains("secret"), "{content}");
}
