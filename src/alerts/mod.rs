//! Alerts: what an operator must know without looking, told once when it begins and once when it is over.
//!
//! The way of an alert, with the file of each step: every few seconds `watch` gathers how the relay stands (`facts`) and what was
//! before (`history`); `rules` say which conditions hold; `book` knows which are on, damps what comes and goes, and gives news;
//! `post` makes a bounded number of messages of them; a `courier` for each target `bring`s them, but for what is no news to it by
//! then (`belief`), put into words by `words`, to a `webhook` or as a `letter` by the queue and the routes of `routes`; `sent`
//! remembers what came of it.
//!
//! Promises:
//! - all of deciding is pure: `rules`, `history`, `book`, `post`, `belief`, `words`, `sent`;
//! - which alerts are on, and who knows, survives a restart (`alerts.json` beside the queue): nobody is told again, and whoever
//!   was not told yet is told then;
//! - a target hears of an end if it has taken the begin, after it, and of no begin when that alert is over;
//! - a target that does not answer costs a task and 64 notes, and holds up nobody else.

mod belief;
mod book;
mod bring;
mod courier;
mod facts;
mod history;
mod letter;
mod post;
mod routes;
mod rules;
mod sent;
mod span;
mod watch;
mod webhook;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{AlertRules, AlertTarget, Config, TlsFiles};
use crate::delivery;
use crate::ingress;
use crate::mail::{Domain, MidSource, Timestamp};
use crate::os::Clock;
use crate::queue::Queue;
use crate::routing::Table;
use belief::{Beliefs, Believed};
use book::News;
use bring::{Desk, Parcel};
use courier::{Courier, Way};
use facts::Trouble;
use post::Message;
use sent::Ledger;
use words::By;

pub use book::{Ended, Running, Which};
pub use bring::Last;
pub use courier::Transports;
pub use routes::table;
pub use sent::Telling;
pub use watch::Watch;
pub use words::details;

/// For the test of a target.
const TEST: Duration = Duration::from_secs(20);

/// What watching and telling need, whatever the configuration.
pub struct Deps {
    pub queue: Queue,
    pub control: delivery::Control,
    pub meter: Arc<delivery::Meter>,
    pub clock: Clock,
    pub mids: Arc<MidSource>,
    /// Where couriers run, and what ends them.
    pub tasks: TaskTracker,
    pub token: CancellationToken,
}

/// What the configuration says. A new one takes its place as a whole.
pub struct Setup {
    hostname: Domain,
    rules: AlertRules,
    targets: Vec<AlertTarget>,
    max_messages: u64,
    certificates: Vec<TlsFiles>,
    table: Arc<Table>,
    transports: Transports,
}

impl Setup {
    /// `table` is the one in force, with the relay's own routes in it (`table`).
    pub fn new(config: &Config, table: Arc<Table>, transports: Transports) -> Self {
        let server = &config.server;
        Self {
            hostname: server.hostname.clone(),
            rules: server.alerts.rules.clone(),
            targets: server.alerts.targets.clone(),
            max_messages: server.queue.max_messages,
            certificates: ingress::certificate_files(server),
            table,
            transports,
        }
    }
}

/// A handle; clones speak of the same alerts.
#[derive(Clone)]
pub struct Alerts(Arc<Shared>);

impl std::fmt::Debug for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Alerts").field(&lock(&self.0.running).len()).finish()
    }
}

struct Shared {
    deps: Arc<Deps>,
    setup: Mutex<Arc<Setup>>,
    couriers: Mutex<Vec<Courier>>,
    sent: Arc<Mutex<Ledger>>,
    beliefs: Arc<Mutex<Beliefs>>,
    running: Mutex<Vec<Running>>,
    /// The newest last.
    ended: Mutex<Vec<Ended>>,
    reload: Mutex<Option<Trouble>>,
    trail: Mutex<Option<Trouble>>,
}

