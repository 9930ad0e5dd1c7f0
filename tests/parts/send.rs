//! `waypost send` as sendmail: cron, PHP's mail(), programs that speak SMTP to it, and a relay that is down.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::log::Line;
use crate::support::process::{is_root, output, tool};
use crate::support::relay::{BINARY, Relay, Setup};
use crate::support::{BOUND, until_true};

fn relay() -> Relay {
    Setup::new()
        .route(
            "name: refused, match: {recipient: \"nobody@*\"}, reject: {code: 550, status: 5.1.1, text: No such user}",
        )
        .route("name: later, match: {recipient: \"busy@*\"}, reject: {code: 450, status: 4.2.1, text: Not now}")
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start()
}

/// The program under sendmail's name, with the relay's configuration.
fn sendmail(relay: &Relay) -> Command {
    let program = program(relay.path());
    let mut command = Command::new(program);
    command.env("WAYPOST_CONFIG", relay.path()).env("LOGNAME", "cron").current_dir("/").env_remove("RUST_LOG");
    command
}

fn program(folder: &Path) -> PathBuf {
    let program = folder.join("sendmail");
    if !program.exists() {
        std::os::unix::fs::symlink(BINARY, &program).unwrap();
    }
    program
}

fn feed(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may end without having read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn cron_s_mail_arrives() {
    let relay = relay();
    let mail = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> backup\nContent-Type: text/plain; charset=UTF-8\n\n\
        Grüße\n.\nafter a lone dot\n";
    let out = feed(sendmail(&relay).args(["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"]), mail.as_bytes());
    assert_eq!((out.status.code(), said(&out).as_str()), (Some(0), ""));
    let message = String::from_utf8(relay.maildir("out").wait_for(1).remove(0)).unwrap();
    assert!(message.ends_with("\r\n\r\nGrüße\r\n.\r\nafter a lone dot\r\n"), "{message}");
    relay.log().once("that it came by SMTP", |line| line.is_accepted() && line.is("listener", "apps"));
    // Without -i a lone dot is the end; without a header the text is a body.
    let out = feed(sendmail(&relay).args(["-v", "root"]), b"disk is full\n.\nno more\n");
    assert!(out.status.success() && said(&out).contains("250 2.0.0 Ok: queued as "), "{}", said(&out));
    let messages = relay.maildir("out").wait_for(2);
    let found =
        messages.iter().map(|message| String::from_utf8_lossy(message)).find(|text| text.contains("disk is full"));
    let text = found.unwrap();
    assert!(text.contains("\r\nFrom: cron@") && text.ends_with("\r\n\r\ndisk is full\r\n"), "{text}");
}

/// Under a web server there is no environment to speak of; bounces must have somebody to go to all the same.
#[test]
fn without_an_environment_the_sender_is_the_process_owner() {
    let relay = relay();
    let mut command = Command::new(program(relay.path()));
    command.arg("x@c.example").env_clear().env("WAYPOST_CONFIG", relay.path());
    let out = feed(&mut command, b"hello\n");
    assert!(out.status.success(), "{}", said(&out));
    let lines = relay.log().once("the message", Line::is_accepted);
    let from = lines.iter().find(|line| line.is_accepted()).and_then(|line| line.text("from")).unwrap();
    let id = output(Command::new("id").arg("-un"));
    assert!(from.starts_with(&format!("{}@", id.trim())), "{from}");
}

#[test]
fn a_relay_that_is_down_gets_it_later() {
    let mut relay = relay();
    until_true("the folder is made", BOUND, || relay.path().join("data/pickup").is_dir());
    relay.stop(BOUND);
    let mut command = Command::new("sh");
    let program = program(relay.path());
    // No bit of the mask helps against a mode that is set.
    command.args(["-c", "umask 0777; exec \"$0\" -t -i -f app@shop.example -N never -V id-1"]).arg(program);
    command.env("WAYPOST_CONFIG", relay.path());
    let out = feed(&mut command, b"To: a@b.example\nBcc: hidden@b.example\nSubject: waits\n\nhello\n");
    assert_eq!((out.status.code(), said(&out).as_str()), (Some(0), ""));
    let files: Vec<PathBuf> = std::fs::read_dir(relay.path().join("data/pickup"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect();
    assert_eq!(files.len(), 1);
    assert_eq!(std::fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    relay.restart();
    let message = String::from_utf8(relay.maildir("out").wait_for(1).remove(0)).unwrap();
    assert!(message.ends_with("\r\nhello\r\n") && !message.contains("X-Sender"), "{message}");
    let (_, header) = message.split_once("Received: ").unwrap();
    assert!(!header.contains("hidden"), "{header}");
    relay.log().once("both recipients", |line| {
        line.is("listener", "pickup") && line.is("from", "app@shop.example") && line.number("recipients") == Some(2)
    });
}

#[test]
fn refusals_are_told_with_their_status() {
    let relay = relay();
    let mail = b"From: a@b.example\nTo: nobody@c.example, x@c.example\n\nhello\n";
    let out = feed(sendmail(&relay).arg("-t"), mail);
    assert_eq!(out.status.code(), Some(67), "{}", said(&out));
    assert!(said(&out).contains("refused recipient <nobody@c.example>: 550 5.1.1 No such user"), "{}", said(&out));
    assert_eq!(feed(sendmail(&relay).arg("-t"), b"Subject: to nobody\n\n").status.code(), Some(65));
    assert_eq!(feed(sendmail(&relay).arg("-bp"), b"").status.code(), Some(64));
    assert_eq!(relay.maildir("out").count(), 0);
    // Put off: it waits, and is no failure.
    let out = feed(sendmail(&relay).args(["-f", "a@b.example", "busy@c.example"]), b"hello\n");
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let log = relay.log();
    until_true("the folder's file is put off too", BOUND, || log.raw().contains("450 4.2.1 Not now"));
    // Neither relay nor folder.
    let out = feed(sendmail(&relay).args(["--server", "127.0.0.1:1", "x@c.example"]), b"hello\n");
    assert_eq!(out.status.code(), Some(75), "{}", said(&out));
    let out =
        feed(sendmail(&relay).args(["--server", "127.0.0.1:1", "--pickup", "/nonexistent", "x@c.example"]), b"hi\n");
    assert_eq!(out.status.code(), Some(75));
    assert!(said(&out).contains("start the relay once"), "{}", said(&out));
}

#[test]
fn a_stranger_to_the_folder_is_told_what_to_do() {
    if !is_root() {
        // Nobody can be changed into.
        return;
    }
    let mut relay = relay();
    until_true("the folder is made", BOUND, || relay.path().join("data/pickup").is_dir());
    relay.stop(BOUND);
    std::fs::set_permissions(relay.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(relay.path().join("data"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = relay.path().join("copy");
    std::fs::copy(BINARY, &copy).unwrap();
    let send = || {
        let mut command = Command::new(tool("setpriv"));
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
        command
            .args(["send", "--config"])
            .arg(relay.path())
            .args(["-f", "a@b.example", "x@c.example"])
            .current_dir("/");
        feed(&mut command, b"hello\n")
    };
    let out = send();
    assert_eq!(out.status.code(), Some(75), "{}", said(&out));
    assert!(said(&out).contains("you may not put files into the pickup folder") && said(&out).contains("chmod 3730"));
    // What it says helps, and the relay can read what was put there.
    let pickup = relay.path().join("data/pickup");
    std::os::unix::fs::chown(&pickup, None, Some(65534)).unwrap();
    std::fs::set_permissions(&pickup, std::fs::Permissions::from_mode(0o3730)).unwrap();
    let out = send();
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    relay.restart();
    relay.maildir("out").wait_for(1);
}

#[test]
#[ignore = "needs php"]
fn php_s_mail_with_and_without_a_relay() {
    let mut relay = relay();
    let script = r#"
        $ok = mail("Zoë <a@b.example>, c@d.example", "=?UTF-8?B?" . base64_encode("Grüße: 你好") . "?=",
            "Zeile eins\nZeile zwei: äöü\n.\nEnde\n",
            ["From" => "shop@shop.example", "Cc" => "cc@b.example", "Bcc" => "hidden@b.example",
             "Content-Type" => "text/plain; charset=utf-8", "Content-Transfer-Encoding" => "8bit"], "-fbounce@shop.example");
        echo $ok ? "sent" : "failed";"#;
    let send = |relay: &Relay| {
        let mut php = Command::new(tool("php"));
        php.args(["-d", &format!("sendmail_path={} -t -i", program(relay.path()).display()), "-r", script]);
        output(php.env("WAYPOST_CONFIG", relay.path()).current_dir("/"))
    };
    assert_eq!(send(&relay), "sent");
    relay.maildir("out").wait_for(1);
    relay.stop(BOUND);
    assert_eq!(send(&relay), "sent");
    relay.restart();
    for message in relay.maildir("out").wait_for(2) {
        let text = String::from_utf8(message.clone()).unwrap();
        // PHP ends what it writes with a line end more.
        assert!(text.trim_end().ends_with("\r\n\r\nZeile eins\r\nZeile zwei: äöü\r\n.\r\nEnde"), "{text}");
        let parsed = mail_parser::MessageParser::default().parse(&message).unwrap();
        assert_eq!(parsed.subject(), Some("Grüße: 你好"), "{text}");
        assert!(!text.split_once("Received: ").unwrap().1.contains("hidden"), "{text}");
    }
    for listener in ["apps", "pickup"] {
        relay.log().once("all four recipients", |line| {
            line.is("listener", listener)
                && line.is("from", "bounce@shop.example")
                && line.number("recipients") == Some(4)
        });
    }
}

/// Symfony's mailer and others say `-bs` and speak SMTP over the pipe.
#[test]
fn a_caller_may_speak_smtp_itself() {
    let mut relay = relay();
    let talk = b"EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
    let mut command = sendmail(&relay);
    let mut child = command.arg("-bs").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(talk).unwrap();
    stdin.write_all(b"Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n").unwrap();
    // Still open: it is the relay that hangs up.
    let out = child.wait_with_output().unwrap();
    let text = said(&out);
    assert!(out.status.success() && text.starts_with("220 ") && text.trim_end().ends_with("221 2.0.0 Bye"), "{text}");
    relay.maildir("out").wait_for(1);
    relay.stop(BOUND);
    let out = feed(sendmail(&relay).arg("-bs"), b"");
    assert_eq!(out.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("421 4.3.2 "), "{}", said(&out));
}
