//! A message that leaves in one write with its commands, where the server takes chunks, and when it goes by DATA all the same.

use std::net::SocketAddr;

use super::script::Server;
use super::smtp::{script, settings, transport};
use super::*;
use crate::config::{Flavor, SmtpSettings};
use crate::transport::SmtpTransport;

const OPEN: &[&str] = &["220 mx", ">EHLO relay.example", "250-mx", "250-CHUNKING", "250 PIPELINING"];
/// All that the client says, before anything is answered.
const WHOLE: &[&str] = &[">MAIL FROM:<s@a.example>", ">RCPT TO:<r@b.example>", ">BDAT 42 LAST", "!chunk 42"];
const BY_DATA: &[&str] = &[
    ">MAIL FROM:<s@a.example>",
    ">RCPT TO:<r@b.example>",
    ">DATA",
    "250 ok",
    "250 ok",
    "354 go",
    "!content",
    "250 ok",
];
const TAKEN: &[&str] = &["250 2.1.0 ok", "250 2.1.5 ok", "250 2.0.0 ok"];

fn chunking(address: SocketAddr) -> SmtpSettings {
    SmtpSettings { chunking: true, ..settings("127.0.0.1", address) }
}

/// The outcomes of these attempts, one after the other, and whether the last one says that the server may have it.
fn after(scripts: &[&[&'static str]], attempts: &[Attempt]) -> (Vec<String>, bool) {
    run(async {
        let server = Server::start(scripts).await;
        let transport = transport(&chunking(server.address));
        let mut came = Vec::new();
        for attempt in attempts {
            came.push(outcomes(&transport, attempt).await);
        }
        drop(transport);
        server.sessions().await;
        (came, attempts.last().unwrap().progress.may_have_it())
    })
}

fn one(rest: &[&'static str]) -> (String, bool) {
    let (mut outcomes, in_doubt) = after(&[&script(&[OPEN, WHOLE, rest])], &[attempt(&["r@b.example"])]);
    (outcomes.remove(0), in_doubt)
}

#[test]
fn commands_and_content_leave_before_anything_is_answered() {
    run(async {
        let server = Server::start(&[&script(&[OPEN, WHOLE, TAKEN, WHOLE, TAKEN])]).await;
        let transport = transport(&chunking(server.address));
        for _ in 0..2 {
            assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "delivered 250");
        }
        drop(transport);
        // Dots stand as they are (RFC 3030, section 2).
        assert_eq!(server.sessions().await[0].content, [CONTENT, CONTENT]);
    });
}

#[test]
fn only_a_reply_is_certain() {
    for (rest, outcome) in [
        (&["250 ok", "250 ok", "451 4.3.0 later"][..], "deferred 451"),
        (&["250 ok", "250 ok", "554 5.7.1 spam", ">RSET", "250 ok"], "rejected 554"),
        (&["250 ok", "550 5.1.1 no", "554 none", ">RSET", "250 ok"], "rejected 550"),
        (&["451 later", "503 no", "503 no", ">RSET", "250 ok"], "deferred 451"),
        (&["421 4.3.2 down", "!close"], "unavailable Server 421"),
        (&["250 ok", "250 ok", "421 4.3.2 down", "!close"], "unavailable Server 421"),
        (&["250 ok", "250 ok", "502 5.5.2 what is BDAT"], "unavailable Server"),
        (&["250 ok", "421 4.3.2 down", "!close"], "unavailable Server 421"),
        (&["250 ok", "421 4.3.2 slow down", "250 2.0.0 none"], "unavailable Server 421"),
        (&["250 ok\r\n250 ok\r\n250 ok\r\n250 ok"], "unknown"),
        (&["250 ok", "250 ok", "250 2.1.5 ok"], "unknown"),
        (&["!close"], "unknown"),
        (&["!hang"], "unknown"),
        (&["250 ok", "!close"], "unknown"),
        (&["250 ok", "250 ok", "!hang"], "unknown"),
        (&["250 ok", "250 ok", "garbage"], "unknown"),
    ] {
        assert_eq!(one(rest), (outcome.to_owned(), true), "{rest:?}");
    }
}

#[test]
fn a_reply_too_many_is_told() {
    run(async {
        // In one write, so that they come together.
        let replies = ["250 ok\r\n250 ok\r\n250 ok\r\n554 5.7.1 spam\u{7}"];
        let server = Server::start(&[&script(&[OPEN, WHOLE, &replies])]).await;
        let transport = transport(&chunking(server.address));
        let outcome = transport.attempt(&attempt(&["r@b.example"])).await.remove(0);
        let text = outcome.diagnosis().text.clone();
        assert!(text.contains("'554 5.7.1 spam' is one reply too many (at the content)"), "{text}");
    });
}

#[test]
fn recipients_beyond_the_servers_limit_follow_at_once() {
    run(async {
        let commands = [">MAIL", ">RCPT TO:<a@b.example>", ">RCPT TO:<c@b.example>", ">BDAT 42 LAST", "!chunk 42"];
        let replies = ["250 ok", "250 ok", "452 4.5.3 too many", "250 ok"];
        let again = [">MAIL", ">RCPT TO:<c@b.example>", ">BDAT 42 LAST", "!chunk 42", "250 ok", "250 ok", "250 ok"];
        let server = Server::start(&[&script(&[OPEN, &commands, &replies, &again])]).await;
        let transport = transport(&chunking(server.address));
        let attempt = attempt(&["a@b.example", "c@b.example"]);
        assert_eq!(outcomes(&transport, &attempt).await, "delivered 250, delivered 250");
    });
}

#[test]
fn a_kept_connection_that_closes_at_the_next_message_costs_nothing() {
    let first = script(&[OPEN, WHOLE, TAKEN, WHOLE, &["421 enough", "!close"]]);
    let second = script(&[OPEN, WHOLE, TAKEN]);
    let attempts = [attempt(&["r@b.example"]), attempt(&["r@b.example"])];
    assert_eq!(after(&[&first, &second], &attempts).0, ["delivered 250", "delivered 250"]);
}

/// It costs this message its certainty, and none after it.
#[test]
fn a_server_that_ends_a_session_without_a_word_gets_data() {
    let first = script(&[OPEN, WHOLE, TAKEN, WHOLE, &["!close"]]);
    let second = script(&[OPEN, BY_DATA, &[">MAIL", "!close"]]);
    let third = script(&[OPEN, BY_DATA]);
    let attempts: Vec<_> = (0..4).map(|_| attempt(&["r@b.example"])).collect();
    let came = after(&[&first, &second, &third], &attempts).0;
    assert_eq!(came, ["delivered 250", "unknown", "delivered 250", "delivered 250"]);
}

#[test]
fn it_is_for_the_operator_to_ask_for() {
    run(async {
        let server = Server::start(&[&script(&[OPEN, BY_DATA])]).await;
        let transport = transport(&settings("127.0.0.1", server.address));
        assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "delivered 250");
    });
}

#[test]
fn a_server_that_knows_no_bdat_is_asked_for_none_again() {
    let first = script(&[OPEN, WHOLE, &["250 ok", "250 ok", "500 what", "!close"]]);
    let second = script(&[OPEN, BY_DATA, BY_DATA]);
    let attempts = [attempt(&["r@b.example"]), attempt(&["r@b.example"]), attempt(&["r@b.example"])];
    assert_eq!(after(&[&first, &second], &attempts).0, ["unavailable Server", "delivered 250", "delivered 250"]);
}

#[test]
fn what_must_not_be_in_doubt_or_is_large_goes_by_data() {
    let careful = Attempt { at_once: false, ..attempt(&["r@b.example"]) };
    let large = attempt_with(&["r@b.example"], format!("Subject: l\r\n\r\n{}", "a line\r\n".repeat(9000)).into());
    let script = script(&[OPEN, BY_DATA, BY_DATA, WHOLE, TAKEN]);
    let attempts = [careful, large, attempt(&["r@b.example"])];
    assert_eq!(after(&[&script], &attempts).0, ["delivered 250"; 3]);
}

/// The server may be about to close for want of mail: the envelope finds that out before the content is in doubt.
#[test]
fn the_first_message_after_a_rest_goes_by_data() {
    run(async {
        let server = Server::start(&[&script(&[OPEN, WHOLE, TAKEN, BY_DATA, WHOLE, TAKEN])]).await;
        let transport = transport(&chunking(server.address));
        for rest in [0, 3, 0] {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(rest)).await;
            tokio::time::resume();
            assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "delivered 250");
        }
    });
}

#[test]
fn the_chunk_has_the_size_of_what_is_sent() {
    run(async {
        let commands = [">MAIL", ">RCPT", ">BDAT 27 LAST", "!chunk 27"];
        let server = Server::start(&[&script(&[OPEN, &commands, TAKEN])]).await;
        let settings = SmtpSettings { flavor: Some(Flavor::SendGrid), ..chunking(server.address) };
        let transport = SmtpTransport::new(&provider(), &settings, &environment(FakeDns::default())).unwrap();
        assert_eq!(outcomes(&transport, &attempt(&["r@b.example"])).await, "delivered 250");
        drop(transport);
        assert_eq!(server.sessions().await[0].content, ["Subject: hi\r\n\r\nbody\r\n.dot\r\n"]);
    });
}
