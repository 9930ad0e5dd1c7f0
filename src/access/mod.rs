//! Who may relay: users, their passwords, and what each may send as. Networks are the listener's (`allow`).

use argon2::{Argon2, PasswordHash, PasswordVerifier};

use crate::config::{Secret, User};
use crate::mail::Address;

/// The users of the configuration.
#[derive(Debug)]
pub struct Users {
    users: Vec<User>,
}

impl Users {
    pub fn new(users: Vec<User>) -> Self {
        Self { users }
    }

    /// Whether the password is the user's. Blocking, and slow on purpose. A name that is not known costs as much as one
    /// that is, so that time does not tell which names exist.
    pub fn authenticate(&self, name: &str, password: &Secret) -> bool {
        let user = self.named(name);
        let Some(hash) = user.or(self.users.first()).and_then(|user| PasswordHash::new(user.password.expose()).ok())
        else {
            return false;
        };
        let fits = Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok();
        fits && user.is_some()
    }

    /// Whether the user may give this reverse-path (`None`: the null one, which notices of an application need).
    pub fn may_send(&self, name: &str, reverse_path: Option<&Address>) -> bool {
        self.named(name).is_some_and(|user| {
            user.senders.is_empty()
                || reverse_path.is_none()
                || user.senders.iter().any(|pattern| pattern.matches(reverse_path))
        })
    }

    fn named(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher, SaltString};

    use super::*;
    use crate::config::AddressPattern;

    /// A hash of the least cost: the parameters are read from it.
    fn hash(password: &str) -> Secret {
        let params = argon2::Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let salt = SaltString::encode_b64(b"salt and pepper").unwrap();
        Secret::new(argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string())
    }

    fn users() -> Users {
        let senders = vec![AddressPattern::parse("*@billing.corp.example").unwrap()];
        Users::new(vec![
            User { name: "billing".to_owned(), password: hash("right"), senders, limits: Default::default() },
            User { name: "any".to_owned(), password: hash("other"), senders: Vec::new(), limits: Default::default() },
        ])
    }

    #[test]
    fn the_right_password_of_the_right_user_alone() {
        for (name, password, fits) in [
            ("billing", "right", true),
            ("billing", "other", false),
            ("any", "other", true),
            ("nobody", "right", false),
            ("Billing", "right", false),
            ("billing", "", false),
        ] {
            assert_eq!(users().authenticate(name, &Secret::new(password.to_owned())), fits, "{name} {password}");
        }
        assert!(!Users::new(Vec::new()).authenticate("billing", &Secret::new("right".to_owned())));
    }

    #[test]
    fn a_user_sends_as_what_the_configuration_names() {
        for (name, from, may) in [
            ("billing", Some("app@billing.corp.example"), true),
            ("billing", Some("app@corp.example"), false),
            ("billing", None, true),
            ("any", Some("x@anywhere.example"), true),
            ("nobody", Some("x@anywhere.example"), false),
        ] {
            let from = from.map(|from| from.parse().unwrap());
            assert_eq!(users().may_send(name, from.as_ref()), may, "{name} {from:?}");
        }
    }
}
