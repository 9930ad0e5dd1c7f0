//! `waypost diff`: two directories, no relay, no secrets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn directory(of: &Path, name: &str, routes: &str, providers: &str) {
    for (folder, text) in [("routes", routes), ("providers", providers)] {
        std::fs::create_dir_all(of.join(name).join(folder)).unwrap();
        std::fs::write(of.join(name).join(folder).join("a.yaml"), format!("{folder}:\n{text}")).unwrap();
    }
}

fn diff(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waypost")).arg("diff").args(args).current_dir(folder).output().unwrap()
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

const PROVIDERS: &str = "  - {name: mailgun, transport: mailgun, domain: mg.example, api_key: \"${env:NOT_SET}\"}\n  \
    - {name: ses, transport: ses, region: eu-west-1}\n";
const EU: &str = "  - {name: eu, match: {sender_domain: shop.example.eu}, deliver: [mailgun, ses]}\n";
const REST: &str = "  - {name: rest, deliver: [ses]}\n";

#[test]
fn what_goes_another_way_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    directory(folder, "main", &format!("{EU}{REST}"), PROVIDERS);
    directory(
        folder,
        "branch",
        &format!("{}{REST}", EU.replace("mailgun, ses", "ses")),
        &PROVIDERS.replace("NOT_SET", "OTHER"),
    );
    let out = diff(folder, &["main", "branch"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert_eq!(
        text(&out),
        "provider 'mailgun': api_key changed\n\
         route 'eu': chain mailgun, ses → ses\n\
         \n\
         'eu' by mailgun, ses → 'eu' by ses: 1\n    \
             someone@shop.example.eu to somebody@elsewhere.example, at default from 127.0.0.1, 1024 octets\n\
         \n\
         of 4 probes, made from both tables, 1 goes another way\n"
    );
    assert_eq!(diff(folder, &["main", "branch", "--fail-on-change"]).status.code(), Some(1));
    let out = diff(folder, &["main", "branch", "--json"]);
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["changes"][1]["text"], "route 'eu': chain mailgun, ses → ses");
    assert_eq!((&json["decisions"]["asked"], &json["decisions"]["differ"]), (&4.into(), &1.into()));
    assert_eq!(json["decisions"]["groups"][0]["new"]["way"], "ses");
}

#[test]
fn what_moves_no_mail_passes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    directory(folder, "main", &format!("{EU}{REST}"), PROVIDERS);
    directory(folder, "branch", &format!("{EU}{REST}"), &PROVIDERS.replace("eu-west-1", "eu-west-1, rate: 5/s"));
    let out = diff(folder, &["main", "branch", "--fail-on-change"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    assert!(text(&out).ends_with("all go the same way\n"), "{}", text(&out));
    let same = diff(folder, &["main", "main"]);
    assert!(text(&same).starts_with("both say the same\n"), "{}", text(&same));
}

#[test]
fn a_directory_with_errors_is_no_basis() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    directory(folder, "main", REST, PROVIDERS);
    directory(folder, "branch", "  - {name: rest, deliver: [sess]}\n", PROVIDERS);
    let out = diff(folder, &["main", "branch"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out).contains("unknown provider 'sess', did you mean 'ses'?"), "{}", text(&out));
    assert!(text(&out).contains("the configuration in branch has 1 error(s)"), "{}", text(&out));
    let out = diff(folder, &["main", "nowhere"]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert_eq!(diff(folder, &["main"]).status.code(), Some(2));
}
