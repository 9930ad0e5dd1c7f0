//! What to do with recipients of a leg now: which provider of the chain takes them, or what they wait for. Pure.
//!
//! Tiers in order. Within a tier the admissible members share by weight, and each covers for the others. A tier that is
//! out is passed over with no attempt made; one whose last members are merely throttled is waited for, or passed over, as
//! the route's `on_throttle` says. Nothing outside the chain is ever chosen: residency rests on that.

use crate::config::{Action, OnThrottle, Route, Sticky, Tier};
use crate::mail::{Address, Mid, ProviderName, RouteName, Timestamp};
use crate::queue::{Passed, PassedWhy};

/// How a provider stands towards a message at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Ready,
    /// Half-open: the next attempt probes.
    Probe,
    /// Its breaker is open, its quota spent, or a probe under way.
    Out {
        until: Timestamp,
    },
    /// It asked for a pause.
    Throttled {
        until: Timestamp,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Go {
        provider: ProviderName,
        probe: bool,
    },
    /// None may be tried now. `until`: the first of `on` may by then; a change in the health of any of them comes sooner.
    Wait {
        until: Timestamp,
        on: Vec<ProviderName>,
    },
    /// Each was tried in this round, or cannot carry the message: the retry schedule decides.
    RoundOver,
    /// No provider of the chain can carry it.
    Impossible,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub route: &'a Route,
    /// By whom the leg was passed on already.
    pub passed: &'a [Passed],
    /// Providers that lately refused this sender: not tried while another may take it.
    pub shy: &'a [ProviderName],
    pub draw: Draw,
}

/// The tiers that the route delivers through; none where it does not deliver.
pub fn chain(route: &Route) -> &[Tier] {
    match &route.action {
        Action::Deliver(tiers) => tiers,
        Action::Reject(_) | Action::Hold { .. } | Action::Discard => &[],
    }
}

pub fn plan(question: &Question<'_>, standing: &dyn Fn(&ProviderName) -> Standing) -> Step {
    let step = walk(question, question.shy, standing);
    match step {
        // Nobody else is left: then a shy provider is asked again. It may have been set up for the sender since.
        Step::RoundOver | Step::Impossible if !question.shy.is_empty() => walk(question, &[], standing),
        Step::Go { .. } | Step::Wait { .. } | Step::RoundOver | Step::Impossible => step,
    }
}

fn walk(question: &Question<'_>, shy: &[ProviderName], standing: &dyn Fn(&ProviderName) -> Standing) -> Step {
    let mut waits = Waits::default();
    let mut tried = false;
    for tier in chain(question.route) {
        let mut members = Vec::with_capacity(tier.0.len());
        let mut throttled = Waits::default();
        for (provider, weight) in &tier.0 {
            match question.passed.iter().find(|passed| passed.provider == *provider).map(|passed| passed.why) {
                Some(PassedWhy::Tried) => tried = true,
                Some(PassedWhy::Unsupported) => {}
                None if shy.contains(provider) => {}
                None => match standing(provider) {
                    Standing::Ready => members.push((provider, *weight, false)),
                    Standing::Probe => members.push((provider, *weight, true)),
                    Standing::Out { until } => waits.add(provider, until),
                    Standing::Throttled { until } => {
                        throttled.add(provider, until);
                        waits.add(provider, until);
                    }
                },
            }
        }
        if let Some((provider, probe)) = question.draw.choose(&question.route.name, &members) {
            return Step::Go { provider: provider.clone(), probe };
        }
        if let (OnThrottle::Wait, Some(until)) = (question.route.on_throttle, throttled.until) {
            return Step::Wait { until, on: throttled.on };
        }
    }
    match waits.until {
        Some(until) => Step::Wait { until, on: waits.on },
        None if tried => Step::RoundOver,
        None => Step::Impossible,
    }
}

#[derive(Default)]
struct Waits {
    until: Option<Timestamp>,
    on: Vec<ProviderName>,
}

impl Waits {
    fn add(&mut self, provider: &ProviderName, until: Timestamp) {
        self.until = Some(self.until.map_or(until, |first| first.min(until)));
        self.on.push(provider.clone());
    }
}

/// What chooses among a tier's members: the same message, or the same recipient, always chooses the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw(u64);

