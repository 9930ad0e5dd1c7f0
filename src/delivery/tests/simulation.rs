//! Random worlds, each from a seed: outages, refusals, silence, limits, restarts and crashes, over hours of paused time.
//!
//! A world that fails names its seed; `WAYPOST_SEED=7 cargo nextest run simulation` plays that one again, to the same end.
//! `WAYPOST_SEEDS=10000` plays so many.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng};

use super::script::{Act, Script};
use super::world::World;
use crate::config::{Limit, OnUnknown, Per, Rate, Route};
use crate::delivery::fixtures::deliver;
use crate::transport::TroubleKind;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// All that goes wrong does so before this second.
const TROUBLED: u64 = 7200;

/// A provider as the seed has it.
struct Nature {
    concurrency: usize,
    limit: Option<Limit>,
    /// From, to, and what it does then.
    spans: Vec<(u64, u64, Act)>,
}

impl Nature {
    fn new(random: &mut StdRng) -> Self {
        let acts = [
            Act::Out,
            Act::Out,
            Act::Defer,
            Act::Trouble(TroubleKind::Server),
            Act::Trouble(TroubleKind::Timeout),
            Act::Throttle(None),
            Act::Throttle(Some(Duration::from_secs(40))),
            Act::Silence(Duration::from_secs(5)),
            Act::TakeSilently(Duration::from_secs(5)),
            Act::LackMessage,
        ];
        let spans = (0..random.random_range(0..5)).map(|_| {
            let from = random.random_range(0..TROUBLED);
            let to = (from + random.random_range(1..1800)).min(TROUBLED);
            (from, to, acts.choose(random).unwrap().clone())
        });
        Self {
            spans: spans.collect(),
            concurrency: random.random_range(1..40),
            limit: random.random_bool(0.4).then(|| limit(random)),
        }
    }

    fn script(&self, seed: u64, latency: u64) -> Script {
        let spans = self.spans.clone();
        let play = move |now: Duration, attempt: &crate::transport::Attempt, index: u32| {
            let now = now.as_secs();
            if let Some((.., act)) = spans.iter().find(|(from, to, _)| (*from..*to).contains(&now)) {
                return act.clone();
            }
            if refused(seed, attempt.mid, index) { Act::Refuse } else { Act::Take }
        };
        Script::new(play).latency(Duration::from_millis(latency))
    }
}

/// Some recipients exist nowhere: every provider says the same.
fn refused(seed: u64, mid: crate::mail::Mid, index: u32) -> bool {
    let mut hasher = DefaultHasher::new();
    (seed, mid.bits(), index).hash(&mut hasher);
    hasher.finish().is_multiple_of(50)
}

fn limit(random: &mut StdRng) -> Limit {
    let rate = Rate { count: random.random_range(1..60), span: Duration::from_secs(1) };
    let per = if random.random() { Per::Message } else { Per::Recipient };
    Limit { rate, burst: random.random_range(1..20), per }
}

fn route(random: &mut StdRng, names: &[&str]) -> Route {
    let mut rest = names.to_vec();
    let mut tiers: Vec<Vec<(&str, u32)>> = Vec::new();
    while !rest.is_empty() {
        let count = random.random_range(1..=rest.len());
        tiers.push(rest.drain(..count).map(|name| (name, random.random_range(1..5))).collect());
    }
    let mut route = deliver("all", &tiers.iter().map(Vec::as_slice).collect::<Vec<_>>());
    route.limit = random.random_bool(0.3).then(|| limit(random));
    route.concurrency = random.random_bool(0.3).then(|| random.random_range(1..50));
    route.on_unknown = *[OnUnknown::Next, OnUnknown::Wait].choose(random).unwrap();
    route
}

