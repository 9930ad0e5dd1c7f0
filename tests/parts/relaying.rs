//! Who may relay, as a table: network × user × certificate × sender, each row with the reply that ends it, as it stands on the
//! wire of the built relay.

use std::path::{Path, PathBuf};

use argon2::password_hash::{PasswordHasher as _, SaltString};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::cert::Certificate;
use crate::support::relay::{Relay, Setup, waypost};
use crate::support::talk::{Identity, Talk};
use crate::support::{BOUND, free_port, loopback, until_true};

const OK: &str = "250 2.0.0 Ok: queued as MID";
const AUTH: &str = "530 5.7.0 Authentication required";
const DENIED: &str = "550 5.7.1 Relaying denied";
const WRONG: &str = "535 5.7.8 Authentication credentials invalid";

/// What a row may leave out.
#[derive(Clone, Copy)]
struct Row {
    /// The listener: `apps` lets users sign in, `submission` wants them to, `closed` has no users.
    listener: &'static str,
    from: &'static str,
    /// `-`: no TLS; empty: TLS without a certificate; else whose.
    certificate: &'static str,
    /// `name:password`, or empty.
    user: &'static str,
    sender: &'static str,
    /// The header's From; empty: the sender's.
    author: &'static str,
    reply: &'static str,
}

