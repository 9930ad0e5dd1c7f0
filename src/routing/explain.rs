//! Why a recipient goes where it goes: the route, its chain and limits, and what in each earlier route did not match.

use std::fmt;

use serde::Serialize;

use super::matching::{Verdict, holds};
use super::words;
use super::{Facts, Table};
use crate::config::{Action, OnThrottle, OnUnknown, Priority, Route, ShowDuration, Sticky, TlsFloor};

/// The whole answer for one recipient. Its serialized form is that of `waypost explain --json`, and stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    pub recipient: String,
    /// `null` is the null reverse-path.
    pub sender: Option<String>,
    /// The route that takes it; `null` where none does, or where the header or size decide.
    pub route: Option<String>,
    /// File, line and column of the route.
    pub place: Option<String>,
    /// `deliver`, `reject`, `hold` or `discard`.
    pub action: Option<&'static str>,
    /// What a rejection, a hold, or no route at all says.
    pub reply: Option<String>,
    /// Tiers in order; the first healthy one takes the mail.
    pub chain: Vec<Vec<Member>>,
    pub limits: Option<Limits>,
    /// Earlier routes, each with the first key of it that did not match.
    pub passed: Vec<Passed>,
}

/// A provider in its tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    pub provider: String,
    pub transport: &'static str,
    /// Where its mail goes: a host, an API's endpoint, a folder.
    pub to: String,
    pub weight: u32,
    pub region: Option<String>,
    pub rate: Option<String>,
    pub burst: Option<u32>,
    pub concurrency: usize,
    pub quota: Option<String>,
}

/// What the route sets beside its chain; `null` is the relay's own setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    pub rate: Option<String>,
    pub burst: Option<u32>,
    pub concurrency: Option<usize>,
    pub priority: &'static str,
    pub residency: Option<String>,
    pub tls: Option<&'static str>,
    pub retry: Option<Vec<String>>,
    pub expire: Option<String>,
    pub on_throttle: &'static str,
    pub on_unknown: &'static str,
    pub sticky: &'static str,
}

/// A route that did not take the mail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Passed {
    pub route: String,
    pub place: String,
    /// The key that did not match; `owner.` before it where it is the file's owner's.
    pub key: String,
    pub why: String,
}

/// What a route takes, and what it does with that.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    pub route: String,
    /// File, line and column.
    pub place: String,
    /// Keys and what they want, joined by AND; `owner.` before those of the file's owner. None: it takes all.
    pub conditions: Vec<(String, String)>,
    /// `deliver`, `reject`, `hold` or `discard`.
    pub action: &'static str,
    /// What a rejection or a hold says.
    pub reply: Option<String>,
    pub chain: Vec<Vec<Member>>,
    pub limits: Option<Limits>,
}

impl Table {
    /// Why the recipient goes where it goes.
    pub fn explain(&self, facts: &Facts<'_>) -> Explanation {
        let mut explanation = Explanation {
            recipient: facts.recipient.to_string(),
            sender: facts.sender.map(ToString::to_string),
            route: None,
            place: None,
            action: None,
            reply: None,
            chain: Vec::new(),
            limits: None,
            passed: Vec::new(),
        };
        for route in self.routes() {
            match first_obstacle(route, facts) {
                // The relay's own routes, for its mail of alerts, are of no concern to others.
                Some(passed) if passed.route.starts_with('-') => drop(passed),
                Some(passed) => explanation.passed.push(passed),
                None => {
                    self.take(&mut explanation, route);
                    return explanation;
                }
            }
        }
        explanation.reply = Some(format!("550 5.7.1 No route takes mail for <{}>", facts.recipient));
        explanation
    }

    fn take(&self, explanation: &mut Explanation, route: &Route) {
        explanation.route = Some(route.name.to_string());
        explanation.place = Some(route.place.to_string());
        let described = self.describe(route);
        explanation.action = Some(described.action);
        explanation.reply = described.reply;
        explanation.chain = described.chain;
        explanation.limits = described.limits;
    }

    /// A route, in words.
    pub fn describe(&self, route: &Route) -> Description {
        let (action, reply) = match &route.action {
            Action::Deliver(_) => ("deliver", None),
            Action::Reject(no) => ("reject", Some(format!("{} {} {}", no.code, no.status, no.text))),
            Action::Hold { reason } => ("hold", Some(reason.clone())),
            Action::Discard => ("discard", None),
        };
        let own = route.conditions.iter().map(|condition| ("", condition));
        let all = own.chain(route.owner.iter().map(|condition| ("owner.", condition)));
        let conditions = all.map(|(of, condition)| {
            let (key, wants) = words::wanted(condition);
            (format!("{of}{key}"), wants)
        });
        let mut described = Description {
            route: route.name.to_string(),
            place: route.place.to_string(),
            conditions: conditions.collect(),
            action,
            reply,
            chain: Vec::new(),
            limits: None,
        };
        let Action::Deliver(chain) = &route.action else { return described };
        let tiers = chain.iter().map(|tier| {
            let members = tier.0.iter().filter_map(|(name, weight)| Some((self.provider(name)?, *weight)));
            members.map(|(provider, weight)| words::member(provider, weight)).collect()
        });
        described.chain = tiers.collect();
        described.limits = Some(limits(route));
        described
    }
}

