//! Builds the parts and starts them: the only place that knows them all.
//!
//! Order of the start: the queue (an unreadable one ends it here), transports, the listeners' sockets (a taken port ends
//! it here), then scheduler and doors. Order of the end: doors first, then sessions, attempts, the writer last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::access::Access;
use crate::config::{self, Config};
use crate::delivery;
use crate::ingress;
use crate::mail::{MidSource, ProviderName};
use crate::os::{Clock, StopRequests};
use crate::queue::{Queue, QueueOptions};
use crate::routing::Table;
use crate::transport::{self, Transport};

/// redb's page cache. The backlog lies on disk: more cache buys little, and this bounds the relay's memory.
const QUEUE_CACHE: usize = 32 << 20;

/// Threads for reads and writes that block: more would wait for the same disk, and each holds memory.
const BLOCKING: usize = 32;

/// Runs the relay until it is asked to stop, and then until all it has in hand is settled.
pub fn run(config: Config) -> anyhow::Result<()> {
    // Fails only where one is installed already, and then it is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let queue = Queue::open(QueueOptions {
        path: config.server.queue.path.clone(),
        min_free: config.server.queue.min_free,
        cache: QUEUE_CACHE,
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()
        .context("the threads of the relay cannot be started")?;
    let served = runtime.block_on(serve(config, queue.clone()));
    runtime.block_on(queue.close());
    // What still runs by now are reads that nobody waits for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve(config: Config, queue: Queue) -> anyhow::Result<()> {
    let mut stop_requests = StopRequests::listen().context("signals cannot be received")?;
    let clock = Clock::system();
    let mids = Arc::new(MidSource::default());
    let table = Arc::new(Table::new(config.routes.clone(), config.providers.clone()));
    let transports = transports(&config, &clock)?;
    let server = config.server;
    let settings = delivery::Settings::from(&server);

    let mut doors = Vec::with_capacity(server.listeners.len());
    for listener in server.listeners {
        let files = server.tls.as_ref().filter(|_| listener.tls != config::ListenerTls::None);
        let tls = files.map(|files| ingress::server_config(files, listener.client_ca.as_deref())).transpose()?;
        doors.push(ingress::bind(listener, tls)?);
    }
    let scheduler = delivery::Scheduler::new(delivery::Deps {
        queue: queue.clone(),
        table: table.clone(),
        transports,
        clock: clock.clone(),
        mids: mids.clone(),
        settings,
    });
    let deps = Arc::new(ingress::Deps {
        hostname: server.hostname,
        table,
        queue,
        access: Arc::new(Access::new(server.users, server.directory, server.logins)?),
        clock,
        mids,
        timeouts: ingress::ClientTimeouts { grace: server.shutdown_grace, ..ingress::ClientTimeouts::default() },
    });

    let (stop_doors, stop_delivery) = (CancellationToken::new(), CancellationToken::new());
    let sessions = TaskTracker::new();
    let scheduling = tokio::spawn(scheduler.run(stop_delivery.clone()));
    for door in doors {
        sessions.spawn(door.serve(deps.clone(), stop_doors.clone(), sessions.clone()));
    }
    info!(version = env!("CARGO_PKG_VERSION"), "waypost is ready");

    let signal = stop_requests.next().await;
    info!(signal, "stopping: no new sessions, attempts in flight get their time");
    let ending = async {
        stop_doors.cancel();
        sessions.close();
        sessions.wait().await;
        stop_delivery.cancel();
        scheduling.await
    };
    tokio::select! {
        ended = ending => {
            if let Err(panic) = ended {
                error!(%panic, "the scheduler failed; its mail is in the queue");
            }
            info!("stopped");
            Ok(())
        }
        signal = stop_requests.next() => {
            warn!(signal, "stopping at once: attempts in flight are cut off, their mail is in the queue");
            std::process::exit(1)
        }
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