#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, &str, &str, &str, &str)] = &[
    // listener, network, certificate, user, sender, header's From, reply
    // Networks alone.
    ("apps", "127.0.1.1", "-", "", "any@anywhere.example", "", OK),
    ("apps", "127.0.1.1", "-", "", "<>", "x@anywhere.example", OK),
    ("apps", "127.0.0.1", "-", "", "any@anywhere.example", "", AUTH),
    ("apps", "127.0.0.1", "-", "", "<>", "x@anywhere.example", AUTH),
    ("apps", "127.0.66.1", "-", "", "any@anywhere.example", "", "554 5.7.1 Access denied: no mail is taken from 127.0.66.1"),
    ("apps", "127.0.1.66", "-", "", "any@anywhere.example", "", "554 5.7.1 Access denied: no mail is taken from 127.0.1.66"),
    ("apps", "127.0.66.1", "-", "billing:right", "app@billing.example", "", "554 5.7.1 Access denied: no mail is taken from 127.0.66.1"),
    ("closed", "127.0.0.1", "-", "", "any@anywhere.example", "", DENIED),
    ("closed", "127.0.1.1", "-", "", "any@anywhere.example", "", OK),
    // A network that is held to its senders, within one that is not.
    ("apps", "127.0.1.130", "-", "", "app@shop.example", "", OK),
    ("apps", "127.0.1.130", "-", "", "alerts@corp.example", "", OK),
    ("apps", "127.0.1.130", "-", "", "<>", "x@anywhere.example", OK),
    ("apps", "127.0.1.130", "-", "", "boss@corp.example", "", "550 5.7.1 Network 127.0.1.128/28 may not send as boss@corp.example"),
    ("apps", "127.0.1.130", "-", "", "app@shop.example", "boss@corp.example", OK), // nobody asked for the header
    ("closed", "127.0.1.130", "-", "", "app@shop.example", "boss@corp.example",
        "550 5.7.1 Network 127.0.1.128/28 may not send as boss@corp.example, which the header's From names"),
    ("closed", "127.0.1.130", "-", "", "app@shop.example", "app@shop.example", OK),
    ("closed", "127.0.1.1", "-", "", "app@shop.example", "boss@corp.example", OK),
    // Users, from where nobody may relay without.
    ("apps", "127.0.0.1", "-", "billing:right", "app@billing.example", "", OK),
    ("apps", "127.0.0.1", "-", "billing:wrong", "app@billing.example", "", WRONG),
    ("apps", "127.0.0.1", "-", "billing:", "app@billing.example", "", WRONG),
    ("apps", "127.0.0.1", "-", "nobody:right", "app@billing.example", "", WRONG),
    ("apps", "127.0.0.1", "-", "Billing:right", "app@billing.example", "", WRONG),
    ("apps", "127.0.0.1", "-", "billing:right", "boss@corp.example", "", "550 5.7.1 User billing may not send as boss@corp.example"),
    ("apps", "127.0.0.1", "-", "billing:right", "<>", "app@billing.example", OK),
    ("apps", "127.0.0.1", "-", "any:right", "boss@corp.example", "", OK),
    // Its user binds a client, and its network no more.
    ("apps", "127.0.1.130", "-", "any:right", "boss@corp.example", "", OK),
    ("apps", "127.0.1.1", "-", "billing:right", "boss@corp.example", "", "550 5.7.1 User billing may not send as boss@corp.example"),
    // `careful` is held to the header's From wherever it signs in.
    ("apps", "127.0.0.1", "-", "careful:right", "app@billing.example", "app@billing.example", OK),
    ("apps", "127.0.0.1", "-", "careful:right", "app@billing.example", "Boss <boss@corp.example>",
        "550 5.7.1 User careful may not send as boss@corp.example, which the header's From names"),
    ("apps", "127.0.0.1", "-", "careful:right", "app@billing.example", "app@billing.example, boss@corp.example",
        "550 5.7.1 User careful may not send as boss@corp.example, which the header's From names"),
    ("apps", "127.0.0.1", "-", "careful:right", "app@billing.example", "boss@corp.example <app@billing.example>",
        "550 5.7.1 User careful may not send with a header's From that cannot be told for sure"),
    ("apps", "127.0.0.1", "-", "careful:right", "<>", "boss@corp.example",
        "550 5.7.1 User careful may not send as boss@corp.example, which the header's From names"),
    ("apps", "127.0.0.1", "-", "careful:right", "app@billing.example", "none",
        "550 5.7.1 User careful may not send without an address in the header's From"),
    // Where all must sign in, a network of `allow` need not.
    ("submission", "127.0.0.1", "-", "", "app@billing.example", "", AUTH),
    ("submission", "127.0.0.1", "", "", "app@billing.example", "", AUTH),
    ("submission", "127.0.0.1", "", "billing:right", "app@billing.example", "", OK),
    ("submission", "127.0.0.1", "", "billing:right", "app@billing.example", "boss@corp.example",
        "550 5.7.1 User billing may not send as boss@corp.example, which the header's From names"),
    ("submission", "127.0.1.1", "-", "", "any@anywhere.example", "", OK),
    // Certificates.
    ("submission", "127.0.0.1", "billing", "", "app@billing.example", "", OK),
    ("submission", "127.0.0.1", "billing", "", "boss@corp.example", "", "550 5.7.1 User billing may not send as boss@corp.example"),
    ("submission", "127.0.0.1", "unlisted", "", "boss@corp.example", "", OK),
    ("submission", "127.0.0.1", "billing", "any:right", "boss@corp.example", "", OK),
    ("submission", "127.0.0.1", "billing", "any:wrong", "boss@corp.example", "", WRONG),
    ("submission", "127.0.0.1", "foreign", "", "app@billing.example", "", "no TLS"),
    ("apps", "127.0.0.1", "billing", "", "app@billing.example", "", AUTH), // it asks for no certificate
];

