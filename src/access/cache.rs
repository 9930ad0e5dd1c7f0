//! Logins that were checked a moment ago: an application that connects for each message costs one slow check in minutes,
//! and a client that repeats its wrong password forever costs none. Passwords are kept as an HMAC whose key lives in this
//! process alone.

use std::time::Duration;

use aws_lc_rs::hmac;
use tokio::time::Instant;

use super::bounded::Bounded;
use crate::config::Secret;

const MOST: usize = 10_000;
/// Short: a directory may have a new password for the user.
const WRONG: Duration = Duration::from_secs(30);

pub(super) struct Cache {
    key: hmac::Key,
    good: Duration,
    known: Bounded<[u8; 32], bool>,
}

impl Cache {
    pub fn new(good: Duration) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>());
        Self { key, good, known: Bounded::new(MOST) }
    }

    /// Whether the password is the user's, where that was found out a moment ago.
    pub fn get(&self, user: &str, password: &Secret, now: Instant) -> Option<bool> {
        self.known.get(&self.hash(user, password), now).copied()
    }

    pub fn put(&mut self, user: &str, password: &Secret, fits: bool, now: Instant) {
        let span = if fits { self.good } else { WRONG.min(self.good) };
        self.known.put(self.hash(user, password), fits, now + span, now);
    }

    fn hash(&self, user: &str, password: &Secret) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.expose().as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_for_a_while() {
        let mut cache = Cache::new(Duration::from_secs(300));
        let now = Instant::now();
        let secret = |text: &str| Secret::new(text.to_owned());
        cache.put("u", &secret("right"), true, now);
        cache.put("u", &secret("wrong"), false, now);
        let at = |seconds| now + Duration::from_secs(seconds);
        for (user, password, after, known) in [
            ("u", "right", 299, Some(true)),
            ("u", "right", 300, None),
            ("u", "wrong", 29, Some(false)),
            ("u", "wrong", 30, None),
            ("u", "other", 0, None),
            ("v", "right", 0, None),
            ("ur", "ight", 0, None),
        ] {
            assert_eq!(cache.get(user, &secret(password), at(after)), known, "{user} {password} {after}");
        }
    }
}
