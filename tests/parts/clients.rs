//! What clients do beside handing in a message (that is `every_client`): what they build, what they are refused, and what a
//! hand-written one may say.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use argon2::password_hash::{PasswordHasher as _, SaltString};
use mail_parser::{MessageParser, MimeHeaders as _};

use crate::support::cert::Certificate;
use crate::support::maildir::Maildir;
use crate::support::process::{output, tool};
use crate::support::relay::{Relay, Setup, waypost_with_input};
use crate::support::smtp::dotted;
use crate::support::{marked, until};

const USER: &str = "billing";
const PASSWORD: &str = "correct horse";

/// A relay that asks for TLS and a password, with its certificate.
struct Secured {
    relay: Relay,
    certificate: Certificate,
    _folder: tempfile::TempDir,
}

impl Secured {
    fn start(tls: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::write(folder.path(), &["localhost"]);
        let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let cheap = argon2::Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            argon2::Params::new(64, 1, 1, None).unwrap(),
        );
        let hash = cheap.hash_password(PASSWORD.as_bytes(), &salt).unwrap().to_string();
        let relay = Setup::new()
            .listener(&format!("tls: {tls}, authentication: required, allow: []"))
            .server(&format!(
                "tls: {{certificate: \"{}\", key: \"{}\"}}",
                certificate.certificate.display(),
                certificate.key.display()
            ))
            .server(&format!("users:\n  - {{name: {USER}, password: \"{hash}\", senders: [\"*@sender.example\"]}}"))
            .route("name: all, deliver: [out]")
            .provider("name: out, transport: maildir, path: out")
            .start();
        Self { relay, certificate, _folder: folder }
    }

    /// The user has what every mechanism can be checked by, and wrong passwords cost no time.
    fn with_verifier() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::write(folder.path(), &["localhost"]);
        let verifier = waypost_with_input(&["hash-password", "--scram"], &format!("{PASSWORD}\n"));
        let relay = Setup::new()
            .listener("tls: starttls, authentication: required, allow: []")
            .server(&format!("tls: {}\nlogins: {{delay: 0s}}", certificate.as_tls()))
            .server(&format!("users:\n  - {{name: {USER}, password: \"{}\"}}", verifier.trim()))
            .route("name: all, deliver: [out]")
            .provider("name: out, transport: maildir, path: out")
            .start();
        Self { relay, certificate, _folder: folder }
    }

    fn certificate(&self) -> &Path {
        &self.certificate.certificate
    }

    fn mail(&self) -> Maildir {
        self.relay.maildir("out")
    }
}

fn open() -> Relay {
    Setup::new().route("name: all, deliver: [out]").provider("name: out, transport: maildir, path: out").start()
}

fn lossy(message: &[u8]) -> String {
    String::from_utf8_lossy(message).into_owned()
}

/// msmtp by SCRAM, whose password never passes the wire, and by the others for the same user.
#[test]
#[ignore = "needs msmtp"]
fn msmtp_with_each_mechanism() {
    let Secured { relay, certificate, _folder } = Secured::with_verifier();
    let content = marked(1, "app@sender.example", "one@a.example", 5_000);
    let message = relay.path().join("FILE");
    std::fs::write(&message, &content).unwrap();
    let msmtp = |mechanism: &str, password: &str| {
        let mut msmtp = Command::new(tool("msmtp"));
        let port = relay.address.port().to_string();
        msmtp.args(["--file=/dev/null", "--host=localhost", "--port", &port, "--tls=on", "--tls-starttls=on"]);
        msmtp.arg(format!("--tls-trust-file={}", certificate.certificate.display()));
        msmtp.arg(format!("--auth={mechanism}")).args(["--user", USER]).arg(format!("--passwordeval=echo {password}"));
        msmtp.args(["--from=app@sender.example", "one@a.example"]);
        let out = msmtp.stdin(std::fs::File::open(&message).unwrap()).output().unwrap();
        (out.status.success(), lossy(&out.stderr))
    };
    for (n, mechanism) in ["scram-sha-256", "plain", "login"].iter().enumerate() {
        let (went, said) = msmtp(mechanism, "wrong horse");
        assert!(!went && said.contains("535 5.7.8"), "{mechanism}: {said}");
        let (went, said) = msmtp(mechanism, PASSWORD);
        assert!(went, "{mechanism}: {said}");
        let messages = relay.maildir("out").wait_for(n + 1);
        assert!(messages.iter().all(|message| lossy(message).contains("with ESMTPSA\r\n")));
    }
}

