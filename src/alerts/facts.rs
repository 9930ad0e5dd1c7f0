//! What the rules look at: how the relay stands at one moment. Plain values, so that a rule is a function.

use super::span::moment;
use crate::mail::{ProviderName, RouteName, Timestamp};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub providers: Vec<ProviderFacts>,
    pub routes: Vec<RouteFacts>,
    pub queue: QueueFacts,
    pub counts: Counts,
    pub certificates: Vec<CertificateFacts>,
    pub reload: Option<Trouble>,
    pub trail: Option<Trouble>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ProviderFacts {
    pub name: ProviderName,
    /// Its breaker is open, or being probed.
    pub out: Option<Out>,
    pub paused: Option<Order>,
    pub quota: Option<QuotaFacts>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Out {
    pub since: Timestamp,
    pub probe_at: Option<Timestamp>,
    /// What it said last, in full.
    pub cause: Option<String>,
}

/// What an operator has ordered: that it is left alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub since: Timestamp,
    pub until: Timestamp,
    pub by: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct QuotaFacts {
    pub used: u64,
    pub of: u64,
    /// When it begins anew.
    pub until: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RouteFacts {
    pub name: RouteName,
    /// Tiers in order; empty where it does not deliver.
    pub chain: Vec<Vec<ProviderName>>,
    /// Parts of messages that wait.
    pub waiting: u64,
    /// When the oldest of these was accepted.
    pub oldest: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueFacts {
    pub messages: u64,
    /// As many as it may have.
    pub most: u64,
    /// Why no new mail is taken.
    pub refuses: Option<String>,
    /// Why that will be so soon.
    pub near: Option<String>,
}

/// Recipients, since the start of the relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub delivered: u64,
    pub bounced: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CertificateFacts {
    /// The file.
    pub file: String,
    pub names: String,
    pub not_after: Timestamp,
}

/// Something that does not work, and what was said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    pub since: Timestamp,
    pub text: String,
}

impl ProviderFacts {
    /// No mail goes there now.
    fn is_away(&self) -> bool {
        self.out.is_some() || self.paused.is_some()
    }
}

impl Facts {
    fn is_away(&self, name: &ProviderName) -> bool {
        self.providers.iter().any(|provider| provider.name == *name && provider.is_away())
    }

    /// Where the mail of a provider that is away goes now, in words.
    pub fn instead_of(&self, name: &ProviderName) -> String {
        let of_it = self.routes.iter().filter(|route| route.chain.iter().any(|tier| tier.contains(name)));
        let mut ways: Vec<(Option<String>, Vec<&str>)> = Vec::new();
        for route in of_it {
            let ready = route.chain.iter().find_map(|tier| {
                let ready: Vec<&str> =
                    tier.iter().filter(|member| !self.is_away(member)).map(ProviderName::as_str).collect();
                (!ready.is_empty()).then(|| ready.join(" and "))
            });
            match ways.iter_mut().find(|(way, _)| *way == ready) {
                Some((_, routes)) => routes.push(route.name.as_str()),
                None => ways.push((ready, vec![route.name.as_str()])),
            }
        }
        if ways.is_empty() {
            return "no route uses it".to_owned();
        }
        let words = ways.iter().map(|(way, routes)| {
            let routes = listed(routes);
            match way {
                Some(way) => format!("to {way} (route {routes})"),
                None => format!("nowhere, it waits (route {routes})"),
            }
        });
        words.collect::<Vec<_>>().join("; ")
    }

    /// Parts of messages that wait in routes which use a provider, and when the oldest of them came, in words.
    pub fn waiting_for(&self, name: &ProviderName) -> String {
        let of_it = || self.routes.iter().filter(|route| route.chain.iter().any(|tier| tier.contains(name)));
        let waiting: u64 = of_it().map(|route| route.waiting).sum();
        match (waiting, of_it().filter_map(|route| route.oldest).min()) {
            (0, _) => "nothing".to_owned(),
            (waiting, None) => format!("{waiting} on these routes"),
            (waiting, Some(oldest)) => format!("{waiting} on these routes, the oldest since {}", moment(oldest)),
        }
    }
}

/// The first of many names.
pub fn listed(names: &[&str]) -> String {
    const MOST: usize = 10;
    let shown = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MOST) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        Some(_) | None => shown,
    }
}
