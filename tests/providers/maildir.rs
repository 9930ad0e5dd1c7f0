use std::collections::HashSet;
use std::fs;
use std::path::Path;

use waypost::transport::{Outcome, Transport as _};

use crate::support::{PLAIN, attempt, large, maildir, names, only};

fn files(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn one_file_with_the_envelope_before_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/outbox");
    let attempt = attempt(&["ann@customer.example", "bob@customer.example"], PLAIN);
    assert_eq!(names(&maildir(&path).attempt(&attempt).await), ["delivered", "delivered"]);
    assert_eq!((files(&path.join("tmp")), files(&path.join("cur"))), (Vec::new(), Vec::new()));
    let [name] = <[_; 1]>::try_from(files(&path.join("new"))).unwrap();
    let octets = fs::read_to_string(path.join("new").join(&name)).unwrap();
    let expected = format!(
        "Return-Path: <bounces@corp.example>\r\nDelivered-To: ann@customer.example\r\nDelivered-To: bob@customer.example\r\n{PLAIN}"
    );
    assert_eq!(octets, expected);
    // time.MusecPpid_seq.host,S=size
    let (time, rest) = name.split_once(".M").unwrap();
    assert!((1_795_521_600..1_795_525_200).contains(&time.parse::<u64>().unwrap()), "{name}");
    assert!(rest.contains(&format!("P{}_", std::process::id())), "{name}");
    assert!(rest.ends_with(&format!(".relay.example,S={}", octets.len())), "{name}");
    assert!(attempt.progress.may_have_it());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for (entry, mode) in [("tmp", 0o700), ("new", 0o700), ("cur", 0o700), (&format!("new/{name}"), 0o600)] {
            assert_eq!(fs::metadata(path.join(entry)).unwrap().permissions().mode() & 0o777, mode, "{entry}");
        }
    }
}

#[tokio::test]
async fn the_null_path_and_octets_beyond_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = large(300_000).into_bytes();
    content.extend_from_slice(&[0, 0xff, b'\r', b'\n', b'.']);
    let mut attempt = attempt(&["ann@customer.example"], content.clone());
    std::sync::Arc::make_mut(&mut attempt.envelope).reverse_path = None;
    assert_eq!(names(&maildir(folder.path()).attempt(&attempt).await), ["delivered"]);
    let [name] = <[_; 1]>::try_from(files(&folder.path().join("new"))).unwrap();
    let octets = fs::read(folder.path().join("new").join(name)).unwrap();
    assert_eq!(octets, [b"Return-Path: <>\r\nDelivered-To: ann@customer.example\r\n", content.as_slice()].concat());
}

#[tokio::test]
async fn names_are_unique_under_haste() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (maildir(folder.path()), maildir(folder.path()));
    let attempts: Vec<_> = (0..40).map(|_| attempt(&["ann@customer.example"], PLAIN)).collect();
    let sent = attempts.iter().enumerate().map(|(n, attempt)| if n % 2 == 0 { &one } else { &other }.attempt(attempt));
    let outcomes = futures_util::future::join_all(sent).await;
    let ids: HashSet<_> = outcomes
        .into_iter()
        .map(|outcomes| match only(outcomes) {
            Outcome::Delivered { provider_id, .. } => provider_id.unwrap().0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, files(&folder.path().join("new")).into_iter().collect());
    assert_eq!(ids.len(), 40);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a-file");
    fs::write(&path, "x").unwrap();
    let outcome = only(maildir(&path).attempt(&attempt(&["ann@customer.example"], PLAIN)).await);
    assert_eq!(outcome.name(), "unavailable", "{outcome:?}");
    assert!(outcome.diagnosis().text.contains("a-file"), "{outcome:?}");
}

/// An attempt that is dropped leaves no mail, whenever that is.
#[tokio::test]
async fn a_dropped_attempt_delivers_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let transport = maildir(folder.path());
    let content = large(2_000_000);
    let attempt = attempt(&["ann@customer.example"], content.clone());
    for polls in 0..12 {
        let mut sending = transport.attempt(&attempt);
        for _ in 0..polls {
            let _ = futures_util::poll!(&mut sending);
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(names(&transport.attempt(&attempt).await), ["delivered"]);
    for name in files(&folder.path().join("new")) {
        assert!(fs::read_to_string(folder.path().join("new").join(name)).unwrap().ends_with(&content));
    }
}
