//! Quotas of providers: so many messages a span, counted from the first one of the span. They survive a restart: each
//! settlement carries the count along to the queue. Time is an argument.
//!
//! An attempt reserves what it may use and then spends what the provider took, so that attempts under way never
//! overdraw.

use std::collections::HashMap;
use std::time::Duration;

use super::span::after;
use crate::config::{Per, Provider, Quota};
use crate::mail::{ProviderName, Timestamp};
use crate::queue::Counter;
use crate::transport::Outcome;

/// Whoever waits for reserved messages that may come back is woken when they do; this is only the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Quotas {
    accounts: HashMap<ProviderName, Account>,
}

#[derive(Debug)]
struct Account {
    quota: Quota,
    per: Per,
    counter: Counter,
    reserved: u64,
}

impl Quotas {
    /// `counters`: as the queue kept them.
    pub fn new<'a>(providers: impl Iterator<Item = &'a Provider>, counters: &HashMap<String, Counter>) -> Self {
        let accounts = providers.filter_map(|provider| {
            let quota = provider.quota?;
            let fresh = Counter { since: Timestamp::UNIX_EPOCH, count: 0 };
            let counter = counters.get(&key(&provider.name)).copied().unwrap_or(fresh);
            let per = provider.limit.map(|limit| limit.per).unwrap_or_default();
            Some((provider.name.clone(), Account { quota, per, counter, reserved: 0 }))
        });
        Self { accounts: accounts.collect() }
    }

    /// When the quota is spent: until when.
    pub fn spent(&self, provider: &ProviderName, now: Timestamp) -> Option<Timestamp> {
        let account = self.accounts.get(provider)?;
        (account.left(now) == 0).then(|| match account.is_over(now) {
            // All of it is reserved by attempts that are under way.
            true => after(now, LOOK_AGAIN),
            false => after(account.counter.since, account.quota.span),
        })
    }

    /// Recipients that one attempt may have.
    pub fn most_recipients(&self, provider: &ProviderName, now: Timestamp) -> usize {
        match self.accounts.get(provider) {
            Some(account) if account.per == Per::Recipient => usize::try_from(account.left(now)).unwrap_or(usize::MAX),
            Some(_) | None => usize::MAX,
        }
    }

    /// For an attempt that begins. What it gives is to be given back to `spend`.
    pub fn reserve(&mut self, provider: &ProviderName, recipients: usize) -> u64 {
        let Some(account) = self.accounts.get_mut(provider) else { return 0 };
        let reserved = account.cost(recipients);
        account.reserved = account.reserved.saturating_add(reserved);
        reserved
    }

    /// For an attempt that ended: counts what the provider took, or may have. Gives the counter to be kept.
    pub fn spend(
        &mut self,
        provider: &ProviderName,
        reserved: u64,
        outcomes: &[Outcome],
        now: Timestamp,
    ) -> Option<(String, Counter)> {
        let account = self.accounts.get_mut(provider)?;
        account.reserved = account.reserved.saturating_sub(reserved);
        let took = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Delivered { .. } | Outcome::Unknown(_)));
        let took = took.count();
        if took == 0 {
            return None;
        }
        if account.is_over(now) {
            account.counter = Counter { since: now, count: 0 };
        }
        account.counter.count = account.counter.count.saturating_add(account.cost(took));
        Some((key(provider), account.counter))
    }
}

impl Account {
    fn left(&self, now: Timestamp) -> u64 {
        let count = if self.is_over(now) { 0 } else { self.counter.count };
        self.quota.messages.saturating_sub(count).saturating_sub(self.reserved)
    }

    /// The span has ended; or it lies in the future, since the clock was set back.
    fn is_over(&self, now: Timestamp) -> bool {
        now >= after(self.counter.since, self.quota.span) || now < self.counter.since
    }

    fn cost(&self, recipients: usize) -> u64 {
        match self.per {
            Per::Message => 1,
            Per::Recipient => recipients as u64,
        }
    }
}

/// The counter's name in the queue.
fn key(provider: &ProviderName) -> String {
    format!("quota/{provider}")
}
