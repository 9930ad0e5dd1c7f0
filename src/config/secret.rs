//! Secrets that cannot be printed by accident, and where their values come from: `${env:NAME}` or `${file:PATH}`.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A password, key or token. Prints as `***`; only `expose` gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it: the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a configuration refers to outside its own files.
pub trait Outside {
    /// The value of an environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// The text of a secret's file.
    fn secret_file(&self, path: &Path) -> io::Result<String>;
    /// Whether a certificate or key file can be opened.
    fn readable(&self, path: &Path) -> io::Result<()>;
    /// What the system calls itself.
    fn hostname(&self) -> Option<String>;
    /// Values are made up: what they hold says nothing.
    fn assumes(&self) -> bool {
        false
    }
}

/// The real thing.
#[derive(Debug, Clone, Copy)]
pub struct System;

/// More than any secret has; a path that leads to a device or a log must not fill the memory.
const LARGEST_SECRET: u64 = 64 * 1024;

impl Outside for System {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn secret_file(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(path)?.take(LARGEST_SECRET + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LARGEST_SECRET { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
    }

    fn readable(&self, path: &Path) -> io::Result<()> {
        if std::fs::File::open(path)?.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) }
    }

    fn hostname(&self) -> Option<String> {
        crate::os::hostname()
    }
}

/// Takes every secret and file as given: for checking a configuration where its secrets are not, such as in a review.
#[derive(Debug, Clone, Copy)]
pub struct Assumed;

impl Outside for Assumed {
    fn env(&self, _: &str) -> Option<String> {
        Some("assumed".to_owned())
    }

    fn secret_file(&self, _: &Path) -> io::Result<String> {
        Ok("assumed".to_owned())
    }

    fn readable(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn hostname(&self) -> Option<String> {
        Some("relay.example".to_owned())
    }

    fn assumes(&self) -> bool {
        true
    }
}

/// Takes a secret's value where it can be read, and else as given: for a verb that needs one of them, run by somebody who may
/// not read the others.
#[derive(Debug, Clone, Copy)]
pub struct Known;

impl Known {
    /// Stands for a secret that could not be read.
    pub const UNREADABLE: &str = "unreadable";
}

impl Outside for Known {
    fn env(&self, name: &str) -> Option<String> {
        Some(System.env(name).unwrap_or_else(|| Self::UNREADABLE.to_owned()))
    }

    fn secret_file(&self, path: &Path) -> io::Result<String> {
        Ok(System.secret_file(path).unwrap_or_else(|_| Self::UNREADABLE.to_owned()))
    }

    fn readable(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn hostname(&self) -> Option<String> {
        System.hostname()
    }

    fn assumes(&self) -> bool {
        true
    }
}

/// Why a reference gives no value. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("environment variable '{0}' is not set; set it, or use ${{file:PATH}}")]
    NotSet(String),
    #[error("cannot read the secret's file {path}: {error}", path = .path.display())]
    File { path: PathBuf, error: String },
    #[error("{0} is empty")]
    Empty(String),
    #[error("{0} has more than one line, or a control character")]
    Lines(String),
    #[error("a reference is ${{env:NAME}} or ${{file:PATH}}, and the whole of the value")]
    Reference,
}

/// Where a value comes from.
pub(super) enum Origin {
    Clear,
    Referred,
}

/// The value that `text` gives or refers to. Paths are resolved against `base`.
pub(super) fn resolve(text: &str, base: &Path, outside: &dyn Outside) -> Result<(String, Origin), SecretError> {
    if !text.contains("${") {
        let name = "the value".to_owned();
        return match fault_of(text) {
            Some(fault) => Err(fault(name)),
            None => Ok((text.to_owned(), Origin::Clear)),
        };
    }
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).ok_or(SecretError::Reference)?;
    if inner.contains('}') {
        return Err(SecretError::Reference);
    }
    let (value, what) = match inner.split_once(':') {
        Some(("env", name)) if !name.is_empty() && !name.contains(['=', '\0']) => {
            let value = outside.env(name).ok_or_else(|| SecretError::NotSet(name.to_owned()))?;
            (value, format!("environment variable '{name}'"))
        }
        Some(("file", path)) if !path.is_empty() => {
            let path = base.join(path);
            let value = outside
                .secret_file(&path)
                .map_err(|error| SecretError::File { path: path.clone(), error: plain(&error) })?;
            (value, format!("the file {}", path.display()))
        }
        Some(_) | None => return Err(SecretError::Reference),
    };
    // Editors and `echo` end files with a newline that is no part of the secret.
    let value = value.strip_suffix('\n').map_or(value.as_str(), |rest| rest.strip_suffix('\r').unwrap_or(rest));
    match fault_of(value) {
        Some(fault) => Err(fault(what)),
        None => Ok((value.to_owned(), Origin::Referred)),
    }
}

/// A line end in a secret would break the header field or command that carries it.
fn fault_of(value: &str) -> Option<fn(String) -> SecretError> {
    if value.is_empty() {
        Some(SecretError::Empty)
    } else if value.contains(char::is_control) {
        Some(SecretError::Lines)
    } else {
        None
    }
}

/// An I/O error in words, without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake;

    impl Outside for Fake {
        fn env(&self, name: &str) -> Option<String> {
            [("KEY", "s3cret"), ("EMPTY", ""), ("NEWLINE", "a\n"), ("TWO", "a\nb")]
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        }
        fn secret_file(&self, path: &Path) -> io::Result<String> {
            match path.to_str() {
                Some("/etc/waypost/key") => Ok("from-file\r\n".to_owned()),
                Some("/run/key") => Ok("absolute".to_owned()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
        fn readable(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
        fn hostname(&self) -> Option<String> {
            None
        }
    }

    fn value(text: &str) -> Result<String, SecretError> {
        resolve(text, Path::new("/etc/waypost"), &Fake).map(|(value, _)| value)
    }

    #[test]
    fn references_give_their_value() {
        for (text, secret) in [
            ("${env:KEY}", "s3cret"),
            ("${env:NEWLINE}", "a"),
            ("${file:key}", "from-file"),
            ("${file:/run/key}", "absolute"),
            ("clear", "clear"),
        ] {
            assert_eq!(value(text).as_deref(), Ok(secret), "{text}");
        }
    }

    #[test]
    fn what_gives_no_value_says_why() {
        for (text, message) in [
            ("${env:NONE}", "environment variable 'NONE' is not set; set it, or use ${file:PATH}"),
            ("${env:EMPTY}", "environment variable 'EMPTY' is empty"),
            ("${env:TWO}", "environment variable 'TWO' has more than one line, or a control character"),
            ("${file:none}", "cannot read the secret's file /etc/waypost/none: entity not found"),
            ("${KEY}", "a reference is ${env:NAME} or ${file:PATH}, and the whole of the value"),
            ("${env:}", "a reference is ${env:NAME} or ${file:PATH}, and the whole of the value"),
            ("Bearer ${env:KEY}", "a reference is ${env:NAME} or ${file:PATH}, and the whole of the value"),
            ("${env:KEY}${env:KEY}", "a reference is ${env:NAME} or ${file:PATH}, and the whole of the value"),
        ] {
            assert_eq!(value(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }
}
