//! Amazon SES's API, version 2: `SendEmail` with raw content.
//!
//! The message goes as it is, 8-bit content included: re-encoding it would break the signatures of its author, and SES
//! leaves it alone where it tracks nothing. SES writes Message-ID and Date anew. The envelope is the call's `Destination`;
//! with raw content nothing of it is written into the header. `FromEmailAddress` is not given, so that SES goes by the
//! header's From. The SDK's own retries are off: the queue decides.
//!
//! What the relay knows SES to refuse is `unsupported` without a call (`accept`).

mod accept;
mod classify;
mod connector;

use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::config::retry::RetryConfig;
use aws_sdk_sesv2::config::timeout::TimeoutConfig;
use aws_sdk_sesv2::config::{BehaviorVersion, Builder, Config, Credentials, Region, StalledStreamProtectionConfig};
use aws_sdk_sesv2::error::{DisplayErrorContext, SdkError};
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::primitives::Blob;
use aws_sdk_sesv2::types::{Destination, EmailContent, MessageTag, RawMessage};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use self::accept::Raw;
use self::classify::Refusal;
use self::connector::Connector;
use super::environment::{Environment, TransportError};
use super::http::{Addressees, Done, Endpoint, Failure, Http, Meaning, transient};
use super::raw;
use super::{Attempt, Outcome, Progress, Transport, Trouble, TroubleKind};
use crate::config::{Flavor, Provider, SesSettings};
use crate::mail::{Address, Diagnosis, HeaderSection};

/// 40 MB after base64.
const MOST_CONTENT: u64 = 30_000_000;
/// Above this, reading the message has a thread of its own.
const LARGE: u64 = 128 * 1024;

/// The `ses` transport.
pub struct SesTransport {
    http: Http,
    endpoint: Endpoint,
    configuration_set: Option<String>,
    sdk: Sdk,
}

/// The SDK's client, or what it is made from when first needed.
enum Sdk {
    Ready(Client),
    /// The chain looks for credentials over the network.
    #[cfg(feature = "aws-chain")]
    Chain {
        region: String,
        endpoint: Option<String>,
        client: tokio::sync::OnceCell<Client>,
    },
}

impl SesTransport {
    pub fn new(provider: &Provider, settings: &SesSettings, environment: &Environment) -> Result<Self, TransportError> {
        let china = if settings.region.starts_with("cn-") { ".cn" } else { "" };
        let regional = format!("https://email.{}.amazonaws.com{china}", settings.region);
        let endpoint = Endpoint::new(settings.endpoint.as_deref().unwrap_or(&regional))?;
        let http = Http::new(provider, environment)?;
        let sdk = match &settings.credentials {
            Some(given) => {
                let secret = given.secret_access_key.expose();
                let credentials = Credentials::new(given.access_key_id.clone(), secret, None, None, "waypost");
                let builder = Config::builder()
                    .behavior_version(BehaviorVersion::latest())
                    .region(Region::new(settings.region.clone()))
                    .credentials_provider(credentials);
                Sdk::Ready(client(builder, settings.endpoint.as_deref(), &http))
            }
            #[cfg(feature = "aws-chain")]
            None => Sdk::Chain {
                region: settings.region.clone(),
                endpoint: settings.endpoint.clone(),
                client: tokio::sync::OnceCell::new(),
            },
            #[cfg(not(feature = "aws-chain"))]
            None => return Err(TransportError::NoChain),
        };
        Ok(Self { http, endpoint, configuration_set: settings.configuration_set.clone(), sdk })
    }

    async fn client(&self) -> &Client {
        match &self.sdk {
            Sdk::Ready(client) => client,
            #[cfg(feature = "aws-chain")]
            Sdk::Chain { region, endpoint, client } => {
                client.get_or_init(|| chain(region.clone(), endpoint.as_deref(), &self.http)).await
            }
        }
    }

    async fn try_it(&self, attempt: &Attempt) -> Result<Vec<Outcome>, Outcome> {
        if let Some(lack) = self.endpoint.lack(attempt, MOST_CONTENT) {
            return Err(Outcome::Unsupported(lack));
        }
        let message = self.read(attempt).await?;
        let data = Blob::new(message.octets);
        let addressees = Addressees::of(attempt);
        let mut split = addressees.split(&self.endpoint.host);
        while let Some(batch) = split.next() {
            let recipients = addressees.of_batch(&batch);
            let done = self.call(attempt, &recipients, data.clone(), &message.from).await;
            split.done(&batch, done);
        }
        Ok(addressees.spread(&split.finish()))
    }

    async fn read(&self, attempt: &Attempt) -> Result<Raw, Outcome> {
        let unreadable = |why: String| Outcome::Deferred(Diagnosis::local(transient(3, 0), why));
        let content = attempt.content.all().await.map_err(|error| unreadable(error.to_string()))?;
        let skip = attempt.content.header_size();
        let header = raw::kept(HeaderSection::new(content.slice(..skip.min(content.len()))), Flavor::Ses);
        if let Some(lack) = raw::smtputf8_lack(attempt, &header, &self.endpoint.host) {
            return Err(Outcome::Unsupported(lack));
        }
        let work = move || accept::raw(&header, content, skip);
        let message = if attempt.content.size() < LARGE {
            work()
        } else {
            tokio::task::spawn_blocking(work).await.map_err(|error| unreadable(error.to_string()))?
        };
        message.map_err(|why| Outcome::Unsupported(raw::lack(&self.endpoint.host, super::http::permanent(6, 0), why)))
    }

