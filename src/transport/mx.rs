//! Straight to the exchangers of the recipients' domain (RFC 5321, section 5).
//!
//! Promises:
//! - only DNS that answers can bounce mail: NXDOMAIN, a null MX, no record at all. What could not be found out is
//!   `unavailable`;
//! - hosts are tried by preference until one has a session for us: a connection that fails, a greeting that refuses, TLS
//!   that is required and missing move on to the next. Their number and the time are bounded;
//! - `verify` checks the certificate against the exchanger's host name; `opportunistic` takes any, and goes on in clear
//!   where TLS fails (RFC 7435);
//! - sessions are kept for a while and used for the same domain again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::connection::{At, Chunks, Connection, Encryption, Opener, Target};
use super::dns::DnsError;
use super::environment::{Environment, TransportError};
use super::handover::{Outgoing, hand_over, left, was_stale};
use super::hosts::{NoExchanger, exchangers, in_order};
use super::pool::{Pool, PoolLimits};
use super::smtp::least;
use super::tls::{Check, Tls};
use super::verdict::{Judge, Peer};
use super::{Attempt, Outcome, Transport, Trouble, TroubleKind};
use crate::config::{MxSettings, MxTls, Provider, TlsFloor};
use crate::mail::{Diagnosis, Domain, EnhancedStatus, Recipient, Severity};
use crate::smtp::client::Verdict;

/// Hosts of one domain that an attempt connects to.
const MOST_HOSTS: usize = 5;
/// Addresses of all of them together.
const MOST_TRIES: usize = 10;
/// Hosts of one domain that an attempt looks up.
const MOST_LOOKUPS: usize = 20;
/// Those of them whose name servers give no answer: each may take as long as DNS may.
const MOST_FAILED_LOOKUPS: usize = 3;

/// The `mx` transport.
pub struct MxTransport {
    opener: Arc<Opener>,
    port: u16,
    tls: MxTls,
    environment: Environment,
    pool: Pool<Domain>,
}

impl MxTransport {
    pub fn new(provider: &Provider, settings: &MxSettings, environment: &Environment) -> Result<Self, TransportError> {
        let tls = Tls::new(settings.ca.as_deref())?;
        if settings.tls == MxTls::Verify {
            tls.must_check()?;
        }
        let opener = Opener {
            hostname: environment.hostname.clone(),
            lmtp: false,
            login: None,
            clear_login: false,
            source: settings.source,
            timeouts: provider.timeout,
            tls,
            chunks: Chunks::new(false),
        };
        let limits = PoolLimits {
            idle: Duration::from_secs(10),
            transactions: 100,
            most_per_key: settings.destination_concurrency.max(1),
            most: 500,
        };
        Ok(Self {
            opener: Arc::new(opener),
            port: settings.port,
            tls: settings.tls,
            environment: environment.clone(),
            pool: Pool::new(limits),
        })
    }

    /// The hosts to try, in order; each with its address where no name leads to it.
    async fn hosts(&self, domain: &Domain) -> Result<Vec<Host>, Outcome> {
        if let Some(address) = domain.literal() {
            return Ok(vec![Host { name: address.to_string(), address: Some(address) }]);
        }
        match self.environment.resolver.mx(domain.as_str()).await {
            Ok(records) => match exchangers(records, &self.environment.hostname, &mut rand::rng()) {
                // An exchanger has a name (RFC 5321, 5.1); an address in its place leads nowhere.
                Ok(hosts) => Ok(hosts
                    .into_iter()
                    .filter(|name| name.parse::<IpAddr>().is_err())
                    .map(|name| Host { name, address: None })
                    .collect()),
                Err(NoExchanger::Null) => Err(refused(1, 10, format!("{domain} takes no mail (null MX)"))),
                Err(NoExchanger::Loop) => Err(refused(4, 6, format!("this relay is itself the exchanger of {domain}"))),
            },
            // The domain is its own exchanger then.
            Err(DnsError::NoRecord) => Ok(vec![Host { name: domain.as_str().to_owned(), address: None }]),
            Err(DnsError::NoName) => Err(refused(1, 2, format!("the domain {domain} does not exist"))),
            Err(DnsError::Failed(why)) => Err(dns_trouble(domain.as_str(), &why)),
        }
    }

    /// A session with the first host that has one for us; `gone` are those that this attempt has seen leave.
    async fn open(
        &self,
        domain: &Domain,
        floor: Option<TlsFloor>,
        asked: Asked<'_>,
        gone: &[String],
    ) -> Result<Connection, Outcome> {
        let encryption = encryption(self.tls, floor);
        let timeouts = &self.opener.timeouts;
        let patience = Instant::now() + timeouts.connect * 3 + timeouts.command;
        let (mut last, mut hosts, mut tries, mut failed_lookups) = (None, 0, 0, 0);
        let mut all = self.hosts(domain).await?;
        all.retain(|host| !gone.contains(&host.name));
        let more = all.len() > MOST_LOOKUPS;
        for host in all.into_iter().take(MOST_LOOKUPS) {
            let found = match host.address {
                Some(address) => Ok(vec![address]),
                None => self.environment.resolver.addresses(&host.name).await,
            };
            let found = match found {
                Ok(found) => found,
                Err(DnsError::NoName | DnsError::NoRecord) => continue,
                Err(DnsError::Failed(why)) => {
                    last = Some(dns_trouble(&host.name, &why));
                    failed_lookups += 1;
                    if failed_lookups >= MOST_FAILED_LOOKUPS {
                        break;
                    }
                    continue;
                }
            };
            let judge = self.judge(&host.name, asked);
            let addresses = in_order(found, self.opener.source, &mut rand::rng());
            for address in addresses {
                if tries >= MOST_TRIES || tries > 0 && Instant::now() >= patience {
                    break;
                }
                tries += 1;
                let target = Target { at: At::Tcp(SocketAddr::new(address, self.port)), name: &host.name };
                match Connection::open(&self.opener, target, encryption).await {
                    Ok(connection) => return Ok(connection),
                    Err(why) => {
                        tracing::debug!(%domain, server = host.name, address = %target.at, ?why, "no session");
                        last = Some(judge.no_session(&why));
                    }
                }
            }
            hosts += 1;
            if hosts >= MOST_HOSTS {
                break;
            }
        }
        Err(last.unwrap_or_else(|| match self.opener.source {
            Some(source) if hosts > 0 => {
                let text = format!("{domain} has no exchanger that the source address {source} can reach");
                let status = EnhancedStatus::new(Severity::Transient, 4, 1);
                unavailable(Diagnosis::local(status, text))
            }
            // What was not looked up may have one.
            _ if more => {
                let text = format!("none of the first {MOST_LOOKUPS} exchangers of {domain} has an address");
                unavailable(Diagnosis::local(EnhancedStatus::new(Severity::Transient, 4, 4), text))
            }
            _ => refused(4, 4, format!("no exchanger of {domain} has an address")),
        }))
    }

