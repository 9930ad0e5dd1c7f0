//! Whether a password is the one that was hashed. Slow on purpose.

use argon2::{Argon2, PasswordHash, PasswordVerifier as _};

use crate::config::{ScramVerifier, Secret, Verifier};
use crate::smtp::scram;

/// Blocking: tenths of a second of a CPU.
pub(super) fn fits(verifier: &Verifier, password: &Secret) -> bool {
    match verifier {
        Verifier::Argon2(hash) => PasswordHash::new(hash.expose())
            .is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok()),
        Verifier::Scram(verifier) => {
            let keys = scram::keys(password.expose(), &verifier.salt, verifier.iterations);
            scram::same(&keys.stored, &verifier.stored_key)
        }
    }
}

/// A verifier that no password fits. It depends on the name and on one that is real, so that it outlives a restart as a
/// real one would.
pub(super) fn made_up(user: &str, real: &ScramVerifier) -> ScramVerifier {
    let from = |what: &str| scram::mac(&real.server_key, format!("{what}:{user}").as_bytes());
    ScramVerifier {
        iterations: real.iterations,
        salt: from("salt").iter().copied().cycle().take(real.salt.len()).collect(),
        stored_key: from("stored"),
        server_key: from("server"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3, as PostgreSQL would keep it.
    #[test]
    fn a_scram_verifier_serves_plain_passwords_too() {
        let keys = scram::keys("pencil", b"salt", 4096.try_into().unwrap());
        let verifier = ScramVerifier {
            iterations: 4096.try_into().unwrap(),
            salt: b"salt".to_vec(),
            stored_key: keys.stored,
            server_key: keys.server,
        };
        let verifier = Verifier::parse(&verifier.text()).unwrap();
        for (password, good) in [("pencil", true), ("pencil ", false), ("Pencil", false), ("pen\u{ad}cil", true)] {
            assert_eq!(fits(&verifier, &Secret::new(password.to_owned())), good, "{password:?}");
        }
    }
}
