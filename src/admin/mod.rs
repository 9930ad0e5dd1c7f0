//! The admin server: what an operator asks of the running relay, and what it is told to do. HTTP, JSON, `/api/v1`.
//!
//! The way of a request: `Bound::serve` accepts, `gate` asks for the host and the token, a file a subject answers: `status`,
//! `health`. `api` puts their routes and their descriptions together.
//!
//! Promises:
//! - never open by accident: on loopback, or under TLS; and only for whoever has the token or a certificate of `client_ca`;
//! - a request is bounded: connections, size, time;
//! - nothing here is on the way of a message: state that others own is asked for, and counters are read.

mod alerts;
mod api;
mod explain;
mod fault;
mod files;
mod gate;
mod health;
mod history;
mod metrics;
mod pages;
mod providers;
mod queue;
mod reload;
mod slow;
mod status;
mod trace;
mod waiting;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::alerts::Alerts;
use crate::audit::Trail;
use crate::config::{Admin, Listener, ListenerTls};
use crate::delivery;
use crate::ingress;
use crate::mail::Timestamp;
use crate::os::{self, Clock};
use crate::queue::Queue;
use crate::telemetry;

pub use alerts::{AlertEnded, AlertList, AlertSent, AlertStatus, AlertTargetStatus, AlertTest, AlertTold};
pub use api::document;
pub use explain::Explained;
pub use fault::{Asked, Body, ErrorBody, Fault};
pub use files::Files;
pub use gate::{Gate, OPERATOR, Operator, Peer};
pub use health::Readiness;
pub use providers::OrderBody;
pub use queue::ImportAnswer;
pub use reload::{Reload, ReloadChange, ReloadProblem, ReloadRequest, Reloads};
pub use status::*;
pub use trace::{Anchors, Traced, Wanted, WantedBlocks};
pub use waiting::ProviderNow;

/// Connections at one time: operators, their browsers, a few collectors of metrics.
const CONNECTIONS: usize = 128;
const BACKLOG: i32 = 128;
/// For a request's head, and between two requests of a connection.
const HEAD: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For what is under way when the relay stops.
const END: Duration = Duration::from_secs(1);

/// What all requests share.
pub struct Deps {
    /// Where the configuration came from.
    pub configuration: String,
    pub queue: Queue,
    pub control: delivery::Control,
    /// What is done to the queue.
    pub operator: delivery::operate::Operator,
    pub meter: Arc<delivery::Meter>,
    pub alerts: Alerts,
    /// Of the configuration in force.
    pub listeners: ArcSwap<Vec<ListenerFacts>>,
    pub counts: Arc<ingress::Counts>,
    pub limits: ArcSwap<ingress::Limits>,
    /// Lines that the log has lost since the start.
    pub lost_lines: LostLines,
    /// The audit trail, where one is kept.
    pub trail: Option<Trail>,
    /// What became of traces, where they are exported.
    pub traces: Option<Arc<telemetry::Counts>>,
    pub clock: Clock,
    /// When the relay was started.
    pub started: Timestamp,
    pub reloads: Reloads,
}

pub type Shared = Arc<Deps>;
pub type LostLines = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A listener, as the configuration has it.
#[derive(Debug, Clone)]
pub struct ListenerFacts {
    pub name: String,
    pub address: SocketAddr,
    /// `none`, `starttls`, `implicit`.
    pub tls: &'static str,
    pub max_connections: usize,
}

impl From<&Listener> for ListenerFacts {
    fn from(listener: &Listener) -> Self {
        Self {
            name: listener.name.clone(),
            address: listener.address,
            tls: match listener.tls {
                ListenerTls::None => "none",
                ListenerTls::StartTls => "starttls",
                ListenerTls::Implicit => "implicit",
            },
            max_connections: listener.max_connections,
        }
    }
}

impl Deps {
    fn memory_is_full(&self) -> bool {
        !self.limits.load().has_memory()
    }
}

