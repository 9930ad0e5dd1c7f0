//! A smart host over SMTP; also a server for internal delivery over LMTP, which differs in what the session machine says
//! and in that it may listen on a Unix socket.
//!
//! Connections are kept and used again; one that proves dead before the host took anything in is replaced once, which
//! counts as no outcome. All of a host's addresses are tried before the host is out. A name that does not resolve is the
//! provider's trouble, never a refusal.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::connection::{At, Chunks, Connection, Encryption, NoSession, Opener, Security, Target};
use super::environment::{Environment, TransportError};
use super::handover::{Outgoing, hand_over, was_stale};
use super::hosts::in_order;
use super::pool::{Pool, PoolLimits};
use super::tls::{Check, Tls};
use super::verdict::{Judge, Peer};
use super::{Attempt, Outcome, Transport, Trouble, TroubleKind, flavor};
use crate::config::{Flavor, LmtpSettings, LmtpWay, Provider, SmtpSettings, SmtpTls, TlsFloor};
use crate::mail::{Diagnosis, EnhancedStatus, Severity};
use crate::smtp::client::{Login, Verdict};

/// How long a session is kept without mail, and for how many transactions.
const IDLE: Duration = Duration::from_secs(30);
const TRANSACTIONS: u32 = 1000;

/// The transports `smtp` and `lmtp`.
pub struct SmtpTransport {
    opener: Arc<Opener>,
    way: Way,
    /// What diagnoses call the server.
    host: String,
    tls: SmtpTls,
    flavor: Option<Flavor>,
    environment: Environment,
    pool: Pool<()>,
}

/// What differs between the two.
struct Server {
    lmtp: bool,
    way: Way,
    host: String,
    flavor: Option<Flavor>,
    clear_login: bool,
}

/// Where the server is.
enum Way {
    Port(u16),
    Socket(PathBuf),
}

impl SmtpTransport {
    pub fn new(
        provider: &Provider,
        settings: &SmtpSettings,
        environment: &Environment,
    ) -> Result<Self, TransportError> {
        let host = bare(&settings.host).to_owned();
        let flavor = settings.flavor.or_else(|| flavor::of_host(&settings.host));
        let clear_login = is_this_machine(&settings.host);
        let server = Server { lmtp: false, way: Way::Port(settings.port), host, flavor, clear_login };
        Self::build(provider, settings, server, environment)
    }

    pub fn lmtp(
        provider: &Provider,
        settings: &LmtpSettings,
        environment: &Environment,
    ) -> Result<Self, TransportError> {
        let (way, host, clear_login) = match &settings.way {
            LmtpWay::Host { host, port } => (Way::Port(*port), bare(host).to_owned(), is_this_machine(host)),
            LmtpWay::Socket(path) if cfg!(unix) => (Way::Socket(path.clone()), path.display().to_string(), true),
            LmtpWay::Socket(path) => return Err(TransportError::NoUnixSockets(path.clone())),
        };
        let common = SmtpSettings {
            host: host.clone(),
            port: 0,
            tls: settings.tls,
            credentials: settings.credentials.clone(),
            ca: settings.ca.clone(),
            source: settings.source,
            flavor: None,
            chunking: false,
        };
        let server = Server { lmtp: true, way, host, flavor: None, clear_login };
        Self::build(provider, &common, server, environment)
    }

    fn build(
        provider: &Provider,
        settings: &SmtpSettings,
        server: Server,
        environment: &Environment,
    ) -> Result<Self, TransportError> {
        let tls = Tls::new(settings.ca.as_deref())?;
        if matches!(settings.tls, SmtpTls::StartTls | SmtpTls::Implicit) {
            tls.must_check()?;
        }
        let login = settings.credentials.as_ref().map(|credentials| Login {
            username: credentials.username.clone(),
            password: credentials.password.clone(),
        });
        let opener = Opener {
            hostname: environment.hostname.clone(),
            lmtp: server.lmtp,
            login,
            clear_login: server.clear_login,
            source: settings.source,
            timeouts: provider.timeout,
            tls,
            chunks: Chunks::new(settings.chunking),
        };
        Ok(Self {
            opener: Arc::new(opener),
            way: server.way,
            host: server.host,
            tls: settings.tls,
            flavor: server.flavor,
            environment: environment.clone(),
            // As many as may be at work at once: fewer would be opened and closed all the time.
            pool: Pool::new(PoolLimits {
                idle: IDLE,
                transactions: TRANSACTIONS,
                most_per_key: provider.concurrency,
                most: provider.concurrency,
            }),
        })
    }