    fn judge<'a>(&self, remote: &'a str, asked: Asked<'a>) -> Judge<'a> {
        Judge {
            peer: Peer::Exchanger,
            remote,
            sender: asked.attempt.envelope.reverse_path.as_ref(),
            recipients: asked.recipients,
            now: self.environment.clock.now(),
            dsn: false,
        }
    }

    async fn try_it(&self, attempt: &Attempt) -> Result<Vec<Outcome>, Outcome> {
        let outgoing = Outgoing::new(attempt, None).await?;
        let recipients = outgoing.recipients.clone();
        let asked = Asked { attempt, recipients: &recipients };
        let judged = |connection: &Connection, verdicts: &[Verdict]| {
            let judge = Judge { dsn: connection.offered().dsn, ..self.judge(connection.name(), asked) };
            verdicts.iter().map(|verdict| judge.outcome(verdict)).collect()
        };
        let of_recipients = || recipients.first().map(|recipient| recipient.address.domain());
        let Some(domain) = attempt.destination.as_ref().or_else(of_recipients) else { return Ok(Vec::new()) };

        let least = least(attempt.tls);
        let mut gone: Vec<String> = Vec::new();
        let mut last: Option<Vec<Outcome>> = None;
        if let Some(mut kept) = self.pool.take(domain, |connection| connection.security() >= least) {
            let verdicts = hand_over(&mut kept, outgoing).await;
            if !kept.is_ready() {
                // Those that were kept beside it are no better.
                self.pool.purge(domain);
            }
            if left(&verdicts) && !was_stale(&verdicts) {
                gone.push(kept.name().to_owned());
                last = Some(judged(&kept, &verdicts));
            } else if !was_stale(&verdicts) {
                let outcomes = judged(&kept, &verdicts);
                self.pool.put(domain.clone(), kept);
                return Ok(outcomes);
            }
        }
        while gone.len() < MOST_HOSTS {
            let outgoing = Outgoing::new(attempt, None).await?;
            let mut connection = match (Box::pin(self.open(domain, attempt.tls, asked, &gone)).await, last.take()) {
                (Ok(connection), _) => connection,
                // What a host said itself tells more than that no other one is left.
                (Err(_), Some(outcomes)) => return Ok(outcomes),
                (Err(outcome), None) => return Err(outcome),
            };
            let verdicts = hand_over(&mut connection, outgoing).await;
            let outcomes = judged(&connection, &verdicts);
            if !left(&verdicts) {
                self.pool.put(domain.clone(), connection);
                return Ok(outcomes);
            }
            gone.push(connection.name().to_owned());
            last = Some(outcomes);
        }
        Ok(last.unwrap_or_default())
    }
}

impl Transport for MxTransport {
    fn by_destination(&self) -> bool {
        true
    }

    fn attempt<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Vec<Outcome>> {
        self.try_it(attempt).map(|done| done.unwrap_or_else(|outcome| attempt.all(outcome))).boxed()
    }
}

struct Host {
    name: String,
    address: Option<IpAddr>,
}

/// The attempt, and its recipients once looked up.
#[derive(Clone, Copy)]
struct Asked<'a> {
    attempt: &'a Attempt,
    recipients: &'a [&'a Recipient],
}

/// What the route asks, above what the provider is set to.
fn encryption(set: MxTls, floor: Option<TlsFloor>) -> Encryption {
    let floor = match floor {
        None => MxTls::None,
        Some(TlsFloor::Require) => MxTls::Require,
        Some(TlsFloor::Verify) => MxTls::Verify,
    };
    match set.max(floor) {
        MxTls::None => Encryption::None,
        MxTls::Opportunistic => Encryption::Opportunistic,
        MxTls::Require => Encryption::StartTls(Check::Unchecked),
        MxTls::Verify => Encryption::StartTls(Check::Certificate),
    }
}

fn refused(subject: u16, detail: u16, text: String) -> Outcome {
    Outcome::Rejected(Diagnosis::local(EnhancedStatus::new(Severity::Permanent, subject, detail), text))
}

fn dns_trouble(name: &str, why: &str) -> Outcome {
    let status = EnhancedStatus::new(Severity::Transient, 4, 3);
    unavailable(Diagnosis::local(status, format!("{name} cannot be looked up: {why}")))
}

fn unavailable(diagnosis: Diagnosis) -> Outcome {
    Outcome::Unavailable(Trouble { kind: TroubleKind::Connection, diagnosis })
}
