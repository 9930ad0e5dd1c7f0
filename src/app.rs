//! Builds the parts and starts them: the only place that knows them all.
//!
//! Order of the start: the queue (an unreadable one ends it here), transports, the listeners' sockets (a taken port ends
//! it here), then scheduler and doors; `live` then has what can change while they run. Order of the end: doors first, then sessions, attempts, the admin server, the writer last.

pub mod configuration;
mod live;
mod watch;
mod ways;

mod supervision;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::access::Access;
use crate::admin;
use crate::alerts;
use crate::audit::{AuditError, Keeper, KeeperOptions, Tap, Trail};
use crate::config::{self, Config, Origin, Server};
use crate::delivery;
use crate::ingress;
use crate::mail::MidSource;
use crate::os::{self, Clock, Condition, ReloadRequests, StopRequests};
use crate::queue::{Follower, Queue, QueueError, QueueOptions, give_reserve};
use crate::telemetry;

pub use watch::Watched;

/// redb's page cache. The backlog lies on disk: more cache buys little, and this bounds the relay's memory.
const QUEUE_CACHE: usize = 32 << 20;

/// Threads for reads and writes that block: more would wait for the same disk, and each holds memory.
const BLOCKING: usize = 32;

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All that was in hand is settled.
    InOrder,
    /// It was asked twice: what was in hand is in the queue.
    AtOnce,
}

/// Runs the relay until it is asked to stop, and then until all it has in hand is settled.
pub fn run(
    mut config: Config,
    (origin, watched): (Origin, Watched),
    lost_lines: admin::LostLines,
) -> anyhow::Result<Ended> {
    // Fails only where one is installed already, and then it is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let passed = os::passed_sockets()
        .context("a socket that systemd passed cannot be used: it must be a TCP one, without `Accept=yes`")?;
    bound_connections(&mut config.server, os::open_files());
    let telemetry = config.server.telemetry.clone();
    let telemetry = telemetry.map(|settings| telemetry::channel(settings, &config.server.hostname));
    let (tap, exporter) = telemetry.transpose().map_err(anyhow::Error::msg)?.unzip();
    let (queue, trail) = open_queue(&config.server, tap)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()
        .context("the threads of the relay cannot be started")?;
    let traces = exporter.as_ref().map(telemetry::Exporter::counts);
    let stop_traces = CancellationToken::new();
    let exporting = exporter.map(|exporter| runtime.spawn(exporter.run(stop_traces.clone())));
    let served = runtime.block_on(serve(config, (origin, watched), lost_lines, (queue.clone(), trail), traces, passed));
    if matches!(served, Ok(Ended::AtOnce)) {
        runtime.shutdown_background();
        return served;
    }
    runtime.block_on(queue.close());
    // All records are told by now.
    stop_traces.cancel();
    if let Some(Err(panic)) = exporting.map(|exporting| runtime.block_on(exporting)) {
        error!(%panic, "the export of traces failed");
    }
    // What still runs by now are reads that nobody waits for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Why there is no queue to be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Trail(#[from] AuditError),
}

impl OpenError {
    /// Another process has it.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Queue(QueueError::InUse { .. }) | Self::Trail(AuditError::Busy { .. }))
    }

    /// Its disk is full.
    fn is_no_room(&self) -> bool {
        matches!(self, Self::Queue(QueueError::NoRoom { .. }) | Self::Trail(AuditError::NoRoom { .. }))
    }
}

/// The configured queue, and the trail that follows it: whoever changes the queue, the trail has it, and the tap is told.
pub fn open_queue(server: &Server, tap: Option<Tap>) -> Result<(Queue, Option<Trail>), OpenError> {
    match try_open_queue(server, tap.clone()) {
        // What is delivered then makes room.
        Err(error) if error.is_no_room() && give_reserve(&server.queue.path) => try_open_queue(server, tap),
        opened => opened,
    }
}

fn try_open_queue(server: &Server, tap: Option<Tap>) -> Result<(Queue, Option<Trail>), OpenError> {
    let keeper = server.audit.as_ref().map(keeper).transpose()?;
    let (keeper, trail) = keeper.unzip();
    let follower = keeper.map(|keeper| Box::new(keeper.with_tap(tap)) as Box<dyn Follower>);
    let options = QueueOptions {
        path: server.queue.path.clone(),
        min_free: server.queue.min_free,
        max_messages: server.queue.max_messages,
        max_size: server.queue.max_size,
        cache: QUEUE_CACHE,
    };
    Ok((Queue::open_followed(options, follower)?, trail))
}

/// The audit trail's writer, and what reads it.
fn keeper(audit: &config::Audit) -> Result<(Keeper, Trail), AuditError> {
    let hashed = match audit.addresses {
        config::AuditAddresses::Clear => false,
        config::AuditAddresses::Hashed => true,
    };
    let options = KeeperOptions { path: audit.path.clone(), keep: audit.keep, max_size: audit.max_size, hashed };
    Keeper::open(options, Clock::system())
}

/// A client for whom there is no file left could not even be told so; attempts and the queue need some, too.
fn bound_connections(server: &mut Server, open_files: Option<u64>) {
    let Some(files) = open_files else { return };
    let most = usize::try_from(files - (files / 4).min(1024)).unwrap_or(usize::MAX);
    if server.clients.max_connections > most {
        warn!(
            max_connections = server.clients.max_connections,
            files,
            most,
            "fewer files may be open than `max_connections` needs: fewer clients are taken (systemd: LimitNOFILE, else ulimit -n)"
        );
        server.clients.max_connections = most;
    }
}

