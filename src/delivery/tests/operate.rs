//! What a person does to the queue, on the real one: each act on each state, also with a crash behind the acknowledgement,
//! and while mail flows.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::script::{Act as Does, Script};
use super::world::CONTENT;
use crate::config::{Action, Provider, Route, Size};
use crate::delivery::fixtures::{deliver, leg, provider, provider_settings};
use crate::delivery::operate::{Act, ActAnswer, ActRequest, By, Filter, Offline, Operator, State};
use crate::delivery::{Deps, Scheduler, Settings};
use crate::mail::{
    BodyKind, Diagnosis, DsnRequest, EnhancedStatus, Envelope, Mid, MidSource, Origin, Recipient, RouteName, Severity,
};
use crate::os::Clock;
use crate::queue::{Lane, Leg, LegRecipient, LegState, NewContent, NewMessage, Queue, QueueOptions};
use crate::routing::Table;
use crate::transport::Transport;

fn open(path: &Path) -> Queue {
    Queue::open(QueueOptions {
        path: path.to_owned(),
        min_free: Size(0),
        max_messages: u64::MAX,
        max_size: None,
        cache: 8 << 20,
    })
    .unwrap()
}

fn settings() -> Settings {
    Settings {
        hostname: "relay.example".parse().unwrap(),
        retry: vec![Duration::from_millis(200)],
        expire: Duration::from_secs(3600),
        warn_after: None,
        grace: Duration::from_secs(1),
        notes: crate::audit::Notes::new(false),
    }
}

fn table_of(routes: Vec<Route>, providers: Vec<Provider>) -> Arc<Table> {
    Arc::new(Table::new(routes.into_iter().map(Arc::new).collect(), providers.into_iter().map(Arc::new).collect()))
}

fn held_by_route(name: &str) -> Route {
    Route { action: Action::Hold { reason: "review".to_owned() }, ..deliver(name, &[]) }
}

/// All goes by `all`: to a, then b.
fn table() -> Arc<Table> {
    table_of(
        vec![deliver("all", &[&[("a", 1)], &[("b", 1)]]), deliver("other", &[&[("b", 1)]]), held_by_route("review")],
        ["a", "b"].map(provider_settings).to_vec(),
    )
}

fn offline(queue: &Queue, table: Arc<Table>) -> Operator {
    Operator::offline(Offline {
        queue: queue.clone(),
        table,
        clock: Clock::system(),
        mids: Arc::new(MidSource::default()),
        settings: settings(),
    })
}

fn by() -> By {
    By { who: "alice".to_owned(), why: Some("ticket 7".to_owned()) }
}

fn request(act: Act, mids: &[Mid]) -> ActRequest {
    ActRequest {
        act,
        mids: mids.iter().map(ToString::to_string).collect(),
        filter: Filter::default(),
        all: false,
        after: None,
        reason: Some("ticket 7".to_owned()),
    }
}

fn envelope(to: &[&str]) -> Envelope {
    Envelope {
        reverse_path: Some("sender@app.example".parse().unwrap()),
        recipients: to.iter().map(|to| Recipient::new(to.parse().unwrap())).collect(),
        dsn: DsnRequest::default(),
        body: BodyKind::SevenBit,
        smtputf8: false,
        origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
        accepted_at: Clock::system().now(),
        header_size: 29,
        size: CONTENT.len() as u64,
    }
}

/// One leg for all recipients, tried once and due in an hour.
fn waiting(route: &str, recipients: usize) -> Leg {
    let status = EnhancedStatus::new(Severity::Transient, 4, 1);
    let last = Some(Diagnosis::remote("mx.example", 451, status, "come again"));
    let recipients = (0..recipients as u32).map(|index| LegRecipient { index, last: last.clone() }).collect();
    let due = Clock::system().now().as_second() + 3600;
    let due = crate::mail::Timestamp::from_second(due).unwrap();
    let lane = Lane { route: RouteName::new(route), destination: None, via: None };
    Leg { lane, due, recipients, attempts: 1, ..leg() }
}

fn held(route: &str, recipients: usize) -> Leg {
    Leg { state: LegState::Held { reason: "asked".to_owned() }, ..waiting(route, recipients) }
}

