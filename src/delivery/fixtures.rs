//! What the tests of delivery share.

use std::sync::Arc;
use std::time::Duration;

use super::span::after;
use crate::config::{
    Action, BreakerSettings, MaildirSettings, OnThrottle, OnUnknown, Place, Priority, Provider, Route, Sticky, Tier,
    Timeouts, Transport,
};
use crate::mail::{ProviderName, RouteName, Timestamp};
use crate::queue::{Lane, Leg, LegRecipient, LegState, Orders};

/// So many seconds into the test's time.
pub fn moment(second: u64) -> Timestamp {
    after(Timestamp::from_second(1_700_000_000).unwrap(), Duration::from_secs(second))
}

pub fn provider(name: &str) -> ProviderName {
    ProviderName::new(name)
}

pub fn place() -> Place {
    Place { file: Arc::from("routes/test.yaml"), line: 1, column: 1 }
}

/// A route that takes all mail and delivers through these tiers.
pub fn deliver(name: &str, tiers: &[&[(&str, u32)]]) -> Route {
    let tier = |tier: &&[(&str, u32)]| Tier(tier.iter().map(|(name, weight)| (provider(name), *weight)).collect());
    Route {
        name: RouteName::new(name),
        place: place(),
        conditions: Vec::new(),
        owner: Vec::new(),
        action: Action::Deliver(tiers.iter().map(tier).collect()),
        limit: None,
        concurrency: None,
        priority: Priority::Normal,
        residency: None,
        tls: None,
        expire: None,
        retry: None,
        on_throttle: OnThrottle::Wait,
        on_unknown: OnUnknown::Next,
        sticky: Sticky::Message,
    }
}

pub fn leg() -> Leg {
    Leg {
        lane: Lane { route: RouteName::new("r"), destination: None, via: None },
        due: moment(0),
        recipients: vec![LegRecipient { index: 0, last: None }],
        attempts: 0,
        passed: Vec::new(),
        state: LegState::Waiting,
        warned: false,
        orders: Orders::default(),
        tried: None,
    }
}

/// A provider without limits.
pub fn provider_settings(name: &str) -> Provider {
    let minute = Duration::from_secs(60);
    Provider {
        name: provider(name),
        place: place(),
        transport: Transport::Maildir(MaildirSettings { path: "unused".into() }),
        region: None,
        limit: None,
        concurrency: 32,
        quota: None,
        breaker: BreakerSettings {
            failures: 5,
            within: Duration::from_secs(30),
            probe_after: Duration::from_secs(15),
            probe_max: Duration::from_secs(600),
        },
        timeout: Timeouts { connect: minute, command: minute, content: minute },
    }
}
