//! Starts, stops, crashes, and faults of the queue.

use std::time::Duration;

use super::script::{Act, Script};
use super::world::World;
use crate::delivery::Meter;
use crate::delivery::fixtures::deliver;

const HOUR: u64 = 3600;

fn one(script: Script) -> World {
    World::new().provider("out", script).route(deliver("all", &[&[("out", 1)]]))
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_attempts_end_and_begins_none() {
    let mut world = one(Script::up().latency(Duration::from_secs(10)));
    world.submit(500, "b@example.com").run_for(15).await;
    let began = world.log("out").attempts();
    world.stop().await;
    assert_eq!(world.log("out").attempts(), began);
    assert_eq!((world.log("out").count(), world.shelf.leases()), (began, 0));
    world.conserves();
    world.run_for(HOUR).await;
    assert_eq!((world.done(), world.duplicates()), (500, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_grace_time_cuts_off_is_settled_by_how_far_it_was() {
    for (after_the_last, possible) in [(false, 0), (true, 20)] {
        let mut world = one(Script::always(Act::Hang { after_the_last }));
        world.submit(20, "b@example.com").run_for(10).await;
        let before = tokio::time::Instant::now();
        world.stop().await;
        assert_eq!(before.elapsed().as_secs(), 30);
        assert_eq!((world.queued(), world.shelf.leases()), (20, 0));
        assert_eq!(world.sum(Meter::possible_duplicates), possible);
        world.conserves();
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_moment_loses_nothing() {
    let mut world = World::new()
        .provider("a", Script::between(5, 9, Act::Out))
        .provider("b", Script::up().latency(Duration::from_millis(300)))
        .route(deliver("all", &[&[("a", 2), ("b", 1)]]));
    for n in 0..40u64 {
        world.submit(50, "b@example.com");
        world.run_for(0).await;
        tokio::time::sleep(Duration::from_millis(137 * (n % 7) + 11)).await;
        world.kill().await;
    }
    world.run_for(HOUR).await;
    let mut arrived = std::collections::HashSet::new();
    for name in ["a", "b"] {
        arrived.extend(world.log(name).taken.lock().unwrap().iter().map(|(_, mid, _)| *mid));
    }
    assert_eq!(arrived.len(), 2000);
    assert_eq!((world.queued(), world.shelf.leases()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_start_resumes_what_is_queued() {
    let mut world = one(Script::up());
    world.submit(300, "b@example.com");
    world.shelf = world.shelf.after_a_crash();
    world.shelf.fail_reads(3);
    world.run_for(10).await;
    assert_eq!(world.done(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_cannot_be_read_is_asked_again() {
    let mut world = one(Script::up());
    world.run_for(5).await;
    world.shelf.fail_reads(20);
    world.submit(300, "b@example.com").run_for(60).await;
    assert_eq!((world.done(), world.shelf.leases()), (300, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_new_attempts_and_loses_no_outcome() {
    let mut world = one(Script::up());
    world.submit(5000, "b@example.com");
    *world.shelf.disk.lock().unwrap() = None;
    world.run_for(600).await;
    // As many as may wait to be written, and not one more.
    let waiting = world.log("out").count();
    assert!(waiting <= 512 + 32, "{waiting}");
    assert_eq!(world.queued(), 5000);
    *world.shelf.disk.lock().unwrap() = Some(Duration::from_millis(5));
    world.run_for(600).await;
    assert_eq!((world.done(), world.duplicates(), world.queued()), (5000, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_idle_relay_sleeps() {
    let mut world = one(Script::up());
    world.submit(1, "b@example.com").run_for(HOUR).await;
    assert!(world.shelf.claims() <= 2, "{}", world.shelf.claims());
}
