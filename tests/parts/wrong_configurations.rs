//! Wrong configurations: each is told with its place and with what the user needs to mend it.

use std::path::Path;

use crate::support::relay::waypost;

const PROVIDERS: &str = "providers:\n  - {name: outbox, transport: maildir, path: data/outbox}\n";

struct Wrong {
    /// The subject of the mistake.
    what: &'static str,
    file: &'static str,
    yaml: &'static str,
    /// File, line and column that must be told.
    place: &'static str,
    /// What must be said.
    says: &'static [&'static str],
}

const WRONG: [Wrong; 14] = [
    Wrong {
        what: "a key with a slip of the pen",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: all\n    delivers: [outbox]\n",
        place: "routes/10-a.yaml:3:5",
        says: &["delivers", "deliver"],
    },
    Wrong {
        what: "an unknown provider",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: all\n    deliver: [outbux]\n",
        place: "routes/10-a.yaml:3:15",
        says: &["outbux", "did you mean 'outbox'", "'all'"],
    },
    Wrong {
        what: "a name given twice",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: one\n    match: {sender: a@x.example}\n    deliver: [outbox]\n  - name: one\n    deliver: [outbox]\n",
        place: "routes/10-a.yaml:5:11",
        says: &["'one'", "routes/10-a.yaml:2"],
    },
    Wrong {
        what: "a secret that is not there",
        file: "providers/20-b.yaml",
        yaml: "providers:\n  - name: cloud\n    transport: sendgrid\n    api_key: \"${env:WAYPOST_TEST_NOT_SET}\"\n",
        place: "providers/20-b.yaml:4:",
        says: &["WAYPOST_TEST_NOT_SET"],
    },
    Wrong {
        what: "a route that gets no mail",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: all\n    deliver: [outbox]\n  - name: never\n    match: {recipient_domain: a.example}\n    deliver: [outbox]\n",
        place: "routes/10-a.yaml:4:",
        says: &["'never'", "'all'"],
    },
    Wrong {
        what: "residency that a provider does not meet",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: customers\n    residency: eu\n    deliver: [outbox]\n",
        place: "routes/10-a.yaml:",
        says: &["outbox", "eu"],
    },
    Wrong {
        what: "a domain pattern that is none",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: all\n    match: {recipient_domain: [\"user@corp.example\"]}\n    deliver: [outbox]\n",
        place: "routes/10-a.yaml:3:",
        says: &["user@corp.example"],
    },
    Wrong {
        what: "a network that is none",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: all\n    match: {client: 10.0.0.0/33}\n    deliver: [outbox]\n",
        place: "routes/10-a.yaml:3:",
        says: &["10.0.0.0/33"],
    },
    Wrong {
        what: "a weight of 0",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: all\n    deliver:\n      - {outbox: 0}\n",
        place: "routes/10-a.yaml:4:18",
        says: &["weight of 0", "outbox"],
    },
    Wrong {
        what: "a rate of 0",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: all\n    rate: 0/s\n    deliver: [outbox]\n",
        place: "routes/10-a.yaml:3:11",
        says: &["0/s"],
    },
    Wrong {
        what: "a port out of range",
        file: "providers/20-b.yaml",
        yaml: "providers:\n  - name: smart\n    transport: smtp\n    host: smtp.isp.example\n    port: 70000\n",
        place: "providers/20-b.yaml:5:11",
        says: &["70000", "65535"],
    },
    Wrong {
        what: "a route test that fails",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: internal\n    match: {recipient_domain: corp.example}\n    deliver: [outbox]\n  - name: rest\n    deliver: [outbox]\n\
               tests:\n  - {from: a@x.example, to: b@other.example, route: internal}\n",
        place: "routes/10-a.yaml:8:",
        says: &["b@other.example", "internal", "rest"],
    },
    Wrong {
        what: "a relay that is open to everyone",
        file: "waypost.yaml",
        yaml: "listeners:\n  - name: public\n    address: \"0.0.0.0:2525\"\n    allow: [0.0.0.0/0]\n",
        place: "waypost.yaml:",
        says: &["'public'", "open relay"],
    },
    Wrong {
        what: "two actions in one route",
        file: "routes/10-a.yaml",
        yaml: "routes:\n  - name: all\n    deliver: [outbox]\n    discard: true\n",
        place: "routes/10-a.yaml:",
        says: &["deliver", "discard"],
    },
];

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Whatever file is wrong, the others are right.
fn configuration(file: &str, yaml: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "providers/10-a.yaml", PROVIDERS);
    write(folder.path(), "routes/90-rest.yaml", "routes: []\n");
    if !file.starts_with("routes/") {
        write(folder.path(), "routes/10-a.yaml", "routes:\n  - {name: all, deliver: [outbox]}\n");
    }
    write(folder.path(), file, yaml);
    folder
}

fn check(folder: &Path) -> (Option<i32>, String) {
    let out = waypost(folder, &["check", "--config", "."]);
    let text = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn each_mistake_is_told_with_its_place_and_its_line() {
    let mut failures = Vec::new();
    for Wrong { what, file, yaml, place, says } in WRONG {
        let folder = configuration(file, yaml);
        let (code, told) = check(folder.path());
        let line = place.split(':').nth(1).and_then(|n| n.parse::<usize>().ok()).and_then(|n| yaml.lines().nth(n - 1));
        let missing: Vec<_> =
            std::iter::once(place).chain(says.iter().copied()).filter(|text| !told.contains(text)).collect();
        let shown = line.is_none_or(|line| told.contains(line.trim()));
        if code != Some(1) || !missing.is_empty() || !shown {
            failures.push(format!("--- {what}: exit {code:?}, not said: {missing:?}, line shown: {shown}\n{told}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let folder = configuration(
        "routes/10-a.yaml",
        "routes:\n  - {name: a, rate: 0/s, deliver: [outbux]}\n  - {name: a, deliver: [nowhere]}\n",
    );
    write(
        folder.path(),
        "providers/20-b.yaml",
        "providers:\n  - {name: b, transport: smtp, host: h.example, port: 99999}\n",
    );
    let (code, told) = check(folder.path());
    assert_eq!(code, Some(1));
    for part in ["0/s", "outbux", "nowhere", "99999"] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
}

#[test]
fn the_relay_does_not_start_on_a_wrong_configuration() {
    let folder = configuration("routes/10-a.yaml", "routes:\n  - {name: all, deliver: [outbux]}\n");
    let out = waypost(folder.path(), &["run", "--config", "."]);
    let told = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    assert_eq!(out.status.code(), Some(1), "{told}");
    assert!(told.contains("routes/10-a.yaml:2:") && told.contains("did you mean 'outbox'"), "{told}");
    assert!(!folder.path().join("data").exists(), "a wrong configuration leaves nothing behind");
}

#[test]
fn a_secret_in_clear_is_a_warning_and_is_not_repeated() {
    let folder = configuration(
        "providers/20-b.yaml",
        "providers:\n  - {name: cloud, transport: sendgrid, api_key: SG.very-secret}\n",
    );
    let (code, told) = check(folder.path());
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("providers/20-b.yaml:2:") && told.contains("${env:"), "{told}");
    assert!(!told.contains("very-secret"), "{told}");
}

#[test]
fn usage_is_2() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(waypost(folder.path(), &["chekc"]).status.code(), Some(2));
    assert_eq!(waypost(folder.path(), &["check", "--no-such-flag"]).status.code(), Some(2));
}

/// The default configuration, as `init` writes it, has no error and no warning.
#[test]
fn what_init_writes_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let out = waypost(folder.path(), &["init", "conf"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let (code, told) = check(&folder.path().join("conf"));
    assert_eq!(code, Some(0), "{told}");
    // It never overwrites what is there.
    std::fs::write(folder.path().join("conf/routes/keep.yaml"), "routes: []\n").unwrap();
    assert_eq!(waypost(folder.path(), &["init", "conf"]).status.code(), Some(1));
}