/// GNU SASL signs in by each mechanism, and with the channel bound (RFC 9266): who stands in the middle cannot. It knows the
/// server by SCRAM too. What it hands in then is one command, for it is no client of mail.
#[test]
#[ignore = "needs gsasl"]
fn gsasl_binds_the_channel() {
    let Secured { relay, certificate, _folder } = Secured::with_verifier();
    let gsasl = |mechanism: &str, for_whom: Option<&str>, password: &str| {
        let mut gsasl = Command::new(tool("gsasl"));
        gsasl.args(["--smtp", "--starttls", "--connect", &format!("localhost:{}", relay.address.port())]);
        gsasl.arg("--x509-ca-file").arg(&certificate.certificate);
        gsasl.args(["--mechanism", mechanism, "--authentication-id", USER, "--password", password]);
        gsasl.args(for_whom.map(|name| ["--authorization-id", name]).into_iter().flatten());
        // It would bind the channel, and may not with this one.
        gsasl.args((mechanism == "SCRAM-SHA-256").then_some("--no-cb"));
        let mut child = gsasl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Refused, it may have gone before it reads.
        let _ = child.stdin.take().unwrap().write_all(b"MAIL FROM:<app@sender.example>\r\n");
        let out = child.wait_with_output().unwrap();
        lossy(&out.stdout) + &lossy(&out.stderr)
    };
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        for for_whom in [Some(""), Some(USER)].into_iter().take(if mechanism == "LOGIN" { 1 } else { 2 }) {
            let said = gsasl(mechanism, for_whom, PASSWORD);
            assert!(said.contains("235 2.7.0") && said.contains("server trusted"), "{mechanism} {for_whom:?}: {said}");
            assert!(said.contains("250 2.1.0"), "{mechanism}: {said}");
        }
        let said = gsasl(mechanism, Some(""), "wrong horse");
        assert!(said.contains("535 5.7.8") && !said.contains("250 2.1.0"), "{mechanism}: {said}");
    }
    let said = gsasl("SCRAM-SHA-256-PLUS", Some("somebody-else"), PASSWORD);
    assert!(said.contains("535 5.7.8"), "{said}");
}

