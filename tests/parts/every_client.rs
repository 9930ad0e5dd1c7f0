//! Each client that people use, by each way in (in clear, STARTTLS, TLS from the start) and with each mechanism of AUTH: a
//! message with a text in 8 bits, an attachment and UTF-8 in its header arrives to the octet. A further mechanism is a word in
//! the row of each client that knows it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::support::cert::Certificate;
use crate::support::postfix;
use crate::support::process::{output, tool};
use crate::support::relay::{Relay, Setup, waypost_with_input};
use crate::support::smtp::dotted;
use crate::support::{BOUND, free_port, mark_in, until};

const USER: &str = "billing";
const PASSWORD: &str = "correct horse";
const FROM: &str = "app@sender.example";
const TO: &str = "one@a.example";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    StartTls,
    Implicit,
}

const WAYS: &[Way] = &[Way::Plain, Way::StartTls, Way::Implicit];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }

    fn listener(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::StartTls | Self::Implicit => self.name(),
        }
    }
}

/// What a client has to do.
struct Job<'a> {
    relay: &'a Relay,
    way: Way,
    mechanism: Option<&'static str>,
    certificate: &'a Path,
    content: &'a [u8],
    /// The same, in a file.
    file: PathBuf,
}

impl Job<'_> {
    fn port(&self) -> String {
        self.relay.address.port().to_string()
    }

    fn unix(&self) -> Vec<u8> {
        self.content.iter().copied().filter(|octet| *octet != b'\r').collect()
    }

    fn folder(&self) -> &Path {
        self.relay.path()
    }

    /// For the scripts.
    fn args(&self) -> [String; 7] {
        [
            self.port(),
            self.way.name().to_owned(),
            self.certificate.display().to_string(),
            self.mechanism.unwrap_or_default().to_owned(),
            USER.to_owned(),
            PASSWORD.to_owned(),
            self.file.display().to_string(),
        ]
    }
}

struct Client {
    name: &'static str,
    ways: &'static [Way],
    mechanisms: &'static [&'static str],
    send: fn(&Job<'_>),
}

/// All that a message has: UTF-8 in the header, as words and as it is; text in 8 bits, with dots and blanks; each octet that
/// there is, as an attachment.
fn message(mark: u64) -> Vec<u8> {
    let octets: Vec<u8> = (0..=255_u8).cycle().take(20_000).collect();
    let attachment: String = BASE64
        .encode(octets)
        .as_bytes()
        .chunks(76)
        .map(|line| format!("{}\r\n", String::from_utf8_lossy(line)))
        .collect();
    format!(
        "From: Zoë <{FROM}>\r\nTo: <{TO}>\r\nSubject: Grüße aus Köln, 你好\r\nX-Words: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\
         Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <mark-{mark:06}-@sender.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"=_limit\"\r\n\r\n--=_limit\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         Straße, naïve, 你好.\r\n.a dot\r\n..\r\n.\u{a0}\r\n  blanks behind  \r\n\r\n\r\n--=_limit\r\n\
         Content-Type: application/octet-stream; name=\"all octets.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         {attachment}--=_limit--\r\n"
    )
    .into_bytes()
}

fn relay(way: Way, certificate: &Certificate) -> Relay {
    // It serves PLAIN and LOGIN as well.
    let verifier = waypost_with_input(&["hash-password", "--scram"], &format!("{PASSWORD}\n"));
    Setup::new()
        .listener(&format!("tls: {}, authentication: optional", way.listener()))
        .server(&format!("tls: {}", certificate.as_tls()))
        .server(&format!("users:\n  - {{name: {USER}, password: \"{}\"}}", verifier.trim()))
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start()
}

/// What arrived is what was handed in, behind trace fields and nothing else.
fn is_intact(arrived: &[u8], job: &Job<'_>) {
    let shown = || String::from_utf8_lossy(arrived).chars().take(2_000).collect::<String>();
    let trace = arrived.strip_suffix(job.content).unwrap_or_else(|| panic!("not what was handed in:\n{}", shown()));
    let trace = String::from_utf8(trace.to_vec()).unwrap();
    for line in trace.lines() {
        let known = ["Return-Path:", "Delivered-To:", "X-Original-To:", "Received:", "\t", " "];
        assert!(known.iter().any(|start| line.starts_with(start)), "{line:?} above:\n{}", shown());
    }
    // How it came in, as the relay's own field tells (RFC 3848); Postfix asks for SMTPUTF8 where the header has UTF-8.
    let first = &trace[trace.find("Received:").unwrap()..];
    let tls = if job.way == Way::Plain { "" } else { "S" };
    let user = if job.mechanism.is_some() { "A" } else { "" };
    let with = |base: &str| first.contains(&format!("(waypost) with {base}{tls}{user}\r\n"));
    assert!(with("ESMTP") || with("UTF8SMTP"), "{first}");
}

