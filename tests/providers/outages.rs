//! What all three APIs make of providers that are out, slow or broken: whether the message may have been taken is never
//! guessed.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use waypost::config::{Timeouts, TlsFloor};
use waypost::transport::{Lack, Outcome, TroubleKind};

use crate::script::{Act, Scripted, answer};
use crate::support::{Api, PATIENT, PLAIN, attempt, large, names, only, patient};

const ANN: &[&str] = &["ann@customer.example"];
const SHORT: Duration = Duration::from_millis(300);

async fn try_one(api: Api, act: Act, timeout: Timeouts, content: &str) -> (Outcome, usize) {
    let server = Scripted::new([act]).await;
    let attempt = attempt(ANN, content.to_owned());
    let outcome = only(api.at(&server.url, timeout).attempt(&attempt).await);
    (outcome, server.seen().len())
}

#[track_caller]
fn kind(outcome: &Outcome) -> TroubleKind {
    let Outcome::Unavailable(trouble) = outcome else { panic!("{outcome:?}") };
    trouble.kind
}

#[tokio::test]
async fn nothing_was_sent_where_nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for api in Api::ALL {
        for (host, words) in [(format!("127.0.0.1:{port}"), "refused"), ("api.nowhere.example".to_owned(), "resolve")] {
            let attempt = attempt(ANN, PLAIN);
            let outcome = only(api.at(&format!("http://{host}"), patient()).attempt(&attempt).await);
            assert_eq!(kind(&outcome), TroubleKind::Connection, "{api:?}");
            assert!(outcome.diagnosis().text.to_lowercase().contains(words), "{outcome:?}");
            assert!(!attempt.progress.may_have_it(), "{api:?}");
        }
    }
}

#[tokio::test]
async fn a_request_in_full_without_an_answer_is_unknown() {
    for api in Api::ALL {
        for act in [Act::Hang, Act::Close] {
            let timeout = Timeouts { command: SHORT, ..patient() };
            let (outcome, seen) = try_one(api, act.clone(), timeout, PLAIN).await;
            assert_eq!((outcome.name(), seen), ("unknown", 1), "{api:?} {act:?}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_request_in_part_is_no_message() {
    let large = large(20_000_000);
    for api in Api::ALL {
        let (outcome, _) = try_one(api, Act::CloseEarly, patient(), &large).await;
        assert_eq!(kind(&outcome), TroubleKind::Connection, "{api:?}");
        let timeout = Timeouts { connect: SHORT, content: SHORT, command: PATIENT };
        let (outcome, _) = try_one(api, Act::Stall, timeout, &large).await;
        assert_eq!(kind(&outcome), TroubleKind::Timeout, "{api:?}");
    }
}

#[tokio::test]
async fn the_status_is_the_answer_whatever_becomes_of_its_body() {
    for api in Api::ALL {
        let timeout = Timeouts { command: SHORT, ..patient() };
        for (status, name) in [(503, "unavailable"), (202, "delivered")] {
            let (outcome, _) = try_one(api, Act::AnswerWithoutEnd(status), timeout, PLAIN).await;
            assert_eq!(outcome.name(), name, "{api:?} {status}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn statuses_mean_the_same_everywhere() {
    for api in Api::ALL {
        for (status, expected) in [
            (500, TroubleKind::Server),
            (503, TroubleKind::Server),
            (401, TroubleKind::Credentials),
            (404, TroubleKind::Account),
        ] {
            for body in ["", "<html>down</html>", "{\"message\":\"down\"}"] {
                let (outcome, seen) = try_one(api, answer(status, body), patient(), PLAIN).await;
                assert_eq!((kind(&outcome), seen), (expected, 1), "{api:?} {status}: {outcome:?}");
                assert_eq!(outcome.diagnosis().code, Some(status));
                assert_eq!(outcome.diagnosis().remote.as_deref(), Some("127.0.0.1"));
            }
        }
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Scripted::new([answer(200, "{}")]).await;
    for api in Api::ALL {
        let location: &'static str = format!("Location: {}/\r\n", other.url).leak();
        for status in [302, 307, 308] {
            let (outcome, _) = try_one(api, Act::Answer(status, location, String::new()), patient(), PLAIN).await;
            assert_eq!(kind(&outcome), TroubleKind::Account, "{api:?} {status}");
        }
    }
    assert!(other.seen().is_empty(), "keys and mail go to the endpoint alone");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_counts() {
    let large = large(20_000_000);
    for api in [Api::Mailgun, Api::SendGrid] {
        let (outcome, _) = try_one(api, Act::AnswerEarly(413), patient(), &large).await;
        assert!(matches!(outcome, Outcome::Unsupported(Lack::Message(_))), "{api:?}: {outcome:?}");
    }
}

/// The provider closed a kept connection while it lay idle: that is no outage, and no second message.
#[tokio::test]
async fn a_kept_connection_that_closed_is_replaced() {
    for api in Api::ALL {
        let server = Scripted::new(vec![Act::AnswerAndClose("{\"id\":\"<1@mg>\",\"MessageId\":\"1\"}"); 3]).await;
        let transport = api.at(&server.url, patient());
        for sent in 1..=3 {
            assert_eq!(names(&transport.attempt(&attempt(ANN, PLAIN)).await), ["delivered"], "{api:?}");
            assert_eq!(server.seen().len(), sent);
            server.closed().await;
            // The runtime looks at its sockets before it goes on.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn certificates_that_nobody_vouches_for() {
    let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], key.signing_key.serialize_der().try_into().unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client breaks off the handshake.
            let _ = acceptor.accept(stream).await;
        }
    });
    for api in Api::ALL {
        let attempt = attempt(ANN, PLAIN);
        let outcome = only(api.at(&format!("https://{address}"), patient()).attempt(&attempt).await);
        assert_eq!(kind(&outcome), TroubleKind::Tls, "{api:?}: {outcome:?}");
        assert!(!attempt.progress.may_have_it());
    }
    server.abort();
}

#[tokio::test]
async fn what_no_api_carries_is_never_sent() {
    let server = Scripted::new([]).await;
    for api in Api::ALL {
        let transport = api.at(&server.url, patient());
        let mut bounce = attempt(ANN, PLAIN);
        Arc::make_mut(&mut bounce.envelope).reverse_path = None;
        let mut in_clear = attempt(ANN, PLAIN);
        in_clear.tls = Some(TlsFloor::Require);
        let too_large = attempt(ANN, large(100_000_000));
        let foreign = attempt(&["\u{fc}@customer.example"], PLAIN.replace("ann@", "nn@"));
        for (attempt, what) in [(bounce, "null"), (in_clear, "TLS"), (too_large, "octets"), (foreign, "")] {
            let outcome = only(transport.attempt(&attempt).await);
            assert!(matches!(outcome, Outcome::Unsupported(Lack::Message(_))), "{api:?} {what}: {outcome:?}");
            assert!(outcome.diagnosis().text.contains(what), "{outcome:?}");
        }
    }
    assert!(server.seen().is_empty());
}