/// A target, and how it fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    /// `webhook` or `mail`.
    pub kind: &'static str,
    /// Notes that wait for it.
    pub waiting: usize,
    pub last: Option<Last>,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    pub target: String,
    pub kind: &'static str,
    pub ok: bool,
    /// What was answered, or why not.
    pub text: String,
}

/// Begins with what was on at the last stop; the watch is to be run. Within the runtime. Blocking, for a moment.
pub fn start(deps: Deps, setup: Setup) -> (Alerts, Watch) {
    let path = deps.queue.path().to_owned();
    let (deps, setup) = (Arc::new(deps), Arc::new(setup));
    let shared = Shared {
        couriers: Mutex::default(),
        sent: Arc::default(),
        beliefs: Arc::default(),
        deps,
        setup: Mutex::new(setup.clone()),
        running: Mutex::default(),
        ended: Mutex::default(),
        reload: Mutex::default(),
        trail: Mutex::default(),
    };
    let alerts = Alerts(Arc::new(shared));
    alerts.send_by(&setup);
    let watch = Watch::new(alerts.clone(), &path);
    (alerts, watch)
}

impl Alerts {
    /// A configuration that takes over. What waits for a target goes where that is now; for one that has gone, it is brought still.
    pub fn apply(&self, setup: Setup) {
        let setup = Arc::new(setup);
        // A target that is new counts as told of what is on.
        for name in self.send_by(&setup) {
            lock(&self.0.beliefs).assume(&name);
        }
        *lock(&self.0.setup) = setup;
    }

    /// Gives the names of new targets.
    fn send_by(&self, setup: &Arc<Setup>) -> Vec<String> {
        let mut standing = lock(&self.0.couriers);
        let mut before = std::mem::take(&mut *standing);
        let mut new = Vec::new();
        for way in Way::all(&setup.targets) {
            let courier = match before.iter().position(|one| one.is_of(&way)) {
                Some(at) => {
                    let courier = before.swap_remove(at);
                    courier.change(setup, way);
                    courier
                }
                None => {
                    new.push(way.name().to_owned());
                    let desk = Desk::new(way.name(), way.kind(), self.0.sent.clone(), self.0.beliefs.clone());
                    Courier::start(&self.0.deps, setup, way, desk)
                }
            };
            standing.push(courier);
        }
        new
    }

    /// The last reload of the configuration failed, or did not.
    pub fn reloaded(&self, error: Option<String>) {
        self.trouble(&self.0.reload, error);
    }

    /// The audit trail is behind, or is not.
    fn trail_is(&self, error: Option<String>) {
        self.trouble(&self.0.trail, error);
    }

    /// What is on, by kind and name.
    pub fn running(&self) -> Vec<Running> {
        lock(&self.0.running).clone()
    }

    /// How many are on.
    pub fn count(&self) -> usize {
        lock(&self.0.running).len()
    }

    /// What was on lately, the newest last.
    pub fn ended(&self) -> Vec<Ended> {
        lock(&self.0.ended).clone()
    }

    /// Who was told of an alert, since the start of the relay.
    pub fn told_of(&self, which: &Which) -> Vec<Telling> {
        lock(&self.0.sent).of(which)
    }

    /// Some rule is on.
    pub fn are_on(&self) -> bool {
        self.setup().rules != AlertRules::none()
    }

    pub fn targets(&self) -> Vec<Target> {
        let couriers = lock(&self.0.couriers);
        let target = |courier: &Courier| Target {
            name: courier.desk.name.clone(),
            kind: courier.desk.kind,
            waiting: courier.waiting(),
            last: courier.last(),
        };
        couriers.iter().map(target).collect()
    }

