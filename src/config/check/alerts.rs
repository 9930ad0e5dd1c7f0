//! `alerts` of `waypost.yaml`.

use super::{Files, Names};
use crate::config::Secret;
use crate::config::alerts::{AlertRules, AlertTarget, Alerts, Growth, MailTarget, WebhookTarget};
use crate::config::fault::Fault;
use crate::config::raw::{RawAlertRules, RawAlertTarget, RawAlerts, RawGrowth, RawOldest};
use crate::config::read::{Cx, Record};
use crate::mail::{Address, Domain, ProviderName, RouteName};

/// The key of `oldest` that stands for all routes which it does not name.
const OTHERS: &str = "*";

/// On unless they are turned off. Targets that cannot be used have been told.
pub(super) fn check(
    files: &Files,
    hostname: &Domain,
    (routes, providers): (&Names, &Names),
    cx: &mut Cx<'_>,
) -> Alerts {
    let Some((name, file)) = &files.server else { return Alerts::default() };
    cx.file = name.clone();
    let raw = match file.alerts.get() {
        Some(RawAlerts::Off(_)) => return Alerts { rules: AlertRules::none(), targets: Vec::new() },
        Some(RawAlerts::Some(raw)) => raw,
        None => return Alerts::default(),
    };
    let mut names = Names::new("alert target", false);
    let mut targets: Vec<AlertTarget> = Vec::new();
    for raw in raw.to.get().into_iter().flatten() {
        let Some(target) = target(raw, hostname, providers, cx) else { continue };
        // Without a name of its own, another of the same host is no mistake.
        if let Some(name) = &raw.name.value
            && !names.add(&name.0, name.spot, cx)
        {
            continue;
        }
        targets.push(numbered(target, &targets));
    }
    let rules = raw.rules.get().map_or_else(AlertRules::default, |raw| rules(raw, routes, cx));
    Alerts { rules, targets }
}

/// Of targets with one name the second is `NAME (2)`.
fn numbered(mut target: AlertTarget, before: &[AlertTarget]) -> AlertTarget {
    let name = match &mut target {
        AlertTarget::Webhook(webhook) => &mut webhook.name,
        AlertTarget::Mail(mail) => &mut mail.name,
    };
    let is_taken = |name: &str| before.iter().any(|one| one.name() == name);
    let own = name.clone();
    for n in 2usize.. {
        if !is_taken(name) {
            break;
        }
        *name = format!("{own} ({n})");
    }
    target
}

fn target(raw: &RawAlertTarget, hostname: &Domain, providers: &Names, cx: &mut Cx<'_>) -> Option<AlertTarget> {
    let idle = [
        ("secret", "webhook", raw.secret.key, raw.webhook.is_given()),
        ("from", "mail", raw.from.key, raw.mail.is_given()),
        ("via", "mail", raw.via.key, raw.mail.is_given()),
    ];
    for (key, of, spot, used) in idle {
        if let (Some(spot), false) = (spot, used) {
            cx.error(spot, Fault::IdleBurst { key, of });
        }
    }
    let given = raw.name.get().map(|name| name.0.clone());
    match (raw.webhook.is_given(), raw.mail.is_given()) {
        (true, true) | (false, false) => {
            cx.error(raw.spot(), Fault::WebhookOrMail);
            None
        }
        (true, false) => {
            let url = &raw.webhook.get()?.0;
            let host = match host(url) {
                Some(host) => host,
                // What stands for it may be no URL.
                None if cx.outside.assumes() => "webhook".to_owned(),
                None => {
                    cx.error(raw.webhook.spot(raw.spot()), Fault::Webhook);
                    return None;
                }
            };
            Some(AlertTarget::Webhook(WebhookTarget {
                name: given.unwrap_or(host),
                url: Secret::new(url.clone()),
                secret: raw.secret.get().cloned(),
            }))
        }
        (false, true) => {
            let to: Vec<Address> = raw.mail.get()?.0.iter().map(|at| at.value.clone()).collect();
            let first = to.first()?.to_string();
            let via = raw.via.value.as_ref();
            if let Some(via) = via {
                providers.expect(&via.value, via.spot, cx);
            }
            let own = || format!("waypost@{hostname}").parse::<Address>().ok();
            Some(AlertTarget::Mail(MailTarget {
                name: given.unwrap_or(first),
                from: raw.from.get().cloned().or_else(own).unwrap_or_else(|| to[0].clone()),
                to,
                via: via.map(|via| ProviderName::new(&via.value)),
            }))
        }
    }
}

/// The host of an http or https URL. Its path may be a secret, and is never shown.
fn host(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    match url.scheme() {
        "http" | "https" => url.host_str().filter(|host| !host.is_empty()).map(str::to_owned),
        _ => None,
    }
}

fn rules(raw: &RawAlertRules, routes: &Names, cx: &mut Cx<'_>) -> AlertRules {
    let usual = AlertRules::default();
    let (mut oldest, mut oldest_of) = (usual.oldest, usual.oldest_of);
    match raw.oldest.get() {
        Some(RawOldest::Of(age)) => oldest = age.0,
        Some(RawOldest::ByRoute(ages)) => {
            for (route, age) in &ages.0 {
                if route.value == OTHERS {
                    oldest = age.0;
                    continue;
                }
                routes.expect(&route.value, route.spot, cx);
                oldest_of.insert(RouteName::new(&route.value), age.0);
            }
        }
        None => {}
    }
    AlertRules {
        oldest,
        oldest_of,
        growth: match raw.growth.get() {
            Some(RawGrowth::Never(_)) => None,
            Some(RawGrowth::Over(over)) => over.messages.get().map(|messages| Growth {
                messages: messages.0,
                within: over.within.get().map_or(std::time::Duration::from_secs(600), |span| span.0),
            }),
            None => usual.growth,
        },
        breaker: raw.breaker.get().map_or(usual.breaker, |age| age.0),
        paused: raw.paused.or(usual.paused),
        quota: raw.quota.get().map_or(usual.quota, |share| share.0),
        bounces: raw.bounces.get().map_or(usual.bounces, |share| share.0),
        disk: raw.disk.get().map_or(usual.disk, |size| size.0),
        expiry: raw.expiry.get().map_or(usual.expiry, |span| span.0),
        ends: raw
            .ends
            .get()
            .map_or(usual.ends, |ends| ends.0.iter().map(|(what, day)| (what.value.clone(), day.value.0)).collect()),
        reload: raw.reload.or(usual.reload),
        trail: raw.trail.or(usual.trail),
        settle: raw.settle.get().map_or(usual.settle, |span| span.0),
        most: raw.most.get().map_or(usual.most, |most| most.to_u32()),
    }
}
