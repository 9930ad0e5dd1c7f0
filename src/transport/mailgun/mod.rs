//! Mailgun's API, `POST /v3/DOMAIN/messages.mime`.
//!
//! The message goes raw, so that signed, encrypted and unusual mail arrives as it was written; tracking is off, which would
//! rewrite it. The form's `to` is the envelope; Mailgun does not deliver by the header. Fields that steer Mailgun's service
//! (`X-Mailgun-*`) and Bcc are left out of the header. `v:` variables are not used: recipients would see them.

mod classify;
mod form;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::form::Form;
use super::environment::{Environment, TransportError};
use super::http::{Addressees, Answer, Done, Endpoint, Http, Meaning, Request, Source, permanent, transient};
use super::raw;
use super::{Attempt, Lack, Outcome, Transport};
use crate::config::{Flavor, MailgunSettings, Provider};
use crate::mail::{Address, Diagnosis, HeaderSection};
use crate::os::Clock;

/// 25 MB.
const MOST_CONTENT: u64 = 25_000_000;

/// The `mailgun` transport.
pub struct MailgunTransport {
    http: Http,
    endpoint: Endpoint,
    url: Url,
    authorization: HeaderValue,
    clock: Clock,
}

impl MailgunTransport {
    pub fn new(
        provider: &Provider,
        settings: &MailgunSettings,
        environment: &Environment,
    ) -> Result<Self, TransportError> {
        let endpoint = Endpoint::new(&settings.endpoint)?;
        let login = STANDARD.encode(format!("api:{}", settings.api_key.expose()));
        let mut authorization: HeaderValue =
            format!("Basic {login}").parse().map_err(|_| TransportError::Key("api_key"))?;
        authorization.set_sensitive(true);
        let url = endpoint.path(&["v3", settings.domain.as_str(), "messages.mime"]);
        let clock = environment.clock.clone();
        Ok(Self { http: Http::new(provider, environment)?, endpoint, url, authorization, clock })
    }

    async fn try_it(&self, attempt: &Attempt) -> Result<Vec<Outcome>, Outcome> {
        if let Some(lack) = self.endpoint.lack(attempt, MOST_CONTENT) {
            return Err(Outcome::Unsupported(lack));
        }
        let header = attempt
            .content
            .header()
            .await
            .map_err(|error| Outcome::Deferred(Diagnosis::local(transient(3, 0), error.to_string())))?;
        let header = raw::kept(HeaderSection::new(header), Flavor::Mailgun);
        if let Some(lack) = raw::smtputf8_lack(attempt, &header, &self.endpoint.host) {
            return Err(Outcome::Unsupported(lack));
        }
        let addressees = Addressees::of(attempt);
        let mut split = addressees.split(&self.endpoint.host);
        while let Some(batch) = split.next() {
            let done = self.call(attempt, addressees.of_batch(&batch), &header).await;
            split.done(&batch, done);
        }
        Ok(addressees.spread(&split.finish()))
    }

    async fn call(&self, attempt: &Attempt, recipients: Vec<&Address>, header: &HeaderSection) -> Done {
        let mut form = Form::new(rand::random());
        form.recipients(recipients);
        form.field("o:tracking", "no");
        let Ok(content_type) = form.content_type().parse() else {
            let lack = Diagnosis::local(permanent(6, 0), "the form cannot be written");
            return Done::All(Outcome::Unsupported(Lack::Message(lack)));
        };
        let request = Request {
            method: Method::POST,
            url: self.url.clone(),
            headers: HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone()), (CONTENT_TYPE, content_type)]),
            body: Some(form.with_message(attempt.mid, Source::new(&attempt.content, header))),
        };
        match self.http.call(request, &attempt.progress).await {
            Ok(answer) => self.judge(&answer),
            Err(failure) => Done::All(failure.outcome(&self.endpoint.host)),
        }
    }

    fn judge(&self, answer: &Answer) -> Done {
        let clock = self.clock.now();
        let reading = classify::classify(answer.status, &answer.text(), answer.time(clock));
        let retry_after = answer.retry_after(clock).or(reading.retry_after);
        let outcome =
            reading.meaning.outcome(&self.endpoint.host, answer.status, &reading.text, retry_after, reading.id);
        match reading.meaning {
            Meaning::Address(named) => Done::Address { named, outcome },
            Meaning::Fewer => Done::Fewer(outcome),
            Meaning::Accepted | Meaning::Throttled | Meaning::Trouble(_) | Meaning::Message | Meaning::Sender => {
                Done::All(outcome)
            }
        }
    }
}

impl Transport for MailgunTransport {
    fn most_recipients(&self) -> usize {
        1000
    }

    fn attempt<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Vec<Outcome>> {
        self.try_it(attempt).map(|done| done.unwrap_or_else(|outcome| attempt.all(outcome))).boxed()
    }
}
