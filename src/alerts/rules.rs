//! Which alerts hold: a function of how the relay stands, what was before, and the time. Pure.

use std::time::Duration;

use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::history::{History, LATELY};
use super::span::{moment, since, words};
use crate::config::{AlertRules, Size};
use crate::mail::Timestamp;

/// Fewer bounced recipients than this are no alert, whatever their share.
const BOUNCES_LEAST: u64 = 20;
/// So many times the usual share.
const TIMES: f64 = 3.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    Breaker,
    Paused,
    Oldest,
    Growth,
    Refused,
    Disk,
    Full,
    Quota,
    Bounces,
    Certificate,
    Ends,
    Reload,
    Trail,
}

/// One alert: of each there is one at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub rule: Rule,
    /// The provider, route, file or thing.
    pub subject: String,
}

/// What is told of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// One line.
    pub summary: String,
    /// Name and text, in order.
    pub details: Vec<(String, String)>,
}

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub key: Key,
    pub since: Timestamp,
    /// It is bad enough to begin an alert; one that has begun goes on while the condition holds at all.
    pub fires: bool,
    pub told: Told,
}

impl Rule {
    /// The word of logs, JSON and the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Paused => "paused",
            Self::Oldest => "oldest",
            Self::Growth => "growth",
            Self::Refused => "refused",
            Self::Disk => "disk",
            Self::Full => "full",
            Self::Quota => "quota",
            Self::Bounces => "bounces",
            Self::Certificate => "certificate",
            Self::Ends => "ends",
            Self::Reload => "reload",
            Self::Trail => "trail",
        }
    }

    /// What is said when it is over.
    pub fn over(self, subject: &str) -> String {
        match self {
            Self::Breaker => format!("provider {subject} is back"),
            Self::Paused => format!("provider {subject} is in use again"),
            Self::Oldest => format!("route {subject}: old mail waits no more"),
            Self::Growth => "the queue grows no more".to_owned(),
            Self::Refused => "new mail is taken again".to_owned(),
            Self::Disk => "the queue's disk has room again".to_owned(),
            Self::Full => "the queue has room again".to_owned(),
            Self::Quota => format!("provider {subject}: its quota is free again"),
            Self::Bounces => "no more bounces than usual".to_owned(),
            Self::Certificate => format!("the certificate {subject} is good again"),
            Self::Ends => format!("{subject}: its end is far again"),
            Self::Reload => "the configuration is in force".to_owned(),
            Self::Trail => "the audit trail is written again".to_owned(),
        }
    }

    /// Several alerts of a rule, in one phrase: `10 routes have old mail`.
    pub fn several(self, count: usize) -> String {
        match self {
            Self::Breaker => format!("{count} providers are out"),
            Self::Paused => format!("{count} providers are paused"),
            Self::Oldest => format!("{count} routes have mail that waits for long"),
            Self::Quota => format!("{count} providers have used most of their quota"),
            Self::Certificate => format!("{count} certificates are near their end"),
            Self::Ends => format!("{count} things are near their end"),
            Self::Growth | Self::Refused | Self::Disk | Self::Full | Self::Bounces | Self::Reload | Self::Trail => {
                format!("{count} alerts ({})", self.name())
            }
        }
    }
}

impl Key {
    pub fn new(rule: Rule, subject: impl Into<String>) -> Self {
        Self { rule, subject: subject.into() }
    }
}

/// It is looked whether an alert's condition holds: its rule is on, and what it is about is there.
pub fn is_watched(rules: &AlertRules, facts: &Facts, Key { rule, subject }: &Key) -> bool {
    let provider = || facts.providers.iter().any(|provider| provider.name.as_str() == subject);
    match rule {
        Rule::Breaker => rules.breaker.is_some() && provider(),
        Rule::Paused => rules.paused && provider(),
        Rule::Quota => rules.quota.is_some() && provider(),
        Rule::Oldest => {
            let route = facts.routes.iter().find(|route| route.name.as_str() == subject);
            route.is_some_and(|route| rules.oldest_of(&route.name).is_some())
        }
        Rule::Growth => rules.growth.is_some(),
        Rule::Refused | Rule::Disk => rules.disk.is_some(),
        Rule::Full => rules.quota.is_some(),
        Rule::Bounces => rules.bounces.is_some(),
        Rule::Certificate => rules.expiry.is_some() && facts.certificates.iter().any(|one| one.file == *subject),
        Rule::Ends => rules.expiry.is_some() && rules.ends.iter().any(|(what, _)| what == subject),
        Rule::Reload => rules.reload,
        Rule::Trail => rules.trail,
    }
}

