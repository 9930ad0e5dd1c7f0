//! Builds the parts and starts them: the only place that knows them all.
//!
//! Order of the start: the queue (an unreadable one ends it here), transports, the listeners' sockets (a taken port ends
//! it here), then scheduler and doors. Order of the end: doors first, then sessions, attempts, the admin server, the writer last.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::access::Access;
use crate::admin;
use crate::alerts;
use crate::config::{self, Config, Origin, Server};
use crate::delivery;
use crate::ingress;
use crate::mail::{MidSource, ProviderName};
use crate::os::{self, Clock, StopRequests};
use crate::queue::{Queue, QueueOptions};
use crate::routing::Table;
use crate::transport::{self, Transport};

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
pub fn run(mut config: Config, origin: &Origin, lost_lines: admin::LostLines) -> anyhow::Result<Ended> {
    // Fails only where one is installed already, and then it is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let passed = os::passed_sockets()
        .context("a socket that systemd passed cannot be used: it must be a TCP one, without `Accept=yes`")?;
    bound_connections(&mut config.server, os::open_files());
    let queue = Queue::open(QueueOptions {
        path: config.server.queue.path.clone(),
        min_free: config.server.queue.min_free,
        max_messages: config.server.queue.max_messages,
        max_size: config.server.queue.max_size,
        cache: QUEUE_CACHE,
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()
        .context("the threads of the relay cannot be started")?;
    let served = runtime.block_on(serve(config, origin, lost_lines, queue.clone(), passed));
    if matches!(served, Ok(Ended::AtOnce)) {
        runtime.shutdown_background();
        return served;
    }
    runtime.block_on(queue.close());
    // What still runs by now are reads that nobody waits for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
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
    origin: &Origin,
    lost_lines: admin::LostLines,
    queue: Queue,
    mut passed: Vec<TcpListener>,
) -> anyhow::Result<Ended> {
    let mut stop_requests = StopRequests::listen().context("signals cannot be received")?;
    let clock = Clock::system();
    let mids = Arc::new(MidSource::default());
    let table = Arc::new(Table::new(alerts::with_own(&config), config.providers.clone()));
    let transports = transports(&config, &clock)?;
    let alerting = alerts::Setup::new(&config, table.clone(), transports.clone());
    let server = config.server;
    let started = clock.wall();
    let settings = delivery::Settings::from(&server);

    let limits = Arc::new(ingress::Limits::new(&server));
    let counts = Arc::new(ingress::Counts::expecting(&server.listeners));
    let listeners = server.listeners.iter().map(admin::ListenerFacts::from).collect();
    let certificates = ingress::Certificates::load(&server, clock.wall())?;
    let mut doors = Vec::with_capacity(server.listeners.len());
    for listener in server.listeners {
        let tls = certificates.of(&listener)?;
        doors.push(ingress::bind_or_adopt(listener, tls, &mut passed)?);
    }
    ingress::none_left(&passed)?;
    let admin = match &server.admin {
        Some(settings) => Some(admin::bind(settings, certificates.of_admin(settings)?, &server.queue.path)?),
        None => None,
    };
    let scheduler = delivery::Scheduler::new(delivery::Deps {
        queue: queue.clone(),
        table: table.clone(),
        transports,
        clock: clock.clone(),
        mids: mids.clone(),
        settings,
    });
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
        configuration: shown(origin),
        queue: queue.clone(),
        control: scheduler.control(),
        meter: scheduler.meter(),
        alerts,
        listeners,
        counts: counts.clone(),
        limits: limits.clone(),
        lost_lines,
        clock: clock.clone(),
        started,
    });
    let deps = Arc::new(ingress::Deps {
        hostname: server.hostname,
        table,
        queue,
        access: Arc::new(Access::new(server.users, server.directory, server.logins)?),
        clock: clock.clone(),
        mids,
        limits,
        counts,
        grace: server.shutdown_grace,
    });

    let stop_admin = CancellationToken::new();
    let admin = admin.map(|admin| tokio::spawn(admin.serve(admin_deps, stop_admin.clone())));
    let mut pickup = server.pickup.map(|settings| ingress::Pickup::new(deps.clone(), settings));
    if let Some(pickup) = &mut pickup {
        pickup.recover().await;
    }
    let scheduling = tokio::spawn(scheduler.run(stop_delivery.clone()));
    for door in doors {
        sessions.spawn(door.serve(deps.clone(), stop_doors.clone(), sessions.clone()));
    }
    sessions.spawn(watch.run());
    sessions.spawn(certificates.watch(clock, stop_doors.clone()));
    if let Some(pickup) = pickup {
        sessions.spawn(pickup.run(stop_doors.clone()));
    }
    info!(version = env!("CARGO_PKG_VERSION"), "waypost is ready");

    let signal = stop_requests.next().await;
    info!(signal, "stopping: no new sessions, attempts in flight get their time");
    let ending = async {
        stop_doors.cancel();
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

/// The ways out, each by its provider's name.
fn transports(config: &Config, clock: &Clock) -> anyhow::Result<HashMap<ProviderName, Arc<dyn Transport>>> {
    let hostname = &config.server.hostname;
    let environment = transport::Environment {
        hostname: hostname.clone(),
        resolver: Arc::new(transport::dns::Dns::new(&config.server.nameservers)),
        clock: clock.clone(),
    };
    let mut transports: HashMap<ProviderName, Arc<dyn Transport>> = HashMap::new();
    for provider in &config.providers {
        let built = (|| -> anyhow::Result<Arc<dyn Transport>> {
            Ok(match &provider.transport {
                config::Transport::Mx(mx) => Arc::new(transport::MxTransport::new(provider, mx, &environment)?),
                config::Transport::Smtp(smtp) => Arc::new(transport::SmtpTransport::new(provider, smtp, &environment)?),
                config::Transport::Lmtp(lmtp) => {
                    Arc::new(transport::SmtpTransport::lmtp(provider, lmtp, &environment)?)
                }
                config::Transport::SendGrid(sendgrid) => {
                    Arc::new(transport::SendGridTransport::new(provider, sendgrid, &environment)?)
                }
                config::Transport::Mailgun(mailgun) => {
                    Arc::new(transport::MailgunTransport::new(provider, mailgun, &environment)?)
                }
                config::Transport::Ses(ses) => Arc::new(transport::SesTransport::new(provider, ses, &environment)?),
                config::Transport::Maildir(maildir) => {
                    Arc::new(transport::MaildirTransport::new(provider, maildir, &environment)?)
                }
            })
        })();
        let transport = built.with_context(|| format!("{}: provider '{}'", provider.place, provider.name))?;
        transports.insert(provider.name.clone(), transport);
    }
    Ok(transports)
}