/// The relay's own proof: right where no stranger may relay, wrong where one may, though the configuration says otherwise.
#[test]
fn check_online_comes_as_a_stranger() {
    let stage = stage();
    let check = |args: &[&str]| {
        let out = waypost(stage.relay.path(), &[&["check", "--online", "--config", "."], args].concat());
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (status, said) = check(&[]);
    assert_eq!(status, Some(0), "{said}");
    for (name, address, reply) in
        [("apps", stage.relay.address, AUTH), ("submission", stage.submission, AUTH), ("closed", stage.closed, DENIED)]
    {
        let line = format!("listener '{name}' at {address}: good: a stranger at 127.1.1.1 was refused: {reply}");
        assert!(said.contains(&line), "{line}\n{said}");
    }
    let (_, json) = check(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["ok"], &json["online"][2]["verdict"]), (&true.into(), &"refused".into()), "{json}");

    // What runs is not what is written: 127.1.1.1 may relay there.
    let file = stage.relay.path().join("waypost.yaml");
    let written = std::fs::read_to_string(&file).unwrap();
    let open = Setup::new()
        .listener("tls: implicit, allow: [127.0.0.0/8]")
        .server(&format!(
            "tls: {{certificate: \"{}\", key: \"{}\"}}",
            stage.server.certificate.display(),
            stage.server.key.display()
        ))
        .route("name: all, match: {recipient_domain: ours.example}, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let of_open = std::fs::read_to_string(open.path().join("waypost.yaml")).unwrap();
    std::fs::write(&file, of_open.replace("127.0.0.0/8", "127.0.0.1")).unwrap();
    let (status, said) = check(&[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("error: a stranger could relay: 127.1.1.1") && said.contains("No route"), "{said}");
    std::fs::write(&file, written).unwrap();

    let mut stage = stage;
    stage.relay.stop(crate::support::BOUND);
    let out = waypost(stage.relay.path(), &["check", "--online", "--config", "."]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.code() == Some(1) && said.contains("error: it cannot be asked"), "{said}");
}

/// A certificate of the authority for each name; `foreign` is of another one.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub fn write(folder: &Path, names: &[&str]) -> Self {
        let issuer = |file: &str| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, file);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            std::fs::write(folder.join(file), certificate.pem()).unwrap();
            Issuer::new(params, key)
        };
        let (ours, foreign) = (issuer("ca.pem"), issuer("foreign-ca.pem"));
        for name in names {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, *name);
            let key = KeyPair::generate().unwrap();
            let issuer = if *name == "foreign" { &foreign } else { &ours };
            let certificate = params.signed_by(&key, issuer).unwrap();
            std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { folder: folder.to_owned() }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

struct Stage {
    relay: Relay,
    submission: std::net::SocketAddr,
    closed: std::net::SocketAddr,
    server: Certificate,
    authority: Authority,
    _folder: tempfile::TempDir,
}

/// The least cost: the parameters are read from the hash.
pub fn cheap_hash(password: &str) -> String {
    let params = argon2::Params::new(64, 1, 1, None).unwrap();
    let cheap = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
    cheap.hash_password(password.as_bytes(), &salt).unwrap().to_string()
}

fn stage() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let server = Certificate::write(folder.path(), &["localhost"]);
    let authority = Authority::write(folder.path(), &["billing", "unlisted", "foreign"]);
    let hash = cheap_hash("right");
    let (submission, closed) = (loopback(1, free_port()), loopback(1, free_port()));
    let networks = "deny: [127.0.66.0/24, 127.0.1.66], allow: [127.0.1.0/24, \
                    {network: 127.0.1.128/28, senders: [\"*@shop.example\", alerts@corp.example]}]";
    let relay = Setup::new()
        .listener(&format!("tls: starttls, authentication: optional, {networks}"))
        .other_listener(&format!(
            "name: submission, address: \"{submission}\", tls: starttls, authentication: required, {networks}, \
             check_from_header: true, client_ca: \"{}\"",
            authority.file("ca.pem").display()
        ))
        .other_listener(&format!("name: closed, address: \"{closed}\", {networks}, check_from_header: true"))
        .server(&format!(
            "tls: {{certificate: \"{}\", key: \"{}\"}}\nlogins: {{delay: 0s, address_failures: 1000, user_failures: 1000}}",
            server.certificate.display(),
            server.key.display()
        ))
        .server(&format!(
            "users:\n  - {{name: billing, password: \"{hash}\", senders: [\"*@billing.example\"]}}\n  \
             - {{name: any, password: \"{hash}\"}}\n  \
             - {{name: careful, password: \"{hash}\", senders: [\"*@billing.example\"], check_from_header: true}}"
        ))
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start();
    Stage { relay, submission, closed, server, authority, _folder: folder }
}

impl Stage {
    /// The reply that ends a row: the first refusal, or the one to the content.
    fn play(&self, row: Row) -> String {
        self.talk(row).unwrap_or_else(|error| format!("{error}"))
    }

