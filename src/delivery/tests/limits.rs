//! Rates, concurrency, quotas, throttling and shares.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::script::{Act, Script};
use super::world::World;
use crate::config::{Limit, OnThrottle, Per, Priority, Quota, Rate, Sticky};
use crate::delivery::fixtures::{deliver, provider};
use crate::mail::Recipient;
use crate::transport::TroubleKind;

fn rate(count: u32, burst: u32, per: Per) -> Option<Limit> {
    Some(Limit { rate: Rate { count, span: Duration::from_secs(1) }, burst, per })
}

fn to_domain(name: &str, domain: &str, chain: &[&[(&str, u32)]]) -> crate::config::Route {
    let mut route = deliver(name, chain);
    route.conditions = vec![crate::config::Condition {
        negated: false,
        test: crate::config::Test::RecipientDomain(vec![crate::config::DomainPattern::parse(domain).unwrap()]),
    }];
    route
}

#[tokio::test(start_paused = true)]
async fn a_rated_route_keeps_its_rate_and_leaves_others_alone() {
    let mut slow = to_domain("slow", "slow.example", &[&[("out", 1)]]);
    slow.limit = rate(50, 1, Per::Message);
    let mut world = World::new().provider("out", Script::up()).route(slow).route(deliver("fast", &[&[("out", 1)]]));
    world.submit(1000, "b@slow.example").run_for(1).await;
    world.submit(2000, "b@fast.example").run_for(10).await;
    let log = world.log("out");
    assert_eq!(world.shelf.recipients(|leg| leg.lane.route.as_str() == "fast"), 0, "the other route is done");
    for second in 1..10 {
        let slow = log
            .taken
            .lock()
            .unwrap()
            .iter()
            .filter(|(at, mid, _)| at.as_secs() == second && world.domain(*mid) == "slow.example")
            .count();
        assert!((48..=52).contains(&slow), "second {second}: {slow}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rated_provider_keeps_its_rate_over_many_lanes() {
    let mut world = World::new()
        .provider_with("mx", Script::up().serving_destinations(), |provider| provider.limit = rate(50, 1, Per::Message))
        .route(deliver("all", &[&[("mx", 1)]]));
    for n in 0..600 {
        world.submit(1, &format!("b@d{}.example", n % 200));
    }
    world.run_for(10).await;
    let taken = world.log("mx").count();
    assert!((498..=502).contains(&taken), "{taken}");
    // Nearly each lane had its turn before any had another.
    let log = world.log("mx").attempts.lock().unwrap();
    let first: HashSet<_> = log.iter().take(200).map(|(.., to)| to.clone()).collect();
    assert!(first.len() > 195, "{}", first.len());
}

#[tokio::test(start_paused = true)]
async fn a_rate_may_count_recipients() {
    let mut world = World::new()
        .provider_with("out", Script::up(), |provider| provider.limit = rate(10, 10, Per::Recipient))
        .route(deliver("all", &[&[("out", 1)]]));
    let to: Vec<String> = (0..55).map(|n| format!("b{n}@example.com")).collect();
    world.submit_one(None, &to.iter().map(String::as_str).collect::<Vec<_>>());
    world.run_for(3).await;
    let taken = world.log("out").count();
    assert!((30..=40).contains(&taken), "{taken}");
    world.run_for(10).await;
    assert_eq!((world.log("out").count(), world.duplicates()), (55, 0));
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_kept_for_routes_providers_and_destinations() {
    let slow = || Script::up().latency(Duration::from_secs(1));
    let mut narrow = to_domain("narrow", "narrow.example", &[&[("wide", 1)]]);
    narrow.concurrency = Some(3);
    let mut world = World::new()
        .provider_with("wide", slow(), |provider| provider.concurrency = 20)
        .provider_with("mx", slow().serving_destinations(), |provider| provider.concurrency = 10)
        .route(narrow)
        .route(to_domain("wide", "wide.example", &[&[("wide", 1)]]))
        .route(deliver("mx", &[&[("mx", 1)]]));
    world.submit(30, "b@narrow.example").run_for(5).await;
    assert_eq!(world.log("wide").most_at_once(), 3);
    world.submit(200, "b@wide.example");
    world.submit(40, "b@one.example").run_for(5).await;
    assert_eq!(world.log("wide").most_at_once(), 20);
    assert_eq!(world.log("mx").most_at_once(), 4, "a destination's share");
    world.submit(40, "b@two.example");
    world.submit(40, "b@three.example").run_for(60).await;
    assert_eq!(world.log("mx").most_at_once(), 10);
    world.conserves();
    assert_eq!(world.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    for (on_throttle, by_other) in [(OnThrottle::Wait, false), (OnThrottle::Failover, true)] {
        let script = Script::between(10, 11, Act::Throttle(Some(Duration::from_secs(20))));
        let mut route = deliver("all", &[&[("a", 1)], &[("b", 1)]]);
        route.on_throttle = on_throttle;
        let mut world = World::new().provider("a", script).provider("b", Script::up()).route(route);
        for _ in 0..60 {
            world.submit(100, "b@example.com").run_for(1).await;
        }
        world.run_for(60).await;
        let (a, b) = (world.log("a"), world.log("b"));
        assert!(a.attempts_between(10, 11) <= 32 + 1, "{on_throttle:?} {}", a.attempts_between(10, 11));
        assert_eq!(a.attempts_between(11, 30), 0, "{on_throttle:?}");
        assert_eq!(b.count() > 0, by_other, "{on_throttle:?}");
        assert_eq!((world.done(), world.duplicates()), (6000, 0));
        // Waiting for a permit is no attempt: none came back by the schedule, a minute later.
        assert!(a.between(31, 62) > 2000);
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_mail_of_a_throttled_provider_goes_is_told_as_it_goes() {
    for (on_throttle, goes) in [(OnThrottle::Wait, None), (OnThrottle::Failover, Some("b"))] {
        let script = Script::between(0, 10, Act::Throttle(Some(Duration::from_secs(100))));
        let mut route = deliver("all", &[&[("a", 1)], &[("b", 1)]]);
        route.on_throttle = on_throttle;
        let mut world = World::new().provider("a", script).provider("b", Script::up()).route(route);
        world.submit(5, "b@example.com").run_for(5).await;
        let told = world.control().snapshot().await.unwrap().routes.remove(0);
        let (goes_to, waits): (Vec<_>, Vec<_>) = match goes {
            Some(name) => (vec![provider(name)], vec![]),
            None => (vec![], vec![provider("a")]),
        };
        assert_eq!((&told.goes_to, &told.waits_for), (&goes_to, &waits), "{on_throttle:?}");
        assert_eq!(told.waits_until.is_some(), goes.is_none(), "{told:?}");
        assert_eq!(world.log("b").count(), if goes.is_some() { 5 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_provider_without_a_word_is_left_alone_for_longer_and_longer() {
    let mut world =
        World::new().provider("a", Script::between(0, 40, Act::Throttle(None))).route(deliver("all", &[&[("a", 1)]]));
    world.submit(200, "b@example.com").run_for(200).await;
    let log = world.log("a").attempts.lock().unwrap();
    let mut seconds: Vec<_> = log.iter().map(|(at, ..)| at.as_secs()).filter(|at| *at < 40).collect();
    seconds.dedup();
    assert_eq!(seconds, [0, 1, 3, 7, 15, 31]);
    drop(log);
    assert_eq!(world.done(), 200);
}

#[tokio::test(start_paused = true)]
async fn weights_share_and_cover() {
    let mut world = World::new()
        .provider("mailgun", Script::between(1000, 2000, Act::Out))
        .provider("ses", Script::up())
        .route(deliver("bulk", &[&[("mailgun", 80), ("ses", 20)]]));
    world.submit(10_000, "b@example.com").run_for(500).await;
    let share = world.log("mailgun").count();
    assert!((7800..=8200).contains(&share), "{share}");
    world.run_for(600).await;
    world.submit(1000, "b@example.com").run_for(100).await;
    assert_eq!(world.done(), 11_000, "the other covers");
}

#[tokio::test(start_paused = true)]
async fn a_sticky_recipient_has_one_provider() {
    let mut route = deliver("bulk", &[&[("a", 1), ("b", 1), ("c", 1)]]);
    route.sticky = Sticky::Recipient;
    let mut world =
        World::new().provider("a", Script::up()).provider("b", Script::up()).provider("c", Script::up()).route(route);
    let to: Vec<String> = (0..30).map(|n| format!("b{n}@example.com")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    for _ in 0..20 {
        world.submit_one(None, &to);
    }
    world.run_for(60).await;
    let mut home: HashMap<u32, &str> = HashMap::new();
    for name in ["a", "b", "c"] {
        let taken = world.log(name).taken.lock().unwrap();
        assert!(!taken.is_empty(), "{name}");
        for (_, _, index) in taken.iter() {
            assert_eq!(*home.entry(*index).or_insert(name), name, "recipient {index}");
        }
    }
    assert_eq!((world.done(), world.duplicates()), (600, 0));
    // All of one provider's recipients in one attempt.
    assert_eq!(["a", "b", "c"].map(|name| world.log(name).attempts()).iter().sum::<usize>(), 60);
}

#[tokio::test(start_paused = true)]
async fn more_recipients_than_an_attempt_carries_are_several_attempts() {
    let script = Script::new(|_, _, index| match index {
        7 => Act::Refuse,
        8 => Act::Defer,
        _ => Act::Take,
    });
    let mut world = World::new().provider("out", script.most_recipients(10)).route(deliver("all", &[&[("out", 1)]]));
    let to: Vec<String> = (0..95).map(|n| format!("b{n}@example.com")).collect();
    world.submit_one(None, &to.iter().map(String::as_str).collect::<Vec<_>>());
    world.run_for(10).await;
    assert_eq!((world.done(), world.bounced(), world.queued()), (93, 1, 1));
    assert_eq!((world.log("out").attempts(), world.duplicates(), world.shelf.leases()), (10, 0, 0));
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn a_quota_survives_a_restart_and_ends() {
    let quota = Some(Quota { messages: 100, span: Duration::from_secs(86_400) });
    let mut world = World::new()
        .provider_with("free", Script::up(), |provider| provider.quota = quota)
        .provider("paid", Script::up())
        .route(deliver("all", &[&[("free", 1)], &[("paid", 1)]]));
    world.submit(60, "b@example.com").run_for(10).await;
    assert_eq!(world.log("free").count(), 60);
    world.stop().await;
    world.submit(60, "b@example.com").run_for(10).await;
    assert_eq!((world.log("free").count(), world.log("paid").count()), (100, 20));
    world.kill().await;
    world.submit(10, "b@example.com").run_for(10).await;
    assert_eq!((world.log("free").count(), world.log("paid").count()), (100, 30));
    world.run_for(86_400).await;
    world.submit(10, "b@example.com").run_for(10).await;
    assert_eq!((world.log("free").count(), world.log("paid").count()), (110, 30));
}

#[tokio::test(start_paused = true)]
async fn a_spent_quota_that_the_provider_tells_of_opens_its_breaker_until_then() {
    let kind = TroubleKind::Quota { retry_after: Some(Duration::from_secs(1800)) };
    let mut world = World::new()
        .provider("a", Script::between(10, 20, Act::Trouble(kind)))
        .provider("b", Script::up())
        .route(deliver("all", &[&[("a", 1)], &[("b", 1)]]));
    for _ in 0..2000 {
        world.submit(1, "b@example.com").run_for(1).await;
    }
    assert_eq!(world.log("a").attempts_between(10, 1809), 1);
    assert!(world.log("a").between(1812, 2001) >= 180);
    assert_eq!(world.done(), 2000);
}

#[tokio::test(start_paused = true)]
async fn high_priority_goes_first_where_a_provider_is_busy() {
    let mut high = to_domain("high", "high.example", &[&[("out", 1)]]);
    high.priority = Priority::High;
    let mut bulk = to_domain("bulk", "bulk.example", &[&[("out", 1)]]);
    bulk.priority = Priority::Bulk;
    let slow = Script::up().latency(Duration::from_secs(1));
    let mut world =
        World::new().provider_with("out", slow, |provider| provider.concurrency = 2).route(high).route(bulk);
    world.submit(100, "b@bulk.example").run_for(10).await;
    world.submit(20, "b@high.example").run_for(12).await;
    let high = world.shelf.recipients(|leg| leg.lane.route.as_str() == "high");
    assert_eq!(high, 0, "they waited for nobody but each other");
    world.run_for(100).await;
    assert_eq!(world.done(), 120);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_one_provider_has_not_verified_moves_on_and_others_stay() {
    let script = Script::new(|_, attempt, _| {
        let sender = attempt.envelope.reverse_path.as_ref().map(|sender| sender.domain().to_string());
        if sender.as_deref() == Some("new.example") { Act::LackSender } else { Act::Take }
    });
    let mut world = World::new()
        .provider("a", script)
        .provider("b", Script::up())
        .route(deliver("all", &[&[("a", 1)], &[("b", 1)]]));
    for _ in 0..50 {
        for from in ["x@new.example", "x@old.example"] {
            let to = vec![Recipient::new("b@example.com".parse().unwrap())];
            world.submit_with(Some(from), to, |_| {});
        }
        world.run_for(1).await;
    }
    assert_eq!((world.log("a").count(), world.log("b").count()), (50, 50));
    assert_eq!(world.log("a").attempts(), 51, "it was asked once");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_hangs_does_not_take_the_other_members_share_with_it() {
    let hang = Script::up().latency(Duration::from_secs(500));
    let mut world = World::new()
        .provider_with("a", hang, |provider| provider.concurrency = 2)
        .provider("b", Script::up())
        .route(deliver("bulk", &[&[("a", 10), ("b", 90)]]));
    for _ in 0..20 {
        world.submit(10, "b@example.com").run_for(1).await;
    }
    let share = world.log("b").count();
    assert!(share > 160, "{share}");
}

#[tokio::test(start_paused = true)]
async fn what_failed_at_a_throttled_provider_goes_on_although_its_lane_waits() {
    // The first attempt is throttled for an hour; one that began before it fails later.
    let script = Script::new(|now, _, _| {
        if now < Duration::from_millis(500) { Act::Silence(Duration::from_secs(10)) } else { Act::Throttle(HOUR) }
    });
    let mut world = World::new()
        .provider("a", script)
        .provider("b", Script::up())
        .route(deliver("all", &[&[("a", 1)], &[("b", 1)]]));
    world.submit(3, "b@example.com").run_for(1).await;
    world.submit(500, "b@example.com").run_for(60).await;
    assert_eq!(world.log("b").count(), 3);
    assert_eq!(world.queued(), 500);
}

const HOUR: Option<Duration> = Some(Duration::from_secs(3600));
