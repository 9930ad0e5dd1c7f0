//! What a user's password is checked against: an argon2 hash in PHC form, or a SCRAM verifier in the form that PostgreSQL
//! has (`SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`). The second serves every mechanism, the first all but SCRAM.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Secret;

/// Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub enum Verifier {
    /// In PHC form (`$argon2id$…`).
    Argon2(Secret),
    Scram(Arc<ScramVerifier>),
}

/// RFC 5802, section 3, with SHA-256 (RFC 7677).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    pub iterations: NonZeroU32,
    pub salt: Vec<u8>,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

const SCHEME: &str = "SCRAM-SHA-256";
/// RFC 7677, section 4: at least.
const LEAST_ITERATIONS: u32 = 4096;
/// A second of a CPU, or two: each login by PLAIN costs as much.
const MOST_ITERATIONS: u32 = 5_000_000;

impl Verifier {
    /// `None`: it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with(SCHEME) {
            return ScramVerifier::parse(text).map(|verifier| Self::Scram(Arc::new(verifier)));
        }
        let hash = argon2::password_hash::PasswordHash::new(text).ok()?;
        let sound = argon2::Algorithm::try_from(hash.algorithm).is_ok() && hash.hash.is_some();
        sound.then(|| Self::Argon2(Secret::new(text.to_owned())))
    }
}

impl ScramVerifier {
    pub fn parse(text: &str) -> Option<Self> {
        let [SCHEME, cost, keys] = text.split('$').collect::<Vec<_>>()[..] else { return None };
        let (iterations, salt) = cost.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations: u32 = iterations.parse().ok()?;
        let salt = STANDARD.decode(salt).ok()?;
        if !(LEAST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) || salt.is_empty() {
            return None;
        }
        let key = |text: &str| <[u8; 32]>::try_from(STANDARD.decode(text).ok()?).ok();
        Some(Self {
            iterations: NonZeroU32::new(iterations)?,
            salt,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// As it stands in a configuration.
    pub fn text(&self) -> String {
        format!(
            "{SCHEME}${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const KEY: &str = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=";

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let argon2 = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$QtXWYkJ1AuL9MoPi2YpR0g2Vcm6tiKFFrqwBaa2tIT0";
        let scram = |iterations: &str| format!("SCRAM-SHA-256${iterations}:{SALT}${KEY}:{KEY}");
        for (text, good) in [
            (argon2.to_owned(), true),
            ("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ".to_owned(), false),
            ("$2y$10$abcdefghijklmnopqrstuv".to_owned(), false),
            ("hunter2".to_owned(), false),
            (scram("4096"), true),
            (scram("4095"), false),
            (scram("5000001"), false),
            (scram("-1"), false),
            (format!("SCRAM-SHA-256$4096:{SALT}${KEY}"), false),
            (format!("SCRAM-SHA-256$4096:{SALT}${KEY}:{SALT}"), false),
            (format!("SCRAM-SHA-256$4096:${KEY}:{KEY}"), false),
            (format!("SCRAM-SHA-1$4096:{SALT}${KEY}:{KEY}"), false),
        ] {
            assert_eq!(Verifier::parse(&text).is_some(), good, "{text}");
        }
        let text = scram("4096");
        assert_eq!(ScramVerifier::parse(&text).unwrap().text(), text);
        assert_eq!(
            format!("{:?} {:?}", Verifier::parse(argon2).unwrap(), ScramVerifier::parse(&text).unwrap()),
            "*** ***"
        );
    }
}