impl Draw {
    pub fn new(sticky: Sticky, mid: Mid, recipient: &Address) -> Self {
        Self(match sticky {
            Sticky::Message => fnv(&mid.bits().to_be_bytes(), FNV_BASIS),
            Sticky::Recipient => fnv(recipient.to_string().as_bytes(), FNV_BASIS),
        })
    }

    /// Weighted rendezvous hashing: shares follow the weights, and when a member goes out only its own share moves.
    fn choose<'a>(
        self,
        route: &RouteName,
        members: &[(&'a ProviderName, u32, bool)],
    ) -> Option<(&'a ProviderName, bool)> {
        if let [(provider, _, probe)] = members {
            return Some((provider, *probe));
        }
        let of_route = fnv(route.as_str().as_bytes(), self.0);
        let score = |provider: &ProviderName, weight: u32| {
            let hash = mix(fnv(provider.as_str().as_bytes(), of_route));
            // Uniform in (0, 1).
            let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            f64::from(weight) / -uniform.ln()
        };
        let best = members.iter().max_by(|a, b| score(a.0, a.1).total_cmp(&score(b.0, b.1)));
        best.map(|&(provider, _, probe)| (provider, probe))
    }
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the choice must be the same in every release, which the standard library's hasher does not promise.
fn fnv(octets: &[u8], basis: u64) -> u64 {
    octets.iter().fold(basis, |hash, &octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

/// FNV's high bits lag behind; this spreads them (the finalizer of SplitMix64).
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::fixtures::{deliver, moment, provider};
    use std::collections::HashMap;
    use std::time::Duration;

    fn passed(tried: &[&str], unsupported: &[&str]) -> Vec<Passed> {
        let one = |name: &&str, why| Passed { provider: ProviderName::new(name), why };
        let tried = tried.iter().map(|name| one(name, PassedWhy::Tried));
        tried.chain(unsupported.iter().map(|name| one(name, PassedWhy::Unsupported))).collect()
    }

    /// `standings`: a word per provider: `up`, `probe`, `out N`, `throttled N`, with N in seconds.
    fn step(route: &Route, passed: &[Passed], shy: &[&str], standings: &[(&str, &str)]) -> String {
        let shy: Vec<_> = shy.iter().map(|name| ProviderName::new(name)).collect();
        let until = |word: &str| moment(word.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0));
        let standing = |name: &ProviderName| {
            let word = standings.iter().find(|(known, _)| *known == name.as_str()).map_or("up", |(_, word)| word);
            match word.split(' ').next().unwrap_or_default() {
                "probe" => Standing::Probe,
                "out" => Standing::Out { until: until(word) },
                "throttled" => Standing::Throttled { until: until(word) },
                _ => Standing::Ready,
            }
        };
        match plan(&Question { route, passed, shy: &shy, draw: Draw(7) }, &standing) {
            Step::Go { provider, probe } => format!("{provider}{}", if probe { " probe" } else { "" }),
            Step::Wait { until, on } => {
                let on: Vec<_> = on.iter().map(ProviderName::as_str).collect();
                format!("wait {} on {}", until.as_second() - moment(0).as_second(), on.join(","))
            }
            Step::RoundOver => "round over".to_owned(),
            Step::Impossible => "impossible".to_owned(),
        }
    }

    #[test]
    fn the_first_tier_that_admits_takes_it() {
        let route = deliver("r", &[&[("a", 1)], &[("b", 1)], &[("c", 1)]]);
        let none = passed(&[], &[]);
        for (passed, shy, standings, expected) in [
            (&none, &[][..], &[][..], "a"),
            (&none, &[], &[("a", "probe")], "a probe"),
            (&none, &[], &[("a", "out 9")], "b"),
            (&none, &[], &[("a", "out 9"), ("b", "out 5")], "c"),
            (&none, &[], &[("a", "out 9"), ("b", "out 5"), ("c", "out 7")], "wait 5 on a,b,c"),
            (&none, &[], &[("a", "throttled 9")], "wait 9 on a"),
            (&none, &[], &[("a", "out 9"), ("b", "throttled 20")], "wait 20 on b"),
            (&none, &[], &[("a", "throttled 9"), ("b", "probe")], "wait 9 on a"),
            (&passed(&["a"], &[]), &[], &[], "b"),
            (&passed(&["a", "b"], &[]), &[], &[("c", "out 3")], "wait 3 on c"),
            (&passed(&["a", "b"], &["c"]), &[], &[], "round over"),
            (&passed(&[], &["a", "b", "c"]), &[], &[], "impossible"),
            (&none, &["a"], &[], "b"),
            (&none, &["a"], &[("b", "out 4"), ("c", "out 5")], "wait 4 on b,c"),
            (&none, &["a", "b", "c"], &[], "a"),
            (&passed(&["b", "c"], &[]), &["a"], &[], "a"),
        ] {
            assert_eq!(step(&route, passed, shy, standings), expected, "{passed:?} {shy:?} {standings:?}");
        }
    }

    #[test]
    fn failover_does_not_wait_for_a_throttled_provider() {
        let mut route = deliver("r", &[&[("a", 1)], &[("b", 1)]]);
        route.on_throttle = OnThrottle::Failover;
        for (standings, expected) in
            [(&[("a", "throttled 9")][..], "b"), (&[("a", "throttled 9"), ("b", "out 30")], "wait 9 on a,b")]
        {
            assert_eq!(step(&route, &[], &[], standings), expected);
        }
    }

    #[test]
    fn a_throttled_member_is_covered_by_its_tier() {
        let route = deliver("r", &[&[("a", 1000), ("b", 1)], &[("c", 1)]]);
        for (standings, expected) in [
            (&[("a", "throttled 9")][..], "b"),
            (&[("a", "throttled 9"), ("b", "out 5")], "wait 9 on a"),
            (&[("a", "out 9"), ("b", "out 5")], "c"),
        ] {
            assert_eq!(step(&route, &[], &[], standings), expected);
        }
    }

    #[test]
    fn a_route_that_does_not_deliver_has_no_way() {
        let mut route = deliver("r", &[&[("a", 1)]]);
        route.action = Action::Discard;
        assert_eq!(step(&route, &[], &[], &[]), "impossible");
    }

    fn shares(route: &Route, up: &dyn Fn(&ProviderName) -> Standing) -> HashMap<ProviderName, u32> {
        let recipient: Address = "b@example.com".parse().unwrap();
        let mut shares = HashMap::new();
        for n in 0..10_000u32 {
            let mid = Mid::new(crate::delivery::span::after(moment(0), Duration::from_millis(u64::from(n))), 3);
            let draw = Draw::new(Sticky::Message, mid, &recipient);
            let Step::Go { provider, .. } = plan(&Question { route, passed: &[], shy: &[], draw }, up) else {
                panic!()
            };
            *shares.entry(provider).or_insert(0) += 1;
        }
        shares
    }

    #[test]
    fn shares_follow_the_weights_and_others_cover() {
        let route = deliver("r", &[&[("a", 70), ("b", 20), ("c", 10)]]);
        let all = shares(&route, &|_| Standing::Ready);
        for (name, share) in [("a", 7000), ("b", 2000), ("c", 1000)] {
            assert!(all[&provider(name)].abs_diff(share) < 150, "{all:?}");
        }
        let out = Standing::Out { until: moment(9) };
        let covering = shares(&route, &|name| if name.as_str() == "a" { out } else { Standing::Ready });
        assert!(covering[&provider("b")].abs_diff(6667) < 150, "{covering:?}");
    }

    #[test]
    fn when_one_goes_out_only_its_share_moves() {
        let route = deliver("r", &[&[("a", 1), ("b", 1), ("c", 1)]]);
        let out = Standing::Out { until: moment(9) };
        for n in 0..500u32 {
            let to: Address = format!("user{n}@example.com").parse().unwrap();
            let draw = Draw::new(Sticky::Recipient, Mid::from_bits(u128::from(n)), &to);
            assert_eq!(
                draw,
                Draw::new(Sticky::Recipient, Mid::from_bits(9), &to),
                "the same recipient, the same provider"
            );
            let question = Question { route: &route, passed: &[], shy: &[], draw };
            let before = plan(&question, &|_| Standing::Ready);
            let after = plan(&question, &|name| if name.as_str() == "a" { out } else { Standing::Ready });
            if before != (Step::Go { provider: provider("a"), probe: false }) {
                assert_eq!(before, after);
            }
        }
    }
}
