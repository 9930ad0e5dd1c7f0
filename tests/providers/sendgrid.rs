use std::time::Duration;

use serde_json::json;
use waypost::transport::{Lack, Outcome, ProviderId, TroubleKind};

use crate::fake::Prism;
use crate::script::{Act, Scripted, answer};
use crate::support::{Api, KEY, PLAIN, attempt, names, only, patient};

const ANN: &[&str] = &["ann@customer.example"];
/// Everything that has a place in the API's form.
const FULL: &str = "Received: from a by b; Tue, 24 Nov 2026 12:00:00 +0000\r\nFrom: =?utf-8?Q?M=C3=BCller?= <s@corp.example>\r\nTo: Ann <ann@customer.example>, bob@customer.example\r\nCc: carl@customer.example\r\nReply-To: help@corp.example\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@corp.example>\r\nList-Unsubscribe: <https://corp.example/u?1>\r\nX-Order: 17\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: multipart/related; boundary=r; type=\"multipart/alternative\"\r\n\r\n--r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=FC=DFe\r\n--a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<img src=\"cid:p@x\">\r\n--a--\r\n--r\r\nContent-Type: image/png\r\nContent-Disposition: inline; filename=p.png\r\nContent-ID: <p@x>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--r--\r\n--m\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n--m--\r\n";
const FOUR: &[&str] =
    &["ann@customer.example", "bob@customer.example", "carl@customer.example", "dora@customer.example"];

#[tokio::test]
async fn accepted_mail_keeps_its_id() {
    let server = Scripted::new([Act::Answer(202, "X-Message-Id: abc123\r\n", String::new())]).await;
    let attempt = attempt(ANN, PLAIN);
    let outcome = only(Api::SendGrid.at(&server.url, patient()).attempt(&attempt).await);
    let Outcome::Delivered { provider_id, diagnosis, dsn: false } = outcome else { panic!("{outcome:?}") };
    assert_eq!((provider_id, diagnosis.code), (Some(ProviderId("abc123".to_owned())), Some(202)));
    let [request] = <[_; 1]>::try_from(server.seen()).unwrap();
    assert_eq!(request.line(), "POST /v3/mail/send HTTP/1.1");
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let body = request.json();
    assert_eq!(body["personalizations"][0]["custom_args"], json!({"waypost_mid": attempt.mid.to_string()}));
    assert!(attempt.progress.may_have_it());
}

/// Twice the same recipient in the envelope, once in the call, and an outcome for each.
#[tokio::test]
async fn recipients_are_named_once() {
    let server = Scripted::new([answer(202, "")]).await;
    let attempt = attempt(&["ann@customer.example", "ann@CUSTOMER.example"], PLAIN);
    assert_eq!(names(&Api::SendGrid.at(&server.url, patient()).attempt(&attempt).await), ["delivered", "delivered"]);
    assert_eq!(server.seen()[0].json()["personalizations"][0]["to"].as_array().unwrap().len(), 1);
}

fn refused(fields: &[&str]) -> Act {
    let errors: Vec<_> = fields
        .iter()
        .map(|field| json!({"message": "Does not contain a valid address.", "field": field, "help": null}))
        .collect();
    answer(400, json!({"errors": errors}).to_string())
}

#[tokio::test]
async fn a_refused_address_costs_the_others_nothing() {
    let fields = ["personalizations.0.to.1.email", "personalizations.0.bcc.0.email"];
    let server = Scripted::new([refused(&fields), answer(202, "")]).await;
    let outcomes = Api::SendGrid.at(&server.url, patient()).attempt(&attempt(FOUR, FULL)).await;
    assert_eq!(names(&outcomes), ["delivered", "rejected", "delivered", "rejected"]);
    assert!(outcomes[1].diagnosis().text.contains("valid address"));
    let second = server.seen()[1].json();
    let people = &second["personalizations"][0];
    assert_eq!(people["to"], json!([{"email": "ann@customer.example", "name": "Ann"}]));
    assert_eq!(people["cc"], json!([{"email": "carl@customer.example"}]));
    assert_eq!(people.get("bcc"), None);
}

