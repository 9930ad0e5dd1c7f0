//! Outages: what fails moves on, comes back, and is neither lost nor doubled.

use std::time::Duration;

use super::script::{Act, Script};
use super::world::World;
use crate::config::{Limit, OnUnknown, Per, Rate};
use crate::delivery::ProviderState;
use crate::delivery::fixtures::deliver;
use crate::transport::TroubleKind;

const HOUR: u64 = 3600;

fn two(primary: Script) -> World {
    World::new()
        .provider("sendgrid", primary)
        .provider("ses", Script::up())
        .route(deliver("all", &[&[("sendgrid", 1)], &[("ses", 1)]]))
}

#[tokio::test(start_paused = true)]
async fn what_is_up_takes_all() {
    let mut world = two(Script::up());
    world.submit(1000, "b@example.com").run_for(HOUR).await;
    assert_eq!((world.log("sendgrid").count(), world.log("ses").count()), (1000, 0));
    assert_eq!(world.done(), 1000);
    assert_eq!(world.shelf.leases(), 0);
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn an_outage_loses_nothing_and_doubles_nothing() {
    for act in [
        Act::Out,
        Act::Trouble(TroubleKind::Server),
        Act::Trouble(TroubleKind::Credentials),
        Act::Trouble(TroubleKind::Timeout),
        Act::Throttle(Some(Duration::from_secs(3))),
        Act::Throttle(None),
        Act::Defer,
    ] {
        let mut world = two(Script::between(10, 30, act.clone()));
        for _ in 0..60 {
            world.submit(50, "b@example.com").run_for(1).await;
        }
        world.run_for(HOUR).await;
        assert_eq!(world.log("sendgrid").count() + world.log("ses").count(), 3_000, "{act:?}");
        assert_eq!((world.done(), world.duplicates(), world.shelf.leases()), (3_000, 0, 0), "{act:?}");
        world.conserves();
    }
}

#[tokio::test(start_paused = true)]
async fn the_secondary_takes_over_at_once_and_gives_back() {
    let mut world = two(Script::between(10, 40, Act::Out));
    for _ in 0..120 {
        world.submit(200, "b@example.com").run_for(1).await;
    }
    let (primary, secondary) = (world.log("sendgrid"), world.log("ses"));
    // Within the second of the cut all of the stream flows by the secondary.
    assert!(secondary.between(10, 11) >= 190, "{}", secondary.between(10, 11));
    assert_eq!(secondary.between(0, 10), 0);
    // While it is out: five failures, those that were under way beside them, and then one probe after 15 s (45 s is the
    // next, when it is up).
    assert!(primary.attempts_between(10, 24) <= 5 + 32, "{}", primary.attempts_between(10, 24));
    assert_eq!(primary.attempts_between(24, 40), 1);
    // Back with the second probe, 30 s after the first.
    assert_eq!(primary.between(41, 54), 0);
    assert!(primary.between(57, 120) >= 62 * 200, "{}", primary.between(57, 120));
    assert_eq!(secondary.between(58, 120), 0);
    assert_eq!(world.duplicates(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_comes_back_by_slow_start() {
    let script = Script::down_for(60).latency(Duration::from_secs(1));
    let log = script.log();
    let mut world = World::new().provider("only", script).route(deliver("all", &[&[("only", 1)]]));
    world.submit(2000, "b@example.com").run_for(HOUR).await;
    let starts: Vec<u64> = log.attempts.lock().unwrap().iter().map(|(at, ..)| at.as_secs()).collect();
    let back = log.taken.lock().unwrap()[0].0.as_secs() - 1;
    let per_second = |second: u64| starts.iter().filter(|at| **at == second).count();
    // One probes; its success lets one start, and each success doubles what may.
    assert_eq!(per_second(back), 1);
    assert_eq!(per_second(back + 1), 1);
    assert_eq!(per_second(back + 2), 2);
    assert!(per_second(back + 3) <= 8 && per_second(back + 10) == 32);
    assert_eq!(world.done(), 2000);
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn a_dead_chain_costs_a_few_probes_and_waits_without_attempts() {
    let mut world = World::new()
        .provider("a", Script::always(Act::Out))
        .provider("b", Script::always(Act::Out))
        .route(deliver("all", &[&[("a", 1)], &[("b", 1)]]));
    world.submit(5000, "b@example.com").run_for(HOUR).await;
    for name in ["a", "b"] {
        assert!(world.log(name).attempts() < 100, "{name}: {}", world.log(name).attempts());
    }
    assert_eq!(world.queued(), 5000);
    // What is on disk is not rewritten while it waits, and memory holds none of it.
    assert_eq!(world.shelf.leases(), 0);
    let untouched = world.shelf.recipients(|leg| leg.attempts == 0 && leg.passed.is_empty());
    assert!(untouched > 4800, "{untouched}");
}

/// A span of half a minute never sees five failures where a message comes every eight seconds.
#[tokio::test(start_paused = true)]
async fn an_outage_is_seen_where_little_mail_goes() {
    let mut world = two(Script::always(Act::Out));
    for _ in 0..3 {
        world.submit(1, "b@example.com").run_for(8).await;
    }
    let told = world.control().snapshot().await.unwrap();
    assert_eq!((told.providers[0].state, told.providers[0].failures_in_row), (ProviderState::Closed, 3));
    for _ in 0..97 {
        world.submit(1, "b@example.com").run_for(8).await;
    }
    let told = world.control().snapshot().await.unwrap();
    assert_eq!(told.providers[0].state, ProviderState::Open);
    assert!(world.log("sendgrid").attempts() < 15, "{}", world.log("sendgrid").attempts());
    assert_eq!((world.done(), world.duplicates()), (100, 0));
}

/// The pauses between its attempts grew while the provider was out; it leaves when that is back, not when they end.
#[tokio::test(start_paused = true)]
async fn what_failed_in_an_outage_leaves_soon_after_it() {
    let mut world = World::new().provider("a", Script::down_for(5 * HOUR)).route(deliver("all", &[&[("a", 1)]]));
    world.submit(6, "b@example.com").run_for(5 * HOUR).await;
    assert!((10..100).contains(&world.log("a").attempts()), "{}", world.log("a").attempts());
    assert_eq!(world.done(), 0);
    world.run_for(660).await;
    assert_eq!(world.done(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_leg_whose_last_provider_failed_does_not_wait_for_the_one_that_is_out() {
    // The first is out for a day, the second stumbles for a moment.
    let mut world = World::new()
        .provider("a", Script::always(Act::Out))
        .provider("b", Script::between(100, 101, Act::Out))
        .route(deliver("all", &[&[("a", 1)], &[("b", 1)]]));
    world.submit(10, "b@example.com").run_for(100).await;
    world.submit(3, "b@example.com").run_for(600).await;
    assert_eq!(world.done(), 13);
}

#[tokio::test(start_paused = true)]
async fn only_the_unknown_can_double_and_it_is_counted() {
    let silent = Act::TakeSilently(Duration::from_secs(5));
    for (on_unknown, done, held, doubled) in
        [(OnUnknown::Next, 100, 0, true), (OnUnknown::Wait, 100, 0, true), (OnUnknown::Hold, 95, 5, false)]
    {
        let script = silent.clone();
        // Five messages get no answer.
        let primary =
            Script::new(move |_, attempt, _| if attempt.mid.bits() % 20 == 0 { script.clone() } else { Act::Take });
        let mut route = deliver("all", &[&[("sendgrid", 1)], &[("ses", 1)]]);
        route.on_unknown = on_unknown;
        let mut world = World::new().provider("sendgrid", primary).provider("ses", Script::up()).route(route);
        world.submit(100, "b@example.com").run_for(30).await;
        if on_unknown == OnUnknown::Wait {
            assert_eq!(world.done(), 95, "one pause for a proof");
            world.run_for(60).await;
        }
        assert_eq!((world.done(), world.held()), (done, held), "{on_unknown:?}");
        assert_eq!(world.duplicates(), if doubled { 5 } else { 0 }, "{on_unknown:?}");
        assert_eq!(world.sum(crate::delivery::Meter::possible_duplicates), if doubled { 5 } else { 0 });
        world.conserves();
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_attempt_alone() {
    for (after_the_last, possible) in [(false, 0), (true, 20)] {
        let primary = Script::new(move |now, attempt, _| {
            let odd = attempt.mid.bits() % 5 == 0 && now < Duration::from_secs(30);
            if odd { Act::Panic { after_the_last } } else { Act::Take }
        });
        let mut world = two(primary);
        world.submit(100, "b@example.com").run_for(HOUR).await;
        assert_eq!(world.done(), 100);
        assert_eq!(world.sum(crate::delivery::Meter::possible_duplicates), possible);
        // Its breaker stays closed: the other eighty never saw the secondary.
        assert!(world.log("sendgrid").count() >= 80);
        assert_eq!(world.duplicates(), 0);
        world.conserves();
    }
}

/// By a day, forward and back, while mail waits: it is neither stuck nor sent in a storm.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_harms_nothing() {
    let day = jiff::SignedDuration::from_hours(24);
    for steps in [[day, -day], [-day, day], [day, day], [-day, -day]] {
        let mut world = World::new()
            .provider("only", Script::between(0, 600, Act::Defer).latency(Duration::from_secs(1)))
            .route(deliver("all", &[&[("only", 1)]]));
        world.submit(100, "b@example.com").run_for(30).await;
        world.step_clock(steps[0]);
        world.submit(100, "b@example.com").run_for(570).await;
        world.step_clock(steps[1]);
        world.submit(100, "b@example.com").run_for(HOUR).await;
        assert_eq!((world.done(), world.bounced(), world.queued()), (300, 0, 0), "{steps:?}");
        assert_eq!(world.duplicates(), 0);
        assert!(world.log("only").most_at_once() <= 32);
        // Each deferral has its pause; a step forward cuts one short.
        assert!(world.log("only").attempts() <= 300 * 6, "{steps:?}: {}", world.log("only").attempts());
    }
}

/// An hour without its only provider, and what gathered meanwhile: no storm when it is back, limits held, older mail first.
#[tokio::test(start_paused = true)]
async fn an_hour_of_backlog_leaves_in_order_and_within_the_limits() {
    let count = if std::env::var_os("WAYPOST_LONG").is_some() { 100_000 } else { 10_000 };
    let rate = u32::try_from(count / 200).unwrap();
    let script = Script::down_for(HOUR).latency(Duration::from_millis(50));
    let log = script.log();
    let mut world = World::new()
        .provider_with("only", script, |provider| {
            provider.limit =
                Some(Limit { rate: Rate { count: rate, span: Duration::from_secs(1) }, burst: 10, per: Per::Message });
        })
        .route(deliver("all", &[&[("only", 1)]]));
    for _ in 0..100 {
        world.submit(count / 100, "b@example.com").run_for(HOUR / 100).await;
    }
    assert!(log.attempts() < 300, "{} attempts in vain", log.attempts());
    world.run_for(HOUR).await;
    assert_eq!((world.done(), world.queued()), (count as u64, 0));
    assert_eq!(world.duplicates(), 0);
    assert!(log.most_at_once() <= 32);
    let taken = log.taken.lock().unwrap();
    let first = taken[0].0.as_secs();
    assert!(first < HOUR + 660, "the next probe comes within ten minutes: {first}");
    for second in first..first + 200 {
        let within = taken.iter().filter(|(at, ..)| at.as_secs() == second).count();
        assert!(within <= rate as usize + 10 + 1, "{within} in second {second}");
    }
    // What has waited without an attempt goes in the order in which it came, give or take what is under way at once.
    let order: Vec<Duration> = taken.iter().map(|(_, mid, _)| world.since(*mid)).collect();
    let late = order.windows(2).filter(|pair| pair[1] + Duration::from_secs(60) < pair[0]).count();
    assert!(late < 300, "{late} of {count} out of order");
}
