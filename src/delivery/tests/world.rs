//! A relay without doors: a queue in memory, scripted providers, and the scheduler, under a paused clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::script::{Log, Script};
use super::shelf::Shelf;
use crate::config::{MxSettings, MxTls, Provider, Route, Transport as TransportSettings};
use crate::delivery::fixtures::{moment, provider, provider_settings};
use crate::delivery::{Change, Control, Deps, Meter, Scheduler, Settings, lane};
use crate::mail::{Address, BodyKind, DsnRequest, Envelope, Mid, MidSource, Origin, ProviderName, Recipient};
use crate::os::Clock;
use crate::queue::{Lane, Leg, LegRecipient, LegState, NewContent, NewMessage, Orders};
use crate::routing::{Decision, Facts, Table};
use crate::transport::Transport;

pub const CONTENT: &[u8] = b"Subject: x\r\nX-Class: plain\r\n\r\nbody\r\n";

pub struct World {
    pub shelf: Shelf,
    pub settings: Settings,
    routes: Vec<Arc<Route>>,
    providers: Vec<Arc<Provider>>,
    transports: HashMap<ProviderName, Arc<dyn Transport>>,
    logs: HashMap<ProviderName, Arc<Log>>,
    clock: Clock,
    mids: Arc<MidSource>,
    accepted: u64,
    submitted: HashMap<Mid, (Duration, String)>,
    began: tokio::time::Instant,
    meters: Vec<Arc<Meter>>,
    running: Option<(JoinHandle<()>, CancellationToken)>,
    control: Option<Control>,
}

impl World {
    pub fn new() -> Self {
        let settings = Settings {
            notes: crate::audit::Notes::new(true),
            hostname: "relay.example".parse().unwrap(),
            retry: [1, 5, 15, 60].map(|minutes| Duration::from_secs(minutes * 60)).to_vec(),
            expire: Duration::from_secs(5 * 86_400),
            warn_after: None,
            grace: Duration::from_secs(30),
        };
        let shelf = Shelf::default();
        *shelf.disk.lock().unwrap() = Some(Duration::ZERO);
        Self {
            shelf,
            settings,
            routes: Vec::new(),
            providers: Vec::new(),
            transports: HashMap::new(),
            logs: HashMap::new(),
            clock: Clock::following_tokio(moment(0)),
            mids: Arc::default(),
            accepted: 0,
            submitted: HashMap::new(),
            began: tokio::time::Instant::now(),
            meters: Vec::new(),
            running: None,
            control: None,
        }
    }

    pub fn provider(self, name: &str, script: Script) -> Self {
        self.provider_with(name, script, |_| {})
    }

