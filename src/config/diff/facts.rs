//! Providers and routes as lists of keys and values. Each takes its record apart whole, so that a new field is a compile
//! error here until it is told of.

use std::fmt::{Debug, Display};
use std::time::Duration;

use crate::config::{
    Action, BreakerSettings, Condition, Credentials, Limit, LmtpSettings, LmtpWay, MaildirSettings, MailgunSettings,
    MxSettings, Provider, Quota, Rejection, Route, Secret, SendGridSettings, SesCredentials, SesSettings, ShowDuration,
    SizeOrder, SizeTest, SmtpSettings, Test, Tier, Timeouts, Transport,
};

/// Keys and what they say, in the order in which they are told.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub list: Vec<(String, Said)>,
}

/// A key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Text(String),
    /// Its order means nothing.
    List(Vec<String>),
    /// Compared, and never told.
    Secret(Secret),
}

impl Facts {
    pub fn add(&mut self, key: impl Into<String>, said: impl Display) -> &mut Self {
        self.list.push((key.into(), Said::Text(said.to_string())));
        self
    }

    pub fn may(&mut self, key: impl Into<String>, said: Option<impl Display>) -> &mut Self {
        match said {
            Some(said) => self.add(key, said),
            None => self,
        }
    }

    /// An empty list is one that is not there.
    pub fn all(&mut self, key: impl Into<String>, list: &[impl Display]) -> &mut Self {
        if !list.is_empty() {
            let mut list: Vec<String> = list.iter().map(ToString::to_string).collect();
            list.sort();
            self.list.push((key.into(), Said::List(list)));
        }
        self
    }

    pub fn secret(&mut self, key: impl Into<String>, secret: &Secret) -> &mut Self {
        self.list.push((key.into(), Said::Secret(secret.clone())));
        self
    }

    pub fn limit(&mut self, limit: Option<Limit>) -> &mut Self {
        self.limit_as("rate", "burst", limit);
        self.may("per", limit.map(|limit| word(limit.per)))
    }

    pub fn limit_as(&mut self, rate: &str, burst: &str, limit: Option<Limit>) -> &mut Self {
        let parts = limit.map(|Limit { rate, burst, per: _ }| (rate, burst));
        self.may(rate, parts.map(|(rate, _)| rate)).may(burst, parts.map(|(_, burst)| burst))
    }
}

/// Values of an enum are called in the files as they are here, but for the case of their letters.
pub(super) fn word(value: impl Debug) -> String {
    format!("{value:?}").to_lowercase()
}

pub(super) fn span(span: Duration) -> String {
    ShowDuration(span).to_string()
}

pub(super) fn spans(spans: &[Duration]) -> String {
    spans.iter().map(|one| span(*one)).collect::<Vec<_>>().join(" ")
}

/// Values as they are told. Of long lists only what came and went.
pub(super) fn told(old: Option<&Said>, new: Option<&Said>) -> (Option<String>, Option<String>) {
    const WHOLE: usize = 6;
    let text = |said: &Said| match said {
        Said::Text(text) => Some(text.clone()),
        Said::List(list) => Some(some(list)),
        Said::Secret(_) => None,
    };
    match (old, new) {
        (Some(Said::List(old)), Some(Said::List(new))) if old.len().max(new.len()) > WHOLE => {
            let less: Vec<String> = old.iter().filter(|one| new.binary_search(one).is_err()).cloned().collect();
            let more: Vec<String> = new.iter().filter(|one| old.binary_search(one).is_err()).cloned().collect();
            let with = |list: &[String]| if list.is_empty() { String::new() } else { format!(" with {}", some(list)) };
            (Some(format!("{} values{}", old.len(), with(&less))), Some(format!("{} values{}", new.len(), with(&more))))
        }
        (Some(Said::Secret(_)), None) => (Some("***".to_owned()), None),
        (None, Some(Said::Secret(_))) => (None, Some("***".to_owned())),
        (old, new) => (old.and_then(text), new.and_then(text)),
    }
}

fn some(list: &[String]) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<String> = list.iter().take(MOST).cloned().collect();
    if list.len() > MOST {
        shown.push(format!("{} more", list.len() - MOST));
    }
    shown.join(", ")
}