#[test]
#[ignore = "needs swaks"]
fn swaks_with_an_attachment() {
    let secured = Secured::start("starttls");
    let attachment = secured.relay.path().join("report.pdf");
    let octets: Vec<u8> = (0..70_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    std::fs::write(&attachment, &octets).unwrap();
    let mut swaks = Command::new(tool("swaks"));
    swaks.args(["--server", &secured.relay.address.to_string(), "--tls", "--auth", "LOGIN", "--auth-user", USER]);
    swaks.args(["--auth-password", PASSWORD, "--from", "app@sender.example", "--to", "one@a.example,two@b.example"]);
    swaks.args(["--body", "See the report.", "--attach-type", "application/pdf", "--attach"]);
    output(swaks.arg(format!("@{}", attachment.display())));
    let message = secured.mail().wait_for(1).remove(0);
    let parsed = MessageParser::default().parse(&message).unwrap();
    let part = parsed.attachments().find(|part| part.is_content_type("application", "pdf"));
    assert_eq!(part.map(|part| part.contents()), Some(octets.as_slice()), "{}", lossy(&message));
}

#[test]
#[ignore = "needs swaks"]
fn swaks_is_refused_where_it_should_be() {
    let secured = Secured::start("starttls");
    let swaks = |args: &[&str]| {
        let mut swaks = Command::new(tool("swaks"));
        swaks.args(["--server", &secured.relay.address.to_string(), "--to", "one@a.example", "--body", "x"]);
        let out = swaks.args(args).output().unwrap();
        (out.status.success(), lossy(&out.stdout))
    };
    let (went, talk) = swaks(&["--from", "app@sender.example", "--tls"]);
    assert!(!went && talk.contains("530 5.7.0"), "without authentication:\n{talk}");
    let user = ["--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD];
    let (went, talk) = swaks(&[&["--from", "boss@other.example", "--tls"][..], &user].concat());
    assert!(!went && talk.contains("5.7.1"), "somebody else's sender:\n{talk}");
    assert_eq!(secured.mail().count(), 0);
}

#[test]
#[ignore = "needs python3"]
fn smtplib_with_all_that_mail_has() {
    let secured = Secured::start("starttls");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts/clients/mail.py");
    let mut python = Command::new(tool("python3"));
    python.arg(script).arg(secured.relay.address.port().to_string()).arg(secured.certificate());
    output(python.args([USER, PASSWORD]));
    let messages = secured.mail().wait_for(2);
    let find = |what: &str| {
        let found = messages.iter().find(|message| lossy(message).contains(what));
        found.unwrap_or_else(|| {
            panic!("{what} is in none of {:?}", messages.iter().map(|m| lossy(m)).collect::<Vec<_>>())
        })
    };
    let first = find("<smtplib@sender.example>");
    let parsed = MessageParser::default().parse(first).unwrap();
    assert_eq!(parsed.subject(), Some("Grüße: 你好"));
    assert_eq!(parsed.from().and_then(|from| from.first()).and_then(|from| from.name()), Some("Zoë"));
    // Nobody learns of a hidden recipient; what stands above `Received` is the folder's own note of whom it is for.
    let text = lossy(first);
    let (_, message) = text.split_once("Received: from").unwrap();
    let (header, body) = message.split_once("\r\n\r\n").unwrap();
    assert!(!header.contains("Bcc") && !header.contains("hidden@"), "{header}");
    assert!(body.contains("\r\n.a dot\r\n"));
    let attachment = parsed.attachments().find(|part| part.attachment_name() == Some("all octets.bin")).unwrap();
    assert_eq!(attachment.contents(), (0..=255).cycle().take(256 * 300).collect::<Vec<u8>>());
    let second = find("direkt");
    assert!(
        lossy(second).contains("Subject: direkt: Grüße\r\n\r\nacht Bit: äöü\r\n".trim_start())
            || lossy(second).ends_with("acht Bit: äöü\r\n")
    );
    assert!(lossy(second).contains("with UTF8SMTPSA\r\n"), "{}", lossy(second));
}

#[test]
fn chunking_in_pieces_and_whole() {
    let relay = open();
    let content = marked(1, "a@sender.example", "b@a.example", 300_000);
    for (n, sizes) in
        [vec![content.len()], vec![1, 999, content.len() - 1_000], vec![content.len(), 0]].iter().enumerate()
    {
        let mut client = relay.client();
        assert!(client.extensions.text.contains("CHUNKING"), "{:?}", client.extensions);
        assert_eq!(client.say("MAIL FROM:<a@sender.example> BODY=8BITMIME").unwrap().code, 250);
        assert_eq!(client.say("RCPT TO:<b@a.example>").unwrap().code, 250);
        let mut rest = content.as_slice();
        for (i, size) in sizes.iter().enumerate() {
            let (chunk, behind) = rest.split_at(*size);
            rest = behind;
            let last = if i + 1 == sizes.len() { " LAST" } else { "" };
            client.write(format!("BDAT {size}{last}\r\n").as_bytes()).unwrap();
            client.write(chunk).unwrap();
            assert_eq!(client.reply().unwrap().code, 250, "chunk {i} of {sizes:?}");
        }
        let messages = relay.maildir("out").wait_for(n + 1);
        assert!(messages.iter().all(|message| message.ends_with(&content)));
    }
}

#[test]
fn what_is_announced_is_what_there_is() {
    let relay = open();
    let client = relay.client();
    let lines: Vec<&str> = client.extensions.text.lines().collect();
    for extension in ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING"] {
        assert!(lines.contains(&extension), "{extension} is not among {lines:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("SIZE ")), "{lines:?}");
    // No certificate, no users: neither is offered.
    assert!(!lines.iter().any(|line| line.starts_with("STARTTLS") || line.starts_with("AUTH")), "{lines:?}");
}

#[test]
fn a_message_in_8_bits_keeps_each_octet() {
    let relay = open();
    let mut content =
        b"From: <a@x.example>\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <8@x.example>\r\n\r\n".to_vec();
    let octets = (0_u8..=255).filter(|octet| ![0, b'\r', b'\n'].contains(octet));
    content.extend(octets);
    content.extend_from_slice(b"\r\n.\r\n..\r\n...\r\n\r\n\r\n");
    let mut client = relay.client();
    assert_eq!(client.say("MAIL FROM:<a@x.example> BODY=8BITMIME SIZE=1000").unwrap().code, 250);
    assert_eq!(client.say("RCPT TO:<b@y.example>").unwrap().code, 250);
    assert_eq!(client.say("DATA").unwrap().code, 354);
    // In two pieces, the cut within the final dot's line.
    let wire = dotted(&content);
    let (first, second) = wire.split_at(wire.len() - 3);
    client.write(first).unwrap();
    client.write(second).unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    let message = until("it arrives", crate::support::BOUND, || relay.maildir("out").messages().pop());
    assert!(message.ends_with(&content), "{}", lossy(&message));
}

#[test]
fn a_declared_size_too_large_is_refused_before_the_content() {
    let relay = Setup::new()
        .listener("max_message_size: 1MiB")
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let mut client = relay.client();
    let reply = client.say("MAIL FROM:<a@x.example> SIZE=2000000").unwrap();
    assert_eq!((reply.code, reply.text.starts_with("5.3.4")), (552, true), "{reply:?}");
    // A size that is not declared is noticed while it comes.
    let reply =
        client.mail("a@x.example", &["b@y.example"], &marked(1, "a@x.example", "b@y.example", 1_200_000)).unwrap();
    assert_eq!((reply.code, reply.text.starts_with("5.3.4")), (552, true), "{reply:?}");
    assert_eq!(client.mail("a@x.example", &["b@y.example"], b"Subject: ok\r\n\r\nok\r\n").unwrap().code, 250);
    assert_eq!(relay.maildir("out").wait_for(1).len(), 1);
}
