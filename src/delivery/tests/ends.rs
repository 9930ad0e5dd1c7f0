//! How mail ends: bounces, expiry, delay warnings, holds, new routes.

use std::time::Duration;

use super::script::{Act, Script};
use super::world::World;
use crate::config::{Action, Limit, OnUnknown, Per, Rate, Rejection};
use crate::delivery::fixtures::deliver;
use crate::mail::{EnhancedStatus, Notify, Recipient, Severity};
use crate::queue::{Leg, LegState};

const HOUR: u64 = 3600;

fn one(script: Script) -> World {
    World::new().provider("out", script).route(deliver("all", &[&[("out", 1)]]))
}

fn recipient(to: &str, notify: Option<Notify>) -> Recipient {
    Recipient { notify, ..Recipient::new(to.parse().unwrap()) }
}

#[tokio::test(start_paused = true)]
async fn one_report_tells_of_all_that_failed_together() {
    let script = Script::new(|_, attempt, index| match (attempt.envelope.reverse_path.is_some(), index) {
        (true, 1 | 2) => Act::Refuse,
        _ => Act::Take,
    });
    let mut world = one(script);
    world.submit_one(Some("a@app.example"), &["b0@example.com", "b1@example.com", "b2@example.com"]);
    world.start();
    while world.shelf.reports().is_empty() {
        world.run_for(0).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let reports = world.shelf.reports();
    let (envelope, text) = &reports[0];
    assert_eq!(reports.len(), 1);
    assert_eq!(envelope.reverse_path, None);
    assert_eq!(envelope.recipients[0].address.to_string(), "a@app.example");
    for said in ["b1@example.com", "b2@example.com", "no such user", "5.1.1"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("b0@example.com"), "{text}");
    // It is mail like any other, and goes out.
    world.run_for(10).await;
    assert_eq!((world.log("out").count(), world.shelf.legs().len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_who_asked_not_to_be() {
    let never = Some(Notify::default());
    for (from, notify, act, reports) in [
        (Some("a@app.example"), None, Act::Refuse, 1),
        (None, None, Act::Refuse, 0),
        (Some("a@app.example"), never, Act::Refuse, 0),
        (Some("a@app.example"), None, Act::Take, 0),
        (Some("a@app.example"), Some(Notify { success: true, failure: false, delay: false }), Act::Take, 1),
        // Who took it was handed the request (RFC 3461, 5.2.1): the sender would be told twice.
        (Some("a@app.example"), Some(Notify { success: true, failure: false, delay: false }), Act::TakeWithDsn, 0),
    ] {
        let script = Script::new(
            move |_, attempt, _| {
                if attempt.envelope.origin.listener == "-" { Act::Defer } else { act.clone() }
            },
        );
        let mut world = one(script);
        world.submit_with(from, vec![recipient("b@example.com", notify)], |_| {});
        world.run_for(10).await;
        assert_eq!(world.shelf.reports().len(), reports, "{from:?} {notify:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_that_bounces_ends_there() {
    let mut world = one(Script::always(Act::Refuse));
    world.submit_one(Some("a@app.example"), &["b@example.com"]);
    world.run_for(HOUR).await;
    assert_eq!((world.log("out").attempts(), world.shelf.legs().len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn expiry_holds_in_every_state() {
    let expire = Duration::from_secs(600);
    let slow = Limit { rate: Rate { count: 1, span: Duration::from_secs(86_400) }, burst: 1, per: Per::Message };
    type Case = (&'static str, Box<dyn Fn() -> World>, u64);
    let cases: [Case; 6] = [
        ("deferred", Box::new(|| one(Script::always(Act::Defer))), 0),
        ("breaker open", Box::new(|| one(Script::always(Act::Out))), 0),
        ("throttled", Box::new(|| one(Script::always(Act::Throttle(Some(Duration::from_secs(7200)))))), 0),
        (
            "waits for a permit of the provider",
            Box::new(move || {
                World::new()
                    .provider_with("out", Script::up(), |provider| provider.limit = Some(slow))
                    .route(deliver("all", &[&[("out", 1)]]))
            }),
            1,
        ),
        (
            "waits for a permit of the route",
            Box::new(move || {
                let mut route = deliver("all", &[&[("out", 1)]]);
                route.limit = Some(slow);
                World::new().provider("out", Script::up()).route(route)
            }),
            1,
        ),
        (
            "waits for a slot",
            Box::new(|| {
                let hang = Script::up().latency(Duration::from_secs(3000));
                World::new()
                    .provider_with("out", hang, |provider| provider.concurrency = 1)
                    .route(deliver("all", &[&[("out", 1)]]))
            }),
            1,
        ),
    ];
    for (case, world, done) in cases {
        let mut world = world();
        world.settings.expire = expire;
        world.submit(200, "b@example.com").run_for(590).await;
        assert_eq!(world.bounced(), 0, "{case}");
        world.run_for(90).await;
        assert_eq!(world.bounced(), 200 - done, "{case}");
        world.run_for(HOUR).await;
        assert_eq!((world.done(), world.queued(), world.shelf.leases()), (done, 0, 0), "{case}");
        world.conserves();
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_message_bounces_with_the_last_answer() {
    let script =
        Script::new(|_, attempt, _| if attempt.envelope.origin.listener == "-" { Act::Take } else { Act::Defer });
    let mut world = one(script.latency(Duration::from_secs(5)));
    world.settings.expire = Duration::from_secs(4 * 60);
    world.submit_one(Some("a@app.example"), &["b@example.com"]);
    world.run_for(4 * 60 + 3).await;
    let (_, text) = &world.shelf.reports()[0];
    for said in ["5.4.7", "come again", "mx.example"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_told_once() {
    let script =
        Script::new(|_, attempt, _| if attempt.envelope.origin.listener == "-" { Act::Take } else { Act::Out });
    let log = script.log();
    let mut world = one(script);
    world.settings.warn_after = Some(Duration::from_secs(4 * HOUR));
    // The breaker is open for the report, too, until its probe: so it has a way of its own.
    let mut reports = deliver("reports", &[&[("reports", 1)]]);
    reports.conditions = vec![crate::config::Condition {
        negated: false,
        test: crate::config::Test::Listener(vec![crate::config::Glob::parse("-").unwrap()]),
    }];
    world.replace_routes(vec![reports, deliver("all", &[&[("out", 1)]])]);
    let mut world = world.provider("reports", Script::up());
    let tell = Some(Notify { success: false, failure: true, delay: true });
    let hush = Some(Notify { success: false, failure: true, delay: false });
    world.submit_with(
        Some("a@app.example"),
        vec![recipient("b@example.com", None), recipient("c@example.com", tell)],
        |_| {},
    );
    world.submit_with(Some("a@app.example"), vec![recipient("d@example.com", hush)], |_| {});
    world.run_for(4 * HOUR - 10).await;
    assert_eq!(world.log("reports").count(), 0);
    world.run_for(90).await;
    assert_eq!(world.log("reports").count(), 1);
    world.run_for(20 * HOUR).await;
    assert_eq!(world.log("reports").count(), 1);
    assert!(log.attempts() > 3);
    assert_eq!(world.queued(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_no_provider_can_carry_bounces_and_says_why() {
    let mut world = World::new()
        .provider(
            "a",
            Script::new(
                |_, attempt, _| {
                    if attempt.envelope.origin.listener == "-" { Act::Take } else { Act::LackMessage }
                },
            ),
        )
        .provider("b", Script::always(Act::LackSender))
        .route(deliver("all", &[&[("a", 1)], &[("b", 1)]]));
    world.submit_one(Some("x@new.example"), &["b@example.com"]);
    world.start();
    while world.shelf.reports().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (_, text) = &world.shelf.reports()[0];
    for said in ["a: cannot carry that", "b: sender not verified"] {
        assert!(text.replace("\r\n ", " ").contains(said), "{said}: {text}");
    }
    assert_eq!(world.bounced(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_carry_it_is_never_asked_again() {
    let mut world = World::new()
        .provider("a", Script::always(Act::LackMessage))
        .provider("b", Script::down_for(2 * HOUR))
        .route(deliver("all", &[&[("a", 1)], &[("b", 1)]]));
    world.submit(5, "b@example.com").run_for(5 * HOUR).await;
    assert_eq!((world.log("a").attempts(), world.log("b").count()), (5, 5));
    world.conserves();
}

#[tokio::test(start_paused = true)]
async fn queued_mail_follows_the_table_in_force() {
    let rejection = Rejection {
        code: 550,
        status: EnhancedStatus::new(Severity::Permanent, 7, 1),
        text: "not any more".to_owned(),
    };
    for (action, expected) in [
        (Action::Reject(rejection), "bounced"),
        (Action::Hold { reason: "review".to_owned() }, "held"),
        (Action::Discard, "discarded"),
        (Action::Deliver(vec![crate::config::Tier(vec![(crate::mail::ProviderName::new("other"), 1)])]), "delivered"),
    ] {
        let mut world = one(Script::always(Act::Defer)).provider("other", Script::up());
        world.submit(10, "b@example.com").run_for(10).await;
        world.stop().await;
        let mut route = deliver("new", &[&[("other", 1)]]);
        route.action = action;
        world.replace_routes(vec![route]);
        world.run_for(HOUR).await;
        let now = (world.bounced(), world.held(), world.log("other").count(), world.queued());
        let wanted = match expected {
            "bounced" => (10, 0, 0, 0),
            "held" => (0, 10, 0, 0),
            "discarded" => (0, 0, 0, 0),
            _ => (0, 0, 10, 0),
        };
        assert_eq!(now, wanted, "{expected}");
        assert_eq!(world.shelf.leases(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn mail_that_no_route_takes_any_more_bounces() {
    let mut world = one(Script::always(Act::Defer));
    for _ in 0..3 {
        world.submit_one(Some("a@app.example"), &["b@example.com"]);
    }
    world.run_for(10).await;
    world.stop().await;
    world.replace_routes(vec![]);
    world.run_for(HOUR).await;
    assert_eq!(world.bounced(), 3);
    // Nor do its reports find a way: they wait for a person, where the mail was.
    assert_eq!(world.shelf.reports().len(), 3, "failures alone");
    let legs: Vec<Leg> = world.shelf.legs().into_iter().map(|(_, leg)| leg).collect();
    assert!(legs.len() == 3 && legs.iter().all(|leg| leg.lane.route.as_str() == "all"), "{legs:?}");
    let told =
        |leg: &Leg| matches!(&leg.state, LegState::Held { reason } if reason.contains("no route takes this report"));
    assert!(legs.iter().all(told), "{legs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_route_by_header_finds_its_mail() {
    let mut plain = deliver("plain", &[&[("plain", 1)]]);
    plain.conditions = vec![crate::config::Condition {
        negated: false,
        test: crate::config::Test::Header(vec![(
            "X-Class".to_owned(),
            vec![crate::config::Glob::parse("plain").unwrap()],
        )]),
    }];
    let mut world = World::new()
        .provider("plain", Script::up())
        .provider("rest", Script::up())
        .route(plain)
        .route(deliver("rest", &[&[("rest", 1)]]));
    world.submit(10, "b@example.com").run_for(10).await;
    assert_eq!((world.log("plain").count(), world.log("rest").count()), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn held_mail_waits_for_a_person_however_long() {
    let mut route = deliver("all", &[&[("out", 1)]]);
    route.on_unknown = OnUnknown::Hold;
    let mut world = World::new().provider("out", Script::always(Act::Silence(Duration::from_secs(60)))).route(route);
    world.settings.expire = Duration::from_secs(HOUR);
    world.submit(3, "b@example.com").run_for(100 * HOUR).await;
    assert_eq!((world.held(), world.log("out").attempts()), (3, 3));
}
