//! Ways out. A transport makes one attempt and gives one outcome per recipient; it decides nothing about retries.

mod connection;
pub mod dns;
mod environment;
pub mod flavor;
mod handover;
mod hosts;
mod http;
mod maildir;
mod mailgun;
mod mime;
mod mx;
mod outcome;
mod pool;
mod raw;
pub mod sendgrid;
mod ses;
mod smtp;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;

use crate::config::TlsFloor;
use crate::mail::{Domain, Envelope, Mid, Recipient};
use crate::queue::Content;

pub use environment::{Environment, TransportError};
pub use maildir::MaildirTransport;
pub use mailgun::MailgunTransport;
pub use mx::MxTransport;
pub use outcome::{Lack, Outcome, ProviderId, Trouble, TroubleKind};
pub use sendgrid::SendGridTransport;
pub use ses::SesTransport;
pub use smtp::SmtpTransport;
pub use tls::unchecked_tls;

/// One try to hand one message, for some of its recipients, to one provider.
#[derive(Clone)]
pub struct Attempt {
    pub mid: Mid,
    pub envelope: Arc<Envelope>,
    /// Indices into the envelope's recipients; never empty, no more than `most_recipients`.
    pub recipients: Vec<u32>,
    /// For transports that deliver by destination: the domain that all these recipients share.
    pub destination: Option<Domain>,
    pub content: Content,
    /// The least TLS that the route asks for, above what the provider itself is set to.
    pub tls: Option<TlsFloor>,
    /// No pains are to be taken to keep outcomes of `Unknown` few: the route goes on with the next provider behind them.
    pub at_once: bool,
    pub progress: Progress,
}

impl Attempt {
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.recipients.iter().filter_map(|&index| self.envelope.recipients.get(index as usize))
    }

    /// The same outcome for each recipient.
    pub fn all(&self, outcome: Outcome) -> Vec<Outcome> {
        vec![outcome; self.recipients.len()]
    }
}

/// Tells, from outside the attempt, whether the provider may have the message already: if the attempt panics or is cut
/// off after that, its outcome is `Unknown`, before it, `Deferred`.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicBool>);

impl Progress {
    /// To be called before the last octet of the content (or of the HTTP request) may leave.
    pub fn sending_the_last(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn may_have_it(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A way out, built from a provider's settings. Holds its connections; safe to use from many attempts at once.
pub trait Transport: Send + Sync {
    /// Each attempt serves one destination domain (`mx`), and health is kept for each destination on its own.
    fn by_destination(&self) -> bool {
        false
    }

    /// Recipients that one attempt can carry.
    fn most_recipients(&self) -> usize {
        100
    }

    /// One outcome for each of the attempt's recipients, in their order.
    fn attempt<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Vec<Outcome>>;
}
