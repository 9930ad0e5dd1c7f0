//! Users of a directory: the relay before Debian's slapd.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::relaying::cheap_hash;
use crate::support::relay::{Relay, Setup};
use crate::support::slapd::Slapd;

const GOOD: &str = "235 2.7.0 Authentication succeeded";
const WRONG: &str = "535 5.7.8 Authentication credentials invalid";
const DOWN: &str = "454 4.7.0 Temporary authentication failure";

fn slapd() -> Slapd {
    let slapd = Slapd::start();
    for (name, password) in
        [("billing", "b-secret"), ("crm", "c-secret"), ("guest", "g-secret"), ("o+ne, two", "o-secret")]
    {
        slapd.person(&name.replace([',', '+'], ""), password);
    }
    slapd.group("mailers", &["billing", "crm"]);
    slapd
}

const TEMPLATE: &str = "bind_dn: \"uid={user},ou=people,dc=corp,dc=example\"";
const SEARCH: &str = "search: {base: \"dc=corp,dc=example\", filter: \"(uid={user})\"}";
const SEARCH_AS: &str = "search: {base: \"dc=corp,dc=example\", filter: \"(|(uid={user})(mail={user}))\", \
                         bind_dn: \"cn=admin,dc=corp,dc=example\", password: \"${env:LDAP_PASSWORD}\"}";

fn relay(slapd: &Slapd, ldap: &str, users: &str) -> Relay {
    let url = format!("url: \"ldap://localhost:{}\"", slapd.address.port());
    Setup::new()
        .listener("authentication: required, allow: []")
        .server(&format!("users:\n  ldap: {{{url}, {ldap}}}\n{users}\nlogins: {{delay: 0s}}"))
        .env("LDAP_PASSWORD", "directory-secret")
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start()
}

fn login(relay: &Relay, user: &str, password: &str) -> String {
    let mut client = relay.client();
    let reply = client.say(&format!("AUTH PLAIN {}", BASE64.encode(format!("\0{user}\0{password}")))).unwrap();
    format!("{} {}", reply.code, reply.text)
}

#[test]
#[ignore = "needs slapd"]
fn who_can_bind_may_sign_in() {
    let slapd = slapd();
    let ca = format!("ca: \"{}\"", slapd.certificate.certificate.display());
    let group = "group: \"cn=mailers,ou=groups,dc=corp,dc=example\"";
    for (ldap, grouped) in [
        (TEMPLATE.to_owned(), false),
        (format!("{TEMPLATE}, {group}"), true),
        (format!("{SEARCH}, {group}"), true),
        (format!("{SEARCH_AS}, {group}, starttls: true, {ca}"), true),
    ] {
        let relay = relay(&slapd, &ldap, "");
        let guest = if grouped { WRONG } else { GOOD };
        for (user, password, reply) in [
            ("billing", "b-secret", GOOD),
            ("BILLING", "b-secret", GOOD),
            ("crm", "c-secret", GOOD),
            ("guest", "g-secret", guest),
            ("billing", "c-secret", WRONG),
            // A bind without a password succeeds, as nobody (RFC 4513, 5.1.2): it must not be tried.
            ("billing", "", WRONG),
            ("nobody", "b-secret", WRONG),
            ("*", "b-secret", WRONG),
            ("billing)(uid=*", "b-secret", WRONG),
            ("billing,ou=people,dc=corp,dc=example", "b-secret", WRONG),
            ("billing ", "b-secret", WRONG),
            ("bïlling", "b-secret", WRONG),
        ] {
            assert_eq!(login(&relay, user, password), reply, "{ldap}: {user} {password}");
        }
        let log = relay.log().raw();
        assert!(!log.contains("-secret"), "{log}");
    }
}

#[test]
#[ignore = "needs slapd"]
fn a_directory_that_is_down_accepts_nobody_and_answers_are_remembered() {
    let mut slapd = slapd();
    let relay = relay(&slapd, &format!("{TEMPLATE}, cache: 1h"), "");
    assert_eq!(login(&relay, "billing", "b-secret"), GOOD);
    assert_eq!(login(&relay, "crm", "wrong"), WRONG);
    slapd.stop();
    // What was found out a moment ago still holds, either way; nothing else does.
    assert_eq!(login(&relay, "billing", "b-secret"), GOOD);
    assert_eq!(login(&relay, "crm", "wrong"), WRONG);
    assert_eq!(login(&relay, "crm", "c-secret"), DOWN);
    assert_eq!(login(&relay, "billing", "other"), DOWN);
    slapd.restart();
    assert_eq!(login(&relay, "crm", "c-secret"), GOOD);
    relay.log().once_it_says("the directory cannot be asked");
}

#[test]
#[ignore = "needs slapd"]
fn a_certificate_that_does_not_hold_is_a_directory_that_is_down() {
    let slapd = slapd();
    let relay = relay(&slapd, &format!("{TEMPLATE}, starttls: true"), "");
    assert_eq!(login(&relay, "billing", "b-secret"), DOWN);
}

#[test]
#[ignore = "needs slapd"]
fn a_list_a_file_and_a_directory_go_together() {
    let slapd = slapd();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("team.yaml");
    std::fs::write(&file, format!("users:\n  - {{name: filed, password: \"{}\"}}\n", cheap_hash("f-secret"))).unwrap();
    let users = format!(
        "  file: \"{}\"\n  list:\n    - {{name: billing, senders: [\"*@billing.example\"]}}\n    \
         - {{name: crm, password: \"{}\"}}",
        file.display(),
        cheap_hash("own")
    );
    let relay = relay(&slapd, &format!("{TEMPLATE}, senders: [\"*@corp.example\"]"), &users);
    for (user, password, reply) in [
        ("filed", "f-secret", GOOD),
        ("crm", "own", GOOD),
        // One that has a password here is not asked for elsewhere.
        ("crm", "c-secret", WRONG),
        ("billing", "b-secret", GOOD),
        ("guest", "g-secret", GOOD),
    ] {
        assert_eq!(login(&relay, user, password), reply, "{user}");
    }
    // However a directory's user spells its name, it is held to what its entry says.
    for (user, password, sender, reply) in [
        ("billing", "b-secret", "a@billing.example", "250 2.1.0 Ok"),
        ("Billing", "b-secret", "a@corp.example", "550 5.7.1 User billing may not send as a@corp.example"),
        ("guest", "g-secret", "a@corp.example", "250 2.1.0 Ok"),
        (
            "guest",
            "g-secret",
            "a@billing.example",
            "550 5.7.1 A user of the directory may not send as a@billing.example",
        ),
        ("filed", "f-secret", "a@anywhere.example", "250 2.1.0 Ok"),
    ] {
        let mut client = relay.client();
        client.say(&format!("AUTH PLAIN {}", BASE64.encode(format!("\0{user}\0{password}")))).unwrap();
        let heard = client.say(&format!("MAIL FROM:<{sender}>")).unwrap();
        assert_eq!(format!("{} {}", heard.code, heard.text), reply, "{user} {sender}");
    }
}

#[test]
#[ignore = "needs slapd"]
fn a_new_password_is_good_at_once() {
    let slapd = slapd();
    let relay = relay(&slapd, TEMPLATE, "");
    assert_eq!(login(&relay, "billing", "new"), WRONG);
    slapd.password("billing", "newer");
    assert_eq!(login(&relay, "billing", "newer"), GOOD);
}