    async fn call(&self, attempt: &Attempt, recipients: &[&Address], data: Blob, from: &[Address]) -> Done {
        let mid = attempt.mid.to_string();
        let (Ok(message), Ok(tag)) =
            (RawMessage::builder().data(data).build(), MessageTag::builder().name("waypost_mid").value(mid).build())
        else {
            return Done::All(self.trouble(TroubleKind::Server, "the SDK does not build the request".to_owned()));
        };
        let bcc = recipients.iter().map(|address| address.to_string()).collect();
        let connector = Connector::new(self.http.clone(), attempt.progress.clone());
        let sent = self
            .client()
            .await
            .send_email()
            .destination(Destination::builder().set_bcc_addresses(Some(bcc)).build())
            .content(EmailContent::builder().raw(message).build())
            .email_tags(tag)
            .set_configuration_set_name(self.configuration_set.clone())
            .customize()
            .config_override(Config::builder().http_client(connector))
            .send()
            .await;
        match sent {
            Ok(answer) => {
                let id = answer.message_id().map(str::to_owned);
                Done::All(Meaning::Accepted.outcome(&self.endpoint.host, 200, "accepted", None, id))
            }
            Err(error) => self.judge(&error, recipients, from, &attempt.progress),
        }
    }

    fn judge(
        &self,
        error: &SdkError<SendEmailError>,
        recipients: &[&Address],
        from: &[Address],
        progress: &Progress,
    ) -> Done {
        let Some(answer) = error.raw_response() else {
            return Done::All(self.no_answer(error, progress));
        };
        let status = answer.status().as_u16();
        if let (200..=299, SdkError::ResponseError(_)) = (status, error) {
            // Taken, and its id is not to be known.
            return Done::All(Meaning::Accepted.outcome(
                &self.endpoint.host,
                status,
                "accepted, with no id",
                None,
                None,
            ));
        }
        let metadata = error.as_service_error().map(SendEmailError::meta);
        let body = || String::from_utf8_lossy(answer.body().bytes().unwrap_or_default()).into_owned();
        let text = metadata.and_then(|metadata| metadata.message()).map_or_else(body, str::to_owned);
        let code = metadata.and_then(|metadata| metadata.code());
        let meaning = Refusal { code, status, text: &text, from, recipients }.meaning();
        let said = match code {
            Some(code) => format!("{code}: {text}"),
            None => text,
        };
        let outcome = meaning.outcome(&self.endpoint.host, status, &said, None, None);
        match meaning {
            Meaning::Address(named) => Done::Address { named, outcome },
            Meaning::Fewer => Done::Fewer(outcome),
            Meaning::Accepted | Meaning::Throttled | Meaning::Trouble(_) | Meaning::Message | Meaning::Sender => {
                Done::All(outcome)
            }
        }
    }

    fn no_answer(&self, error: &SdkError<SendEmailError>, progress: &Progress) -> Outcome {
        let text = DisplayErrorContext(error).to_string();
        let failure = match error {
            SdkError::DispatchFailure(dispatch) => dispatch.as_connector_error().and_then(connector::failure),
            _ => None,
        };
        match failure {
            Some(failure) => failure.outcome(&self.endpoint.host),
            // Not the connector's: nothing was sent in this call. Where no other call of the attempt was either, all that
            // is left to fail is the look-up of credentials.
            None if matches!(error, SdkError::TimeoutError(_)) && progress.may_have_it() => {
                Failure::NoAnswer(text).outcome(&self.endpoint.host)
            }
            None => self.trouble(TroubleKind::Credentials, format!("the SDK has no credentials to sign with: {text}")),
        }
    }

    fn trouble(&self, kind: TroubleKind, text: String) -> Outcome {
        let diagnosis = Diagnosis::about(&self.endpoint.host, transient(7, 8), text);
        Outcome::Unavailable(Trouble { kind, diagnosis })
    }
}

/// The settings that both ways to a client share.
fn client(builder: Builder, endpoint: Option<&str>, http: &Http) -> Client {
    let builder = builder
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(Connector::new(http.clone(), Progress::default()));
    let builder = match endpoint {
        Some(endpoint) => builder.endpoint_url(endpoint),
        None => builder,
    };
    Client::from_conf(builder.build())
}

/// With the credentials that the SDK finds by itself: environment, profile, container, instance.
#[cfg(feature = "aws-chain")]
async fn chain(region: String, endpoint: Option<&str>, http: &Http) -> Client {
    let found = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region))
        .http_client(Connector::new(http.clone(), Progress::default()))
        .load()
        .await;
    client(Builder::from(&found), endpoint, http)
}

impl Transport for SesTransport {
    fn most_recipients(&self) -> usize {
        50
    }

    fn attempt<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Vec<Outcome>> {
        self.try_it(attempt).map(|done| done.unwrap_or_else(|outcome| attempt.all(outcome))).boxed()
    }
}
