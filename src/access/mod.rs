//! Who may relay: networks, users, their passwords, and what each may send as.
//!
//! Promises:
//! - a password is checked beside the runtime, few at a time in the whole process, behind a line of bounded length: many
//!   logins slow logins down, and nothing else;
//! - failed logins are answered late, and beyond a limit for an address or a user none is tried for a while;
//! - a name that is not known costs as much as one that is, so that time does not tell which names exist;
//! - all that is remembered of clients is bounded, and no password is kept in clear.

mod bounded;
mod cache;
mod directory;
mod ledger;
mod line;
mod networks;
mod password;
mod senders;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::config::{self, LoginLimits, ScramVerifier, Secret, ShowDuration, User, Verifier};
use crate::smtp::server::Challenge;

use cache::Cache;
use directory::Directory;
use ledger::{Ledger, Refused};
use line::{Line, Turn};

pub use directory::DirectoryError;
pub use networks::Networks;
pub use senders::Senders;

/// Logins that wait for their password's turn; one more is put off.
const WAITING: usize = 128;
/// How long a password that was checked needs no further check.
const CACHED: Duration = Duration::from_secs(300);
/// A failed login is answered after at most so many delays.
const MOST_DELAYS: u32 = 5;

/// The users, and their logins.
#[derive(Debug)]
pub struct Access {
    users: HashMap<String, Known>,
    /// What the password of a name that is not known is checked against.
    nobody: Option<Verifier>,
    some_scram: Option<Arc<ScramVerifier>>,
    directory: Option<Directory>,
    /// Of its users, but for those with an entry here.
    directory_senders: Option<Arc<Senders>>,
    limits: LoginLimits,
    line: Line,
    /// Goes along to the users of a changed configuration: nobody starts guessing anew.
    ledger: Arc<Mutex<Ledger>>,
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Known {
    verifier: Option<Verifier>,
    senders: Arc<Senders>,
}

/// What a login came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    Good,
    Wrong,
    /// The address or the user failed too often: nothing was checked.
    Refused,
    /// Too many wait: nothing was checked.
    Busy,
    /// It could not be checked.
    Unavailable,
}

impl Access {
    /// Blocking: a directory's certificates are read.
    pub fn new(
        users: Vec<User>,
        directory: Option<config::Directory>,
        limits: LoginLimits,
    ) -> Result<Self, DirectoryError> {
        let cached = directory.as_ref().map_or(CACHED, |directory| directory.cache);
        let directory_senders = directory.as_ref().map(|directory| Arc::new(Senders::of_directory(directory)));
        let nobody = users.iter().find_map(|user| user.password.clone());
        let some_scram = users.iter().find_map(|user| match &user.password {
            Some(Verifier::Scram(verifier)) => Some(verifier.clone()),
            Some(Verifier::Argon2(_)) | None => None,
        });
        let users = users.into_iter().map(|user| {
            let senders = Arc::new(Senders::of_user(&user));
            (user.name, Known { verifier: user.password, senders })
        });
        let checks = limits.checks.unwrap_or_else(half_of_the_cpus);
        Ok(Self {
            users: users.collect(),
            nobody,
            some_scram,
            line: Line::new(checks, WAITING),
            ledger: Arc::new(Mutex::new(Ledger::new(&limits))),
            cache: Mutex::new(Cache::new(cached)),
            directory: directory.map(Directory::new).transpose()?,
            directory_senders,
            limits,
        })
    }

    /// The users of a changed configuration. Failed logins stay counted.
    pub fn renewed(
        &self,
        users: Vec<User>,
        directory: Option<config::Directory>,
        limits: LoginLimits,
    ) -> Result<Self, DirectoryError> {
        let new = Self::new(users, directory, limits)?;
        locked(&self.ledger).renew(&limits);
        Ok(Self { ledger: self.ledger.clone(), ..new })
    }

    /// A login that was good before is still one: the user is there, by the same password.
    pub fn keeps_login(&self, before: &Self, user: &str) -> bool {
        match (self.users.get(user), before.users.get(user)) {
            (Some(known), Some(before)) => known.verifier == before.verifier,
            (Some(known), None) => known.verifier.is_none() && self.directory.is_some(),
            (None, Some(before)) => before.verifier.is_none() && self.directory.is_some(),
            (None, None) => self.directory.is_some(),
        }
    }

    /// The name that a user goes by, of all that the client may write for it.
    pub fn name(&self, user: String) -> String {
        if self.directory.is_none() || self.users.contains_key(&user) {
            return user;
        }
        Directory::name(&user).unwrap_or(user)
    }

    /// What the user may send as; `None`: anything.
    pub fn senders(&self, user: &str) -> Option<&Arc<Senders>> {
        self.users.get(user).map(|known| &known.senders).or(self.directory_senders.as_ref())
    }