async fn accept(queue: &Queue, mids: &MidSource, to: &[&str], legs: Vec<Leg>) -> Mid {
    let mid = mids.next(Clock::system().now(), rand::random());
    let content = NewContent::Memory(Bytes::from_static(CONTENT));
    queue.accept(NewMessage { mid, envelope: envelope(to), legs, content, note: Vec::new() }).await.unwrap();
    mid
}

/// What a `kill -9` leaves of a queue's files.
fn crashed(path: &Path, to: &Path) -> PathBuf {
    let journal = path.with_extension("journal");
    std::fs::create_dir_all(to.join("queue.journal")).unwrap();
    std::fs::copy(path, to.join("queue.redb")).unwrap();
    for entry in std::fs::read_dir(journal).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join("queue.journal").join(entry.file_name())).unwrap();
    }
    to.join("queue.redb")
}

/// A message's legs in words: recipients, lane, state, whether it is due.
async fn words(queue: &Queue, mid: Mid) -> String {
    let Some(listed) = queue.message(mid).await.unwrap() else { return "gone".to_owned() };
    let now = Clock::system().now();
    let mut legs: Vec<String> = listed
        .legs
        .iter()
        .map(|(_, leg, _)| {
            let of: Vec<String> = leg.recipients.iter().map(|recipient| recipient.index.to_string()).collect();
            let state = match &leg.state {
                LegState::Held { reason } => format!("held ({reason})"),
                LegState::Waiting if leg.due <= now => "due".to_owned(),
                LegState::Waiting => "waits".to_owned(),
            };
            let via = leg.lane.via.as_ref().map(|via| format!(" via {via}")).unwrap_or_default();
            let ordered = if leg.orders.route { " ordered" } else { "" };
            format!("{}: {}{via}{ordered} {state}", of.join(","), leg.lane.route)
        })
        .collect();
    legs.sort();
    legs.join("; ")
}

fn to_route(name: &str) -> Act {
    Act::Move { route: Some(name.to_owned()), provider: None }
}

fn to_provider(name: &str) -> Act {
    Act::Move { route: None, provider: Some(name.to_owned()) }
}

const BY_ALICE: &str = "held (held by alice: ticket 7)";

/// The act, what waiting mail becomes of it, and what held mail does.
fn acts() -> Vec<(Act, String, String)> {
    let waits = "0,1: all waits".to_owned();
    let asked = "0,1: all held (asked)".to_owned();
    vec![
        (Act::Retry, "0,1: all due".to_owned(), asked.clone()),
        (Act::Hold, format!("0,1: all {BY_ALICE}"), asked.clone()),
        (Act::Release, waits, "0,1: all due".to_owned()),
        (Act::Delete, "gone".to_owned(), "gone".to_owned()),
        (Act::Bounce, "gone".to_owned(), "gone".to_owned()),
        (to_route("other"), "0,1: other ordered due".to_owned(), "0,1: other ordered held (asked)".to_owned()),
        (to_provider("b"), "0,1: all via b due".to_owned(), "0,1: all via b held (asked)".to_owned()),
        (Act::Move { route: None, provider: None }, "0,1: all waits".to_owned(), asked),
    ]
}

