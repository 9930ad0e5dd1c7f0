//! `waypost hash-password`: what `password` of a user holds.

use std::io::{self, BufRead, IsTerminal as _, Read as _};
use std::num::NonZeroU32;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, SaltString};

use crate::config::ScramVerifier;
use crate::smtp::scram;

/// Hash a password for `users`; read from the terminal without echo, or as one line from a pipe
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A verifier that serves SCRAM-SHA-256 too, in PostgreSQL's form
    #[arg(long)]
    scram: bool,
}

/// As slow as the argon2 hash is, about.
const ITERATIONS: NonZeroU32 = match NonZeroU32::new(100_000) {
    Some(iterations) => iterations,
    None => NonZeroU32::MIN,
};
const LONGEST: u64 = 4096;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let password = if io::stdin().is_terminal() { ask()? } else { line(&mut io::stdin().lock())? };
    if password.is_empty() {
        bail!("the password is empty");
    }
    let hash = if args.scram { scram_verifier(&password) } else { argon2_hash(&password)? };
    say!("{hash}");
    Ok(ExitCode::SUCCESS)
}

/// Twice, for nobody sees it.
fn ask() -> anyhow::Result<String> {
    let password = rpassword::prompt_password("Password: ").context("the password cannot be read")?;
    let again = rpassword::prompt_password("Again: ").context("the password cannot be read")?;
    if password != again {
        bail!("the two differ");
    }
    Ok(password)
}

/// The first line, without its end.
fn line(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    input.take(LONGEST + 2).read_line(&mut line).context("the password cannot be read")?;
    let text = line.strip_suffix('\n').map_or(line.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.len() as u64 > LONGEST {
        bail!("the password is longer than {LONGEST} octets");
    }
    if text.contains(char::is_control) {
        bail!("the password has a control character in it, which no mail client can give");
    }
    Ok(text.to_owned())
}

fn argon2_hash(password: &str) -> anyhow::Result<String> {
    let fault = |error| anyhow::anyhow!("the password cannot be hashed: {error}");
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(fault)?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(fault)?.to_string())
}

fn scram_verifier(password: &str) -> String {
    let salt = rand::random::<[u8; 16]>();
    let keys = scram::keys(password, &salt, ITERATIONS);
    ScramVerifier { iterations: ITERATIONS, salt: salt.to_vec(), stored_key: keys.stored, server_key: keys.server }
        .text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Verifier;

    #[test]
    fn one_line_is_the_password() {
        for (input, password) in [
            ("secret\n", Some("secret")),
            ("secret\r\n", Some("secret")),
            ("secret", Some("secret")),
            (" with spaces \nmore\n", Some(" with spaces ")),
            ("", Some("")),
            ("a\tb\n", None),
        ] {
            assert_eq!(line(&mut input.as_bytes()).ok().as_deref(), password, "{input:?}");
        }
        assert!(line(&mut "x".repeat(5000).as_bytes()).is_err());
    }

    #[test]
    fn both_forms_are_good_for_a_configuration() {
        for text in [argon2_hash("secret").unwrap(), scram_verifier("secret")] {
            assert!(Verifier::parse(&text).is_some(), "{text}");
        }
        assert_ne!(argon2_hash("secret").unwrap(), argon2_hash("secret").unwrap());
    }
}
