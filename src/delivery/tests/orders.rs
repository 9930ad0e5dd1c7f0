//! What operators order of providers, and what is seen of them, while mail flows.

use std::time::Duration;

use super::script::{Act, Script};
use super::world::World;
use crate::delivery::fixtures::{deliver, moment, provider};
use crate::delivery::{OrderError, OrderKind, ProviderState, Wish};

const HOUR: u64 = 3600;

fn wish(kind: OrderKind, seconds: u64) -> Wish {
    Wish { kind, span: Duration::from_secs(seconds), by: "alice".to_owned(), reason: "maintenance".to_owned() }
}

fn two() -> World {
    World::new()
        .provider("sendgrid", Script::up())
        .provider("ses", Script::up())
        .route(deliver("all", &[&[("sendgrid", 1)], &[("ses", 1)]]))
}

#[tokio::test(start_paused = true)]
async fn a_pause_sends_mail_on_and_ends_by_itself_or_when_it_is_told() {
    let mut world = two();
    world.submit(10, "b@example.com").run_for(5).await;
    let order = world.control().order(provider("sendgrid"), wish(OrderKind::Pause, 600)).await.unwrap();
    assert_eq!((order.since, order.until), (moment(5), moment(605)));
    world.submit(10, "b@example.com").run_for(590).await;
    let one = &world.control().snapshot().await.unwrap().providers[0];
    assert_eq!((one.state, one.since, one.until), (ProviderState::Paused, Some(moment(5)), Some(moment(605))));
    world.submit(10, "b@example.com").run_for(1).await;
    assert_eq!((world.log("sendgrid").count(), world.log("ses").count()), (10, 20));
    world.run_for(10).await;
    world.submit(10, "b@example.com").run_for(1).await;
    assert_eq!((world.log("sendgrid").count(), world.log("ses").count()), (20, 20), "it has ended by itself");
    assert_eq!(world.shelf.kept().len(), 0, "and is kept no longer");

    world.control().order(provider("sendgrid"), wish(OrderKind::Pause, HOUR)).await.unwrap();
    world.submit(10, "b@example.com").run_for(1).await;
    assert_eq!(world.control().resume(provider("sendgrid")).await.unwrap().by, "alice");
    world.submit(10, "b@example.com").run_for(1).await;
    assert_eq!((world.log("sendgrid").count(), world.log("ses").count()), (30, 30));
    assert!(matches!(world.control().resume(provider("sendgrid")).await, Err(OrderError::NotOrdered(_))));
    let unknown = world.control().order(provider("nobody"), wish(OrderKind::Pause, 1)).await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no provider 'nobody'; there are: sendgrid, ses");
    assert!(matches!(world.control().resume(provider("nobody")).await, Err(OrderError::UnknownProvider { .. })));
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn mail_that_can_go_nowhere_else_waits_for_the_end_and_leaves_at_once_then() {
    let mut world =
        World::new().provider("only", Script::up()).route(deliver("all", &[&[("only", 1)]])).started().await;
    world.control().order(provider("only"), wish(OrderKind::Pause, 2 * HOUR)).await.unwrap();
    world.submit(100, "b@example.com").run_for(HOUR).await;
    assert_eq!(world.log("only").count(), 0);
    let route = &world.control().snapshot().await.unwrap().routes[0];
    assert!(route.goes_to.is_empty() && route.waits_until.is_some(), "{route:?}");
    world.control().resume(provider("only")).await.unwrap();
    world.run_for(5).await;
    assert_eq!((world.log("only").count(), world.done()), (100, 100));
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn an_order_survives_a_restart_and_a_kill() {
    let mut world = two().started().await;
    world.control().order(provider("sendgrid"), wish(OrderKind::Pause, HOUR)).await.unwrap();
    world.run_for(10).await;
    world.kill().await;
    world.submit(10, "b@example.com").run_for(10).await;
    assert_eq!((world.log("sendgrid").count(), world.log("ses").count()), (0, 10));
    let order = world.control().snapshot().await.unwrap().providers[0].order.clone().unwrap();
    assert_eq!((order.kind, order.until, &*order.reason), (OrderKind::Pause, moment(HOUR + 1), "maintenance"));
    world.stop().await;
    // Its end comes while nobody runs.
    tokio::time::sleep(Duration::from_secs(HOUR)).await;
    world.submit(10, "b@example.com").run_for(10).await;
    assert_eq!((world.log("sendgrid").count(), world.log("ses").count()), (10, 10));
    assert_eq!(world.shelf.kept().len(), 0);
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn a_drill_is_an_outage_without_an_attempt() {
    let mut world = two();
    world.submit(10, "b@example.com").run_for(5).await;
    world.control().order(provider("sendgrid"), wish(OrderKind::Drill, 300)).await.unwrap();
    for _ in 0..100 {
        world.submit(10, "b@example.com").run_for(1).await;
    }
    assert_eq!((world.log("sendgrid").count(), world.log("ses").count()), (10, 1000));
    assert_eq!(world.log("sendgrid").attempts_between(5, 105), 0, "nobody asked it");
    let one = &world.control().snapshot().await.unwrap().providers[0];
    assert_eq!((one.state, one.until), (ProviderState::Drill, Some(moment(305))));
    assert!(one.recent.outcomes[4] >= 5, "the outage is seen: {:?}", one.recent);
    assert_eq!(one.last_error.as_ref().unwrap().text, "4.4.1 a drill: maintenance");
    // However long the probes would have been put off by then, it is back when the drill ends.
    world.run_for(200).await;
    for _ in 0..20 {
        world.submit(10, "b@example.com").run_for(1).await;
    }
    assert!(world.log("sendgrid").between(305, 330) >= 150, "{}", world.log("sendgrid").between(305, 330));
    assert_eq!(world.duplicates(), 0);
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_whole() {
    let mut world = World::new()
        .provider("sendgrid", Script::between(10, 1000, Act::Out))
        .provider("ses", Script::up().latency(Duration::from_secs(2))) // 32 at a time: 16 a second
        .route(deliver("all", &[&[("sendgrid", 1)], &[("ses", 1)]]))
        .route(deliver("never", &[&[("sendgrid", 1)]]));
    for _ in 0..60 {
        world.submit(20, "b@example.com").run_for(1).await;
    }
    let told = world.control().snapshot().await.unwrap();
    let (out, well) = (&told.providers[0], &told.providers[1]);
    assert_eq!(out.state, ProviderState::Open);
    assert_eq!(out.since.unwrap().as_second(), moment(10).as_second(), "since it opened, whatever probes have said");
    assert!(out.until.unwrap() > moment(60));
    let error = out.last_error.as_ref().unwrap();
    assert_eq!((error.outcome, error.text.contains("connection refused")), ("unavailable", true), "{error:?}");
    assert_eq!(well.state, ProviderState::Closed);
    let seconds = |span: Option<Duration>| span.unwrap().as_secs_f64();
    assert!((2.0..2.6).contains(&seconds(well.recent.p50)), "{:?}", well.recent);
    assert!((12.0..=16.5).contains(&well.rate), "{}", well.rate);
    assert_eq!(told.routes[0].goes_to, [provider("ses")]);
    assert_eq!(told.routes[1].goes_to, []);
    assert_eq!(told.routes[1].waits_until, out.until);
    // A probe is due, and no message is there to be it.
    world.run_for(600).await;
    let told = world.control().snapshot().await.unwrap();
    assert!(told.providers[0].until.unwrap() < moment(660), "{:?}", told.providers[0]);
    assert_eq!(told.routes[0].goes_to, [provider("ses")]);
    let (never, until) = (&told.routes[1], told.routes[1].waits_until);
    assert_eq!((&*never.goes_to, &*never.waits_for), (&[][..], &[provider("sendgrid")][..]));
    assert!(until.unwrap() <= moment(660), "the next message tries it: {until:?}");
    world.stop().await;
    assert!(world.control().snapshot().await.is_err(), "who asks one that has stopped is told so");
}
