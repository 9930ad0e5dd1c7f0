use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use waypost::transport::{Lack, Outcome, ProviderId, TroubleKind};

use crate::fake::Moto;
use crate::script::{Act, Scripted, answer};
use crate::support::{Api, PLAIN, attempt, names, only, patient};

const ANN: &[&str] = &["ann@customer.example"];

fn error(status: u16, kind: &str, text: &str) -> Act {
    let header: &'static str = format!("x-amzn-ErrorType: {kind}\r\nContent-Type: application/json\r\n").leak();
    Act::Answer(status, header, json!({"message": text}).to_string())
}

#[tokio::test]
async fn the_raw_message_with_its_envelope() {
    let server = Scripted::new([answer(200, "{\"MessageId\":\"0102-abc\"}")]).await;
    let steered =
        PLAIN.replace("Subject:", "X-SES-Configuration-Set: evil\r\nReturn-Path: <e@evil.example>\r\nSubject:");
    let attempt = attempt(&["ann@customer.example", "bob@customer.example", "ann@customer.example"], steered);
    let outcomes = Api::Ses.at(&server.url, patient()).attempt(&attempt).await;
    assert_eq!(names(&outcomes), ["delivered"; 3]);
    let Outcome::Delivered { provider_id, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(*provider_id, Some(ProviderId("0102-abc".to_owned())));
    let [request] = <[_; 1]>::try_from(server.seen()).unwrap();
    assert_eq!(request.line(), "POST /v2/email/outbound-emails HTTP/1.1");
    let signed = request.header("authorization").unwrap();
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKID/") && signed.contains("/eu-west-1/ses/aws4_request"));
    assert_eq!(
        request.json(),
        json!({
            "Destination": {"BccAddresses": ["ann@customer.example", "bob@customer.example"]},
            "Content": {"Raw": {"Data": STANDARD.encode(PLAIN)}},
            "EmailTags": [{"Name": "waypost_mid", "Value": attempt.mid.to_string()}],
        })
    );
    assert!(attempt.progress.may_have_it());
}

#[tokio::test]
async fn errors_by_code_and_never_again_by_itself() {
    let rate = || error(429, "TooManyRequestsException", "Maximum sending rate exceeded.");
    let server = Scripted::new([
        rate(),
        error(400, "ThrottlingException:http://internal.amazon.com/", "Daily message quota exceeded."),
        error(400, "MessageRejected", "Email address is not verified. The following identities failed the check in region EU-WEST-1: s@corp.example"),
        error(400, "SendingPausedException", "Account is paused"),
        error(403, "InvalidSignatureException", "The request signature we calculated does not match"),
        error(400, "LimitExceededException", "x"),
        error(500, "InternalFailure", ""),
        error(400, "BadRequestException", "Missing required header 'From'."),
    ])
    .await;
    let transport = Api::Ses.at(&server.url, patient());
    for (n, expected) in [
        "throttled",
        "unavailable",
        "unsupported",
        "unavailable",
        "unavailable",
        "unavailable",
        "unavailable",
        "unsupported",
    ]
    .into_iter()
    .enumerate()
    {
        let outcome = only(transport.attempt(&attempt(ANN, PLAIN)).await);
        assert_eq!(outcome.name(), expected, "{outcome:?}");
        assert_eq!(server.seen().len(), n + 1, "the SDK tries nothing again by itself");
        match (n, &outcome) {
            (2, outcome) => assert!(matches!(outcome, Outcome::Unsupported(Lack::Sender(_)))),
            (1 | 5, Outcome::Unavailable(trouble)) => assert!(matches!(trouble.kind, TroubleKind::Quota { .. })),
            (3, Outcome::Unavailable(trouble)) => assert_eq!(trouble.kind, TroubleKind::Account),
            (4, Outcome::Unavailable(trouble)) => assert_eq!(trouble.kind, TroubleKind::Credentials),
            (6, Outcome::Unavailable(trouble)) => assert_eq!(trouble.kind, TroubleKind::Server),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_named_address_is_rejected_alone() {
    let illegal = error(400, "BadRequestException", "Illegal address: bob@customer.example");
    let server = Scripted::new([illegal, answer(200, "{\"MessageId\":\"1\"}")]).await;
    let attempt = attempt(&["ann@customer.example", "bob@customer.example"], PLAIN);
    let outcomes = Api::Ses.at(&server.url, patient()).attempt(&attempt).await;
    assert_eq!(names(&outcomes), ["delivered", "rejected"]);
    assert_eq!(server.seen()[1].json()["Destination"]["BccAddresses"], json!(["ann@customer.example"]));
}

#[tokio::test]
async fn what_ses_refuses_is_not_sent() {
    let server = Scripted::new([]).await;
    let transport = Api::Ses.at(&server.url, patient());
    let exe = "Content-Type: application/octet-stream; name=setup.exe\r\nSubject:";
    for (content, what) in [
        (PLAIN.replace("Subject:", "DKIM-Signature: a\r\nDKIM-Signature: b\r\nSubject:"), "dkim-signature"),
        (PLAIN.replace("Subject:", exe), "setup.exe"),
        (format!("{PLAIN}{}\r\n", "x".repeat(1000)), "lines"),
    ] {
        let outcome = only(transport.attempt(&attempt(ANN, content)).await);
        assert!(matches!(outcome, Outcome::Unsupported(Lack::Message(_))), "{outcome:?}");
        assert!(outcome.diagnosis().text.contains(what), "{outcome:?}");
    }
    assert!(server.seen().is_empty());
    assert_eq!(transport.most_recipients(), 50);
}

#[tokio::test]
#[ignore = "needs moto"]
async fn moto_keeps_what_we_send() {
    let moto = Moto::start("corp.example").await;
    let transport = Api::Ses.at(&moto.url, patient());
    let outcomes = transport.attempt(&attempt(&["ann@customer.example", "bob@customer.example"], PLAIN)).await;
    assert_eq!(names(&outcomes), ["delivered"; 2], "{outcomes:?}");
    let Outcome::Delivered { provider_id: Some(id), .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    let stored = moto.messages().await;
    let message = stored.iter().find(|message| message["id"] == id.0).unwrap();
    assert_eq!(message["raw_data"], PLAIN);
    let mut destinations: Vec<_> =
        message["destinations"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
    // moto adds the header's To; SES does not.
    destinations.sort();
    destinations.dedup();
    assert!(
        ["ann@customer.example", "bob@customer.example"].iter().all(|who| destinations.iter().any(|d| d.contains(who)))
    );
    let stranger = PLAIN.replace("s@corp.example", "x@other.test");
    let outcome = only(transport.attempt(&attempt(ANN, stranger)).await);
    assert_eq!((outcome.name(), outcome.diagnosis().code), ("unsupported", Some(400)), "{outcome:?}");
    assert!(outcome.diagnosis().text.starts_with("MessageRejected: "), "{outcome:?}");
}
