//! Where users come from: lists, a file, a directory; and what can be wrong with them.

use waypost::config::{self, Assumed, Loaded, Lookup, Outside, Sources, System, Verifier};

const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$QtXWYkJ1AuL9MoPi2YpR0g2Vcm6tiKFFrqwBaa2tIT0";
const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fn load(server: &str, users: Option<&str>, outside: &dyn Outside) -> (Loaded, Vec<String>) {
    let mut sources = Sources::new("/etc/waypost")
        .with("waypost.yaml", format!("hostname: a.example\n{server}"))
        .with("routes/a.yaml", "routes: [{name: all, deliver: [out]}]")
        .with("providers/a.yaml", "providers: [{name: out, transport: maildir, path: out}]");
    if let Some(users) = users {
        sources = sources.with_users("/etc/waypost/team.yaml", users);
    }
    let loaded = config::load(&sources, outside);
    let told = loaded.problems.iter().map(|problem| problem.render(&sources));
    let told = told.map(|text| text.lines().next().unwrap_or_default().to_owned()).collect();
    (loaded, told)
}

const LISTENER: &str = "listeners: [{name: a, address: \"127.0.0.1:587\", authentication: required}]";

#[test]
fn a_list_a_file_and_a_directory() {
    let server = format!(
        "{LISTENER}\nusers:\n  list: [{{name: a, password: \"{HASH}\"}}, {{name: b, senders: [\"*@b.example\"]}}]\n  \
         file: team.yaml\n  ldap: {{url: \"ldaps://dc.corp.example\", bind_dn: \"{{user}}@corp.example\"}}"
    );
    let team = format!("users:\n  - {{name: c, password: \"{SCRAM}\", check_from_header: true, rate: 5/h}}\n");
    let (loaded, told) = load(&server, Some(&team), &System);
    assert_eq!(told, Vec::<String>::new());
    let server = loaded.config.unwrap().server;
    let users: Vec<_> = server.users.iter().map(|user| (user.name.as_str(), user.password.is_some())).collect();
    assert_eq!(users, [("a", true), ("b", false), ("c", true)]);
    assert!(matches!(server.users[2].password, Some(Verifier::Scram(_))) && server.users[2].check_from_header);
    let rates: Vec<_> =
        server.users.iter().map(|user| user.limits.messages.map(|limit| limit.rate.to_string())).collect();
    assert_eq!(rates, [None, None, Some("5/h".to_owned())]);
    let directory = server.directory.unwrap();
    assert!(matches!(directory.lookup, Lookup::Template(template) if template == "{user}@corp.example"));
    assert_eq!((directory.timeout.as_secs(), directory.cache.as_secs()), (5, 300));
}