async fn serve(
    config: Config,
    (origin, watched): (Origin, Watched),
    lost_lines: admin::LostLines,
    (queue, trail): (Queue, Option<Trail>),
    traces: Option<Arc<telemetry::Counts>>,
    mut passed: Vec<TcpListener>,
) -> anyhow::Result<Ended> {
    let mut stop_requests = StopRequests::listen().context("signals cannot be received")?;
    let reload_requests = ReloadRequests::listen().context("signals cannot be received")?;
    let clock = Clock::system();
    let mids = Arc::new(MidSource::default());
    let table = Arc::new(alerts::table(&config));
    let revision = table.revision().to_owned();
    let transports = ways::transports(&config, &clock)?;
    let alerting = alerts::Setup::new(&config, table.clone(), transports.clone());
    let server = &config.server;
    let started = clock.wall();

    let limits = Arc::new(ingress::Limits::new(server));
    let counts = Arc::new(ingress::Counts::expecting(&server.listeners));
    let listeners: Vec<_> = server.listeners.iter().map(admin::ListenerFacts::from).collect();
    let certificates = ingress::Certificates::load(server, clock.wall())?;
    let mut bound = Vec::with_capacity(server.listeners.len());
    for listener in &server.listeners {
        let tls = certificates.of(listener);
        bound.push((listener.clone(), ingress::bind_or_adopt(listener.clone(), tls, &mut passed)?));
    }
    ingress::none_left(&passed)?;
    let admin = match &server.admin {
        Some(settings) => Some(admin::bind(settings, certificates.of_admin(settings)?, &server.queue.path)?),
        None => None,
    };
    let scheduler = delivery::Scheduler::new(delivery::Deps {
        queue: queue.clone(),
        table: table.clone(),
        transports: transports.clone(),
        clock: clock.clone(),
        mids: mids.clone(),
        settings: delivery::Settings::from(server),
    });
    let (reloads, asked) = admin::Reloads::channel();
    let (stop_doors, stop_delivery) = (CancellationToken::new(), CancellationToken::new());
    let sessions = TaskTracker::new();
    let alerts_deps = alerts::Deps {
        queue: queue.clone(),
        control: scheduler.control(),
        meter: scheduler.meter(),
        clock: clock.clone(),
        mids: mids.clone(),
        tasks: sessions.clone(),
        token: stop_doors.clone(),
    };
    let (alerts, watch) = alerts::start(alerts_deps, alerting);
    let admin_deps = Arc::new(admin::Deps {
        configuration: shown(&origin),
        queue: queue.clone(),
        control: scheduler.control(),
        operator: scheduler.operator(),
        meter: scheduler.meter(),
        alerts,
        listeners: ArcSwap::from_pointee(listeners),
        counts: counts.clone(),
        limits: ArcSwap::new(limits.clone()),
        lost_lines,
        trail,
        traces,
        clock: clock.clone(),
        started,
        reloads,
    });
    let deps = Arc::new(ingress::Deps {
        hostname: server.hostname.clone(),
        table,
        queue,
        access: Arc::new(Access::new(server.users.clone(), server.directory.clone(), server.logins)?),
        clock,
        mids,
        limits,
        counts,
        grace: server.shutdown_grace,
    });

    let stop_admin = CancellationToken::new();
    let mut pickup = server.pickup.clone().map(|settings| ingress::Pickup::new(deps.clone(), settings));
    if let Some(pickup) = &mut pickup {
        pickup.recover().await;
    }
    let (pulse, meter, reloads) = (scheduler.pulse(), scheduler.meter(), admin_deps.reloads.clone());
    let scheduling = tokio::spawn(scheduler.run(stop_delivery.clone()));
    let parts = live::Parts { config, origin, watched, transports, deps, certificates, admin: admin_deps.clone() };
    let mut live = live::Live::new(parts, sessions.clone(), stop_doors.clone());
    live.open(bound, pickup);
    // Once the doors are open: it says at its first word whether they are.
    let admin = admin.map(|admin| tokio::spawn(admin.serve(admin_deps, stop_admin.clone())));
    let living = tokio::spawn(live.run(reload_requests, asked, stop_doors.clone()));
    info!(version = env!("CARGO_PKG_VERSION"), revision, "waypost is ready");
    os::tell(&[Condition::Ready, Condition::Status(&supervision::status(&meter, &reloads))]);
    sessions.spawn(supervision::watch(pulse, meter, reloads, stop_doors.clone()));
    sessions.spawn(watch.run());

    let signal = stop_requests.next().await;
    info!(signal, "stopping: no new sessions, attempts in flight get their time");
    os::tell(&[Condition::Stopping, Condition::Status("Stopping: attempts in flight get their time")]);
    let ending = async {
        stop_doors.cancel();
        // A reload that is under way opens no door behind this.
        if let Err(panic) = living.await {
            error!(%panic, "a reload failed");
        }
        sessions.close();
        sessions.wait().await;
        stop_delivery.cancel();
        let ended = scheduling.await;
        // The end can be looked at, too.
        stop_admin.cancel();
        if let Some(Err(panic)) = futures_util::future::OptionFuture::from(admin).await {
            error!(%panic, "the admin server failed");
        }
        ended
    };
    tokio::select! {
        ended = ending => {
            if let Err(panic) = ended {
                error!(%panic, "the scheduler failed; its mail is in the queue");
            }
            info!("stopped");
            Ok(Ended::InOrder)
        }
        signal = stop_requests.next() => {
            warn!(signal, "stopping at once: attempts in flight are cut off, their mail is in the queue");
            Ok(Ended::AtOnce)
        }
    }
}

fn shown(origin: &Origin) -> String {
    match origin {
        Origin::Directory(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
        Origin::BuiltIn => "the built-in default".to_owned(),
    }
}