    fn talk(&self, row: Row) -> std::io::Result<String> {
        let address = match row.listener {
            "submission" => self.submission,
            "closed" => self.closed,
            _ => self.relay.address,
        };
        let mut talk = Talk::connect(row.from.parse().unwrap(), address)?;
        let refused = |reply: &String| !reply.starts_with(['2', '3']);
        let greeting = talk.reply()?;
        if refused(&greeting) {
            assert_eq!(talk.reply()?, "", "the end comes behind it");
            return Ok(greeting);
        }
        talk.say("EHLO client.example")?;
        if row.certificate != "-" {
            let (certificate, key) = (
                self.authority.file(&format!("{}.pem", row.certificate)),
                self.authority.file(&format!("{}.key", row.certificate)),
            );
            let identity = Identity { certificate: &certificate, key: &key };
            talk.start_tls(&self.server.certificate, Some(&identity).filter(|_| !row.certificate.is_empty()))?;
            // With TLS 1.3 the server's verdict on a certificate comes behind the handshake.
            let hello = talk.say("EHLO client.example").unwrap_or_default();
            if hello.is_empty() {
                return Ok("no TLS".to_owned());
            }
        }
        let mut said = Vec::new();
        if let Some((name, password)) = row.user.split_once(':') {
            said.push(format!("AUTH PLAIN {}", BASE64.encode(format!("\0{name}\0{password}"))));
        }
        said.push(format!("MAIL FROM:<{}>", row.sender.trim_matches(['<', '>'])));
        said.push("RCPT TO:<someone@elsewhere.example>".to_owned());
        said.push("DATA".to_owned());
        for line in said {
            let reply = talk.say(&line)?;
            if refused(&reply) {
                return Ok(reply);
            }
        }
        let from = match row.author {
            "" => format!("From: <{}>\r\n", row.sender),
            "none" => String::new(),
            author => format!("From: {author}\r\n"),
        };
        talk.write(format!("{from}Subject: row\r\n\r\nrow\r\n.\r\n").as_bytes())?;
        let reply = talk.reply()?;
        let (before, mid) = reply.split_once("queued as ").unwrap_or((&reply, ""));
        Ok(if mid.is_empty() { reply } else { format!("{before}queued as MID") })
    }
}

#[test]
fn network_user_certificate_and_sender() {
    let stage = stage();
    let mut wrong = Vec::new();
    let mut good = 0;
    for (listener, from, certificate, user, sender, author, reply) in TABLE.iter().copied() {
        let row = Row { listener, from, certificate, user, sender, author, reply };
        let heard = stage.play(row);
        if heard != row.reply {
            wrong.push(format!(
                "{listener} {from} {certificate:?} {user:?} {sender} {author:?}:\n  wanted {reply}\n  heard  {heard}"
            ));
        }
        good += usize::from(row.reply == OK);
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), TABLE.len(), wrong.join("\n"));
    // What was taken is there, and nothing else.
    assert_eq!(stage.relay.maildir("out").wait_for(good).len(), good);
    let log = stage.relay.log().once_it_says("\"user\":\"unlisted\"");
    assert!(!log.contains("right"), "{log}");
}

/// Whose issuer is taken out of the file gets in no more, and whose is put in does, without a restart.
#[test]
fn issuers_of_certificates_are_taken_up_while_the_relay_runs() {
    let stage = stage();
    let row = |certificate| Row {
        listener: "submission",
        from: "127.0.0.1",
        certificate,
        user: "",
        sender: "app@billing.example",
        author: "",
        reply: "",
    };
    assert_eq!((stage.play(row("unlisted")).as_str(), stage.play(row("foreign")).as_str()), (OK, "no TLS"));
    std::fs::copy(stage.authority.file("foreign-ca.pem"), stage.authority.file("ca.pem")).unwrap();
    until_true("the other issuer is taken up", BOUND, || stage.play(row("foreign")) == OK);
    assert_eq!(stage.play(row("unlisted")), "no TLS");
}
