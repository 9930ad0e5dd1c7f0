//! Doors in: listeners, TLS, and the I/O of SMTP sessions. What a session means is `smtp::server`'s; who may do what is
//! `access`'; here octets move.
//!
//! The way of a message: `Bound::serve` accepts, `connection` reads and answers, `answers` asks who may and which route,
//! `intake` gathers content, `head` puts the relay's fields in front, `legs` sorts the recipients, and the queue has it.
//!
//! Promises:
//! - a port that cannot be had is an error before anything is served, and names the remedy;
//! - connections are bounded; one too many hears 421;
//! - on shutdown no client is taken on, idle ones hear 421, content on its way in is still stored.

mod answers;
mod author;
mod client_cert;
mod connection;
mod head;
mod intake;
mod legs;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::access::{Access, Networks};
use crate::config::{Authentication, Listener, ListenerTls};
use crate::mail::{Domain, EnhancedStatus, MidSource, Severity};
use crate::os::{self, Clock};
use crate::queue::Queue;
use crate::routing::Table;
use crate::smtp::reply::Reply;
use crate::smtp::server::Settings;

pub use answers::RELAYING_DENIED;
pub use legs::NO_ROUTE;
pub use tls::{TlsError, server_config};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// What all listeners share.
pub struct Deps {
    pub hostname: Domain,
    pub table: Arc<Table>,
    pub queue: Queue,
    pub access: Arc<Access>,
    pub clock: Clock,
    pub mids: Arc<MidSource>,
    pub timeouts: ClientTimeouts,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct ClientTimeouts {
    /// For its next command, since the last reply (RFC 5321, 4.5.3.2.7).
    pub command: Duration,
    /// Between two reads of content.
    pub content: Duration,
    /// To finish its content once the relay is about to stop.
    pub grace: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { command: minutes(5), content: minutes(5), grace: Duration::from_secs(20) }
    }
}

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("listener '{listener}' cannot listen on {address}: {error}{}", remedy(.error))]
    Socket { listener: String, address: SocketAddr, error: io::Error },
    #[error(
        "listener '{listener}' wants TLS, and there is no certificate: give `tls: {{certificate, key}}` in waypost.yaml"
    )]
    NoCertificate { listener: String },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has the port: stop it, or change the listener's `address`",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege: start as a service with CAP_NET_BIND_SERVICE, or change `address`"
        }
        io::ErrorKind::AddrNotAvailable => "; this host has no such address: change the listener's `address`",
        _ => "",
    }
}

/// A listener that has its port, and serves nobody yet.
#[derive(Debug)]
pub struct Bound {
    socket: TcpListener,
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
}

/// A listener at work.
struct Door {
    listener: Listener,
    settings: Arc<Settings>,
    tls: Option<Arc<ServerConfig>>,
    deps: Arc<Deps>,
    networks: Networks,
}

/// Takes the listener's port. To be called within the runtime.
pub fn bind(listener: Listener, tls: Option<Arc<ServerConfig>>) -> Result<Bound, BindError> {
    if listener.tls != ListenerTls::None && tls.is_none() {
        return Err(BindError::NoCertificate { listener: listener.name });
    }
    match socket(listener.address) {
        Ok(socket) => Ok(Bound { socket, listener, tls }),
        Err(error) => Err(BindError::Socket { listener: listener.name, address: listener.address, error }),
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    os::reuse_address(&socket)?;
    // `[::]` stands for every address, IPv4 too, whatever the system's default.
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
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

    /// Serves until the token is cancelled. The sessions go to `tracker`, which outlives this future: they end by the
    /// token too, each in good order.
    pub async fn serve(self, deps: Arc<Deps>, token: CancellationToken, tracker: TaskTracker) {
        let connections = Arc::new(Semaphore::new(self.listener.max_connections));
        let door = Arc::new(Door::new(self.listener, self.tls, deps));
        info!(listener = door.listener.name, address = %door.listener.address, "listening");
        loop {
            let accepted = tokio::select! {
                biased;
                () = token.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // A client that has gone already is nothing; no more file descriptors is: they must come back first.
                    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                        warn!(listener = door.listener.name, %error, "cannot accept connections");
                        tokio::select! {
                            () = token.cancelled() => return,
                            () = tokio::time::sleep(Duration::from_millis(200)) => {}
                        }
                    }
                    continue;
                }
            };
            // ::ffff:192.0.2.1 is 192.0.2.1, to `allow` and to routes.
            let client = peer.ip().to_canonical();
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                warn!(listener = door.listener.name, %client, "too many connections");
                turn_away(stream, door.listener.tls);
                continue;
            };
            let _ = stream.set_nodelay(true);
            let (door, token) = (Arc::clone(&door), token.clone());
            tracker.spawn(async move {
                connection::serve(door, stream, client, token).await;
                drop(permit);
            });
        }
    }
}

/// 421 without waiting for anything: the socket is new, so its buffer has room.
fn turn_away(stream: TcpStream, tls: ListenerTls) {
    let reply = refusal(421, 7, 0, "Too many connections, try again later");
    if tls != ListenerTls::Implicit
        && let Ok(mut stream) = stream.into_std()
    {
        let _ = stream.write_all(reply.to_string().as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}

impl Door {
    fn new(listener: Listener, tls: Option<Arc<ServerConfig>>, deps: Arc<Deps>) -> Self {
        let settings = Arc::new(Settings {
            hostname: deps.hostname.clone(),
            max_message_size: listener.max_message_size.0,
            max_recipients: listener.max_recipients,
            starttls: listener.tls == ListenerTls::StartTls,
            authentication: listener.authentication != Authentication::None,
            scram: deps.access.offers_scram(),
        });
        let networks = Networks::new(&listener);
        Self { listener, settings, tls, deps, networks }
    }

    /// `allow` names who needs no authentication, also where it is required of all others.
    fn must_authenticate(&self, client: IpAddr) -> bool {
        self.listener.authentication == Authentication::Required && self.networks.allows(client).is_none()
    }
}

/// A refusal of the relay's own; its enhanced status' class is the code's.
fn refusal(code: u16, subject: u16, detail: u16, text: impl Into<String>) -> Reply {
    let severity = if code < 500 { Severity::Transient } else { Severity::Permanent };
    Reply::new(code, EnhancedStatus::new(severity, subject, detail), text)
}
