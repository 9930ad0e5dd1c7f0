//! The configuration: whatever the files hold, loading ends with a configuration or with errors that can be shown, and no
//! error shows a secret.
#![no_main]

use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use waypost::config::{self, Outside, Sources};
use waypost::mail::HeaderSection;
use waypost::routing::{self, Facts, Table};

/// No input makes this up.
const SECRET: &str = "k9Zq-7fQx-2mRw";

struct Fuzzed;

impl Outside for Fuzzed {
    fn env(&self, name: &str) -> Option<String> {
        (!name.starts_with('X')).then(|| SECRET.to_owned())
    }

    fn secret_file(&self, path: &Path) -> io::Result<String> {
        if path.ends_with("x") { Err(io::ErrorKind::NotFound.into()) } else { Ok(format!("{SECRET}\n")) }
    }

    fn readable(&self, path: &Path) -> io::Result<()> {
        if path.ends_with("x") { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    fn hostname(&self) -> Option<String> {
        Some("relay.example".to_owned())
    }
}

/// The three files, one behind the other, with a line of `=` between them.
fn sources(data: &[u8]) -> Sources {
    let mut rest = data;
    let mut next = || match memchr::memmem::find(rest, b"\n=\n") {
        Some(end) => {
            let (file, behind) = (&rest[..end + 1], &rest[end + 3..]);
            rest = behind;
            file
        }
        None => std::mem::take(&mut rest),
    };
    let (server, routes, providers) = (next(), next(), next());
    Sources::new("/etc/waypost")
        .with("waypost.yaml", server)
        .with("routes/10-a.yaml", routes)
        .with("providers/10-a.yaml", providers)
}

fuzz_target!(|data: &[u8]| {
    let sources = sources(data);
    let loaded = config::load(&sources, &Fuzzed);
    assert_eq!(loaded.config.is_none(), loaded.problems.iter().any(|problem| problem.is_error()));
    for problem in &loaded.problems {
        let text = problem.render(&sources);
        assert!(!problem.message.is_empty() && !problem.message.contains(char::is_control), "{text}");
        assert!(!text.contains(SECRET), "{text}");
        if let Some(place) = &problem.place {
            assert!(place.line > 0 && place.column > 0, "{text}");
        }
        assert!(serde_json::to_string(&problem.json(&sources)).is_ok());
    }
    let Some(config) = loaded.config else { return };
    for finding in routing::check(&config, &loaded.tests) {
        assert!(!finding.message.is_empty());
    }
    // Whatever the table says at RCPT, it says no other thing with the content at hand, unless it said so.
    let table = Table::new(config.routes, config.providers);
    let header = HeaderSection::new("Subject: x\r\n\r\n".into());
    let recipient = "ann@customer.example".parse().unwrap();
    let early = Facts {
        sender: None,
        recipient: &recipient,
        listener: "apps",
        client: Some([192, 0, 2, 1].into()),
        user: None,
        header: None,
        size: None,
    };
    let late = Facts { header: Some(&header), size: Some(14), ..early };
    match (table.route(&early), table.route(&late)) {
        (routing::Decision::Undecided, decision) => assert!(!matches!(decision, routing::Decision::Undecided)),
        (routing::Decision::Route(one), routing::Decision::Route(two)) => assert_eq!(one.name, two.name),
        (routing::Decision::NoRoute, routing::Decision::NoRoute) => {}
        (one, two) => panic!("{one:?}, then {two:?}"),
    }
    let _ = (table.explain(&early), table.explain(&late));
});
