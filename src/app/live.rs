//! What can change while the relay runs, and the change: SIGHUP, changed files and operators have the configuration loaded
//! anew.
//!
//! Promises:
//! - it is checked whole, and all that can fail is done, before anything is switched: files read, transports built,
//!   certificates loaded, ports bound. A bad one changes nothing;
//! - delivery goes by the new table before any door does: what a door takes by the new table, delivery knows;
//! - a listener that stays keeps its socket, by its address; one that goes ends its sessions as at a shutdown;
//! - one at a time, in the order in which they were asked for.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::configuration::{self, Checked, Noting};
use super::supervision;
use super::watch::{LOOK, Watched};
use super::ways::{self, Transports};
use crate::admin::{self, ListenerFacts, Reload, ReloadChange, ReloadProblem, ReloadRequest};
use crate::alerts;
use crate::config::{self, Config, Listener, Origin, Problem, Severity, Sources};
use crate::delivery;
use crate::ingress::{self, Bound, Certificates, Deps, Doorway};
use crate::os::{self, Condition, ReloadRequests};

/// Changes that are told one by one in the log.
const TOLD: usize = 50;

/// What runs, and what it was made of.
pub struct Parts {
    /// In force.
    pub config: Config,
    pub origin: Origin,
    pub watched: Watched,
    pub transports: Transports,
    pub deps: Arc<Deps>,
    pub certificates: Certificates,
    pub admin: admin::Shared,
}

/// See above.
pub struct Live {
    parts: Parts,
    doors: Vec<Standing>,
    pickup: Option<Pickup>,
    /// Ends the look-out for renewed certificates.
    certificates: CancellationToken,
    sessions: TaskTracker,
    stop: CancellationToken,
}

/// A listener at work.
struct Standing {
    name: String,
    address: SocketAddr,
    doorway: Arc<Doorway>,
    stop: CancellationToken,
}

/// The pickup folder at work.
struct Pickup {
    deps: Arc<ArcSwap<Deps>>,
    stop: CancellationToken,
    /// Closed when it has ended.
    ended: TaskTracker,
}

/// All that a change needs, made and found good.
struct Ready {
    config: Config,
    transports: Transports,
    certificates: Certificates,
    deps: Arc<Deps>,
    change: delivery::Change,
    /// In the configuration's order; those for addresses where nobody listens yet have their sockets.
    doors: Vec<Opening>,
}

enum Opening {
    Stays(Listener, Option<Arc<ingress::Handshakes>>),
    New(Listener, Box<Bound>),
}

impl Standing {
    /// It has the listener's socket. Of ports that the system chooses, each is another one.
    fn is_of(&self, listener: &Listener) -> bool {
        self.address == listener.address && (self.address.port() != 0 || self.name == listener.name)
    }
}

impl Live {
    pub fn new(parts: Parts, sessions: TaskTracker, stop: CancellationToken) -> Self {
        let certificates = stop.child_token();
        Self { parts, doors: Vec::new(), pickup: None, certificates, sessions, stop }
    }

    /// Opens the doors of the start.
    pub fn open(&mut self, bound: Vec<(Listener, Bound)>, pickup: Option<ingress::Pickup>) {
        for (listener, bound) in bound {
            self.open_door(listener, bound);
        }
        self.watch_certificates();
        if let Some(pickup) = pickup {
            self.open_pickup(pickup);
        }
    }

    fn open_door(&mut self, listener: Listener, bound: Bound) {
        let open = bound.open(self.parts.deps.clone());
        let (doorway, stop) = (open.doorway(), self.stop.child_token());
        self.sessions.spawn(open.serve(stop.clone(), self.sessions.clone()));
        self.doors.push(Standing { name: listener.name, address: listener.address, doorway, stop });
    }

    fn watch_certificates(&mut self) {
        self.certificates.cancel();
        self.certificates = self.stop.child_token();
        let watch = self.parts.certificates.watch(self.parts.deps.clock.clone(), self.certificates.clone());
        self.sessions.spawn(watch);
    }