async fn play(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let names = &NAMES[..random.random_range(1..=NAMES.len())];
    let natures: HashMap<&str, Nature> = names.iter().map(|name| (*name, Nature::new(&mut random))).collect();
    let mut world = World::new();
    for name in names {
        let nature = &natures[name];
        let script = nature.script(seed, random.random_range(1..2000));
        world = world.provider_with(name, script, |provider| {
            provider.concurrency = nature.concurrency;
            provider.limit = nature.limit;
        });
    }
    let route = route(&mut random, names);
    let (route_limit, route_concurrency) = (route.limit, route.concurrency);
    let mut world = world.route(route);
    let mut starts = 1;
    let mut crashes = 0;
    for _ in 0..random.random_range(3..20) {
        let to = ["b@example.com", "c@example.org", "d@example.net"];
        for _ in 0..random.random_range(0..40) {
            world.submit_one(None, &to[..random.random_range(1..=to.len())]);
        }
        world.run_for(random.random_range(0..TROUBLED / 10)).await;
        world.conserves();
        match random.random_range(0..10) {
            0 => {
                world.stop().await;
                assert_eq!(world.shelf.leases(), 0, "an orderly end leaves nothing under way");
                starts += 1;
            }
            1 => {
                world.kill().await;
                starts += 1;
                crashes += 1;
            }
            _ => {}
        }
    }
    // Whatever was wrong is over; nothing may wait for ever, and no breaker stay open.
    world.run_for(3 * TROUBLED + 6 * 3600).await;
    world.conserves();
    assert_eq!((world.queued(), world.shelf.leases(), world.held()), (0, 0, 0));
    let silent = natures.values().flat_map(|nature| &nature.spans).any(|(.., act)| matches!(act, Act::TakeSilently(_)));
    if !silent && crashes == 0 {
        assert_eq!(world.duplicates(), 0, "only silence and crashes double");
    }
    let mut all = Vec::new();
    for name in names {
        let (log, nature) = (world.log(name), &natures[name]);
        assert!(log.most_at_once() <= nature.concurrency, "{name}: {} at once", log.most_at_once());
        let attempts: Vec<(Duration, usize)> =
            log.attempts.lock().unwrap().iter().map(|(at, _, recipients, _)| (*at, *recipients)).collect();
        if let Some(limit) = nature.limit {
            holds(&attempts, limit, starts, name);
        }
        all.extend(attempts);
    }
    all.sort_unstable();
    if let Some(limit) = route_limit {
        holds(&all, limit, starts, "the route");
    }
    let most: usize = names.iter().map(|name| world.log(name).most_at_once()).max().unwrap_or(0);
    assert!(route_concurrency.is_none_or(|bound| most <= bound), "{most} at once on the route");
}

/// In any ten seconds no more than ten seconds' worth and the burst. A start begins with a burst of its own, and a permit
/// that another gate made useless is kept for later.
fn holds(attempts: &[(Duration, usize)], limit: Limit, starts: usize, who: &str) {
    let most = 10 * limit.rate.count as usize + limit.burst as usize * (starts + 1);
    let cost = |recipients: usize| if limit.per == Per::Message { 1 } else { recipients };
    let (mut from, mut within) = (0, 0);
    for (at, recipients) in attempts {
        within += cost(*recipients);
        while *at >= attempts[from].0 + Duration::from_secs(10) {
            within -= cost(attempts[from].1);
            from += 1;
        }
        assert!(within <= most, "{who}: {within} in the ten seconds before {at:?}, and {most} may");
    }
}

/// Every eighth world from the given one on, so that all processors play at once.
fn play_from(first: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seeds: Vec<u64> = match number("WAYPOST_SEED") {
        Some(seed) if seed % 8 == first => vec![seed],
        Some(_) => Vec::new(),
        None => (0..number("WAYPOST_SEEDS").unwrap_or(400)).filter(|seed| seed % 8 == first).collect(),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(play(seed))));
        assert!(played.is_ok(), "WAYPOST_SEED={seed}");
    }
}

mod no_world_loses_mail_or_stays_stuck {
    macro_rules! worlds {
        ($($name:ident $first:literal)*) => {
            $(#[test] fn $name() { super::play_from($first); })*
        };
    }
    worlds! { eighth_0 0 eighth_1 1 eighth_2 2 eighth_3 3 eighth_4 4 eighth_5 5 eighth_6 6 eighth_7 7 }
}