#[tokio::test]
async fn each_act_on_each_state_survives_a_crash_behind_its_acknowledgement() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    let (queue, mids) = (open(&path), MidSource::default());
    let operator = offline(&queue, table());
    let to = ["b0@example.com", "b1@example.com"];
    let mut expected = BTreeMap::new();
    let mut reports = 0;
    for (act, of_waiting, of_held) in acts() {
        for (leg, becomes) in [(waiting("all", 2), of_waiting), (held("all", 2), of_held)] {
            let before = leg.clone();
            let mid = accept(&queue, &mids, &to, vec![leg]).await;
            // Under somebody's lease nothing is done with it, and that is told.
            let claim = queue.claim_one(mid, 0).await.unwrap().unwrap();
            let answer = operator.act(&request(act.clone(), &[mid]), &by()).await.unwrap();
            assert_eq!((answer.messages, answer.in_attempt.len()), (0, 1), "{act:?}: {answer:?}");
            assert_eq!(answer.in_attempt[0].mid, mid.to_string());
            queue.release(claim.mid, claim.number);
            assert_eq!(queue.message(mid).await.unwrap().unwrap().legs, [(0, before, false)], "{act:?}");
            let answer = operator.act(&request(act.clone(), &[mid]), &by()).await.unwrap();
            let not_done = (answer.in_attempt.len(), answer.refused.len(), answer.missing.len());
            assert_eq!(not_done, (0, 0, 0), "{act:?}: {answer:?}");
            reports += u64::from(act == Act::Bounce);
            expected.insert(mid, (format!("{act:?}"), becomes));
            if expected.len() % 4 == 0 {
                check(&crashed(&path, &folder.path().join(format!("crash-{}", expected.len()))), &expected, reports)
                    .await;
            }
        }
    }
    queue.close().await;
    check(&path, &expected, reports).await;
}

async fn check(path: &Path, expected: &BTreeMap<Mid, (String, String)>, reports: u64) {
    let queue = open(path);
    for (mid, (act, becomes)) in expected {
        assert_eq!(words(&queue, *mid).await, *becomes, "{act}");
    }
    let there = expected.values().filter(|(_, becomes)| becomes != "gone").count() as u64;
    // A bounce leaves the report to its sender.
    assert_eq!(queue.depth().await.unwrap().messages, there + reports);
    queue.close().await;
}

#[tokio::test]
async fn only_the_recipients_that_are_asked_for_are_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mids) = (open(&folder.path().join("queue.redb")), MidSource::default());
    let operator = offline(&queue, table());
    let to = ["x@one.example", "y@two.example", "z@one.example"];
    for (act, becomes) in [
        (Act::Hold, format!("0,2: all {BY_ALICE}; 1: all waits")),
        (Act::Delete, "1: all waits".to_owned()),
        (to_provider("b"), "0,2: all via b due; 1: all waits".to_owned()),
    ] {
        let mid = accept(&queue, &mids, &to, vec![waiting("all", 3)]).await;
        let mut request = request(act, &[mid]);
        request.filter.recipient = Some("one.example".to_owned());
        let answer = operator.act(&request, &by()).await.unwrap();
        assert_eq!((answer.messages, answer.recipients), (1, 2));
        assert_eq!(words(&queue, mid).await, becomes);
    }
    queue.close().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_told_and_nothing_done() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mids) = (open(&folder.path().join("queue.redb")), MidSource::default());
    let mut eu = deliver("eu", &[&[("a", 1)]]);
    eu.residency = Some("eu".to_owned());
    let mut a = provider_settings("a");
    a.region = Some("eu-west-1".to_owned());
    let table =
        table_of(vec![eu, held_by_route("review"), deliver("us", &[&[("b", 1)]])], vec![a, provider_settings("b")]);
    let operator = offline(&queue, table);
    let mid = accept(&queue, &mids, &["b@example.com"], vec![waiting("eu", 1)]).await;
    for (act, told) in [
        (to_route("uss"), "there is no route 'uss', did you mean 'us'?"),
        (to_provider("c"), "there is no provider 'c'"),
        (to_route("review"), "route 'review' delivers nothing"),
    ] {
        let error = operator.act(&request(act, &[mid]), &by()).await.unwrap_err().to_string();
        assert!(error.starts_with(told), "{error}");
    }
    for act in [to_route("us"), to_provider("b")] {
        let answer = operator.act(&request(act, &[mid]), &by()).await.unwrap();
        assert!(answer.refused[0].why.contains("keeps its mail in 'eu'"), "{answer:?}");
    }
    assert_eq!(words(&queue, mid).await, "0: eu waits");
    let error = operator.act(&request(Act::Delete, &[]), &by()).await.unwrap_err().to_string();
    assert!(error.starts_with("say which mail"), "{error}");
    let gone = Mid::from_bits(1);
    assert_eq!(operator.act(&request(Act::Delete, &[gone]), &by()).await.unwrap().missing, [gone.to_string()]);
    queue.close().await;
}

