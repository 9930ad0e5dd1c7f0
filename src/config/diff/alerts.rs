//! Rules and targets of alerts as lists of keys and values.

use std::time::Duration;

use super::facts::{Facts, span};
use crate::config::{AlertRules, AlertTarget, Alerts, MailTarget, WebhookTarget};

/// They are not off.
pub(super) fn are_on(alerts: &Alerts) -> bool {
    alerts.rules != AlertRules::none() || !alerts.targets.is_empty()
}

/// Keys of the relay itself. `rules`: they are told one by one; where alerts go off or on, that alone.
pub(super) fn relay(alerts: &Alerts, rules: bool, facts: &mut Facts) {
    facts.add("alerts", if are_on(alerts) { "on" } else { "off" });
    if !rules {
        return;
    }
    let AlertRules { oldest, oldest_of, growth, breaker, paused, quota, bounces, disk, .. } = &alerts.rules;
    let AlertRules { expiry, ends, reload, trail, settle, most, .. } = &alerts.rules;
    let of = |key: &str| format!("alerts.rules.{key}");
    facts.add(of("oldest"), age(*oldest));
    for (route, longest) in oldest_of {
        facts.add(of(&format!("oldest.{route}")), age(*longest));
    }
    let growth = growth.map(|growth| format!("{} within {}", growth.messages, span(growth.within)));
    facts.add(of("growth"), growth.unwrap_or_else(never)).add(of("breaker"), age(*breaker)).add(of("paused"), paused);
    facts.add(of("quota"), share(*quota)).add(of("bounces"), share(*bounces));
    facts.add(of("disk"), disk.map_or_else(never, |size| size.to_string())).add(of("expiry"), age(*expiry));
    facts.all(of("ends"), &ends.iter().map(|(what, day)| format!("{what} on {day}")).collect::<Vec<_>>());
    facts.add(of("reload"), reload).add(of("trail"), trail).add(of("settle"), span(*settle)).add(of("most"), most);
}

fn never() -> String {
    "never".to_owned()
}

fn age(age: Option<Duration>) -> String {
    age.map_or_else(never, span)
}

fn share(share: Option<u8>) -> String {
    share.map_or_else(never, |percent| format!("{percent}%"))
}

pub(super) fn target(target: &AlertTarget) -> Facts {
    let mut facts = Facts::default();
    match target {
        AlertTarget::Webhook(WebhookTarget { name: _, url, secret }) => {
            facts.secret("webhook", url);
            if let Some(secret) = secret {
                facts.secret("secret", secret);
            }
        }
        AlertTarget::Mail(MailTarget { name: _, to, from, via }) => {
            facts.all("mail", to).add("from", from).may("via", via.as_ref());
        }
    }
    facts
}