    fn open_pickup(&mut self, pickup: ingress::Pickup) {
        let (deps, stop, ended) = (pickup.deps(), self.stop.child_token(), TaskTracker::new());
        let token = stop.clone();
        self.sessions.spawn(ended.track_future(async move { pickup.run(token).await }));
        ended.close();
        self.pickup = Some(Pickup { deps, stop, ended });
    }

    /// Changes what it is asked to change, until the token is cancelled.
    pub async fn run(
        mut self,
        mut signals: ReloadRequests,
        mut asked: mpsc::Receiver<ReloadRequest>,
        token: CancellationToken,
    ) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = signals.next() => drop(self.reload("SIGHUP").await),
                Some(request) = asked.recv() => {
                    let told = if request.diff { self.preview(&request.by).await } else { self.reload(&request.by).await };
                    // Whoever asked may have gone.
                    let _ = request.answer.send(told);
                }
                _ = looks.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        if !self.parts.config.server.watch {
            return;
        }
        let (origin, beside) = (self.parts.origin.clone(), self.parts.watched.beside());
        match tokio::task::spawn_blocking(move || Watched::look(&origin, beside)).await {
            Ok(stamps) => {
                if self.parts.watched.is_due(stamps) {
                    self.reload("changed files").await;
                }
            }
            Err(panic) => error!(%panic, "the configuration's files could not be looked at"),
        }
    }

    /// Loads the configuration anew and changes to it, if it is good.
    async fn reload(&mut self, by: &str) -> Reload {
        os::tell(&[Condition::Reloading, Condition::Status("Loads its configuration anew; serving meanwhile")]);
        let (checked, watched) = self.load().await;
        // What is refused is not tried again until it changes.
        self.parts.watched = watched;
        let told = match checked {
            Ok(checked) => self.change(by, checked).await,
            Err(problem) => self.refused(by, vec![problem], &Sources::new("")),
        };
        self.parts.admin.reloads.ended(told.clone());
        self.parts.admin.alerts.reloaded(told.refusal());
        let (meter, reloads) = (&self.parts.admin.meter, &self.parts.admin.reloads);
        os::tell(&[Condition::Ready, Condition::Status(&supervision::status(meter, reloads))]);
        told
    }

    /// What a reload would come to.
    async fn preview(&self, by: &str) -> Reload {
        match self.load().await.0 {
            Ok(Checked { config, problems, sources, .. }) => {
                let changes = config.as_ref().map(|config| config::changes(&self.parts.config, config));
                Reload {
                    applied: false,
                    changes: changes.unwrap_or_default().iter().map(ReloadChange::from).collect(),
                    ..self.told(by, &problems, &sources)
                }
            }
            Err(problem) => self.told(by, &[problem], &Sources::new("")),
        }
    }

    async fn load(&self) -> (Result<Checked, Problem>, Watched) {
        let (origin, beside) = (self.parts.origin.clone(), self.parts.watched.beside());
        let loaded = tokio::task::spawn_blocking(move || {
            let noting = Noting::new(&origin);
            match configuration::load(&origin, &noting) {
                Ok(checked) => {
                    let watched = noting.watched(&checked);
                    (Ok(checked), watched)
                }
                Err(error) => (Err(whole(error)), noting.watched_as_before(beside)),
            }
        });
        loaded.await.unwrap_or_else(|panic| {
            (Err(whole(format!("the configuration cannot be loaded: {panic}"))), Watched::default())
        })
    }

    async fn change(&mut self, by: &str, checked: Checked) -> Reload {
        let Checked { config, mut problems, sources, .. } = checked;
        let Some(mut config) = config else { return self.refused(by, problems, &sources) };
        super::bound_connections(&mut config.server, os::open_files());
        let changes = config::changes(&self.parts.config, &config);
        self.keep(&mut config);
        let ready = match self.prepare(config).await {
            Ok(ready) => ready,
            Err(error) => {
                problems.push(whole(format!("{error:#}")));
                return self.refused(by, problems, &sources);
            }
        };
        if self.switch(ready).await.is_err() {
            problems.push(whole(delivery::Stopped));
            return self.refused(by, problems, &sources);
        }
        for change in changes.iter().take(TOLD) {
            info!(%change, "configuration changed");
        }
        for change in changes.iter().filter(|change| change.restart) {
            warn!(%change, "this holds only after a restart: the old one stays in force until then");
        }
        for problem in &problems {
            warn!(place = problem.place.as_ref().map(tracing::field::display), "{}", problem.message);
        }
        info!(by, changes = changes.len(), "the configuration was loaded anew and is in force");
        let changes = changes.iter().map(ReloadChange::from).collect();
        Reload { applied: true, changes, ..self.told(by, &problems, &sources) }
    }

    /// Puts back what can only change by a restart, so that it is told of again the next time.
    fn keep(&self, config: &mut Config) {
        let (new, old) = (&mut config.server, &self.parts.config.server);
        new.queue.path.clone_from(&old.queue.path);
        new.log = old.log.clone();
        new.admin = old.admin.clone();
        new.audit.clone_from(&old.audit);
    }

    /// All that can fail.
    async fn prepare(&self, config: Config) -> anyhow::Result<Ready> {
        let Parts { transports, deps, certificates, config: old, .. } = &self.parts;
        let counters = deps.queue.counters().await?;
        // Files of certificates are read: some, and small ones.
        tokio::task::block_in_place(|| {
            let server = &config.server;
            let transports = ways::renewed(&config, &deps.clock, (old, transports))?;
            let certificates = certificates.renewed(server, deps.clock.wall())?;
            let same_users = (&old.server.users, &old.server.directory, old.server.logins)
                == (&server.users, &server.directory, server.logins);
            let access = if same_users && server.directory.as_ref().is_none_or(|directory| directory.ca.is_none()) {
                deps.access.clone()
            } else {
                Arc::new(deps.access.renewed(server.users.clone(), server.directory.clone(), server.logins)?)
            };
            let doors = self.doors(&server.listeners, &certificates)?;
            let table = Arc::new(alerts::table(&config));
            let deps = Arc::new(Deps {
                hostname: server.hostname.clone(),
                table: table.clone(),
                queue: deps.queue.clone(),
                access,
                clock: deps.clock.clone(),
                mids: deps.mids.clone(),
                limits: Arc::new(deps.limits.renewed(server)),
                counts: deps.counts.clone(),
                grace: server.shutdown_grace,
            });
            let settings = delivery::Settings::from(server);
            let change = delivery::Change { table, transports: transports.clone(), settings, counters };
            Ok(Ready { transports, certificates, deps, change, doors, config })
        })
    }

    fn doors(&self, listeners: &[Listener], certificates: &Certificates) -> anyhow::Result<Vec<Opening>> {
        let mut doors = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let tls = certificates.of(listener);
            let address = listener.address;
            let twin = listeners.iter().find(|other| other.name != listener.name && other.address == address);
            if let Some(twin) = twin.filter(|_| address.port() != 0) {
                anyhow::bail!("listeners '{}' and '{}' have the same address {address}", listener.name, twin.name);
            }
            doors.push(if self.doors.iter().any(|door| door.is_of(listener)) {
                Opening::Stays(listener.clone(), tls)
            } else {
                let bound = ingress::bind(listener.clone(), tls).map_err(|error| self.in_the_way(error, address))?;
                Opening::New(listener.clone(), Box::new(bound))
            });
        }
        Ok(doors)
    }

    /// A port that cannot be had may be our own.
    fn in_the_way(&self, error: ingress::BindError, address: SocketAddr) -> anyhow::Error {
        let own = self.doors.iter().find(|door| {
            let (one, other) = (door.address.ip(), address.ip());
            door.address.port() == address.port() && (one.is_unspecified() || other.is_unspecified())
        });
        match own {
            Some(own) => anyhow::anyhow!(
                "cannot listen on {address} while this relay itself listens on {}: restart it, or take that listener out, \
                 reload, and add this one then",
                own.address
            ),
            None => error.into(),
        }
    }

    /// Nothing of this can fail, but for a relay that is about to stop.
    async fn switch(&mut self, ready: Ready) -> Result<(), delivery::Stopped> {
        let Ready { config, transports, certificates, deps, change, doors } = ready;
        self.parts.admin.control.change(change).await?;
        let marks = &config.server.queue;
        deps.queue.set_marks(marks.min_free, marks.max_messages, marks.max_size);
        self.parts.deps = deps.clone();
        self.parts.transports = transports;
        self.parts.certificates = certificates;
        let mut before = std::mem::take(&mut self.doors);
        for door in doors {
            match door {
                Opening::Stays(listener, tls) => {
                    // `doors` has seen it.
                    let Some(at) = before.iter().position(|door| door.is_of(&listener)) else { continue };
                    let door = before.swap_remove(at);
                    door.doorway.change(listener.clone(), tls, deps.clone());
                    self.doors.push(Standing { name: listener.name, ..door });
                }
                Opening::New(listener, bound) => self.open_door(listener, *bound),
            }
        }
        for gone in before {
            info!(listener = gone.name, address = %gone.address, "a listener is closed; its sessions end in order");
            gone.stop.cancel();
        }
        let facts: Vec<_> = config.server.listeners.iter().map(ListenerFacts::from).collect();
        self.parts.admin.listeners.store(Arc::new(facts));
        self.parts.admin.limits.store(deps.limits.clone());
        let (table, transports) = (deps.table.clone(), self.parts.transports.clone());
        self.parts.admin.alerts.apply(alerts::Setup::new(&config, table, transports));
        self.watch_certificates();
        self.change_pickup(&config, deps);
        self.parts.config = config;
        Ok(())
    }

    fn change_pickup(&mut self, config: &Config, deps: Arc<Deps>) {
        if config.server.pickup == self.parts.config.server.pickup {
            if let Some(pickup) = &self.pickup {
                pickup.deps.store(deps);
            }
            return;
        }
        let before = self.pickup.take();
        if let Some(before) = &before {
            before.stop.cancel();
        }
        let Some(settings) = config.server.pickup.clone() else { return };
        let mut pickup = ingress::Pickup::new(deps, settings);
        let (deps, stop, ended) = (pickup.deps(), self.stop.child_token(), TaskTracker::new());
        let token = stop.clone();
        self.sessions.spawn(ended.track_future(async move {
            // It may have the same folder, and its lock.
            if let Some(before) = before {
                before.ended.wait().await;
            }
            pickup.recover().await;
            pickup.run(token).await;
        }));
        ended.close();
        self.pickup = Some(Pickup { deps, stop, ended });
    }

    fn refused(&self, by: &str, problems: Vec<Problem>, sources: &Sources) -> Reload {
        for problem in &problems {
            let place = problem.place.as_ref().map(tracing::field::display);
            match problem.severity {
                Severity::Error => error!(place, "{}", problem.message),
                Severity::Warning => warn!(place, "{}", problem.message),
            }
        }
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        error!(by, errors, "the configuration is not loaded anew: it has errors; the old one stays in force");
        self.told(by, &problems, sources)
    }

    fn told(&self, by: &str, problems: &[Problem], sources: &Sources) -> Reload {
        Reload {
            at: self.parts.deps.clock.wall(),
            by: by.to_owned(),
            applied: false,
            changes: Vec::new(),
            problems: problems.iter().map(|problem| ReloadProblem::of(problem, sources)).collect(),
        }
    }
}

/// A problem of no one place.
fn whole(error: impl std::fmt::Display) -> Problem {
    Problem::general(Severity::Error, error.to_string())
}