#[tokio::test]
async fn mail_that_a_route_holds_is_released_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mids) = (open(&folder.path().join("queue.redb")), MidSource::default());
    let to = ["b@example.com"];
    let mid = accept(&queue, &mids, &to, vec![held("review", 1)]).await;
    let alone = offline(&queue, table_of(vec![held_by_route("review")], vec![provider_settings("a")]));
    let answer = alone.act(&request(Act::Release, &[mid]), &by()).await.unwrap();
    assert!(answer.refused[0].why.contains("no route behind that takes it: move it"), "{answer:?}");
    assert_eq!(words(&queue, mid).await, "0: review held (asked)");
    let routes = vec![held_by_route("review"), deliver("all", &[&[("a", 1)]])];
    let operator = offline(&queue, table_of(routes, vec![provider_settings("a")]));
    let answer = operator.act(&request(Act::Release, &[mid]), &by()).await.unwrap();
    assert_eq!(answer.messages, 1, "{answer:?}");
    assert_eq!(words(&queue, mid).await, "0: all due");
    // Moved, it stays held, and goes that way when it is released; by the table again it is the route's.
    let mid = accept(&queue, &mids, &to, vec![held("review", 1)]).await;
    for (act, becomes) in [
        (to_provider("a"), "0: all via a held (asked)"),
        (Act::Move { route: None, provider: None }, "0: review held (review)"),
        (to_route("all"), "0: all ordered held (review)"),
        (to_provider("a"), "0: all via a held (review)"),
        (Act::Release, "0: all via a due"),
    ] {
        let answer = operator.act(&request(act.clone(), &[mid]), &by()).await.unwrap();
        assert_eq!(answer.messages, 1, "{act:?}: {answer:?}");
        assert_eq!(words(&queue, mid).await, becomes, "{act:?}");
    }
    queue.close().await;
}

#[tokio::test]
async fn the_list_is_whole_and_paged_and_counts_agree() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mids) = (open(&folder.path().join("queue.redb")), MidSource::default());
    let operator = offline(&queue, table());
    let mut all = Vec::new();
    let wait: Vec<_> = (0..6000u32)
        .map(|n| {
            let (queue, mids) = (queue.clone(), &mids);
            async move {
                let leg = if n % 3 == 0 { held("all", 2) } else { waiting("all", 2) };
                accept(&queue, mids, &["x@one.example", "y@two.example"], vec![leg]).await
            }
        })
        .collect();
    for chunk in futures_util::future::join_all(wait).await {
        all.push(chunk.to_string());
    }
    all.sort();
    for (filter, messages) in [
        (Filter::default(), 6000),
        (Filter { state: Some(State::Held), ..Filter::default() }, 2000),
        (Filter { recipient: Some("two.example".to_owned()), ..Filter::default() }, 6000),
        (Filter { older: Some("1h".to_owned()), ..Filter::default() }, 0),
        (Filter { reason: Some("COME again".to_owned()), newer: Some("1h".to_owned()), ..Filter::default() }, 6000),
    ] {
        let (mut mids, mut after, mut parts) = (Vec::new(), None::<String>, 0);
        loop {
            let page = operator.list(&filter, after.as_deref(), 700).await.unwrap();
            assert!(page.entries.len() <= 700);
            mids.extend(page.entries.into_iter().map(|entry| entry.mid));
            parts += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(mids.len(), messages, "{filter:?}");
        assert!(mids.is_sorted() && parts <= messages / 700 + 2);
        if messages == 6000 {
            assert_eq!(mids, all);
        }
        let count = operator.count(&filter).await.unwrap();
        assert_eq!((count.messages, count.octets), (messages as u64, (messages * CONTENT.len()) as u64));
    }
    queue.close().await;
}