    /// Whether the password is the user's. A failure is answered late.
    ///
    /// Dropped while it waits, it leaves nothing behind but a password that may still be checked.
    pub async fn sign_in(&self, client: IpAddr, user: &str, password: Secret) -> Login {
        let (login, turn) = self.check(client, user, password).await;
        let delay = self.settle(client, user, login);
        // Counted by now: the next in line may be one failure too many.
        drop(turn);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        login
    }

    async fn check(&self, client: IpAddr, user: &str, password: Secret) -> (Login, Option<Turn>) {
        if password.expose().is_empty() {
            return (Login::Wrong, None);
        }
        if let Some(login) = self.at_once(client, user, &password) {
            return (login, None);
        }
        let known = self.users.get(user).and_then(|known| known.verifier.clone());
        let directory = self.directory.as_ref().filter(|_| known.is_none());
        let turn = match directory {
            Some(directory) => directory.turn().await,
            None => self.line.turn().await,
        };
        let Some(turn) = turn else { return (Login::Busy, None) };
        // While this one waited, the same login may have been tried, or too many others of the address.
        if let Some(login) = self.at_once(client, user, &password) {
            return (login, Some(turn));
        }
        if let Some(directory) = directory {
            let login = directory.sign_in(user, &password).await;
            if let Login::Good | Login::Wrong = login {
                locked(&self.cache).put(user, &password, login == Login::Good, Instant::now());
            }
            return (login, Some(turn));
        }
        let (verifier, is_known) = match (known, &self.nobody) {
            (Some(verifier), _) => (verifier, true),
            (None, Some(nobody)) => (nobody.clone(), false),
            (None, None) => return (Login::Wrong, Some(turn)),
        };
        let tried = password.clone();
        // The turn goes along: it ends when the CPU is free again, whether or not the client has waited for it.
        let checked = tokio::task::spawn_blocking(move || (password::fits(&verifier, &tried) && is_known, turn));
        match checked.await {
            Ok((fits, turn)) => {
                locked(&self.cache).put(user, &password, fits, Instant::now());
                (if fits { Login::Good } else { Login::Wrong }, Some(turn))
            }
            Err(error) => {
                warn!(%client, user, %error, "a password could not be checked");
                (Login::Unavailable, None)
            }
        }
    }

    /// Some user can sign in by SCRAM.
    pub fn offers_scram(&self) -> bool {
        self.some_scram.is_some()
    }

    /// What a login by SCRAM is checked against. A name that is not known, or has no such verifier, gets one that is made up,
    /// and always the same, so that it looks as any other does.
    pub fn challenge(&self, client: IpAddr, user: &str) -> Result<Challenge, Login> {
        let Some(some) = &self.some_scram else { return Err(Login::Wrong) };
        if locked(&self.ledger).refuses(client, user, Instant::now()) {
            return Err(Login::Refused);
        }
        let verifier = match self.users.get(user).and_then(|known| known.verifier.as_ref()) {
            Some(Verifier::Scram(verifier)) => verifier.clone(),
            Some(Verifier::Argon2(_)) | None => Arc::new(password::made_up(user, some)),
        };
        Ok(Challenge { verifier, nonce: BASE64.encode(rand::random::<[u8; 18]>()) })
    }

    /// What a login by SCRAM came to. A failure is answered late.
    pub async fn proven(&self, client: IpAddr, user: &str, proven: bool) -> Login {
        // Others of the address may have failed since the challenge.
        let login = match (locked(&self.ledger).refuses(client, user, Instant::now()), proven) {
            (true, _) => Login::Refused,
            (false, true) => Login::Good,
            (false, false) => Login::Wrong,
        };
        let delay = self.settle(client, user, login);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        login
    }

    /// What needs no check: it is refused, or was checked a moment ago.
    fn at_once(&self, client: IpAddr, user: &str, password: &Secret) -> Option<Login> {
        let now = Instant::now();
        if locked(&self.ledger).refuses(client, user, now) {
            return Some(Login::Refused);
        }
        let fits = locked(&self.cache).get(user, password, now)?;
        Some(if fits { Login::Good } else { Login::Wrong })
    }

    /// Remembers what a login came to, and gives the time that it must wait.
    fn settle(&self, client: IpAddr, user: &str, login: Login) -> Duration {
        match login {
            Login::Good => {
                locked(&self.ledger).succeeded(client, user, Instant::now());
                Duration::ZERO
            }
            Login::Wrong => {
                let (failures, refused) = locked(&self.ledger).failed(client, user, Instant::now());
                let span = ShowDuration(self.limits.refuse_for);
                for refused in refused {
                    match refused {
                        Refused::Address => warn!(%client, "too many failed logins: the address is refused for {span}"),
                        Refused::User => warn!(%client, user, "too many failed logins: the user is refused for {span}"),
                    }
                }
                let delays = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(MOST_DELAYS).min(MOST_DELAYS);
                self.limits.delay * delays
            }
            Login::Refused | Login::Busy | Login::Unavailable => Duration::ZERO,
        }
    }
}

/// Held for a few lines, and never over a wait. A panic within leaves counts behind, and no broken promise.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The other half is for the mail.
fn half_of_the_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| (cpus.get() / 2).max(1))
}
