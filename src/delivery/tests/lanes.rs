//! Lanes: what holds back one holds back no other, and memory holds none of the backlog.

use std::time::Duration;

use super::script::{Act, Script};
use super::world::World;
use crate::delivery::fixtures::deliver;

const HOUR: u64 = 3600;

fn dead(domain: &'static str) -> Script {
    Script::new(move |_, attempt, _| {
        let to = attempt.destination.as_ref().map(|to| to.as_str().to_owned()).unwrap_or_default();
        if to == domain { Act::Out } else { Act::Take }
    })
    .serving_destinations()
}

#[tokio::test(start_paused = true)]
async fn a_dead_destination_slows_no_other_and_costs_few_attempts() {
    let mut world = World::new().provider("mx", dead("dead.example")).route(deliver("all", &[&[("mx", 1)]]));
    world.submit(20_000, "b@dead.example").run_for(30).await;
    for _ in 0..60 {
        world.submit(20, "b@live.example").run_for(1).await;
    }
    assert_eq!(world.done(), 1200);
    let is_late = |(at, mid, _): &&(Duration, _, _)| *at - world.since(*mid) > Duration::from_millis(500);
    let late = world.log("mx").taken.lock().unwrap().iter().filter(is_late).count();
    assert_eq!(late, 0, "as fast as without it");
    world.run_for(HOUR).await;
    assert!(world.log("mx").attempts_to("dead.example") < 60, "{}", world.log("mx").attempts_to("dead.example"));
    assert_eq!((world.queued(), world.shelf.leases()), (20_000, 0));
    assert!(world.shelf.most_leases() <= 128, "{}", world.shelf.most_leases());
    assert!(world.shelf.claims() < 2000, "{}", world.shelf.claims());
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn a_slow_destination_has_its_share_and_no_more() {
    let script = Script::new(|_, attempt, _| {
        let slow = attempt.destination.as_ref().is_some_and(|to| to.as_str().starts_with("slow"));
        if slow { Act::Silence(Duration::from_secs(600)) } else { Act::Take }
    });
    let mut world = World::new().provider("mx", script.serving_destinations()).route(deliver("all", &[&[("mx", 1)]]));
    for n in 0..5 {
        world.submit(100, &format!("b@slow{n}.example"));
    }
    world.run_for(10).await;
    world.submit(500, "b@live.example").run_for(10).await;
    assert_eq!(world.done(), 500);
}

#[tokio::test(start_paused = true)]
async fn many_dead_destinations_leave_the_live_ones_alone() {
    let script = Script::new(|_, attempt, _| {
        let dead = attempt.destination.as_ref().is_some_and(|to| to.as_str().starts_with("dead"));
        if dead { Act::Out } else { Act::Take }
    });
    let mut world = World::new().provider("mx", script.serving_destinations()).route(deliver("all", &[&[("mx", 1)]]));
    for n in 0..500 {
        world.submit(3, &format!("b@dead{n}.example"));
    }
    world.submit(1000, "b@live.example").run_for(60).await;
    assert_eq!(world.done(), 1000);
    world.run_for(HOUR).await;
    assert_eq!(world.queued(), 1500);
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_came_back_is_served() {
    let script = Script::new(|now, attempt, _| {
        let dead = attempt.destination.as_ref().is_some_and(|to| to.as_str() == "dead.example");
        if dead && now < Duration::from_secs(300) { Act::Out } else { Act::Take }
    });
    let mut world = World::new().provider("mx", script.serving_destinations()).route(deliver("all", &[&[("mx", 1)]]));
    world.submit(1000, "b@dead.example").run_for(HOUR).await;
    assert_eq!(world.done(), 1000);
    let first = world.log("mx").taken.lock().unwrap()[0].0;
    assert!(first < Duration::from_secs(300 + 300), "{first:?}");
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn a_route_whose_provider_is_out_is_no_hindrance_to_another() {
    let mut route = deliver("eu", &[&[("eu", 1)]]);
    route.conditions = vec![crate::config::Condition {
        negated: false,
        test: crate::config::Test::RecipientDomain(vec![crate::config::DomainPattern::parse("eu.example").unwrap()]),
    }];
    let mut world = World::new()
        .provider("eu", Script::down_for(HOUR))
        .provider("us", Script::up())
        .route(route)
        .route(deliver("rest", &[&[("us", 1)]]));
    world.submit(3000, "b@eu.example");
    world.submit(3000, "b@us.example").run_for(120).await;
    assert_eq!((world.log("us").count(), world.log("eu").count()), (3000, 0));
    // The region is out: its mail waits, and leaves by nobody else.
    world.run_for(2 * HOUR).await;
    assert_eq!((world.log("us").count(), world.log("eu").count()), (3000, 3000));
}