/// A relay without doors.
struct Running {
    operator: Operator,
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(queue: &Queue, table: Arc<Table>, scripts: Vec<(&str, Script)>) -> Self {
        let transports: HashMap<_, Arc<dyn Transport>> = scripts
            .into_iter()
            .map(|(name, script)| (provider(name), Arc::new(script) as Arc<dyn Transport>))
            .collect();
        let scheduler = Scheduler::new(Deps {
            queue: queue.clone(),
            table,
            transports,
            clock: Clock::system(),
            mids: Arc::new(MidSource::default()),
            settings: settings(),
        });
        let (operator, token) = (scheduler.operator(), CancellationToken::new());
        Self { operator, task: tokio::spawn(scheduler.run(token.clone())), token }
    }

    async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_an_attempt_is_told_and_what_waits_in_memory_is_had() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mids) = (open(&folder.path().join("queue.redb")), MidSource::default());
    let hangs = Script::always(Does::Hang { after_the_last: false });
    let log = hangs.log();
    let mut one_by_one = provider_settings("a");
    one_by_one.concurrency = 1;
    let table = table_of(vec![deliver("all", &[&[("a", 1)]])], vec![one_by_one]);
    let running = Running::start(&queue, table, vec![("a", hangs)]);
    let mut sent = Vec::new();
    for _ in 0..40 {
        let due = Leg { due: Clock::system().now(), ..waiting("all", 1) };
        sent.push(accept(&queue, &mids, &["b@example.com"], vec![due]).await);
    }
    until("an attempt hangs", async || log.attempts() == 1).await;
    let flying = log.attempts.lock().unwrap()[0].1;
    until("a window was read", async || {
        let page = running.operator.list(&Filter::default(), None, 100).await.unwrap();
        page.entries.iter().filter(|entry| entry.in_hand).count() > 1
    })
    .await;
    let answer = running.operator.act(&request(Act::Hold, &sent), &by()).await.unwrap();
    assert_eq!((answer.messages, answer.in_attempt.len()), (39, 1), "{answer:?}");
    assert_eq!(answer.in_attempt[0].mid, flying.to_string());
    assert_eq!(answer.in_attempt[0].provider.as_deref(), Some("a"));
    for mid in sent.iter().filter(|mid| **mid != flying) {
        assert_eq!(words(&queue, *mid).await, format!("0: all {BY_ALICE}"));
    }
    let deleted = running.operator.act(&request(Act::Delete, &sent), &by()).await.unwrap();
    assert_eq!((deleted.messages, deleted.in_attempt.len()), (39, 1));
    running.stop().await;
    assert_eq!(log.attempts(), 1, "nothing that was held was tried");
    assert_eq!(queue.depth().await.unwrap().messages, 1);
    queue.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_mail_goes_that_way_whatever_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mids) = (open(&folder.path().join("queue.redb")), MidSource::default());
    let logs: Vec<_> = [("a", Script::always(Does::Out)), ("b", Script::between(0, 1, Does::Defer))].into();
    let (log_a, log_b) = (logs[0].1.log(), logs[1].1.log());
    // By the table all goes to a, which is out; b is of another route.
    let routes = || vec![deliver("all", &[&[("a", 1)]]), deliver("other", &[&[("b", 1)]])];
    let providers = || ["a", "b"].map(provider_settings).to_vec();
    let running = Running::start(&queue, table_of(routes(), providers()), logs);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let due = Leg { due: Clock::system().now(), ..waiting("all", 1) };
        sent.push(accept(&queue, &mids, &["b@example.com"], vec![due]).await);
    }
    until("all are tried", async || log_a.attempts() >= 3).await;
    // b defers at first: the orders hold across rounds, each of which asks the table anew.
    for (act, mid) in [(to_route("other"), sent[0]), (to_provider("b"), sent[1])] {
        until("it is moved", async || {
            let answer = running.operator.act(&request(act.clone(), &[mid]), &by()).await.unwrap();
            answer.messages + answer.unchanged == 1
        })
        .await;
    }
    until("both are delivered by b", async || log_b.count() == 2).await;
    let taken: Vec<Mid> = log_b.taken.lock().unwrap().iter().map(|(_, mid, _)| *mid).collect();
    assert!(taken.contains(&sent[0]) && taken.contains(&sent[1]), "{taken:?}");
    running.stop().await;
    assert!(words(&queue, sent[2]).await.starts_with("0: all "));

    // A provider that is there no more: it is held, and says so.
    let operator = offline(&queue, table_of(routes(), providers()));
    operator.act(&request(to_provider("b"), &[sent[2]]), &by()).await.unwrap();
    let without = table_of(vec![deliver("all", &[&[("a", 1)]])], vec![provider_settings("a")]);
    let running = Running::start(&queue, without, vec![("a", Script::up())]);
    until("it is held", async || words(&queue, sent[2]).await.contains("which is not there any more")).await;
    let again = running.operator.act(&request(Act::Release, &[sent[2]]), &by()).await.unwrap();
    assert_eq!((again.messages, again.refused.len()), (0, 1));
    running.operator.act(&request(Act::Move { route: None, provider: None }, &[sent[2]]), &by()).await.unwrap();
    running.operator.act(&request(Act::Release, &[sent[2]]), &by()).await.unwrap();
    until("it goes by the table", async || queue.depth().await.unwrap().messages == 0).await;
    running.stop().await;
    queue.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_by_filter_during_traffic_lose_nothing_and_double_nothing() {
    const MESSAGES: usize = 4000;
    let folder = tempfile::tempdir().unwrap();
    let queue = open(&folder.path().join("queue.redb"));
    let a = Script::between(0, 1, Does::Out).latency(Duration::from_millis(1));
    let b = Script::up().latency(Duration::from_millis(1));
    let logs = [a.log(), b.log()];
    let running = Running::start(&queue, table(), vec![("a", a), ("b", b)]);
    let by_domain = |domain: &str| Filter { recipient: Some(domain.to_owned()), ..Filter::default() };
    let submitted = tokio::spawn({
        let queue = queue.clone();
        async move {
            let mids = MidSource::default();
            for n in 0..MESSAGES / 50 {
                let each = (0..50).map(|_| {
                    let due = Leg { due: Clock::system().now(), ..waiting("all", 2) };
                    accept(&queue, &mids, &["x@one.example", "y@two.example"], vec![due])
                });
                futures_util::future::join_all(each).await;
                if n % 4 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let all_of = async |act: Act, filter: Filter| {
        let mut answer = ActAnswer::default();
        let mut request = ActRequest { filter, ..request(act, &[]) };
        loop {
            answer.add(running.operator.act(&request, &by()).await.unwrap());
            request.after = answer.next.take();
            if request.after.is_none() {
                return answer;
            }
        }
    };
    let mut deleted = 0;
    while !submitted.is_finished() {
        all_of(Act::Hold, by_domain("one.example")).await;
        all_of(to_provider("b"), by_domain("two.example")).await;
        all_of(Act::Retry, by_domain("two.example")).await;
        all_of(to_route("other"), by_domain("one.example")).await;
        // A part of the held ones is taken out for good, the rest let go.
        let held =
            running.operator.list(&Filter { state: Some(State::Held), ..Filter::default() }, None, 20).await.unwrap();
        let mids: Vec<Mid> = held.entries.iter().map(|entry| entry.mid.parse().unwrap()).collect();
        if !mids.is_empty() {
            let filter = Filter { state: Some(State::Held), ..Filter::default() };
            let gone = ActRequest { filter, ..request(Act::Delete, &mids) };
            deleted += running.operator.act(&gone, &by()).await.unwrap().recipients as usize;
        }
        all_of(Act::Release, Filter { state: Some(State::Held), ..Filter::default() }).await;
    }
    submitted.await.unwrap();
    until("all is done with", async || {
        all_of(Act::Release, Filter { state: Some(State::Held), ..Filter::default() }).await;
        queue.depth().await.unwrap().messages == 0
    })
    .await;
    running.stop().await;
    let taken: Vec<(Mid, u32)> = logs
        .iter()
        .flat_map(|log| log.taken.lock().unwrap().iter().map(|(_, mid, to)| (*mid, *to)).collect::<Vec<_>>())
        .collect();
    let distinct: std::collections::HashSet<_> = taken.iter().collect();
    assert_eq!(taken.len(), distinct.len(), "nobody got it twice");
    assert_eq!(taken.len() + deleted, 2 * MESSAGES, "{deleted} deleted");
    queue.close().await;
}
