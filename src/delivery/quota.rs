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

    /// Takes over the providers' quotas as they are now. What was counted of a provider stays counted; `counters` are for
    /// those that had no quota.
    pub fn renew<'a>(&mut self, providers: impl Iterator<Item = &'a Provider>, counters: &HashMap<String, Counter>) {
        let mut before = std::mem::replace(self, Self::new(providers, counters)).accounts;
        for (name, account) in &mut self.accounts {
            if let Some(before) = before.remove(name) {
                (account.counter, account.reserved) = (before.counter, before.reserved);
            }
        }
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

    pub fn now(&self, provider: &ProviderName, now: Timestamp) -> Option<QuotaNow> {
        let account = self.accounts.get(provider)?;
        let counts = !account.is_over(now);
        Some(QuotaNow {
            quota: account.quota,
            used: if counts { account.counter.count } else { 0 },
            until: counts.then(|| after(account.counter.since, account.quota.span)),
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

/// A quota at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaNow {
    pub quota: Quota,
    pub used: u64,
    /// When the count begins anew; `None`: nothing is counted yet.
    pub until: Option<Timestamp>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::fixtures::{moment, provider, provider_settings};
    use crate::mail::{Diagnosis, EnhancedStatus, Severity};

    fn quotas(messages: u64, counters: &[(&str, u64, u64)]) -> Quotas {
        let mut settings = provider_settings("p");
        settings.quota = Some(Quota { messages, span: Duration::from_secs(100) });
        let counters = counters
            .iter()
            .map(|(name, since, count)| ((*name).to_owned(), Counter { since: moment(*since), count: *count }))
            .collect();
        Quotas::new([&settings].into_iter(), &counters)
    }

    fn taken() -> Outcome {
        let status = EnhancedStatus::new(Severity::Success, 0, 0);
        Outcome::Delivered { diagnosis: Diagnosis::local(status, "x"), provider_id: None, dsn: false }
    }

    #[test]
    fn reserved_messages_are_never_overdrawn_and_come_back_unused() {
        let (mut quotas, p) = (quotas(2, &[]), provider("p"));
        assert_eq!((quotas.reserve(&p, 1), quotas.reserve(&p, 1)), (1, 1));
        assert!(quotas.spent(&p, moment(0)).is_some_and(|until| until > moment(0)), "no busy loop");
        assert_eq!(quotas.spend(&p, 1, &[], moment(0)), None);
        assert_eq!(quotas.spent(&p, moment(0)), None);
        let (name, counter) = quotas.spend(&p, 1, &[taken(), taken()], moment(5)).unwrap();
        assert_eq!((&*name, counter), ("quota/p", Counter { since: moment(5), count: 1 }));
        quotas.reserve(&p, 1);
        quotas.spend(&p, 1, &[taken()], moment(9));
        assert_eq!(quotas.spent(&p, moment(50)), Some(moment(105)));
        assert_eq!(quotas.spent(&p, moment(105)), None);
    }

    #[test]
    fn a_changed_quota_keeps_its_count() {
        let (mut quotas, p) = (quotas(2, &[]), provider("p"));
        quotas.reserve(&p, 1);
        quotas.spend(&p, 1, &[taken()], moment(5));
        quotas.reserve(&p, 1);
        let mut settings = provider_settings("p");
        settings.quota = Some(Quota { messages: 3, span: Duration::from_secs(100) });
        let stale = HashMap::from([("quota/p".to_owned(), Counter { since: moment(0), count: 0 })]);
        quotas.renew([&settings].into_iter(), &stale);
        assert_eq!(quotas.spent(&p, moment(6)), None, "one is taken and one reserved, of three");
        quotas.reserve(&p, 1);
        assert!(quotas.spent(&p, moment(6)).is_some());
        settings.quota = None;
        quotas.renew([&settings].into_iter(), &stale);
        assert_eq!(quotas.spent(&p, moment(6)), None);
        settings.quota = Some(Quota { messages: 3, span: Duration::from_secs(100) });
        let kept = HashMap::from([("quota/p".to_owned(), Counter { since: moment(5), count: 3 })]);
        quotas.renew([&settings].into_iter(), &kept);
        assert_eq!(quotas.spent(&p, moment(6)), Some(moment(105)), "as the queue has kept it");
    }

    #[test]
    fn a_count_is_taken_up_again_but_not_one_from_the_future() {
        let p = provider("p");
        assert_eq!(quotas(10, &[("quota/p", 0, 10)]).spent(&p, moment(50)), Some(moment(100)));
        assert_eq!(quotas(10, &[("quota/p", 0, 10)]).spent(&p, moment(100)), None);
        assert_eq!(quotas(10, &[("quota/p", 9999, 10)]).spent(&p, moment(50)), None);
        assert_eq!(quotas(10, &[("quota/other", 0, 10)]).spent(&p, moment(50)), None);
    }
}