    pub fn provider_with(mut self, name: &str, script: Script, with: impl FnOnce(&mut Provider)) -> Self {
        let mut settings = provider_settings(name);
        if Transport::by_destination(&script) {
            settings.transport = TransportSettings::Mx(MxSettings {
                tls: MxTls::Opportunistic,
                port: 25,
                destination_concurrency: 4,
                ca: None,
                source: None,
            });
        }
        with(&mut settings);
        self.logs.insert(provider(name), script.log());
        self.transports.insert(provider(name), Arc::new(script));
        self.providers.push(Arc::new(settings));
        self
    }

    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(Arc::new(route));
        self
    }

    /// Changes the table; holds from the next start on.
    pub fn replace_routes(&mut self, routes: Vec<Route>) {
        self.routes = routes.into_iter().map(Arc::new).collect();
    }

    /// From the next change on they are not there; what their scripts are told stays in their logs.
    pub fn without_providers(&mut self, names: &[&str]) {
        self.providers.retain(|provider| !names.contains(&provider.name.as_str()));
    }

    /// From the next change on it leads elsewhere by its settings; its script goes on.
    pub fn set_up_anew(&mut self, name: &str) {
        for settings in self.providers.iter_mut().filter(|settings| settings.name.as_str() == name) {
            let mut anew = Provider::clone(settings);
            anew.transport = TransportSettings::Maildir(crate::config::MaildirSettings { path: "anew".into() });
            *settings = Arc::new(anew);
        }
    }

    /// Changes the table while it runs.
    pub async fn change(&mut self, routes: Vec<Route>) {
        if self.running.is_none() {
            self.start();
        }
        self.replace_routes(routes);
        let change = Change {
            table: Arc::new(self.table()),
            transports: self.transports.clone(),
            settings: self.settings.clone(),
            counters: HashMap::new(),
        };
        self.control.as_ref().unwrap().change(change).await.unwrap();
    }

    fn table(&self) -> Table {
        Table::new(self.routes.clone(), self.providers.clone())
    }

    pub fn start(&mut self) {
        let scheduler = Scheduler::new(Deps {
            queue: self.shelf.clone(),
            table: Arc::new(self.table()),
            transports: self.transports.clone(),
            clock: self.clock.clone(),
            mids: self.mids.clone(),
            settings: self.settings.clone(),
        });
        self.meters.push(scheduler.meter());
        self.control = Some(scheduler.control());
        let token = CancellationToken::new();
        self.running = Some((tokio::spawn(scheduler.run(token.clone())), token));
    }

    /// Started, and through what a start does.
    pub async fn started(mut self) -> Self {
        self.run_for(1).await;
        self
    }

    /// Of the scheduler that was started last.
    pub fn control(&self) -> Control {
        self.control.clone().unwrap()
    }

    /// Stops as SIGTERM does.
    pub async fn stop(&mut self) {
        let (task, token) = self.running.take().unwrap();
        token.cancel();
        task.await.unwrap();
    }

    /// Stops as SIGKILL does.
    pub async fn kill(&mut self) {
        let (task, _token) = self.running.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        self.shelf = self.shelf.after_a_crash();
    }

    pub async fn run_for(&mut self, seconds: u64) -> &mut Self {
        if self.running.is_none() {
            self.start();
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self
    }

    /// Messages to one recipient each, from the null reverse-path: no reports.
    pub fn submit(&mut self, count: usize, to: &str) -> &mut Self {
        for _ in 0..count {
            self.submit_one(None, &[to]);
        }
        self
    }

    pub fn submit_one(&mut self, from: Option<&str>, to: &[&str]) -> Mid {
        let recipients = to.iter().map(|to| Recipient::new(to.parse().unwrap())).collect();
        self.submit_with(from, recipients, |_| {})
    }

    pub fn submit_with(
        &mut self,
        from: Option<&str>,
        recipients: Vec<Recipient>,
        with: impl FnOnce(&mut Envelope),
    ) -> Mid {
        let now = self.clock.now();
        let mid = self.mids.next(now, u128::from(self.accepted));
        let mut envelope = Envelope {
            reverse_path: from.map(|from| from.parse().unwrap()),
            recipients,
            dsn: DsnRequest::default(),
            body: BodyKind::SevenBit,
            smtputf8: false,
            origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
            accepted_at: now,
            header_size: 29,
            size: CONTENT.len() as u64,
        };
        with(&mut envelope);
        let first = envelope.recipients[0].address.domain().to_string();
        self.submitted.insert(mid, (self.began.elapsed(), first));
        let table = self.table();
        let mut legs: Vec<Leg> = Vec::new();
        for (index, recipient) in (0..).zip(&envelope.recipients) {
            let lane = lane_at_acceptance(&table, &envelope, &recipient.address);
            let recipient = LegRecipient { index, last: None };
            match legs.iter_mut().find(|leg| leg.lane == lane) {
                Some(leg) => leg.recipients.push(recipient),
                None => legs.push(Leg {
                    lane,
                    due: now,
                    recipients: vec![recipient],
                    attempts: 0,
                    passed: Vec::new(),
                    state: LegState::Waiting,
                    warned: false,
                    orders: Orders::default(),
                    tried: None,
                }),
            }
        }
        self.accepted += envelope.recipients.len() as u64;
        let content = NewContent::Memory(Bytes::from_static(CONTENT));
        self.shelf.accept(NewMessage { mid, envelope, legs, content, note: Vec::new() });
        mid
    }

    /// When it was submitted.
    pub fn since(&self, mid: Mid) -> Duration {
        self.submitted[&mid].0
    }

    /// The domain of its first recipient.
    pub fn domain(&self, mid: Mid) -> &str {
        &self.submitted[&mid].1
    }

    /// Sets the system's clock.
    pub fn step_clock(&self, by: jiff::SignedDuration) {
        self.clock.step(by);
    }

    pub fn log(&self, name: &str) -> &Log {
        &self.logs[&provider(name)]
    }

    pub fn sum(&self, of: impl Fn(&Meter) -> u64) -> u64 {
        self.meters.iter().map(|meter| of(meter)).sum()
    }

    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    pub fn done(&self) -> u64 {
        self.sum(Meter::delivered)
    }

    pub fn bounced(&self) -> u64 {
        self.sum(Meter::bounced)
    }

    pub fn held(&self) -> u64 {
        self.shelf.recipients(|leg| leg.state != LegState::Waiting) as u64
    }

    pub fn queued(&self) -> u64 {
        self.shelf.recipients(|leg| leg.state == LegState::Waiting) as u64
    }

    /// Nothing is lost, nothing made up.
    pub fn conserves(&self) {
        let now = (self.done(), self.bounced(), self.held(), self.queued());
        assert_eq!(self.accepted(), now.0 + now.1 + now.2 + now.3, "(done, bounced, held, queued) = {now:?}");
    }

    /// Recipients that got the same message more than once.
    pub fn duplicates(&self) -> usize {
        let mut counts: HashMap<(Mid, u32), usize> = HashMap::new();
        for log in self.logs.values() {
            for (_, mid, index) in log.taken.lock().unwrap().iter() {
                *counts.entry((*mid, *index)).or_default() += 1;
            }
        }
        counts.values().filter(|count| **count > 1).count()
    }
}

/// As a listener does it, with what it knows then.
fn lane_at_acceptance(table: &Table, envelope: &Envelope, recipient: &Address) -> Lane {
    let facts = Facts {
        sender: envelope.reverse_path.as_ref(),
        recipient,
        listener: &envelope.origin.listener,
        client: None,
        user: None,
        header: None,
        size: Some(envelope.size),
    };
    match table.route(&facts) {
        Decision::Route(route) => lane(table, &route, recipient),
        Decision::Undecided | Decision::NoRoute => {
            Lane { route: crate::mail::RouteName::new("undecided"), destination: None, via: None }
        }
    }
}