    /// Sends a test to each target, once and past the queue, and waits for what comes of it.
    pub async fn test(&self) -> Vec<Tested> {
        let (setup, deps, id) = (self.setup(), &self.0.deps, self.id());
        let note = words::test(By { relay: setup.hostname.as_str(), id: &id, now: deps.clock.now() });
        let tests = Way::all(&setup.targets).into_iter().map(|way| {
            let (setup, note) = (&setup, &note);
            async move {
                let (ok, text) = match timeout(TEST, way.try_now(deps, setup, note)).await {
                    Ok(Ok(text)) => (true, text),
                    Ok(Err(failure)) => (false, failure.text),
                    Err(_) => (false, format!("nothing came of it within {} s", TEST.as_secs())),
                };
                Tested { target: way.name().to_owned(), kind: way.kind(), ok, text }
            }
        });
        let tested = join_all(tests).await;
        let at = deps.clock.wall();
        for courier in &*lock(&self.0.couriers) {
            let of_it = tested
                .iter()
                .find(|one| (one.target.as_str(), one.kind) == (courier.desk.name.as_str(), courier.desk.kind));
            if let Some(Tested { ok, text, .. }) = of_it {
                courier.tested(Last { at, ok: *ok, text: format!("a test: {text}") });
            }
        }
        tested
    }

    fn setup(&self) -> Arc<Setup> {
        Arc::clone(&lock(&self.0.setup))
    }

    fn show(&self, running: Vec<Running>, ended: Vec<Ended>) {
        lock(&self.0.beliefs).stand(running.iter().map(Running::which), ended.iter().map(Ended::which));
        *lock(&self.0.running) = running;
        *lock(&self.0.ended) = ended;
    }

    /// To all targets.
    fn send(&self, Message(news): Message, at: Timestamp) {
        let parcel = Parcel { id: self.id(), at, news };
        let couriers = lock(&self.0.couriers);
        let targets = couriers.iter().map(|courier| (courier.desk.name.clone(), courier.desk.kind));
        self.note(&parcel, targets);
        for courier in &*couriers {
            courier.hand_in(&parcel);
        }
    }

    /// What targets were told before the start; of what is on, all of them, where that is not known.
    fn believe(&self, told: Option<Vec<Believed>>) {
        let couriers = lock(&self.0.couriers);
        let mut beliefs = lock(&self.0.beliefs);
        match told {
            Some(told) => beliefs.load(told),
            None => couriers.iter().for_each(|courier| beliefs.assume(&courier.desk.name)),
        }
    }

    /// To each target what the last run has not told it, but for `fresh` news, which all get.
    fn catch_up(&self, fresh: &[News], at: Timestamp) {
        let begins = lock(&self.0.running).iter().map(Running::news).collect::<Vec<_>>();
        let ends = lock(&self.0.ended).iter().map(Ended::news).collect::<Vec<_>>();
        let all: Vec<News> = begins.into_iter().chain(ends).filter(|one| !fresh.contains(one)).collect();
        for courier in &*lock(&self.0.couriers) {
            let desk = &courier.desk;
            let news: Vec<News> = lock(&self.0.beliefs).owed(&desk.name, &all);
            if !news.is_empty() {
                let parcel = Parcel { id: self.id(), at, news };
                self.note(&parcel, std::iter::once((desk.name.clone(), desk.kind)));
                courier.hand_in(&parcel);
            }
        }
    }

    fn note(&self, parcel: &Parcel, to: impl Iterator<Item = (String, &'static str)>) {
        let of = parcel.news.iter().map(|one| (one.which(), one.over.is_some())).collect();
        lock(&self.0.sent).begin(&parcel.id, of, to, parcel.at);
    }

    /// Of a note.
    fn id(&self) -> String {
        self.0.deps.mids.next(self.0.deps.clock.now(), rand::random()).to_string()
    }

    fn reload(&self) -> Option<Trouble> {
        lock(&self.0.reload).clone()
    }

    fn trail(&self) -> Option<Trouble> {
        lock(&self.0.trail).clone()
    }

    fn trouble(&self, place: &Mutex<Option<Trouble>>, error: Option<String>) {
        let now = self.0.deps.clock.now();
        let mut trouble = lock(place);
        let since = trouble.as_ref().map_or(now, |trouble| trouble.since);
        *trouble = error.map(|text| Trouble { since, text });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
