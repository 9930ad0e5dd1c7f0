//! HTTP, as the provider APIs share it: one request, and what came of it.
//!
//! Promises:
//! - a complete answer, whatever it says, is certain; so is a failure before the request's last octet was handed over;
//! - what fails after that is `NoAnswer`: the provider may have the message;
//! - HTTP/1.1, a connection for each request at a time: a lost connection leaves one message in doubt, not all in flight;
//! - no redirect is followed, no request is repeated (a kept connection that proves dead before anything was written is
//!   replaced by hyper, which is no repetition);
//! - the headers that carry keys are marked sensitive, and no error text names them.

mod answer;
mod body;
mod failure;
mod split;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Client, Method, Url};
use tokio::time::{sleep, timeout};

pub(super) use answer::{Answer, Meaning, permanent, transient};
pub(super) use body::{Body, Source};
pub(super) use failure::Failure;
pub(super) use split::{Done, Split};

use super::dns;
use super::environment::{Environment, TransportError};
use super::{Attempt, Lack, Outcome, Progress};
use crate::config::{Provider, Timeouts};
use crate::mail::{Address, Diagnosis, Recipient};
use body::Handover;

/// Answers are short; of a longer one the beginning is enough.
const MOST_ANSWER: usize = 64 * 1024;
/// Shorter than what the providers' load balancers keep an idle connection for, so that none is used as it closes.
const IDLE: Duration = Duration::from_secs(20);

/// A client of one provider's API.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: Client,
    timeouts: Timeouts,
}

/// One request.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Body>,
}

impl Http {
    pub(super) fn new(provider: &Provider, environment: &Environment) -> Result<Self, TransportError> {
        let client = Client::builder()
            .user_agent(concat!("waypost/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(provider.timeout.connect)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(provider.concurrency)
            .dns_resolver(Names(environment.resolver.clone()))
            .build()
            .map_err(|error| TransportError::Http(failure::chain(&error)))?;
        Ok(Self { client, timeouts: provider.timeout })
    }

    /// The same connections with other patience: the SDK's look-ups of credentials bring their own.
    pub(super) fn within(&self, timeouts: Timeouts) -> Self {
        Self { client: self.client.clone(), timeouts }
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Makes the request. `progress` is told before its last octet may leave.
    pub(super) async fn call(&self, request: Request, progress: &Progress) -> Result<Answer, Failure> {
        let handover = Arc::new(Handover::default());
        let mut builder = self.client.request(request.method, request.url).headers(request.headers);
        if let Some(body) = request.body {
            builder = builder.header(CONTENT_LENGTH, body.size());
            builder = builder.body(reqwest::Body::wrap_stream(body.watched(progress.clone(), handover.clone())));
        }
        let response = tokio::select! {
            biased;
            response = builder.send() => response.map_err(|error| handover.failure(error))?,
            late = self.deadline(&handover) => return Err(late),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // The status is the answer: a body that breaks off, or never ends, takes nothing from it.
        let mut body = Vec::new();
        let _ = timeout(self.timeouts.command, read(response, &mut body)).await;
        Ok(Answer { status, headers, body })
    }

    /// Ends when the transfer, or after it the answer, has had its time.
    async fn deadline(&self, handover: &Handover) -> Failure {
        let transfer = self.timeouts.connect.saturating_add(self.timeouts.content);
        tokio::select! {
            () = handover.complete() => {}
            () = sleep(transfer) => return Failure::late(false, transfer),
        }
        sleep(self.timeouts.command).await;
        Failure::late(true, self.timeouts.command)
    }
}

async fn read(mut response: reqwest::Response, body: &mut Vec<u8>) {
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MOST_ANSWER - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() == MOST_ANSWER {
            return;
        }
    }
}

/// The relay's own resolver, so that one setting rules all of its DNS.
struct Names(Arc<dyn dns::Resolve>);

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            // RFC 6761, 6.3: never asked of a server.
            let addresses = if name.as_str().eq_ignore_ascii_case("localhost") {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            } else {
                let failed = |error: dns::DnsError| format!("{} does not resolve: {error}", name.as_str());
                resolver.addresses(name.as_str()).await.map_err(failed)?
            };
            let addresses: reqwest::dns::Addrs =
                Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Where an API is: the start of its URLs, and the name under which diagnoses show it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    base: Url,
    pub(super) host: String,
}

impl Endpoint {
    pub(super) fn new(endpoint: &str) -> Result<Self, TransportError> {
        let wrong =
            |detail: &str| TransportError::Endpoint { endpoint: endpoint.to_owned(), detail: detail.to_owned() };
        let base: Url = endpoint.parse().map_err(|error| wrong(&format!("{error}")))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong("it is not http or https"));
        }
        let host = base.host_str().ok_or_else(|| wrong("it has no host"))?.to_owned();
        Ok(Self { base, host })
    }

    /// The URL of a path below the endpoint, whose segments are escaped as needed.
    pub(super) fn path(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An http(s) URL can always be a base.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn is_clear(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// What an API can carry of no message, whichever API: nothing is sent then.
    pub(super) fn lack(&self, attempt: &Attempt, most: u64) -> Option<Lack> {
        let lack = |subject, detail, text: String| {
            Some(Lack::Message(Diagnosis::about(&self.host, permanent(subject, detail), text)))
        };
        if attempt.envelope.reverse_path.is_none() {
            return lack(5, 4, "an API cannot carry the null reverse-path".to_owned());
        }
        if attempt.tls.is_some() && self.is_clear() {
            return lack(7, 10, "the route asks for TLS and the endpoint is plain http".to_owned());
        }
        if attempt.content.size() > most {
            let size = attempt.content.size();
            return lack(3, 4, format!("the message has {size} octets and the provider takes {most}"));
        }
        None
    }
}

/// The recipients of an attempt, each address once.
pub(super) struct Addressees<'a> {
    pub(super) unique: Vec<&'a Recipient>,
    /// For each recipient of the attempt, its place in `unique`.
    places: Vec<usize>,
}

impl<'a> Addressees<'a> {
    pub(super) fn of(attempt: &'a Attempt) -> Self {
        let mut seen: std::collections::HashMap<&Address, usize> = std::collections::HashMap::new();
        let mut unique = Vec::new();
        let place = |recipient: &'a Recipient| {
            *seen.entry(&recipient.address).or_insert_with(|| {
                unique.push(recipient);
                unique.len() - 1
            })
        };
        let places = attempt.recipients().map(place).collect();
        Self { unique, places }
    }

    /// The calls to be made: for addresses beyond ASCII none, they have their outcome, and the others go.
    pub(super) fn split(&self, host: &str) -> Split {
        let (odd, plain): (Vec<usize>, Vec<usize>) =
            (0..self.unique.len()).partition(|&n| self.unique[n].address.needs_smtputf8());
        let text = "the API cannot carry addresses beyond ASCII";
        let lack = Lack::Message(Diagnosis::about(host, permanent(6, 7), text));
        let mut split = Split::new(self.unique.len());
        split.set_aside(&odd, &Outcome::Unsupported(lack), plain);
        split
    }

    /// Those of a call.
    pub(super) fn of_batch(&self, batch: &[usize]) -> Vec<&'a Address> {
        batch.iter().filter_map(|&n| self.unique.get(n)).map(|recipient| &recipient.address).collect()
    }

    /// From outcomes of the unique ones to those of the attempt's recipients.
    pub(super) fn spread(&self, outcomes: &[Outcome]) -> Vec<Outcome> {
        self.places.iter().filter_map(|&place| outcomes.get(place).cloned()).collect()
    }
}