/// The first condition that does not hold, in words.
fn first_obstacle(route: &Route, facts: &Facts<'_>) -> Option<Passed> {
    let own = route.conditions.iter().map(|condition| ("", condition));
    let mut all = own.chain(route.owner.iter().map(|condition| ("owner.", condition)));
    all.find(|(_, condition)| holds(condition, facts) != Verdict::Holds).map(|(of, condition)| {
        let (key, why) = words::obstacle(condition, facts);
        Passed { route: route.name.to_string(), place: route.place.to_string(), key: format!("{of}{key}"), why }
    })
}

fn limits(route: &Route) -> Limits {
    Limits {
        rate: route.limit.map(|limit| limit.rate.to_string()),
        burst: route.limit.map(|limit| limit.burst),
        concurrency: route.concurrency,
        priority: match route.priority {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Bulk => "bulk",
        },
        residency: route.residency.clone(),
        tls: route.tls.map(|floor| match floor {
            TlsFloor::Require => "require",
            TlsFloor::Verify => "verify",
        }),
        retry: route.retry.as_ref().map(|pauses| pauses.iter().map(|pause| ShowDuration(*pause).to_string()).collect()),
        expire: route.expire.map(|expire| ShowDuration(expire).to_string()),
        on_throttle: match route.on_throttle {
            OnThrottle::Wait => "wait",
            OnThrottle::Failover => "failover",
        },
        on_unknown: match route.on_unknown {
            OnUnknown::Next => "next",
            OnUnknown::Wait => "wait",
            OnUnknown::Hold => "hold",
        },
        sticky: match route.sticky {
            Sticky::Message => "message",
            Sticky::Recipient => "recipient",
        },
    }
}

/// The form for people.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} from {}", self.recipient, self.sender.as_deref().unwrap_or("<>"))?;
        match (&self.route, &self.place) {
            (Some(route), Some(place)) => writeln!(f, "  takes route '{route}' ({place})")?,
            _ => writeln!(f, "  takes no route: {}", self.reply.as_deref().unwrap_or(""))?,
        }
        match (self.action, &self.reply) {
            (Some("deliver"), _) => writeln!(f, "  deliver through")?,
            (Some(action), Some(reply)) => writeln!(f, "  {action}: {reply}")?,
            (Some(action), None) => writeln!(f, "  {action}")?,
            (None, _) => {}
        }
        for (n, tier) in self.chain.iter().enumerate() {
            for (m, member) in tier.iter().enumerate() {
                let number = if m == 0 { format!("{}.", n + 1) } else { "  ".to_owned() };
                let share =
                    if tier.len() > 1 { format!("{} of {}, ", member.weight, weights(tier)) } else { String::new() };
                writeln!(f, "    {number} {}: {share}{member}", member.provider)?;
            }
        }
        if let Some(limits) = &self.limits {
            writeln!(f, "  {limits}")?;
        }
        if !self.passed.is_empty() {
            writeln!(f, "  earlier routes")?;
        }
        for passed in &self.passed {
            writeln!(f, "    '{}' ({}): {}: {}", passed.route, passed.place, passed.key, passed.why)?;
        }
        Ok(())
    }
}

fn weights(tier: &[Member]) -> u64 {
    tier.iter().map(|member| u64::from(member.weight)).sum()
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.transport, self.to)?;
        if let Some(region) = &self.region {
            write!(f, ", region {region}")?;
        }
        if let (Some(rate), Some(burst)) = (&self.rate, self.burst) {
            write!(f, ", rate {rate} (burst {burst})")?;
        }
        write!(f, ", concurrency {}", self.concurrency)?;
        if let Some(quota) = &self.quota {
            write!(f, ", quota {quota}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.rate, self.burst) {
            (Some(rate), Some(burst)) => write!(f, "rate {rate} (burst {burst})")?,
            _ => write!(f, "no rate limit")?,
        }
        if let Some(concurrency) = self.concurrency {
            write!(f, ", concurrency {concurrency}")?;
        }
        write!(f, ", priority {}", self.priority)?;
        if let Some(residency) = &self.residency {
            write!(f, ", residency {residency}")?;
        }
        if let Some(tls) = self.tls {
            write!(f, ", tls at least {tls}")?;
        }
        if let Some(retry) = &self.retry {
            write!(f, ", retry {}", retry.join(" "))?;
        }
        if let Some(expire) = &self.expire {
            write!(f, ", expire {expire}")?;
        }
        write!(f, ", on_throttle {}, on_unknown {}, sticky {}", self.on_throttle, self.on_unknown, self.sticky)
    }
}
