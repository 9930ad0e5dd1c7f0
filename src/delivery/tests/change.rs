//! The configuration changes while mail is queued, waits and is under way.

use std::time::Duration;

use super::script::{Act, Script};
use super::world::World;
use crate::config::{Action, Limit, Per, Rate, Route};
use crate::delivery::fixtures::deliver;
use crate::mail::RouteName;
use crate::transport::TroubleKind;

const HOUR: u64 = 3600;

fn to(name: &str, chain: &[&str]) -> Route {
    let members: Vec<[(&str, u32); 1]> = chain.iter().map(|provider| [(*provider, 1)]).collect();
    let tiers: Vec<&[(&str, u32)]> = members.iter().map(|tier| &tier[..]).collect();
    deliver(name, &tiers)
}

#[tokio::test(start_paused = true)]
async fn mail_of_a_provider_that_is_gone_moves_by_the_new_table() {
    for (before, after) in [
        // The same route by another chain; another route; each with mail that waits for a breaker, and mail that was deferred.
        (to("all", &["old"]), to("all", &["new"])),
        (to("all", &["old"]), to("renamed", &["new"])),
        (to("all", &["old", "older"]), to("all", &["new"])),
    ] {
        for act in [Act::Out, Act::Trouble(TroubleKind::Credentials), Act::Throttle(Some(Duration::from_secs(HOUR)))] {
            let mut world = World::new()
                .provider("old", Script::always(act.clone()))
                .provider("older", Script::always(act.clone()))
                .provider("new", Script::up())
                .route(before.clone());
            world.submit(500, "b@example.com").run_for(5).await;
            world.without_providers(&["old", "older"]);
            world.change(vec![after.clone()]).await;
            world.submit(10, "b@example.com").run_for(10).await;
            // What waited at the gate goes at once; what was under way and put off, when it falls due.
            let at_once = world.log("new").count();
            assert!(at_once >= 510 - 2 * 32, "{act:?} {}: {at_once}", after.name);
            world.run_for(HOUR).await;
            assert_eq!(world.log("new").count(), 510, "{act:?} {}", after.name);
            assert_eq!((world.done(), world.shelf.leases()), (510, 0), "{act:?} {}", after.name);
            world.conserves();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_under_way_end_as_they_began_and_go_on_by_the_new_table() {
    for (after, renamed) in [(to("all", &["new"]), false), (to("renamed", &["new"]), true)] {
        // One half is taken, the other never answered, when the table is another one already.
        let script = Script::new(|_, attempt, _| {
            let even = attempt.mid.to_string().as_bytes().last().is_some_and(|c| c % 2 == 0);
            if even { Act::Take } else { Act::Silence(Duration::from_secs(20)) }
        });
        let script = script.latency(Duration::from_secs(20));
        let mut world = World::new().provider("old", script).provider("new", Script::up()).route(to("all", &["old"]));
        world.submit(20, "b@example.com").run_for(1).await;
        world.without_providers(&["old"]);
        world.change(vec![after]).await;
        world.run_for(30).await;
        let (old, new) = (world.log("old").count(), world.log("new").count());
        assert!(old > 0 && new > 0, "{old} {new}");
        assert_eq!((old + new, world.done(), world.duplicates(), world.shelf.leases()), (20, 20, 0, 0), "{renamed}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_lane_waits_at_a_gate_that_is_gone() {
    let slow = |route: Route| Route {
        limit: Some(Limit { rate: Rate { count: 1, span: Duration::from_secs(HOUR) }, burst: 1, per: Per::Message }),
        ..route
    };
    let narrow = |route: Route| Route { concurrency: Some(1), ..route };
    for before in [slow(to("all", &["p"])), narrow(to("all", &["p"]))] {
        let hanging =
            Script::new(
                |now, _, _| {
                    if now < Duration::from_secs(5) { Act::Hang { after_the_last: false } } else { Act::Take }
                },
            );
        let mut world = World::new().provider("p", hanging).route(before);
        world.submit(100, "b@example.com").run_for(10).await;
        assert_eq!(world.log("p").count(), 0);
        world.change(vec![to("all", &["p"])]).await;
        world.run_for(10).await;
        // The one that hangs is not the new table's affair.
        assert_eq!(world.log("p").count(), 99);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_provider_that_stays_is_kept() {
    let mut world = World::new().provider("p", Script::down_for(40)).route(to("all", &["p"]));
    world.submit(100, "b@example.com").run_for(10).await;
    let attempts = world.log("p").attempts_between(0, 11);
    for _ in 0..10 {
        world.change(vec![to("all", &["p"])]).await;
        world.run_for(1).await;
    }
    // The breaker is open: a change is no reason to try before its time.
    assert_eq!(world.log("p").attempts_between(11, 15), 0);
    assert!(attempts <= 5 + 32);
    world.run_for(HOUR).await;
    assert_eq!(world.done(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_set_up_anew_is_tried_at_once() {
    // The key was wrong, and is right from the fifth second on.
    let script = Script::between(0, 5, Act::Trouble(TroubleKind::Credentials));
    let mut world = World::new().provider("p", script).route(to("all", &["p"]));
    world.submit(100, "b@example.com").run_for(8).await;
    assert_eq!(world.log("p").count(), 0);
    world.set_up_anew("p");
    world.change(vec![to("all", &["p"])]).await;
    world.run_for(2).await;
    // But for those that were under way: they were put off.
    assert!(world.log("p").count() >= 100 - 32, "{}", world.log("p").count());
    world.run_for(HOUR).await;
    assert_eq!((world.done(), world.duplicates()), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_changes_holds_nothing_up() {
    let mut world = World::new()
        .provider("a", Script::up())
        .provider("b", Script::up())
        .route(to("first", &["a"]))
        .route(to("second", &["b"]));
    for n in 0..200 {
        world.submit(20, "b@example.com");
        let (first, second) = (to("first", &["a"]), to("second", &["b", "a"]));
        world.change(if n % 2 == 0 { vec![second, first] } else { vec![first, second] }).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.run_for(HOUR).await;
    assert_eq!((world.done(), world.duplicates(), world.shelf.leases()), (4_000, 0, 0));
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn queued_mail_hears_what_the_new_table_says_of_it() {
    for (action, done, held, bounced) in
        [(Action::Discard, 0, 0, 0), (Action::Hold { reason: "review".to_owned() }, 0, 10, 0)]
    {
        let mut world = World::new().provider("p", Script::always(Act::Out)).route(to("all", &["p"]));
        world.submit(10, "b@example.com").run_for(2).await;
        let route = Route { name: RouteName::new("other"), action, ..to("x", &["p"]) };
        world.change(vec![route]).await;
        world.run_for(HOUR).await;
        assert_eq!((world.done(), world.held(), world.bounced(), world.queued()), (done, held, bounced, 0));
    }
}
