//! A smart host over SMTP.
//!
//! Connections are kept and used again; one that proves dead before the host took anything in is replaced once, which
//! counts as no outcome. All of a host's addresses are tried before the host is out. A name that does not resolve is the
//! provider's trouble, never a refusal.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::connection::{Connection, Encryption, NoSession, Opener, Security, Target};
use super::environment::{Environment, TransportError};
use super::handover::{Outgoing, hand_over, was_stale};
use super::hosts::in_order;
use super::pool::{Pool, PoolLimits};
use super::tls::{Check, Tls};
use super::verdict::{Judge, Peer};
use super::{Attempt, Outcome, Transport, Trouble, TroubleKind, flavor};
use crate::config::{Flavor, Provider, SmtpSettings, SmtpTls, TlsFloor};
use crate::mail::{Diagnosis, EnhancedStatus, Severity};
use crate::smtp::client::{Login, Verdict};

/// How long a session is kept without mail, and for how many transactions.
const IDLE: Duration = Duration::from_secs(30);
const TRANSACTIONS: u32 = 1000;

/// The `smtp` transport.
pub struct SmtpTransport {
    opener: Arc<Opener>,
    host: String,
    port: u16,
    tls: SmtpTls,
    flavor: Option<Flavor>,
    environment: Environment,
    pool: Pool<()>,
}

impl SmtpTransport {
    pub fn new(
        provider: &Provider,
        settings: &SmtpSettings,
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
            login,
            clear_login: is_this_machine(&settings.host),
            source: settings.source,
            timeouts: provider.timeout,
            tls,
        };
        Ok(Self {
            opener: Arc::new(opener),
            host: bare(&settings.host).to_owned(),
            port: settings.port,
            tls: settings.tls,
            flavor: settings.flavor.or_else(|| flavor::of_host(&settings.host)),
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
            let target = Target { address: SocketAddr::new(address, self.port), name: &self.host };
            match Connection::open(&self.opener, target, encryption).await {
                Ok(connection) => return Ok(connection),
                Err(why) => {
                    tracing::debug!(server = self.host, address = %target.address, ?why, "no session");
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
        };
        let judged = |verdicts: &[Verdict]| verdicts.iter().map(|verdict| judge.outcome(verdict)).collect();

        let floor = least(attempt.tls);
        if let Some(mut kept) = self.pool.take(&(), |connection| connection.security() >= floor) {
            let verdicts = hand_over(&mut kept, outgoing).await;
            if !kept.is_ready() {
                // Those that were kept beside it are no better.
                self.pool.purge(&());
            }
            if !was_stale(&verdicts) {
                self.pool.put((), kept);
                return Ok(judged(&verdicts));
            }
        }
        let outgoing = Outgoing::new(attempt, self.flavor).await?;
        let mut connection = self.open(encryption(self.tls, attempt.tls), &judge).await?;
        let verdicts = hand_over(&mut connection, outgoing).await;
        self.pool.put((), connection);
        Ok(judged(&verdicts))
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