#[test]
fn what_is_wrong_is_told_at_its_place() {
    let ldap = |keys: &str| format!("{LISTENER}\nusers: {{ldap: {{{keys}}}}}");
    let mut wrong = Vec::new();
    let good = "url: \"ldaps://x.example\", bind_dn: \"uid={user},dc=x\"";
    for (server, team, told) in [
        (
            format!("{LISTENER}\nusers: [{{name: a}}]"),
            None,
            vec![
                "waypost.yaml:3:9: error: user 'a': key 'password' is missing; without it, a user is one of a directory or of a certificate",
            ],
        ),
        (
            format!("{LISTENER}\nusers: {{file: team.yaml}}"),
            Some("users: [{name: a, password: x}, {nam: b}]"),
            vec![
                "/etc/waypost/team.yaml:1:19: error: this is no argon2 hash ($argon2id$...) and no SCRAM verifier (SCRAM-SHA-256$...); `waypost hash-password` makes one",
                "/etc/waypost/team.yaml:1:33: error: key 'name' is missing",
                "/etc/waypost/team.yaml:1:34: error: unknown key 'nam', did you mean 'name'?",
            ],
        ),
        (
            format!("{LISTENER}\nusers: {{list: [{{name: a, password: \"{HASH}\"}}], file: team.yaml}}"),
            Some(
                "users: [{name: a, password: \"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$QtXWYkJ1AuL9MoPi2YpR0g2Vcm6tiKFFrqwBaa2tIT0\"}]",
            ),
            vec!["/etc/waypost/team.yaml:1:16: error: there are two users 'a', the first at waypost.yaml:3:23"],
        ),
        (
            format!("{LISTENER}\nusers: {{file: team.yaml}}"),
            Some("# nobody yet"),
            vec![
                "waypost.yaml:2:65: error: listener 'a': authentication needs users, and there are none",
                "waypost.yaml:3:15: warning: the file /etc/waypost/team.yaml names no user",
            ],
        ),
        (
            format!("{LISTENER}\nusers: x"),
            None,
            vec![
                "waypost.yaml:3:8: error: a list of users, or a mapping with list, file, ldap is wanted here, this is text",
            ],
        ),
        (ldap(good), None, vec![]),
        (
            ldap(&format!("{good}, starttls: true")),
            None,
            vec!["waypost.yaml:3:80: error: 'starttls' is for ldap://; ldaps:// has TLS from the start"],
        ),
        (
            ldap("url: \"ldaps://x.example\""),
            None,
            vec!["waypost.yaml:3:15: error: say how a user's DN is known: one of 'bind_dn' and 'search'"],
        ),
        (
            ldap("url: \"http://x.example\", bind_dn: \"{user}\""),
            None,
            vec![
                "waypost.yaml:3:21: error: 'http://x.example' is no LDAP URL; write ldap://host or ldaps://host, with a port where it is not 389 or 636",
            ],
        ),
        (
            ldap("url: \"ldap://x.example\", bind_dn: \"{user}\""),
            None,
            vec![
                "waypost.yaml:3:21: error: passwords would travel in clear to x.example; write ldaps:// or 'starttls: true'",
            ],
        ),
        (ldap("url: \"ldap://127.0.0.1:1389\", bind_dn: \"{user}\""), None, vec![]),
        (
            ldap("url: \"ldaps://x.example\", bind_dn: \"uid=u\""),
            None,
            vec!["waypost.yaml:3:51: error: the template has no {user} in it: everyone would be the same user"],
        ),
        (
            ldap("url: \"ldaps://x.example\", bind_dn: \"{user}@x\", group: \"cn=g\""),
            None,
            vec![
                "waypost.yaml:3:51: error: 'group' asks for a user's DN, which this template is not; write 'search' instead",
            ],
        ),
        (
            ldap("url: \"ldaps://x.example\", search: {base: \"dc=x\", filter: \"uid={user}\", bind_dn: \"cn=a\"}"),
            None,
            vec![
                "waypost.yaml:3:50: error: 'bind_dn' and 'password' of a search go together; give both or neither",
                "waypost.yaml:3:73: error: a filter stands in parentheses and has {user} in it: (uid={user})",
            ],
        ),
    ] {
        let (_, heard) = load(&server, team, &System);
        if heard != told {
            wrong.push(format!("{server}\n{team:?}\nheard  {heard:#?}\nwanted {told:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_network_is_held_to_its_senders() {
    let (loaded, told) = load(
        "listeners: [{name: a, address: \"127.0.0.1:25\", deny: [10.9.0.0/16], allow: [10.0.0.0/8, {network: 10.1.0.0/16, senders: [\"*@b.example\"]}]}]\nlogins: {delay: 0s, checks: 3, user_failures: 5}",
        None,
        &System,
    );
    assert_eq!(told, Vec::<String>::new());
    let server = loaded.config.unwrap().server;
    let allow: Vec<_> =
        server.listeners[0].allow.iter().map(|allowed| (allowed.network.to_string(), allowed.senders.len())).collect();
    assert_eq!(allow, [("10.0.0.0/8".to_owned(), 0), ("10.1.0.0/16".to_owned(), 1)]);
    assert_eq!((server.logins.checks, server.logins.user_failures, server.logins.address_failures), (Some(3), 5, 20));
    let (_, told) = load(
        "listeners: [{name: a, address: \"0.0.0.0:25\", allow: [{network: 0.0.0.0/0, senders: [\"*@b.example\"]}], client_ca: /nowhere/ca.pem}]",
        None,
        &Assumed,
    );
    assert_eq!(
        told,
        [
            "waypost.yaml:2:53: error: listener 'a': an open relay: 0.0.0.0:25 would take mail from anyone to anywhere; name your own networks",
            "waypost.yaml:2:114: error: listener 'a': clients show certificates under TLS alone; set 'tls: starttls' or 'tls: implicit'",
        ]
    );
}

/// A review has neither the secrets nor the users' file.
#[test]
fn a_file_that_is_only_assumed_is_good() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("routes")).unwrap();
    std::fs::write(folder.path().join("waypost.yaml"), format!("{LISTENER}\nusers: {{file: team.yaml}}\n")).unwrap();
    std::fs::write(folder.path().join("routes/a.yaml"), "routes: [{name: a, hold: x}]").unwrap();
    let origin = config::Origin::Directory(folder.path().to_owned());
    let check = |outside: &dyn Outside| {
        let sources = config::read(&origin).unwrap();
        config::load(&sources, outside).problems.iter().filter(|problem| problem.is_error()).count()
    };
    assert_eq!((check(&Assumed), check(&System)), (0, 1));
    std::fs::write(folder.path().join("team.yaml"), format!("users: [{{name: a, password: \"{HASH}\"}}]")).unwrap();
    assert_eq!((check(&Assumed), check(&System)), (0, 0));
}