/// Sends by each way and mechanism; the client's row in the table of docs/smtp.md says the same.
fn delivers(client: &Client) {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), &["localhost", "relay.example"]);
    let (mut row, mut mark) = (format!("| {} |", client.name), 0);
    for way in WAYS {
        if !client.ways.contains(way) {
            row.push_str(" |");
            continue;
        }
        let relay = relay(*way, &certificate);
        let mut done = Vec::new();
        for mechanism in std::iter::once(None).chain(client.mechanisms.iter().copied().map(Some)) {
            mark += 1;
            let content = message(mark);
            let file = relay.path().join(format!("mail-{mark}"));
            std::fs::write(&file, &content).unwrap();
            let job = Job {
                relay: &relay,
                way: *way,
                mechanism,
                certificate: &certificate.certificate,
                content: &content,
                file,
            };
            (client.send)(&job);
            let what = format!("{} by {way:?} with {mechanism:?}", client.name);
            let arrived = until(&what, BOUND, || {
                relay.maildir("out").messages().into_iter().find(|message| mark_in(message) == Some(mark))
            });
            is_intact(&arrived, &job);
            done.push(mechanism.unwrap_or("none"));
        }
        row.push_str(&format!(" {} |", done.join(", ")));
    }
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/smtp.md")).unwrap();
    assert!(page.lines().any(|line| line == row), "docs/smtp.md lacks the row\n{row}");
}

const BOTH: &[&str] = &["PLAIN", "LOGIN"];

#[test]
#[ignore = "needs curl"]
fn curl() {
    delivers(&Client {
        name: "curl",
        ways: WAYS,
        mechanisms: BOTH,
        send: |job| {
            let mut curl = Command::new(tool("curl"));
            curl.args(["-sS", "--mail-from", FROM, "--mail-rcpt", TO, "--cacert"]).arg(job.certificate);
            let scheme = if job.way == Way::Implicit { "smtps" } else { "smtp" };
            curl.arg(format!("{scheme}://localhost:{}", job.port())).arg("-T").arg(&job.file);
            if job.way == Way::StartTls {
                curl.arg("--ssl-reqd");
            }
            if let Some(mechanism) = job.mechanism {
                curl.args(["--login-options", &format!("AUTH={mechanism}"), "-u", &format!("{USER}:{PASSWORD}")]);
            }
            output(&mut curl);
        },
    });
}

