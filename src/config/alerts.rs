//! What the relay tells of itself, and whom, as the rest of the relay reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;

use super::{Secret, Size};
use crate::mail::{Address, ProviderName, RouteName};

/// `alerts` of `waypost.yaml`.
#[derive(Debug, Clone, Default)]
pub struct Alerts {
    pub rules: AlertRules,
    /// Whom it is told beside the log. Empty: nobody.
    pub targets: Vec<AlertTarget>,
}

/// When something is an alert. `None`, or `false`: never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRules {
    /// Age of the oldest message that waits in a route.
    pub oldest: Option<Duration>,
    /// The same for routes that have their own.
    pub oldest_of: BTreeMap<RouteName, Option<Duration>>,
    pub growth: Option<Growth>,
    /// How long a breaker is open.
    pub breaker: Option<Duration>,
    /// A provider is paused by hand. A drill is told as the outage that it rehearses.
    pub paused: bool,
    /// Percent of a provider's quota, and of what the queue may hold.
    pub quota: Option<u8>,
    /// Percent of recipients that bounce; above the usual share, too.
    pub bounces: Option<u8>,
    /// Disk that is left above `queue.min_free`.
    pub disk: Option<Size>,
    /// Before the end of a certificate, or of what `ends` names.
    pub expiry: Option<Duration>,
    /// What ends on a day that the relay cannot find out.
    pub ends: Vec<(String, Date)>,
    /// The last reload of the configuration failed.
    pub reload: bool,
    /// The audit trail does not keep up, or cannot be written.
    pub trail: bool,
    /// How long it must be over before the end is told.
    pub settle: Duration,
    /// Messages to each target in a minute; what is more is summed up.
    pub most: u32,
}

/// So many more messages wait than at the begin of the span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    pub messages: u64,
    pub within: Duration,
}

/// Whom alerts are told.
#[derive(Debug, Clone)]
pub enum AlertTarget {
    Webhook(WebhookTarget),
    Mail(MailTarget),
}

#[derive(Debug, Clone)]
pub struct WebhookTarget {
    /// Of logs; the URL may be a secret.
    pub name: String,
    pub url: Secret,
    /// What requests are signed with.
    pub secret: Option<Secret>,
}

#[derive(Debug, Clone)]
pub struct MailTarget {
    pub name: String,
    pub to: Vec<Address>,
    pub from: Address,
    /// The provider that is tried first.
    pub via: Option<ProviderName>,
}

impl AlertTarget {
    pub fn name(&self) -> &str {
        match self {
            Self::Webhook(webhook) => &webhook.name,
            Self::Mail(mail) => &mail.name,
        }
    }
}

impl Default for AlertRules {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            oldest: Some(minutes(60)),
            oldest_of: BTreeMap::new(),
            growth: Some(Growth { messages: 1000, within: minutes(10) }),
            breaker: Some(minutes(1)),
            paused: true,
            quota: Some(80),
            bounces: Some(5),
            disk: Some(Size(512 << 20)),
            expiry: Some(minutes(14 * 24 * 60)),
            ends: Vec::new(),
            reload: true,
            trail: true,
            settle: minutes(1),
            most: 5,
        }
    }
}

impl AlertRules {
    /// None at all.
    pub fn none() -> Self {
        Self {
            oldest: None,
            oldest_of: BTreeMap::new(),
            growth: None,
            breaker: None,
            paused: false,
            quota: None,
            bounces: None,
            disk: None,
            expiry: None,
            ends: Vec::new(),
            reload: false,
            trail: false,
            ..Self::default()
        }
    }

    pub fn oldest_of(&self, route: &RouteName) -> Option<Duration> {
        self.oldest_of.get(route).copied().unwrap_or(self.oldest)
    }
}