/// All conditions that hold at `now`.
pub fn findings(rules: &AlertRules, facts: &Facts, history: &History, now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let look = Look { rules, facts, history, now };
    look.providers(&mut found);
    look.routes(&mut found);
    look.queue(&mut found);
    look.bounces(&mut found);
    look.ends(&mut found);
    look.troubles(&mut found);
    found
}

struct Look<'a> {
    rules: &'a AlertRules,
    facts: &'a Facts,
    history: &'a History,
    now: Timestamp,
}

fn finding(
    (rule, subject): (Rule, &str),
    since: Timestamp,
    fires: bool,
    summary: String,
    details: Vec<(&str, String)>,
) -> Finding {
    let details = details.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    Finding { key: Key::new(rule, subject), since, fires, told: Told { summary, details } }
}

impl Look<'_> {
    fn providers(&self, found: &mut Vec<Finding>) {
        let (facts, now) = (self.facts, self.now);
        for provider in &facts.providers {
            let name = provider.name.as_str();
            let its_mail = || {
                vec![("mail goes", facts.instead_of(&provider.name)), ("waiting", facts.waiting_for(&provider.name))]
            };
            if let (Some(longest), Some(out)) = (self.rules.breaker, &provider.out) {
                let cause = out.cause.clone().unwrap_or_else(|| "nothing was said".to_owned());
                let mut details = vec![("since", moment(out.since)), ("last error", cause.clone())];
                details.extend(its_mail());
                details.extend(out.probe_at.map(|at| ("next probe", moment(at))));
                let summary = format!("provider {name} is out: {cause}");
                let fires = since(out.since, now) >= longest;
                found.push(finding((Rule::Breaker, name), out.since, fires, summary, details));
            }
            if let (true, Some(order)) = (self.rules.paused, &provider.paused) {
                let mut details = vec![
                    ("since", moment(order.since)),
                    ("until", moment(order.until)),
                    ("by", order.by.clone()),
                    ("reason", order.reason.clone()),
                ];
                details.extend(its_mail());
                let summary = format!("provider {name} is paused until {}", moment(order.until));
                found.push(finding((Rule::Paused, name), order.since, true, summary, details));
            }
            if let (Some(percent), Some(quota)) = (self.rules.quota, &provider.quota)
                && reaches(quota.used, quota.of, percent)
            {
                let of = quota.used.saturating_mul(100) / quota.of.max(1);
                let details =
                    vec![("used", format!("{} of {}", quota.used, quota.of)), ("begins anew", moment(quota.until))];
                let summary = format!("provider {name} has used {of}% of its quota");
                found.push(finding((Rule::Quota, name), now, true, summary, details));
            }
        }
    }

    fn routes(&self, found: &mut Vec<Finding>) {
        for route in &self.facts.routes {
            let (Some(longest), Some(oldest)) = (self.rules.oldest_of(&route.name), route.oldest) else { continue };
            let age = since(oldest, self.now);
            // What has begun goes on until the oldest is well below the mark.
            if age * 4 < longest * 3 {
                continue;
            }
            let away: Vec<&str> = route.chain.iter().flatten().map(|member| member.as_str()).collect();
            let away: Vec<&str> = away
                .into_iter()
                .filter(|name| self.facts.providers.iter().any(|one| one.name.as_str() == *name && one.out.is_some()))
                .collect();
            let mut details =
                vec![("since", moment(oldest)), ("waiting", route.waiting.to_string()), ("chain", chain(&route.chain))];
            if !away.is_empty() {
                details.push(("out", away.join(", ")));
            }
            let name = route.name.as_str();
            let summary = format!("route {name}: the oldest of {} that wait came {} ago", route.waiting, words(age));
            found.push(finding((Rule::Oldest, name), oldest, age >= longest, summary, details));
        }
    }

    fn queue(&self, found: &mut Vec<Finding>) {
        let (queue, now) = (&self.facts.queue, self.now);
        if let (Some(growth), Some((by, begin))) = (self.rules.growth, self.history.growth(now))
            && by * 2 >= growth.messages
        {
            let details = vec![("messages", queue.messages.to_string()), ("compared with", moment(begin))];
            let summary = format!(
                "the queue grows: {by} messages more than {} ago, {} in all",
                words(since(begin, now)),
                queue.messages
            );
            found.push(finding((Rule::Growth, "queue"), begin, by >= growth.messages, summary, details));
        }
        if let Some(percent) = self.rules.quota
            && queue.most > 0
            && reaches(queue.messages, queue.most, percent)
        {
            let details = vec![("messages", format!("{} of {}", queue.messages, queue.most))];
            let summary = format!(
                "the queue holds {} messages of the {} that it may (`queue.max_messages`)",
                queue.messages, queue.most
            );
            found.push(finding((Rule::Full, "queue"), now, true, summary, details));
        }
        let Some(disk) = self.rules.disk else { return };
        if let Some(why) = &queue.refuses {
            let details = vec![("cause", why.clone())];
            found.push(finding((Rule::Refused, "new mail"), now, true, format!("new mail is refused: {why}"), details));
        }
        if let Some(why) = queue.near.as_ref().or(queue.refuses.as_ref()) {
            let summary = format!("less than {disk} are left before new mail is refused: {why}", disk = Size(disk.0));
            // What is refused already needs no word of what is near.
            let fires = queue.refuses.is_none();
            found.push(finding((Rule::Disk, "queue"), now, fires, summary, vec![("cause", why.clone())]));
        }
    }

    fn bounces(&self, found: &mut Vec<Finding>) {
        let Some(percent) = self.rules.bounces else { return };
        let Some(bounces) = self.history.bounces(self.now) else { return };
        let half_way = bounces.usual + (100.0 - bounces.usual) / 2.0;
        let mark = f64::from(percent).max((bounces.usual * TIMES).min(half_way));
        let fires = bounces.share >= mark && bounces.bounced >= BOUNCES_LEAST;
        let goes_on = bounces.share * 3.0 >= mark * 2.0 && bounces.bounced * 2 >= BOUNCES_LEAST;
        if fires || goes_on {
            let (share, usual) = (bounces.share, bounces.usual);
            let summary = format!(
                "{share:.0}% of recipients bounced in the last {}: {} of {}",
                words(LATELY),
                bounces.bounced,
                bounces.of
            );
            let details = vec![("share", format!("{share:.1}%")), ("usual", format!("{usual:.1}%"))];
            found.push(finding((Rule::Bounces, "mail"), self.now, fires, summary, details));
        }
    }

    fn ends(&self, found: &mut Vec<Finding>) {
        let Some(before) = self.rules.expiry else { return };
        let mut end = |rule, subject: &str, at: Timestamp, mut details: Vec<(&str, String)>| {
            let left = since(self.now, at);
            if left > before {
                return;
            }
            let what = if rule == Rule::Certificate { "the certificate " } else { "" };
            let summary = match left {
                Duration::ZERO => format!("{what}{subject} has ended on {}", moment(at)),
                left => format!("{what}{subject} ends in {}, on {}", words(left), moment(at)),
            };
            details.push(("ends", moment(at)));
            found.push(finding((rule, subject), self.now, true, summary, details));
        };
        for certificate in &self.facts.certificates {
            let details = vec![("names", certificate.names.clone())];
            end(Rule::Certificate, &certificate.file, certificate.not_after, details);
        }
        for (what, day) in &self.rules.ends {
            // The day's begin, wherever the world it is: a day early is early enough.
            if let Ok(at) = Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)) {
                end(Rule::Ends, what, at, Vec::new());
            }
        }
    }

    fn troubles(&self, found: &mut Vec<Finding>) {
        for (rule, on, trouble, what) in [
            (Rule::Reload, self.rules.reload, &self.facts.reload, "the configuration was not reloaded"),
            (Rule::Trail, self.rules.trail, &self.facts.trail, "the audit trail is behind"),
        ] {
            if let (true, Some(trouble)) = (on, trouble) {
                let summary = format!("{what}: {}", trouble.text);
                let details = vec![("since", moment(trouble.since)), ("cause", trouble.text.clone())];
                found.push(finding((rule, "relay"), trouble.since, true, summary, details));
            }
        }
    }
}

fn reaches(used: u64, of: u64, percent: u8) -> bool {
    u128::from(used) * 100 >= u128::from(of) * u128::from(percent)
}

fn chain(tiers: &[Vec<crate::mail::ProviderName>]) -> String {
    let tiers = tiers.iter().map(|tier| tier.iter().map(|one| one.as_str()).collect::<Vec<_>>().join("+"));
    tiers.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
