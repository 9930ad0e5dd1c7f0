//! Attempts and providers to try transports with.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use waypost::config::{
    BreakerSettings, MaildirSettings, MailgunSettings, Place, Provider, Secret, SendGridSettings, SesCredentials,
    SesSettings, Timeouts, Transport as Settings,
};
use waypost::mail::{BodyKind, DsnRequest, Envelope, HeaderSection, Mid, Origin, ProviderName, Recipient, Timestamp};
use waypost::os::Clock;
use waypost::queue::Content;
use waypost::transport::dns::{DnsError, Mx, Resolve};
use waypost::transport::{
    Attempt, Environment, MaildirTransport, MailgunTransport, Outcome, Progress, SendGridTransport, SesTransport,
    Transport,
};

pub const KEY: &str = "SG.very-secret-key";
pub const NOW: &str = "2026-11-24T12:00:00Z";
pub const PATIENT: Duration = Duration::from_secs(60);
/// A plain message from `s@corp.example` to `ann@customer.example`.
pub const PLAIN: &str = "Received: from a by b; Tue, 24 Nov 2026 12:00:00 +0000\r\nFrom: Shop <s@corp.example>\r\nTo: Ann <ann@customer.example>\r\nSubject: Hello\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@corp.example>\r\n\r\nhello\r\n";

/// Knows no names: the tests go by address.
struct NoNames;

impl Resolve for NoNames {
    fn mx<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        async { Err(DnsError::NoName) }.boxed()
    }

    fn addresses<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        async { Err(DnsError::NoName) }.boxed()
    }
}

pub fn environment() -> Environment {
    let clock = Clock::following_tokio(NOW.parse().unwrap());
    Environment { hostname: "relay.example".parse().unwrap(), resolver: Arc::new(NoNames), clock }
}

/// `timeout`: nothing but what a test wants to run out is short.
pub fn patient() -> Timeouts {
    Timeouts { connect: PATIENT, command: PATIENT, content: PATIENT }
}

fn provider(timeout: Timeouts, transport: Settings) -> Provider {
    Provider {
        name: ProviderName::new("p"),
        place: Place { file: "providers/p.yaml".into(), line: 1, column: 1 },
        transport,
        region: None,
        limit: None,
        concurrency: 4,
        quota: None,
        breaker: BreakerSettings { failures: 5, within: PATIENT, probe_after: PATIENT, probe_max: PATIENT },
        timeout,
    }
}

/// The three APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    SendGrid,
    Mailgun,
    Ses,
}

impl Api {
    pub const ALL: [Self; 3] = [Self::SendGrid, Self::Mailgun, Self::Ses];

    pub fn at(self, endpoint: &str, timeout: Timeouts) -> Box<dyn Transport> {
        let endpoint = endpoint.to_owned();
        let api_key = Secret::new(KEY.to_owned());
        match self {
            Self::SendGrid => {
                let settings = SendGridSettings { api_key, endpoint };
                let provider = provider(timeout, Settings::SendGrid(settings.clone()));
                Box::new(SendGridTransport::new(&provider, &settings, &environment()).unwrap())
            }
            Self::Mailgun => {
                let settings = MailgunSettings { api_key, endpoint, domain: "mg.corp.example".parse().unwrap() };
                let provider = provider(timeout, Settings::Mailgun(settings.clone()));
                Box::new(MailgunTransport::new(&provider, &settings, &environment()).unwrap())
            }
            Self::Ses => {
                let settings = SesSettings {
                    region: "eu-west-1".to_owned(),
                    endpoint: Some(endpoint),
                    credentials: Some(SesCredentials { access_key_id: "AKID".to_owned(), secret_access_key: api_key }),
                    configuration_set: None,
                };
                let provider = provider(timeout, Settings::Ses(settings.clone()));
                Box::new(SesTransport::new(&provider, &settings, &environment()).unwrap())
            }
        }
    }
}

pub fn maildir(path: &Path) -> MaildirTransport {
    let settings = MaildirSettings { path: path.to_owned() };
    let provider = provider(patient(), Settings::Maildir(settings.clone()));
    MaildirTransport::new(&provider, &settings, &environment()).unwrap()
}

pub fn attempt(recipients: &[&str], content: impl Into<Bytes>) -> Attempt {
    let content: Bytes = content.into();
    let header_size = HeaderSection::size_in(&content).unwrap();
    let now: Timestamp = NOW.parse().unwrap();
    let envelope = Envelope {
        reverse_path: Some("bounces@corp.example".parse().unwrap()),
        recipients: recipients.iter().map(|address| Recipient::new(address.parse().unwrap())).collect(),
        dsn: DsnRequest::default(),
        body: BodyKind::EightBit,
        smtputf8: false,
        origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
        accepted_at: now,
        header_size: header_size as u32,
        size: content.len() as u64,
    };
    Attempt {
        mid: Mid::new(now, 1),
        recipients: (0..recipients.len() as u32).collect(),
        envelope: Arc::new(envelope),
        destination: None,
        content: Content::memory(content, header_size),
        tls: None,
        at_once: true,
        progress: Progress::default(),
    }
}

/// A message to Ann with so many octets of text.
pub fn large(octets: usize) -> String {
    let line = "0123456789".repeat(7) + "\r\n";
    format!("{PLAIN}{}", line.repeat(octets / line.len()))
}

/// Outcomes by name, in order; and no secret is in what logs and DSNs would show of them.
pub fn names(outcomes: &[Outcome]) -> Vec<&'static str> {
    let shown = format!("{outcomes:?}");
    assert!(!shown.contains("very-secret"), "{shown}");
    outcomes.iter().map(Outcome::name).collect()
}

#[track_caller]
pub fn only(outcomes: Vec<Outcome>) -> Outcome {
    names(&outcomes);
    let [outcome] = <[Outcome; 1]>::try_from(outcomes).unwrap();
    outcome
}
