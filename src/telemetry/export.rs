//! Sends spans to a collector: OTLP over HTTP, in protobuf (the OTLP specification, "OTLP/HTTP").

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Counts;
use super::span::{self, text};
use crate::audit::record;
use crate::config::Telemetry;
use crate::mail::Domain;

/// A request has so many spans at most, and is not kept back longer.
const MOST: usize = 512;
const EVERY: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(10);
/// Between two tries of one request: the first pause, and the longest one.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// So often a request is tried.
const TRIES: u32 = 5;
/// What is left at the end of the relay has so long.
const LAST: Duration = Duration::from_secs(3);
/// Between two words about a collector that takes nothing.
const REPEAT: Duration = Duration::from_secs(60);
/// Octets of an answer that are looked at.
const ANSWER: usize = 16 << 10;

/// Sends what the tap is told.
pub struct Exporter {
    client: Client,
    url: Url,
    sample: u8,
    resource: Resource,
    told: Receiver<Vec<u8>>,
    counts: Arc<Counts>,
    /// When the log last had a word on what failed.
    warned: Option<Instant>,
    failing: bool,
}

/// Why spans did not get there.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    text: String,
    /// It may get there later; with the pause that was asked for.
    again: Option<Option<Duration>>,
}

impl Exporter {
    pub(super) fn new(
        settings: Telemetry,
        hostname: &Domain,
        told: Receiver<Vec<u8>>,
        counts: Arc<Counts>,
    ) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let bad = || format!("telemetry: '{name}' and its value are no header of HTTP");
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = Client::builder()
            .user_agent(concat!("waypost/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .build()
            .map_err(|error| format!("telemetry: {}", deepest(&error)))?;
        let url = format!("{}/v1/traces", settings.endpoint);
        let url = url.parse().map_err(|error| format!("telemetry: '{url}' is no URL: {error}"))?;
        let resource = Resource {
            attributes: vec![
                text("service.name", &settings.service),
                text("service.version", env!("CARGO_PKG_VERSION")),
                text("host.name", hostname.as_str()),
            ],
            ..Resource::default()
        };
        let sample = settings.sample;
        Ok(Self { client, url, sample, resource, told, counts, warned: None, failing: false })
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Sends until the token is cancelled, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut spans = Vec::new();
        loop {
            let ends = tokio::select! {
                () = stop.cancelled() => true,
                open = self.gather(&mut spans) => !open,
            };
            if ends {
                break;
            }
            tokio::select! {
                // What was being sent is sent again, and has the same ids.
                () = stop.cancelled() => break,
                () = self.deliver(&spans) => spans.clear(),
            }
        }
        while let Ok(octets) = self.told.try_recv() {
            spans.extend(self.span(&octets));
        }
        let ends = Instant::now() + LAST;
        for spans in spans.chunks(MOST) {
            match tokio::time::timeout_at(ends, self.send(spans)).await {
                Ok(Ok(taken)) => self.count(taken, spans.len()),
                Ok(Err(_)) | Err(_) => self.count(0, spans.len()),
            }
        }
    }

    /// Waits for spans, and a little for more. `false`: there will be no more.
    async fn gather(&mut self, spans: &mut Vec<Span>) -> bool {
        while spans.is_empty() {
            let Some(octets) = self.told.recv().await else { return false };
            spans.extend(self.span(&octets));
        }
        let ends = Instant::now() + EVERY;
        while spans.len() < MOST {
            tokio::select! {
                told = self.told.recv() => match told {
                    Some(octets) => spans.extend(self.span(&octets)),
                    None => return true,
                },
                () = sleep_until(ends) => break,
            }
        }
        true
    }

    fn span(&self, octets: &[u8]) -> Option<Span> {
        span::span(octets, &record::read(octets)?, self.sample)
    }

    /// Sends them, or gives them up.
    async fn deliver(&mut self, spans: &[Span]) {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.send(spans).await {
                Ok(taken) => return self.sent(taken, spans.len()),
                Err(Failure { text, again: Some(asked) }) => {
                    self.tell(&text);
                    sleep(asked.unwrap_or(pause).min(LONGEST)).await;
                    pause = (pause * 2).min(LONGEST);
                }
                Err(Failure { text, again: None }) => {
                    self.tell(&text);
                    return self.count(0, spans.len());
                }
            }
        }
        match self.send(spans).await {
            Ok(taken) => self.sent(taken, spans.len()),
            Err(failure) => {
                self.tell(&failure.text);
                self.count(0, spans.len());
            }
        }
    }

    fn count(&self, taken: usize, of: usize) {
        self.counts.exported.add(taken);
        self.counts.lost.add(of.saturating_sub(taken));
    }

    fn sent(&mut self, taken: usize, of: usize) {
        self.count(taken, of);
        if taken == of && std::mem::take(&mut self.failing) {
            info!(endpoint = %self.url, lost = self.counts.lost.get(), "traces are exported again");
        }
    }

    fn tell(&mut self, why: &str) {
        self.failing = true;
        if self.warned.is_none_or(|warned| warned.elapsed() >= REPEAT) {
            self.warned = Some(Instant::now());
            warn!(
                endpoint = %self.url, why, lost = self.counts.lost.get(),
                "traces cannot be exported: look at `telemetry` in waypost.yaml and at the collector; mail does not wait for it"
            );
        }
    }

    /// Gives how many of them it took.
    async fn send(&mut self, spans: &[Span]) -> Result<usize, Failure> {
        let count = spans.len();
        let scope = InstrumentationScope {
            name: "waypost".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope = ScopeSpans { scope: Some(scope), spans: spans.to_vec(), ..ScopeSpans::default() };
        let resource = Some(self.resource.clone());
        let spans = ResourceSpans { resource, scope_spans: vec![scope], ..ResourceSpans::default() };
        let body = ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec();
        let failed = |error: reqwest::Error| Failure { text: deepest(&error.without_url()), again: Some(None) };
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut answer = Vec::new();
        let reading = async {
            while answer.len() < ANSWER
                && let Ok(Some(chunk)) = response.chunk().await
            {
                answer.extend_from_slice(&chunk);
            }
        };
        // The status is the answer: a body that never ends takes nothing from it.
        let _ = timeout(CONNECT, reading).await;
        if status.is_success() {
            return Ok(count.saturating_sub(self.refused(&answer)));
        }
        let again = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        let pause = || response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs);
        Err(Failure { text: format!("it answered {status}"), again: again.contains(&status).then(pause) })
    }

    /// A collector may take some and refuse others.
    fn refused(&mut self, answer: &[u8]) -> usize {
        let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
        let Some(partial) = partial.filter(|partial| partial.rejected_spans > 0) else { return 0 };
        let said: String = partial.error_message.chars().filter(|c| !c.is_control()).take(300).collect();
        self.tell(&format!("it refused {} spans: {said}", partial.rejected_spans));
        usize::try_from(partial.rejected_spans).unwrap_or(0)
    }
}

/// The cause below all wrappers.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
