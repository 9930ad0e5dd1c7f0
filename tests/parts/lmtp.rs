//! LMTP: out to Dovecot, and in from Python's smtplib.

use std::process::Command;

use crate::support::dovecot::Dovecot;
use crate::support::process::{output, tool};
use crate::support::relay::{Relay, Setup};
use crate::support::{BOUND, marked, until_true};

const SENDER: &str = "s@d.example";

/// One over its quota and one that is not there disturb nobody, and their sender hears of both.
#[test]
#[ignore = "needs dovecot"]
fn dovecot_answers_for_each_recipient() {
    let dovecot =
        Dovecot::start(&[(SENDER, "1G"), ("a@d.example", "1G"), ("b@d.example", "1G"), ("full@d.example", "1k")]);
    let host = format!("host: 127.0.0.1, port: {}", dovecot.address.port());
    let socket = format!("socket: \"{}\"", dovecot.socket().display());
    for (n, way) in [host, socket].iter().enumerate() {
        let relay = Setup::new()
            .route("name: mailboxes, match: {recipient_domain: d.example}, deliver: [dovecot]")
            .provider(&format!("name: dovecot, transport: lmtp, {way}"))
            .start();
        let to = ["a@d.example", "full@d.example", "nobody@d.example", "b@d.example"];
        let content = marked(1, SENDER, "all@d.example", 3_000);
        relay.send(SENDER, &to, &content);
        for user in ["a@d.example", "b@d.example"] {
            let messages = dovecot.mail(user).wait_for(n + 1);
            let text = String::from_utf8_lossy(&messages[n]).replace("\r\n", "\n");
            assert!(text.ends_with(&String::from_utf8_lossy(&content).replace("\r\n", "\n")), "{text}");
        }
        let log = relay.log();
        until_true("all is told", BOUND, || {
            let attempts = log.attempts();
            attempts
                .iter()
                .any(|line| line.is("outcome", "rejected") && line.text("reply").is_some_and(|r| r.contains("Quota")))
        });
        // The bounce goes the same way.
        until_true("the sender hears of both", BOUND, || {
            let told: String = dovecot
                .mail(SENDER)
                .messages()
                .iter()
                .map(|message| String::from_utf8_lossy(message).into_owned())
                .collect();
            told.matches("Final-Recipient: rfc822; full@d.example").count() > n
                && told.matches("Final-Recipient: rfc822; nobody@d.example").count() > n
                && told.contains("Quota exceeded")
        });
        assert_eq!(dovecot.mail("full@d.example").count(), 0);
        assert_eq!(dovecot.mail("a@d.example").count(), n + 1);
    }
}

/// Sessions are kept and used again, by many messages at once.
#[test]
#[ignore = "needs dovecot"]
fn dovecot_takes_many() {
    let dovecot = Dovecot::start(&[("a@d.example", "1G")]);
    let relay = Setup::new()
        .route("name: mailboxes, deliver: [dovecot]")
        .provider(&format!("name: dovecot, transport: lmtp, socket: \"{}\"", dovecot.socket().display()))
        .start();
    let mut client = relay.client();
    for n in 0..200 {
        assert_eq!(client.mail(SENDER, &["a@d.example"], &marked(n, SENDER, "a@d.example", 500)).unwrap().code, 250);
    }
    until_true("all arrive", BOUND, || dovecot.mail("a@d.example").marks().len() == 200);
    assert!(dovecot.mail("a@d.example").marks().values().all(|count| *count == 1));
}

fn listener() -> Relay {
    Setup::new()
        .listener("protocol: lmtp")
        .route(
            "name: refused, match: {recipient: \"nobody@*\"}, reject: {code: 550, status: 5.1.1, text: No such user}",
        )
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start()
}

#[test]
#[ignore = "needs python3"]
fn smtplib_hands_in_by_lmtp() {
    let relay = listener();
    let script = r#"
import smtplib, sys
lmtp = smtplib.LMTP("127.0.0.1", int(sys.argv[1]))
refused = lmtp.sendmail("s@x.example", ["a@d.example", "nobody@d.example", "b@d.example"], "Subject: x\r\n\r\nhello\r\n")
print(refused)
# smtplib reads one reply to the content, whatever the number of recipients; behind the second one the session is in step.
print(lmtp.getreply()[1].decode())
print(lmtp.noop()[0], lmtp.docmd("EHLO me")[0], lmtp.quit()[0])
"#;
    let said = output(Command::new(tool("python3")).args(["-c", script, &relay.address.port().to_string()]));
    assert!(said.contains("'nobody@d.example': (550, b'5.1.1 No such user')") && !said.contains("'a@d"), "{said}");
    assert!(said.contains("\n2.0.0 Ok: queued as ") && said.ends_with("250 500 221\n"), "{said}");
    let message = String::from_utf8(relay.maildir("out").wait_for(1).remove(0)).unwrap();
    assert!(message.contains(" with LMTP\r\n"), "{message}");
}
