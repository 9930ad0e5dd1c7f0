//! What to do with a leg now: which provider of the chain takes it, or what it waits for. Pure.
//!
//! Tiers in order. Within a tier the admissible members share by weight, and each covers for the others. A tier that is
//! out is passed over with no attempt made; one that is merely throttled is waited for, or passed over, as the route's
//! `on_throttle` says. Nothing outside the chain is ever chosen, which is what makes residency hold.

use super::health::Admits;
use crate::config::{OnThrottle, Route, Sticky, Tier};
use crate::mail::{Address, Mid, ProviderName, Timestamp};
use crate::queue::{Passed, PassedWhy};

/// What to do with a leg now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    Start {
        provider: ProviderName,
        probe: bool,
    },
    /// All of the lane is in the same position: it waits, and nothing is written. `None`: until a probe's outcome.
    Wait {
        until: Option<Timestamp>,
        provider: ProviderName,
    },
    /// This leg's own history leaves it nowhere to go for now; others of its lane may have a way.
    Postpone {
        until: Option<Timestamp>,
    },
    /// Every provider was tried this round: the retry schedule decides.
    NextRound,
    /// No provider of the chain can carry it.
    Exhausted,
}

/// The chain and what stands against its members, for one leg.
pub struct Question<'a> {
    pub route: &'a Route,
    pub chain: &'a [Tier],
    pub passed: &'a [Passed],
    /// Passed over for this decision alone (their own rate is used up).
    pub busy: &'a [ProviderName],
    /// Chooses among members by weight: see `draw`.
    pub draw: u64,
}

pub fn plan(question: &Question<'_>, admits: impl Fn(&ProviderName) -> Admits) -> Plan {
    let mut soonest: Option<(Timestamp, ProviderName)> = None;
    let mut probing: Option<ProviderName> = None;
    let mut untried = 0;
    let mut tried = 0;
    for tier in question.chain {
        let mut open: Vec<(&ProviderName, u32, bool)> = Vec::with_capacity(tier.0.len());
        let mut throttled: Option<(Timestamp, &ProviderName)> = None;
        for (provider, weight) in &tier.0 {
            if let Some(passed) = question.passed.iter().find(|passed| passed.provider == *provider) {
                tried += usize::from(passed.why == PassedWhy::Tried);
                continue;
            }
            if question.busy.contains(provider) {
                untried += 1;
                continue;
            }
            untried += 1;
            match admits(provider) {
                Admits::Now { probe } => open.push((provider, *weight, probe)),
                Admits::Out { until } | Admits::SenderRefused { until } => sooner(&mut soonest, until, provider),
                Admits::Probing => probing = Some(provider.clone()),
                Admits::Throttled { until } => {
                    sooner(&mut soonest, until, provider);
                    if throttled.is_none_or(|(at, _)| until < at) {
                        throttled = Some((until, provider));
                    }
                }
            }
        }
        if let Some((provider, probe)) = choose(&open, question.draw) {
            return Plan::Start { provider: provider.clone(), probe };
        }
        if let (Some((until, provider)), OnThrottle::Wait) = (throttled, question.route.on_throttle) {
            return wait(question, Some(until), provider.clone());
        }
    }
    if untried == 0 {
        return if tried > 0 { Plan::NextRound } else { Plan::Exhausted };
    }
    match (soonest, probing) {
        // The probe's outcome wakes the lane before that time, or the time comes first.
        (Some((until, provider)), _) => wait(question, Some(until), provider),
        (None, Some(provider)) => wait(question, None, provider),
        // Only busy ones are left: the caller knows when they are free again.
        (None, None) => Plan::Postpone { until: None },
    }
}

fn wait(question: &Question<'_>, until: Option<Timestamp>, provider: ProviderName) -> Plan {
    if question.passed.is_empty() { Plan::Wait { until, provider } } else { Plan::Postpone { until } }
}

fn sooner(soonest: &mut Option<(Timestamp, ProviderName)>, until: Timestamp, provider: &ProviderName) {
    if soonest.as_ref().is_none_or(|(at, _)| until < *at) {
        *soonest = Some((until, provider.clone()));
    }
}

/// Weighted rendezvous hashing: shares follow the weights, and when one member goes out only its own share moves.
fn choose<'a>(open: &[(&'a ProviderName, u32, bool)], draw: u64) -> Option<(&'a ProviderName, bool)> {
    let score = |provider: &ProviderName, weight: u32| {
        let hash = mix(fnv(provider.as_str().as_bytes(), draw));
        // A uniform draw in (0, 1).
        let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        f64::from(weight) / -uniform.ln()
    };
    open.iter()
        .max_by(|a, b| score(a.0, a.1).total_cmp(&score(b.0, b.1)))
        .map(|&(provider, _, probe)| (provider, probe))
}

/// What chooses among a tier's members: the same message, or the same recipient, always draws the same.
pub fn draw(sticky: Sticky, mid: Mid, recipient: &Address) -> u64 {
    match sticky {
        Sticky::Message => mix(fnv(&mid.bits().to_be_bytes(), FNV_BASIS)),
        Sticky::Recipient => mix(fnv(recipient.to_string().as_bytes(), FNV_BASIS)),
    }
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the draw must come out the same in every release, which the standard library's hasher does not promise.
fn fnv(octets: &[u8], basis: u64) -> u64 {
    octets.iter().fold(basis, |hash, &octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

/// FNV's high bits lag behind; this spreads them (the finalizer of SplitMix64).
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