#[tokio::test]
async fn addresses_that_are_refused_unnamed() {
    let vague = || refused(&["personalizations.0.to"]);
    // All of To, and halves cannot be sent: the next provider takes it.
    let server = Scripted::new([vague(), vague()]).await;
    let transport = Api::SendGrid.at(&server.url, patient());
    assert_eq!(names(&transport.attempt(&attempt(FOUR, FULL)).await), ["unsupported"; 4]);
    assert_eq!(names(&transport.attempt(&attempt(ANN, PLAIN)).await), ["rejected"], "of one it is clear whose it is");
    // Nobody is left in To.
    let server = Scripted::new([refused(&["personalizations.0.to.0.email", "personalizations.0.to.1.email"])]).await;
    let outcomes = Api::SendGrid.at(&server.url, patient()).attempt(&attempt(FOUR, FULL)).await;
    assert_eq!(names(&outcomes), ["rejected", "rejected", "unsupported", "unsupported"]);
}

#[tokio::test]
async fn an_address_that_the_api_cannot_have_moves_on_alone() {
    let server = Scripted::new([answer(202, "")]).await;
    let recipients = ["ann@customer.example", "\u{fc}@customer.example", "x@[192.0.2.1]"];
    let outcomes = Api::SendGrid.at(&server.url, patient()).attempt(&attempt(&recipients, PLAIN)).await;
    assert_eq!(names(&outcomes), ["delivered", "unsupported", "unsupported"]);
    assert_eq!(server.seen()[0].json()["personalizations"][0].get("bcc"), None);
}

#[tokio::test]
async fn throttled_until_the_reset() {
    for (header, seconds) in
        [("X-RateLimit-Reset: 1795521640\r\nDate: Tue, 24 Nov 2026 12:00:30 GMT\r\n", 10), ("Retry-After: 7\r\n", 7)]
    {
        let body = "{\"errors\":[{\"message\":\"too many requests\"}]}".to_owned();
        let server = Scripted::new([Act::Answer(429, header, body)]).await;
        let outcome = only(Api::SendGrid.at(&server.url, patient()).attempt(&attempt(ANN, PLAIN)).await);
        let Outcome::Throttled { retry_after, diagnosis } = outcome else { panic!("{outcome:?}") };
        assert_eq!((retry_after, diagnosis.text.as_str()), (Some(Duration::from_secs(seconds)), "too many requests"));
    }
}

#[tokio::test]
async fn credits_and_senders() {
    let errors = |text: &str| format!("{{\"errors\":[{{\"message\":\"{text}\",\"field\":null}}]}}");
    let sender =
        "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.";
    let server = Scripted::new([answer(401, errors("Maximum credits exceeded")), answer(403, errors(sender))]).await;
    let transport = Api::SendGrid.at(&server.url, patient());
    let outcome = only(transport.attempt(&attempt(ANN, PLAIN)).await);
    let Outcome::Unavailable(trouble) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(trouble.kind, TroubleKind::Quota { .. }));
    let outcome = only(transport.attempt(&attempt(ANN, PLAIN)).await);
    assert!(matches!(outcome, Outcome::Unsupported(Lack::Sender(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_request_too_large_is_not_sent() {
    let server = Scripted::new([]).await;
    let text = "quote \\\"\r\n".repeat(2_700_000);
    let outcome = only(Api::SendGrid.at(&server.url, patient()).attempt(&attempt(ANN, format!("{PLAIN}{text}"))).await);
    assert!(matches!(outcome, Outcome::Unsupported(Lack::Message(_))), "{outcome:?}");
    assert!(outcome.diagnosis().text.contains("30000000"));
    assert!(server.seen().is_empty());
}

/// Twilio's own description, and the stricter one.
#[tokio::test]
#[ignore = "needs prism"]
async fn prism_takes_what_we_send() {
    for spec in ["tsg_mail_v3.json", "tsg_mail_v3.strict.json"] {
        let prism = Prism::start(spec).await;
        let transport = Api::SendGrid.at(&prism.url, patient());
        for (recipients, content) in [(ANN, PLAIN), (FOUR, FULL)] {
            let outcomes = transport.attempt(&attempt(recipients, content)).await;
            assert_eq!(names(&outcomes), vec!["delivered"; recipients.len()], "{spec}: {outcomes:?}");
            if let (Outcome::Delivered { provider_id, .. }, true) = (&outcomes[0], spec.contains("strict")) {
                assert!(provider_id.is_some());
            }
        }
        prism.refuses_nonsense("/v3/mail/send", "Authorization: Bearer x\r\nContent-Type: application/json\r\n").await;
    }
    assert_eq!(Api::SendGrid.at("http://127.0.0.1:1", patient()).most_recipients(), 1000);
}
