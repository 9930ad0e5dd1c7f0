use std::time::Duration;

use waypost::transport::{Lack, Outcome, ProviderId, TroubleKind};

use crate::fake::Prism;
use crate::script::{Scripted, answer};
use crate::support::{Api, KEY, PLAIN, attempt, large, names, only, patient};

const ANN: &[&str] = &["ann@customer.example"];
const FOUR: &[&str] = &["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
const QUEUED: &str = "{\"id\":\"<20261124.1@mg.corp.example>\",\"message\":\"Queued. Thank you.\"}";

fn said(text: &str) -> String {
    serde_json::json!({"message": text}).to_string()
}

#[tokio::test]
async fn the_form_carries_the_envelope_and_the_message_as_it_is() {
    let server = Scripted::new([answer(200, QUEUED)]).await;
    let content =
        PLAIN.replace("Subject:", "X-Mailgun-Drop-Message: yes\r\nBcc: dora@x.example\r\nSubject:") + "\u{fc}.\r\n";
    let attempt = attempt(&["ann@customer.example", "bob@customer.example"], content);
    let outcomes = Api::Mailgun.at(&server.url, patient()).attempt(&attempt).await;
    assert_eq!(names(&outcomes), ["delivered", "delivered"]);
    let Outcome::Delivered { provider_id, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(*provider_id, Some(ProviderId("20261124.1@mg.corp.example".to_owned())), "as events name it");
    let [request] = <[_; 1]>::try_from(server.seen()).unwrap();
    assert_eq!(request.line(), "POST /v3/mg.corp.example/messages.mime HTTP/1.1");
    // "api:SG.very-secret-key"
    assert_eq!(request.header("authorization"), Some("Basic YXBpOlNHLnZlcnktc2VjcmV0LWtleQ=="));
    assert_eq!(KEY, "SG.very-secret-key");
    let kind = request.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let field = |name: &str, value: &str| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let expected = format!(
        "{}{}{}--{boundary}\r\nContent-Disposition: form-data; name=\"message\"; filename=\"{}.eml\"\r\nContent-Type: message/rfc822\r\n\r\n{PLAIN}\u{fc}.\r\n\r\n--{boundary}--\r\n",
        field("to", "ann@customer.example"),
        field("to", "bob@customer.example"),
        field("o:tracking", "no"),
        attempt.mid,
    );
    assert_eq!(String::from_utf8(request.body).unwrap(), expected);
}

#[tokio::test]
async fn a_refused_address_is_found_by_halves() {
    let refused = || answer(400, said("to parameter is not a valid address. please check documentation"));
    let queued = || answer(200, QUEUED);
    // abcd, ab, a, b, cd
    let server = Scripted::new([refused(), refused(), queued(), refused(), queued()]).await;
    let outcomes = Api::Mailgun.at(&server.url, patient()).attempt(&attempt(FOUR, PLAIN)).await;
    assert_eq!(names(&outcomes), ["delivered", "rejected", "delivered", "delivered"]);
    let called: Vec<String> = server
        .seen()
        .iter()
        .map(|request| {
            let body = String::from_utf8_lossy(&request.body);
            ["a", "b", "c", "d"]
                .into_iter()
                .filter(|who| body.contains(&format!("\r\n\r\n{who}@x.example\r\n")))
                .collect()
        })
        .collect();
    assert_eq!(called, ["abcd", "ab", "a", "b", "cd"]);
}

#[tokio::test]
async fn an_outage_in_between_leaves_the_rest_unsent() {
    let refused = || answer(400, said("to parameter is not a valid address"));
    let server = Scripted::new([refused(), answer(200, QUEUED), answer(503, "")]).await;
    let outcomes = Api::Mailgun.at(&server.url, patient()).attempt(&attempt(FOUR, PLAIN)).await;
    assert_eq!(names(&outcomes), ["delivered", "delivered", "unavailable", "unavailable"]);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn limits_and_the_account() {
    let domain = "Domain mg.corp.example is not allowed to send";
    let server = Scripted::new([
        answer(420, said(&format!("{domain}: request limit exceeded, try again after Tue, 24 Nov 2026 12:00:30 UTC"))),
        answer(429, said(&format!("{domain}: account-requests-per-sec limit exceeded, try again after 120 seconds"))),
        answer(400, said(&format!("{domain}: The domain is unverified and requires DNS configuration."))),
        answer(401, "Forbidden"),
    ])
    .await;
    let transport = Api::Mailgun.at(&server.url, patient());
    for seconds in [30u64, 120] {
        let outcome = only(transport.attempt(&attempt(ANN, PLAIN)).await);
        let Outcome::Throttled { retry_after: Some(after), .. } = outcome else { panic!("{outcome:?}") };
        // The relay's clock goes on from noon while the test runs.
        assert!(
            after <= Duration::from_secs(seconds) && after + Duration::from_secs(25) > Duration::from_secs(seconds)
        );
    }
    for kind in [TroubleKind::Account, TroubleKind::Credentials] {
        let outcome = only(transport.attempt(&attempt(ANN, PLAIN)).await);
        assert!(matches!(&outcome, Outcome::Unavailable(trouble) if trouble.kind == kind), "{outcome:?}");
    }
}

#[tokio::test]
async fn large_batches_go_in_halves() {
    let batch = || answer(403, said("Domain mg.corp.example is not allowed to send large batches yet"));
    let server = Scripted::new([batch(), answer(200, QUEUED), batch(), answer(200, QUEUED), batch()]).await;
    let outcomes = Api::Mailgun.at(&server.url, patient()).attempt(&attempt(FOUR, PLAIN)).await;
    assert_eq!(names(&outcomes), ["delivered", "delivered", "delivered", "unavailable"]);
}

#[tokio::test]
async fn sizes() {
    let server = Scripted::new([answer(200, QUEUED)]).await;
    let transport = Api::Mailgun.at(&server.url, patient());
    assert_eq!(names(&transport.attempt(&attempt(ANN, large(24_900_000))).await), ["delivered"]);
    let outcome = only(transport.attempt(&attempt(ANN, large(25_000_001))).await);
    assert!(matches!(outcome, Outcome::Unsupported(Lack::Message(_))), "{outcome:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
#[ignore = "needs prism"]
async fn prism_takes_what_we_send() {
    let prism = Prism::start("mailgun_messages_v3.prism.json").await;
    let transport = Api::Mailgun.at(&prism.url, patient());
    for recipients in [ANN, FOUR] {
        let outcomes = transport.attempt(&attempt(recipients, PLAIN)).await;
        assert_eq!(names(&outcomes), vec!["delivered"; recipients.len()], "{outcomes:?}");
        let Outcome::Delivered { provider_id: Some(id), .. } = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!(id.0, "message-id");
    }
    let kind = "Authorization: Basic YXBpOng=\r\nContent-Type: multipart/form-data; boundary=b\r\n";
    prism.refuses_nonsense("/v3/mg.corp.example/messages.mime", kind).await;
    assert_eq!(transport.most_recipients(), 1000);
}
