//! The relay as a service, and what the package is made of.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use crate::support::BOUND;
use crate::support::process::tool;
use crate::support::relay::{Setup, waypost};

/// systemd-analyze's measure of what a service could do to its host: 0 is nothing, 10 is root.
#[test]
#[ignore = "needs systemd-analyze"]
fn the_unit_leaves_the_service_few_rights() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/waypost.service");
    let mut analyze = Command::new(tool("systemd-analyze"));
    let out = analyze.args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(unit).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "more than 2.0:\n{said}");
    assert!(said.contains("Overall exposure level for waypost.service"), "{said}");
}

/// sd_notify(3), with the test as systemd.
#[test]
fn the_supervisor_hears_how_the_relay_fares() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let next = || {
        let mut said = [0; 1024];
        let size = socket.recv(&mut said).expect("the relay says nothing");
        String::from_utf8_lossy(&said[..size]).into_owned()
    };
    let mut relay = Setup::new()
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "300000")
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let ready = next();
    assert!(ready.starts_with("READY=1\nSTATUS=Serving; since the start 0 recipients delivered"), "{ready}");
    for _ in 0..3 {
        assert!(next().starts_with("WATCHDOG=1\nSTATUS="));
    }
    relay.send("a@sender.example", &["b@customer.example"], b"Subject: s\r\n\r\n");
    while !next().contains("1 recipients delivered") {}
    // systemd waits for the second word of a reload, and with Type=notify-reload wants to know when it began.
    let past_the_watchdog = || loop {
        let said = next();
        if !said.starts_with("WATCHDOG=1") {
            return said;
        }
    };
    let routes = relay.path().join("routes/50-test.yaml");
    let good = std::fs::read_to_string(&routes).unwrap();
    for (text, after) in [
        ("routes: [{name: all, deliver: [nobody]}]", "Serving; its changed configuration was REFUSED at "),
        (&good[..], "Serving; since"),
    ] {
        std::fs::write(&routes, text).unwrap();
        relay.signal("HUP");
        let said = past_the_watchdog();
        let usec = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{said}"));
        assert!(usec.split('\n').next().unwrap().parse::<u64>().is_ok_and(|usec| usec > 0), "{said}");
        let said = past_the_watchdog();
        assert!(said.starts_with(&format!("READY=1\nSTATUS={after}")), "{said}");
    }
    relay.process().signal("TERM");
    let mut last = next();
    while last.starts_with("WATCHDOG=1") {
        last = next();
    }
    assert!(last.starts_with("STOPPING=1\nSTATUS=Stopping"), "{last}");
    assert!(relay.process().wait(BOUND).success());
}

#[test]
fn pages_and_completions_know_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let out = waypost(folder.path(), &["man", "pages"]);
    assert!(out.status.success(), "{out:?}");
    let page = |name: &str| std::fs::read_to_string(folder.path().join("pages").join(name)).unwrap();
    let help = waypost(folder.path(), &["--help"]);
    let help = String::from_utf8(help.stdout).unwrap();
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> =
        verbs.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect();
    assert!(verbs.contains(&"check") && verbs.contains(&"completions") && !verbs.contains(&"man"), "{verbs:?}");
    for verb in &verbs {
        assert!(page(&format!("waypost-{verb}.1")).contains(".SH SYNOPSIS"), "{verb}");
    }
    assert!(page("waypost.1").contains("waypost\\-check(1)") && page("waypost.yaml.5").contains("max_connections"));
    for shell in ["bash", "zsh", "fish"] {
        let out = waypost(folder.path(), &["completions", shell]);
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success() && verbs.iter().all(|verb| text.contains(verb)), "{shell}");
    }
    let script = folder.path().join("completions.bash");
    std::fs::write(&script, waypost(folder.path(), &["completions", "bash"]).stdout).unwrap();
    let asked =
        "source \"$0\"; COMP_WORDS=(waypost che); COMP_CWORD=1; _waypost waypost che waypost; echo \"${COMPREPLY[*]}\"";
    let out = Command::new("bash").args(["-c", asked]).arg(&script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "check", "{out:?}");
}