#[test]
#[ignore = "needs swaks"]
fn swaks() {
    delivers(&Client {
        name: "swaks",
        ways: WAYS,
        mechanisms: BOTH,
        send: |job| {
            let mut swaks = Command::new(tool("swaks"));
            swaks.args(["--server", "localhost", "--port", &job.port(), "--from", FROM, "--to", TO, "--pipeline"]);
            // It ends the last line itself.
            std::fs::write(&job.file, job.content.strip_suffix(b"\r\n").unwrap()).unwrap();
            swaks.arg("--data").arg(format!("@{}", job.file.display()));
            match job.way {
                Way::Plain => &mut swaks,
                Way::StartTls => swaks.arg("--tls"),
                Way::Implicit => swaks.arg("--tls-on-connect"),
            };
            if let Some(mechanism) = job.mechanism {
                swaks.args(["--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD]);
            }
            output(&mut swaks);
        },
    });
}

#[test]
#[ignore = "needs python3"]
fn smtplib() {
    delivers(&Client {
        name: "Python smtplib",
        ways: WAYS,
        mechanisms: BOTH,
        send: |job| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts/clients/send.py");
            output(Command::new(tool("python3")).arg(script).args(job.args()));
        },
    });
}

#[test]
#[ignore = "needs node and nodemailer"]
fn nodemailer() {
    delivers(&Client {
        name: "Node nodemailer",
        ways: WAYS,
        mechanisms: BOTH,
        send: |job| {
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            let modules = here.join(".tools/nodemailer/node_modules");
            let mut node = Command::new(tool("node"));
            output(node.env("NODE_PATH", modules).arg(here.join("tests/parts/clients/send.js")).args(job.args()));
        },
    });
}

#[test]
#[ignore = "needs msmtp"]
fn msmtp() {
    delivers(&Client {
        name: "msmtp",
        ways: WAYS,
        mechanisms: &["PLAIN", "LOGIN", "SCRAM-SHA-256"],
        send: |job| {
            let mut rc = format!("account default\nhost localhost\nport {}\nfrom {FROM}\n", job.port());
            match job.way {
                Way::Plain => rc.push_str("tls off\n"),
                Way::StartTls => rc.push_str("tls on\ntls_starttls on\n"),
                Way::Implicit => rc.push_str("tls on\ntls_starttls off\n"),
            }
            rc.push_str(&format!("tls_trust_file {}\n", job.certificate.display()));
            if let Some(mechanism) = job.mechanism {
                rc.push_str(&format!("auth {}\nuser {USER}\npassword \"{PASSWORD}\"\n", mechanism.to_lowercase()));
            }
            let file = job.folder().join("msmtprc");
            std::fs::write(&file, rc).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
            let mut msmtp = Command::new(tool("msmtp"));
            fed(msmtp.arg("-C").arg(&file).args(["--", TO]), &job.unix());
        },
    });
}

#[test]
#[ignore = "needs openssl"]
fn s_client() {
    delivers(&Client {
        name: "OpenSSL s_client",
        ways: &[Way::StartTls, Way::Implicit],
        mechanisms: BOTH,
        send: |job| {
            let mut openssl = Command::new(tool("openssl"));
            openssl.args([
                "s_client",
                "-quiet",
                "-connect",
                &format!("localhost:{}", job.port()),
                "-verify_return_error",
            ]);
            openssl.arg("-CAfile").arg(job.certificate);
            if job.way == Way::StartTls {
                openssl.args(["-starttls", "smtp"]);
            }
            let mut talk = b"EHLO client.example\r\n".to_vec();
            let (user, password) = (BASE64.encode(USER), BASE64.encode(PASSWORD));
            match job.mechanism {
                None => {}
                Some("PLAIN") => {
                    let plain = BASE64.encode(format!("\0{USER}\0{PASSWORD}"));
                    talk.extend_from_slice(format!("AUTH PLAIN {plain}\r\n").as_bytes());
                }
                Some("LOGIN") => talk.extend_from_slice(format!("AUTH LOGIN\r\n{user}\r\n{password}\r\n").as_bytes()),
                Some(other) => panic!("how is {other} spoken by hand?"),
            }
            talk.extend_from_slice(
                format!("MAIL FROM:<{FROM}> BODY=8BITMIME\r\nRCPT TO:<{TO}>\r\nDATA\r\n").as_bytes(),
            );
            talk.extend_from_slice(&dotted(job.content));
            talk.extend_from_slice(b"QUIT\r\n");
            fed(&mut openssl, &talk);
        },
    });
}

#[test]
#[ignore = "needs postfix and libsasl2-modules"]
fn postfix_with_all_that_its_client_can() {
    delivers(&Client {
        name: "Postfix",
        ways: WAYS,
        mechanisms: BOTH,
        send: |job| {
            let mut setup = postfix::Setup::new("sender.example", 7, free_port())
                .relays_to(job.relay.address)
                .main("smtp_connection_cache_on_demand = yes")
                .main("smtp_send_xforward_command = yes")
                .main("smtp_tls_connection_reuse = yes")
                .main("smtp_tls_loglevel = 1");
            setup = match job.way {
                Way::Plain => setup.main("smtp_tls_security_level = none"),
                Way::StartTls => setup.main("smtp_tls_security_level = encrypt"),
                Way::Implicit => setup.main("smtp_tls_security_level = encrypt").main("smtp_tls_wrappermode = yes"),
            };
            if let Some(mechanism) = job.mechanism {
                setup = setup
                    .main("smtp_sasl_auth_enable = yes")
                    .main("smtp_sasl_security_options = noanonymous")
                    .main(&format!("smtp_sasl_mechanism_filter = {}", mechanism.to_lowercase()))
                    .main(&format!(
                        "smtp_sasl_password_maps = inline:{{ {{ [127.0.0.1]:{} = {USER}:{PASSWORD} }} }}",
                        job.port()
                    ));
            }
            let host = setup.start();
            host.sendmail_with(&["-N", "failure,delay", "-R", "hdrs", "-V", "QQ314159"], FROM, &[TO], &job.unix());
            until("Postfix is rid of it", BOUND, || host.log().contains("status=sent (250 2.0.0 ").then_some(()));
        },
    });
}

/// Runs a program that reads its mail or its talk from standard input.
fn fed(command: &mut Command, input: &[u8]) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {}\n{text}", out.status);
}
