//! Users and their logins, under a paused clock.

use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, SaltString};

use super::*;
use crate::config::AddressPattern;

/// A hash of the least cost: the parameters are read from it.
fn hash(password: &str) -> Option<Verifier> {
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::encode_b64(b"salt and pepper").unwrap();
    Verifier::parse(&argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string())
}

fn access(limits: LoginLimits) -> Access {
    let user = |name: &str, password, senders: &[&str]| User {
        name: name.to_owned(),
        password: hash(password),
        senders: senders.iter().map(|pattern| AddressPattern::parse(pattern).unwrap()).collect(),
        check_from_header: false,
        limits: Default::default(),
    };
    Access::new(vec![user("billing", "right", &["*@billing.corp.example"]), user("any", "other", &[])], None, limits)
        .unwrap()
}

const CLIENT: &str = "192.0.2.1";

async fn login(access: &Access, client: &str, user: &str, password: &str) -> Login {
    access.sign_in(client.parse().unwrap(), user, Secret::new(password.to_owned())).await
}

#[tokio::test(start_paused = true)]
async fn the_right_password_of_the_right_user_alone() {
    for (name, password, fits) in [
        ("billing", "right", true),
        ("billing", "other", false),
        ("any", "other", true),
        ("nobody", "right", false),
        ("Billing", "right", false),
        ("billing", "", false),
    ] {
        let expected = if fits { Login::Good } else { Login::Wrong };
        let access = access(LoginLimits::default());
        assert_eq!(login(&access, CLIENT, name, password).await, expected, "{name} {password}");
        // From memory it is the same.
        assert_eq!(login(&access, CLIENT, name, password).await, expected, "{name} {password}");
    }
    let nobody = Access::new(Vec::new(), None, LoginLimits::default()).unwrap();
    assert_eq!(login(&nobody, CLIENT, "billing", "right").await, Login::Wrong);
}

#[test]
fn a_user_sends_as_what_the_configuration_names() {
    let access = access(LoginLimits::default());
    for (name, from, may) in [
        ("billing", Some("app@billing.corp.example"), true),
        ("billing", Some("app@corp.example"), false),
        ("billing", None, true),
        ("any", Some("x@anywhere.example"), true),
    ] {
        let from = from.map(|from| from.parse().unwrap());
        assert_eq!(access.senders(name).unwrap().take(from.as_ref()), may, "{name} {from:?}");
    }
    assert!(access.senders("nobody").is_none());
}

#[tokio::test(start_paused = true)]
async fn failures_are_answered_later_and_later() {
    let access = access(LoginLimits::default());
    let mut waited = Vec::new();
    for n in 0..6 {
        let start = Instant::now();
        assert_eq!(login(&access, CLIENT, "billing", &format!("guess {n}")).await, Login::Wrong);
        waited.push(start.elapsed().as_secs());
    }
    assert_eq!(waited, [1, 2, 4, 5, 5, 5]);
    let start = Instant::now();
    assert_eq!(login(&access, CLIENT, "billing", "right").await, Login::Good);
    assert_eq!(login(&access, "192.0.2.2", "billing", "wrong").await, Login::Wrong);
    assert_eq!(start.elapsed().as_secs(), 1, "a good login does not wait, and another address waits as at first");
}

#[tokio::test(start_paused = true)]
async fn who_fails_too_often_is_refused_for_a_while() {
    let access = access(LoginLimits { address_failures: 3, user_failures: 5, ..LoginLimits::default() });
    for n in 0..3 {
        assert_eq!(login(&access, CLIENT, "any", &n.to_string()).await, Login::Wrong);
    }
    let start = Instant::now();
    assert_eq!(login(&access, CLIENT, "billing", "right").await, Login::Refused, "whatever the user");
    assert_eq!(login(&access, "192.0.2.9", "billing", "right").await, Login::Good);
    for n in 0..2 {
        assert_eq!(login(&access, &format!("192.0.2.{}", n + 10), "any", "x").await, Login::Wrong);
    }
    assert_eq!(login(&access, "192.0.2.20", "any", "other").await, Login::Refused, "the user, whatever the address");
    assert_eq!(start.elapsed().as_secs(), 2, "a refusal is immediate");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(login(&access, CLIENT, "billing", "right").await, Login::Good);
    assert_eq!(login(&access, "192.0.2.20", "any", "other").await, Login::Good);
}

/// Many at once: a few are checked, the line holds so many, the rest hear so at once; each guess of one address counts.
#[tokio::test(start_paused = true)]
async fn a_storm_of_logins_is_bounded() {
    let limits = LoginLimits { checks: Some(1), ..LoginLimits::default() };
    let access = Arc::new(access(limits));
    let held = access.line.turn().await.unwrap();
    let storm: Vec<_> = (0..WAITING + 40)
        .map(|n| {
            let access = Arc::clone(&access);
            tokio::spawn(async move { login(&access, CLIENT, "billing", &format!("guess {n}")).await })
        })
        .collect();
    let mut seen = HashMap::new();
    // The line is full once so many were turned away; only then does it move.
    let start = Instant::now();
    while storm.iter().filter(|one| one.is_finished()).count() < 40 {
        assert!(start.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(held);
    for one in storm {
        *seen.entry(format!("{:?}", one.await.unwrap())).or_insert(0) += 1;
    }
    assert_eq!(seen.remove("Busy"), Some(40));
    assert_eq!(seen.remove("Wrong"), Some(20), "the address' limit");
    assert_eq!(seen.remove("Refused"), Some(WAITING - 20));
    assert!(seen.is_empty(), "{seen:?}");
}

/// An application that opens many connections at once pays for one check.
#[tokio::test(start_paused = true)]
async fn the_same_login_many_times_is_checked_once() {
    let access = Arc::new(access(LoginLimits { checks: Some(1), ..LoginLimits::default() }));
    let held = access.line.turn().await.unwrap();
    let many: Vec<_> = (0..100)
        .map(|_| {
            let access = Arc::clone(&access);
            tokio::spawn(async move { login(&access, CLIENT, "billing", "right").await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(held);
    for one in many {
        assert_eq!(one.await.unwrap(), Login::Good);
    }
}
