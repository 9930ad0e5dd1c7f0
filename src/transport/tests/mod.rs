//! The SMTP transports against scripted servers on real sockets.

mod chunk;
mod mx;
mod script;
mod smtp;
mod tls;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::dns::{DnsError, Mx, Resolve};
use super::{Attempt, Environment, Lack, Outcome, Progress, Transport};
use crate::config::{
    BreakerSettings, MaildirSettings, Place, Provider, Timeouts, TlsFloor, Transport as TransportSettings,
};
use crate::mail::{
    BodyKind, Domain, DsnRequest, Envelope, HeaderSection, Mid, Origin, ProviderName, Recipient, Timestamp,
};
use crate::os::Clock;
use crate::queue::Content;

/// Runs a test on a runtime of its own: a script's `!hang` stops that runtime's clock, so that time-outs come at once.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

type Answers<T> = HashMap<&'static str, Result<Vec<T>, DnsError>>;

/// DNS from tables. What they do not have does not exist.
#[derive(Default)]
struct FakeDns {
    mx: Answers<(u16, &'static str)>,
    addresses: Answers<&'static str>,
}

impl Resolve for FakeDns {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        let found = self.mx.get(domain).cloned().unwrap_or(Err(DnsError::NoName));
        let record = |(preference, host): (u16, &str)| Mx { preference, host: host.to_owned() };
        async move { found.map(|records| records.into_iter().map(record).collect()) }.boxed()
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        let found = self.addresses.get(host).cloned().unwrap_or(Err(DnsError::NoName));
        async move { found.map(|addresses| addresses.iter().map(|address| address.parse().unwrap()).collect()) }.boxed()
    }
}

fn environment(dns: FakeDns) -> Environment {
    Environment { hostname: "relay.example".parse().unwrap(), resolver: Arc::new(dns), clock: Clock::system() }
}

fn provider() -> Provider {
    Provider {
        name: ProviderName::new("out"),
        place: Place { file: "providers/test.yaml".into(), line: 1, column: 1 },
        transport: TransportSettings::Maildir(MaildirSettings { path: "unused".into() }),
        region: None,
        limit: None,
        concurrency: 8,
        quota: None,
        breaker: BreakerSettings {
            failures: 5,
            within: Duration::from_secs(30),
            probe_after: Duration::from_secs(15),
            probe_max: Duration::from_secs(600),
        },
        timeout: Timeouts {
            connect: Duration::from_secs(20),
            command: Duration::from_secs(30),
            content: Duration::from_secs(40),
        },
    }
}

const CONTENT: &str = "Subject: hi\r\nX-SMTPAPI: {}\r\n\r\nbody\r\n.dot\r\n";

fn attempt(recipients: &[&str]) -> Attempt {
    attempt_with(recipients, CONTENT.into())
}

fn attempt_with(recipients: &[&str], content: Bytes) -> Attempt {
    let header_size = HeaderSection::size_in(&content).unwrap();
    let recipients: Vec<_> = recipients.iter().map(|to| Recipient::new(to.parse().unwrap())).collect();
    let envelope = Envelope {
        reverse_path: Some("s@a.example".parse().unwrap()),
        dsn: DsnRequest::default(),
        body: BodyKind::SevenBit,
        smtputf8: false,
        origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
        accepted_at: Timestamp::UNIX_EPOCH,
        header_size: header_size as u32,
        size: content.len() as u64,
        recipients,
    };
    Attempt {
        mid: Mid::from_bits(1),
        recipients: (0..envelope.recipients.len() as u32).collect(),
        destination: None,
        content: Content::memory(content, header_size),
        envelope: Arc::new(envelope),
        tls: None,
        at_once: true,
        progress: Progress::default(),
    }
}

fn with_floor(attempt: Attempt, tls: TlsFloor) -> Attempt {
    Attempt { tls: Some(tls), ..attempt }
}

fn bound_for(domain: &str, attempt: Attempt) -> Attempt {
    Attempt { destination: Some(domain.parse::<Domain>().unwrap()), ..attempt }
}

/// An outcome in short: its name, the kind of trouble, the code of the reply.
fn brief(outcome: &Outcome) -> String {
    let code = outcome.diagnosis().code.map(|code| format!(" {code}")).unwrap_or_default();
    match outcome {
        Outcome::Unavailable(trouble) => format!("unavailable {:?}{code}", trouble.kind),
        Outcome::Unsupported(Lack::Sender(_)) => format!("unsupported sender{code}"),
        outcome => format!("{}{code}", outcome.name()),
    }
}

async fn outcomes(transport: &dyn Transport, attempt: &Attempt) -> String {
    let outcomes = transport.attempt(attempt).await;
    assert_eq!(outcomes.len(), attempt.recipients.len());
    outcomes.iter().map(brief).collect::<Vec<_>>().join(", ")
}
