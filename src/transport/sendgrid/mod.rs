//! Twilio SendGrid's API, `POST /v3/mail/send`.
//!
//! The API takes JSON and rebuilds the message from it; what that cannot carry faithfully is `unsupported` here
//! (`represent`). One call carries all recipients of an attempt, since To and Cc must name them together. Where SendGrid
//! refuses addresses, those are rejected and the call is made again for the others, the header without the mailboxes that
//! SendGrid holds to be none.

mod classify;
mod mail;
mod parts;
mod represent;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};

pub use mail::Mail;
pub use represent::represent;

use super::environment::{Environment, TransportError};
use super::http::{Addressees, Answer, Body, Done, Endpoint, Failure, Http, Meaning, Request, Split};
use super::http::{permanent, transient};
use super::{Attempt, Lack, Outcome, Transport};
use crate::config::{Provider, SendGridSettings};
use crate::mail::{Address, Diagnosis, Recipient};
use crate::os::Clock;

/// The whole request stays below it.
const MOST_REQUEST: usize = 30_000_000;
/// Quoted-printable shrinks in JSON, at best to a third; what is above this cannot fit.
const MOST_CONTENT: u64 = 3 * MOST_REQUEST as u64;
/// Above this, parsing has a thread of its own.
const LARGE: u64 = 128 * 1024;

/// The `sendgrid` transport.
pub struct SendGridTransport {
    http: Http,
    endpoint: Endpoint,
    url: Url,
    headers: HeaderMap,
    clock: Clock,
}

impl SendGridTransport {
    pub fn new(
        provider: &Provider,
        settings: &SendGridSettings,
        environment: &Environment,
    ) -> Result<Self, TransportError> {
        let endpoint = Endpoint::new(&settings.endpoint)?;
        let mut key: HeaderValue =
            format!("Bearer {}", settings.api_key.expose()).parse().map_err(|_| TransportError::Key("api_key"))?;
        key.set_sensitive(true);
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, key), (CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let url = endpoint.path(&["v3", "mail", "send"]);
        Ok(Self { http: Http::new(provider, environment)?, endpoint, url, headers, clock: environment.clock.clone() })
    }

    async fn try_it(&self, attempt: &Attempt) -> Result<Vec<Outcome>, Outcome> {
        if let Some(lack) = self.endpoint.lack(attempt, MOST_CONTENT) {
            return Err(Outcome::Unsupported(lack));
        }
        let addressees = Addressees::of(attempt);
        let content = attempt
            .content
            .all()
            .await
            .map_err(|error| Outcome::Deferred(Diagnosis::local(transient(3, 0), error.to_string())))?;
        let (outcomes, recipients) = odd_ones_out(&addressees.unique);
        let outcomes = match read(recipients, content, attempt.content.size()).await {
            Ok(mail) => self.send(&mail.marked(attempt.mid), outcomes, attempt).await,
            Err(outcome) => outcomes.into_iter().map(|odd| odd.unwrap_or_else(|| outcome.clone())).collect(),
        };
        Ok(addressees.spread(&outcomes))
    }

    /// Sends to those who have no outcome yet, and gives the outcomes of all.
    async fn send(&self, mail: &Mail, mut outcomes: Vec<Option<Outcome>>, attempt: &Attempt) -> Vec<Outcome> {
        // Places in the mail's own list of recipients, which leaves out those who have an outcome.
        let open: Vec<usize> = (0..outcomes.len()).filter(|&n| outcomes[n].is_none()).collect();
        let mut split = Split::new(open.len());
        while let Some(batch) = split.next() {
            let done = self.call(mail, &batch, open.len(), attempt).await;
            split.done(&batch, done);
        }
        for (number, outcome) in open.into_iter().zip(split.finish()) {
            outcomes[number] = Some(outcome);
        }
        outcomes.into_iter().flatten().collect()
    }

    async fn call(&self, mail: &Mail, batch: &[usize], all: usize, attempt: &Attempt) -> Done {
        let mut mail = Cow::Borrowed(mail);
        if batch.len() < all && !mail.to_mut().keep_only(batch) {
            let text = "SendGrid's API cannot carry a message after it refused all of its To";
            return Done::All(Outcome::Unsupported(Lack::Message(Diagnosis::local(permanent(6, 3), text))));
        }
        let Ok(body) = serde_json::to_vec(&*mail) else {
            let text = "the message does not go into JSON";
            return Done::All(Outcome::Unsupported(Lack::Message(Diagnosis::local(permanent(6, 3), text))));
        };
        if body.len() >= MOST_REQUEST {
            let text = format!("the request has {} octets and SendGrid takes {MOST_REQUEST}", body.len());
            return Done::All(Outcome::Unsupported(Lack::Message(Diagnosis::local(permanent(3, 4), text))));
        }
        let request = Request {
            method: Method::POST,
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: Some(Body::whole(body)),
        };
        match self.http.call(request, &attempt.progress).await {
            Ok(answer) => self.judge(&mail, batch, &answer),
            Err(failure) => Done::All(self.failed(&failure)),
        }
    }

    fn judge(&self, mail: &Mail, batch: &[usize], answer: &Answer) -> Done {
        let reading = classify::classify(answer.status, &answer.text());
        let id = answer.header("x-message-id").map(str::to_owned);
        let retry_after = answer.retry_after(self.clock.now());
        let outcome = |meaning: &Meaning, id| {
            let text = if reading.text.is_empty() { "accepted" } else { &reading.text };
            meaning.outcome(&self.endpoint.host, answer.status, text, retry_after, id)
        };
        let Meaning::Address(_) = reading.meaning else {
            return Done::All(outcome(&reading.meaning, id));
        };
        let number = |(list, at): &(String, usize)| {
            let number = mail.number(list, *at)?;
            batch.iter().position(|&other| other == number)
        };
        let named: Vec<usize> = reading.named.iter().filter_map(number).collect();
        if named.is_empty() && batch.len() > 1 {
            // Halves cannot be sent: the header of each would lack the other's recipients.
            return Done::All(outcome(&Meaning::Message, None));
        }
        Done::Address { named, outcome: outcome(&reading.meaning, None) }
    }

    fn failed(&self, failure: &Failure) -> Outcome {
        failure.outcome(&self.endpoint.host)
    }
}

impl Transport for SendGridTransport {
    fn most_recipients(&self) -> usize {
        1000
    }

    fn attempt<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Vec<Outcome>> {
        self.try_it(attempt).map(|done| done.unwrap_or_else(|outcome| attempt.all(outcome))).boxed()
    }
}

/// Recipients whose addresses SendGrid cannot have: they alone are unsupported, and the others are left over.
fn odd_ones_out(recipients: &[&Recipient]) -> (Vec<Option<Outcome>>, Vec<Address>) {
    let mut plain = Vec::new();
    let outcomes = recipients.iter().map(|recipient| {
        if represent::is_plain(&recipient.address) {
            plain.push(recipient.address.clone());
            return None;
        }
        let text = format!("SendGrid's API cannot carry the address {}", recipient.address);
        Some(Outcome::Unsupported(Lack::Message(Diagnosis::local(permanent(6, 7), text))))
    });
    (outcomes.collect(), plain)
}

async fn read(recipients: Vec<Address>, content: Bytes, size: u64) -> Result<Mail, Outcome> {
    let work = move || represent(&recipients.iter().collect::<Vec<_>>(), &content);
    let mail = if size < LARGE {
        work()
    } else {
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            Outcome::Deferred(Diagnosis::local(transient(3, 0), format!("the message could not be read: {error}")))
        })?
    };
    mail.map_err(Outcome::Unsupported)
}