pub(super) fn provider(provider: &Provider) -> Facts {
    let Provider { name: _, place: _, transport, region, limit, concurrency, quota, breaker, timeout } = provider;
    let mut facts = Facts::default();
    match transport {
        Transport::Mx(MxSettings { tls, port, destination_concurrency, ca, source }) => {
            facts.add("transport", "mx").add("tls", word(tls)).add("port", port);
            facts.add("destination_concurrency", destination_concurrency).may("ca", ca.as_ref().map(|ca| ca.display()));
            facts.may("source", *source);
        }
        Transport::Smtp(SmtpSettings { host, port, tls, credentials, ca, source, flavor, chunking }) => {
            facts.add("transport", "smtp").add("host", host).add("port", port).add("tls", word(tls));
            facts.credentials(credentials.as_ref()).may("ca", ca.as_ref().map(|ca| ca.display()));
            facts.may("source", *source).may("flavor", flavor.map(word)).may("chunking", chunking.then_some(true));
        }
        Transport::Lmtp(LmtpSettings { way, tls, credentials, ca, source }) => {
            facts.add("transport", "lmtp");
            match way {
                LmtpWay::Host { host, port } => facts.add("host", host).add("port", port),
                LmtpWay::Socket(path) => facts.add("socket", path.display()),
            };
            facts.add("tls", word(tls)).credentials(credentials.as_ref());
            facts.may("ca", ca.as_ref().map(|ca| ca.display())).may("source", *source);
        }
        Transport::SendGrid(SendGridSettings { api_key, endpoint }) => {
            facts.add("transport", "sendgrid").secret("api_key", api_key).add("endpoint", endpoint);
        }
        Transport::Mailgun(MailgunSettings { api_key, endpoint, domain }) => {
            facts.add("transport", "mailgun").secret("api_key", api_key).add("endpoint", endpoint);
            facts.add("domain", domain);
        }
        Transport::Ses(SesSettings { region: _, endpoint, credentials, configuration_set }) => {
            facts.add("transport", "ses").may("endpoint", endpoint.as_ref());
            if let Some(SesCredentials { access_key_id, secret_access_key }) = credentials {
                facts.add("access_key_id", access_key_id).secret("secret_access_key", secret_access_key);
            }
            facts.may("configuration_set", configuration_set.as_ref());
        }
        Transport::Maildir(MaildirSettings { path }) => {
            facts.add("transport", "maildir").add("path", path.display());
        }
    }
    facts.may("region", region.as_ref()).limit(*limit).add("concurrency", concurrency);
    facts.may("quota", quota.map(|Quota { messages, span: over }| format!("{messages}/{}", span(over))));
    let BreakerSettings { failures, within, probe_after, probe_max } = *breaker;
    facts.add("breaker.failures", failures).add("breaker.within", span(within));
    facts.add("breaker.probe_after", span(probe_after)).add("breaker.probe_max", span(probe_max));
    let Timeouts { connect, command, content } = *timeout;
    facts.add("timeout.connect", span(connect)).add("timeout.command", span(command));
    facts.add("timeout.content", span(content));
    facts
}

impl Facts {
    fn credentials(&mut self, credentials: Option<&Credentials>) -> &mut Self {
        let Some(Credentials { username, password }) = credentials else { return self };
        self.add("credentials.username", username).secret("credentials.password", password)
    }
}

pub(super) fn route(route: &Route) -> Facts {
    let Route { name: _, place: _, conditions, owner, action, limit, concurrency, priority, residency, .. } = route;
    let Route { tls, expire, retry, on_throttle, on_unknown, sticky, .. } = route;
    let mut facts = Facts::default();
    conditions.iter().for_each(|condition| facts.condition("match", condition));
    owner.iter().for_each(|condition| facts.condition("owner", condition));
    match action {
        Action::Deliver(chain) => facts.add("chain", tiers(chain)),
        Action::Reject(Rejection { code, status, text }) => facts.add("reject", format!("{code} {status} {text}")),
        Action::Hold { reason } => facts.add("hold", reason),
        Action::Discard => facts.add("discard", true),
    };
    facts.limit(*limit).may("concurrency", *concurrency).add("priority", word(priority));
    facts.may("residency", residency.as_ref()).may("tls", tls.map(word)).may("expire", expire.map(span));
    facts.may("retry", retry.as_ref().map(|retry| spans(retry))).add("on_throttle", word(on_throttle));
    facts.add("on_unknown", word(on_unknown)).add("sticky", word(sticky));
    facts
}

/// `mailgun 80 + ses 20, smarthost`.
fn tiers(chain: &[Tier]) -> String {
    let tier = |tier: &Tier| match &tier.0[..] {
        [(only, _)] => only.to_string(),
        all => all.iter().map(|(name, weight)| format!("{name} {weight}")).collect::<Vec<_>>().join(" + "),
    };
    chain.iter().map(tier).collect::<Vec<_>>().join(", ")
}

impl Facts {
    fn condition(&mut self, of: &str, condition: &Condition) {
        let Condition { negated, test } = condition;
        let of = if *negated { format!("{of}.not") } else { of.to_owned() };
        let key = |key: &str| format!("{of}.{key}");
        match test {
            Test::Sender(patterns) => self.all(key("sender"), patterns),
            Test::SenderDomain(patterns) => self.all(key("sender_domain"), patterns),
            Test::Recipient(patterns) => self.all(key("recipient"), patterns),
            Test::RecipientDomain(patterns) => self.all(key("recipient_domain"), patterns),
            Test::Listener(globs) => self.all(key("listener"), globs),
            Test::Client(nets) => self.all(key("client"), nets),
            Test::User(globs) => self.all(key("user"), globs),
            Test::Header(fields) => {
                for (name, globs) in fields {
                    self.all(key(&format!("header.{}", name.to_ascii_lowercase())), globs);
                }
                self
            }
            Test::Size(test) => self.add(key("size"), size(*test)),
        };
    }
}

fn size(SizeTest { order, size }: SizeTest) -> String {
    let order = match order {
        SizeOrder::Less => "<",
        SizeOrder::LessOrEqual => "<=",
        SizeOrder::Greater => ">",
        SizeOrder::GreaterOrEqual => ">=",
    };
    format!("{order}{size}")
}