    /// Connects to the first of the host's addresses that has a session for us.
    async fn open(&self, encryption: Encryption, judge: &Judge<'_>) -> Result<Connection, Outcome> {
        let port = match &self.way {
            Way::Port(port) => *port,
            Way::Socket(path) => {
                let target = Target { at: At::Socket(path), name: &self.host };
                let opened = Connection::open(&self.opener, target, encryption).await;
                return opened.map_err(|why| judge.no_session(&why));
            }
        };
        let found = match self.host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.environment.resolver.addresses(&self.host).await.map_err(|error| {
                let status = EnhancedStatus::new(Severity::Transient, 4, 3);
                let text = format!("{} does not resolve: {error}", self.host);
                let diagnosis = Diagnosis::about(&self.host, status, text);
                Outcome::Unavailable(Trouble { kind: TroubleKind::Connection, diagnosis })
            })?,
        };
        let addresses = in_order(found, self.opener.source, &mut rand::rng());
        // Every address may take its time to connect; no further one is begun when this is over.
        let patience = Instant::now() + self.opener.timeouts.connect * 2 + self.opener.timeouts.command;
        let mut last = NoSession::Connect {
            timed_out: false,
            detail: format!("{} has no address that the source address can reach", self.host),
        };
        for address in addresses {
            let target = Target { at: At::Tcp(SocketAddr::new(address, port)), name: &self.host };
            match Connection::open(&self.opener, target, encryption).await {
                Ok(connection) => return Ok(connection),
                Err(why) => {
                    tracing::debug!(server = self.host, address = %target.at, ?why, "no session");
                    last = why;
                }
            }
            if Instant::now() >= patience {
                break;
            }
        }
        Err(judge.no_session(&last))
    }

    async fn try_it(&self, attempt: &Attempt) -> Result<Vec<Outcome>, Outcome> {
        let outgoing = Outgoing::new(attempt, self.flavor).await?;
        let recipients = outgoing.recipients.clone();
        let judge = Judge {
            peer: Peer::SmartHost(self.flavor),
            remote: &self.host,
            sender: attempt.envelope.reverse_path.as_ref(),
            recipients: &recipients,
            now: self.environment.clock.now(),
            dsn: false,
        };
        let judged = |connection: &Connection, verdicts: &[Verdict]| {
            let judge = Judge { dsn: connection.offered().dsn, ..judge };
            verdicts.iter().map(|verdict| judge.outcome(verdict)).collect()
        };

        let floor = least(attempt.tls);
        if let Some(mut kept) = self.pool.take(&(), |connection| connection.security() >= floor) {
            let verdicts = hand_over(&mut kept, outgoing).await;
            if !kept.is_ready() {
                // Those that were kept beside it are no better.
                self.pool.purge(&());
            }
            if !was_stale(&verdicts) {
                let outcomes = judged(&kept, &verdicts);
                self.pool.put((), kept);
                return Ok(outcomes);
            }
        }
        let outgoing = Outgoing::new(attempt, self.flavor).await?;
        // In a place of its own: most attempts find a session, and are the smaller for it.
        let mut connection = Box::pin(self.open(encryption(self.tls, attempt.tls), &judge)).await?;
        let verdicts = hand_over(&mut connection, outgoing).await;
        let outcomes = judged(&connection, &verdicts);
        self.pool.put((), connection);
        Ok(outcomes)
    }
}

impl Transport for SmtpTransport {
    fn most_recipients(&self) -> usize {
        // SES refuses a transaction with more.
        if self.flavor == Some(Flavor::Ses) { 50 } else { 100 }
    }

    fn attempt<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Vec<Outcome>> {
        self.try_it(attempt).map(|done| done.unwrap_or_else(|outcome| attempt.all(outcome))).boxed()
    }
}

/// What the route asks, above what the provider is set to.
fn encryption(set: SmtpTls, floor: Option<TlsFloor>) -> Encryption {
    match (set, floor) {
        (SmtpTls::None, None) => Encryption::None,
        (SmtpTls::Opportunistic, None) => Encryption::Opportunistic,
        (SmtpTls::None | SmtpTls::Opportunistic, Some(TlsFloor::Require)) => Encryption::StartTls(Check::Unchecked),
        (SmtpTls::None | SmtpTls::Opportunistic, Some(TlsFloor::Verify)) => Encryption::StartTls(Check::Certificate),
        (SmtpTls::StartTls, _) => Encryption::StartTls(Check::Certificate),
        (SmtpTls::Implicit, _) => Encryption::Implicit(Check::Certificate),
    }
}

/// The least that a kept connection must have.
pub(super) fn least(floor: Option<TlsFloor>) -> Security {
    match floor {
        None => Security::Clear,
        Some(TlsFloor::Require) => Security::Encrypted,
        Some(TlsFloor::Verify) => Security::Verified,
    }
}

/// Without the brackets of an address, and the final dot of a name.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.')
}

fn is_this_machine(host: &str) -> bool {
    let host = bare(host);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_raises_the_floor_and_never_lowers_it() {
        use TlsFloor::{Require, Verify};
        for (set, floor, expected) in [
            (SmtpTls::None, None, Encryption::None),
            (SmtpTls::None, Some(Require), Encryption::StartTls(Check::Unchecked)),
            (SmtpTls::Opportunistic, None, Encryption::Opportunistic),
            (SmtpTls::Opportunistic, Some(Verify), Encryption::StartTls(Check::Certificate)),
            (SmtpTls::StartTls, Some(Require), Encryption::StartTls(Check::Certificate)),
            (SmtpTls::Implicit, None, Encryption::Implicit(Check::Certificate)),
        ] {
            assert_eq!(encryption(set, floor), expected);
        }
    }

    #[test]
    fn passwords_go_in_clear_to_this_machine_alone() {
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("LocalHost", true),
            ("localhost.example", false),
            ("10.0.0.1", false),
            ("smtp.example", false),
        ] {
            assert_eq!(is_this_machine(host), expected, "{host}");
        }
    }
}