/// Why the admin server cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("the admin server cannot listen on {address}: {error}{}", remedy(.error))]
    Socket { address: SocketAddr, error: io::Error },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has the port, perhaps another relay: change `admin.address` in waypost.yaml, or set `admin: off`"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: change `admin.address`",
        io::ErrorKind::AddrNotAvailable => "; this host has no such address: change `admin.address`",
        _ => "",
    }
}

/// The admin server with its port, which serves nobody yet.
#[derive(Debug)]
pub struct Bound {
    socket: TcpListener,
    gate: Arc<Gate>,
    tls: Option<Arc<ServerConfig>>,
    files: Files,
}

/// Takes the port, and writes what verbs need to find it. To be called within the runtime, by whoever has the queue open.
/// Where that cannot be written, the relay is worth starting all the same: on a full disk it is what makes room.
pub fn bind(settings: &Admin, tls: Option<Arc<ServerConfig>>, queue: &Path) -> Result<Bound, AdminError> {
    let failed = |error| AdminError::Socket { address: settings.address, error };
    let socket = socket(settings.address).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    let files = Files::beside(queue);
    let not_written = |path: &Path, error: io::Error| {
        let path = path.display();
        error!(%path, %error, "verbs will not find the admin server: this cannot be written");
    };
    let token = match &settings.token {
        Some(token) => token.clone(),
        None => {
            let token = Files::make_token();
            files.write_token(&token).unwrap_or_else(|error| not_written(&files.token, error));
            token
        }
    };
    files.write_address(address).unwrap_or_else(|error| not_written(&files.address, error));
    Ok(Bound { socket, gate: Arc::new(Gate::new(token, settings.is_loopback())), tls, files })
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    os::reuse_address(&socket)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Bound {
    /// Where it listens: the port that was given where 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until the token is cancelled; then what is under way has `END`.
    pub async fn serve(self, deps: Shared, token: CancellationToken) {
        if let Ok(address) = self.address() {
            info!(%address, tls = self.tls.is_some(), "the admin server listens");
        }
        let port = self.address().map_or(0, |address| address.port());
        let outside = pages::Outside { secure: self.tls.is_some(), port };
        let pages = pages::Pages::new(self.gate.clone(), deps.clock.clone(), deps.alerts.clone(), outside);
        let connections = TaskTracker::new();
        connections.spawn(pages.past().follow(deps.clone(), token.clone()));
        let server = Server {
            router: api::router(deps, self.gate, &pages),
            tls: self.tls.map(TlsAcceptor::from),
            seats: Arc::new(Semaphore::new(CONNECTIONS)),
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = token.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // One too many is closed: it may come back when others have gone.
                    let Ok(seat) = Arc::clone(&server.seats).try_acquire_owned() else { continue };
                    let (server, token) = (server.clone(), token.clone());
                    connections.spawn(async move {
                        server.connection(stream, peer, token).await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    warn!(%error, "the admin server cannot accept connections");
                    tokio::select! {
                        () = token.cancelled() => break,
                        () = sleep(Duration::from_millis(200)) => {}
                    }
                }
            }
        }
        connections.close();
        // Streams that never end are cut off when their tasks are.
        let _ = timeout(END, connections.wait()).await;
        self.files.remove();
    }
}

#[derive(Clone)]
struct Server {
    router: Router,
    tls: Option<TlsAcceptor>,
    seats: Arc<Semaphore>,
}

impl Server {
    async fn connection(self, stream: TcpStream, peer: SocketAddr, token: CancellationToken) {
        let _ = stream.set_nodelay(true);
        let address = peer.ip().to_canonical();
        match self.tls {
            None => http(self.router, Peer { address, certificate: None }, stream, token).await,
            Some(acceptor) => {
                // A handshake that comes to nothing is a stranger's affair.
                let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
                let certificate = ingress::client_certificate_name(stream.get_ref().1).map(Arc::from);
                http(self.router, Peer { address, certificate }, stream, token).await;
            }
        }
    }
}

async fn http<S>(router: Router, peer: Peer, stream: S, token: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(64);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // What goes wrong with a connection is told to its other end alone.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = token.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(END, connection).await;
        }
    }
}
