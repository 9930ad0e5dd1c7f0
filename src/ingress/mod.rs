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
mod counts;
mod doorway;
mod head;
mod import;
mod intake;
mod legs;
mod limits;
mod meter;
mod pickup;
mod proxy;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::access::{Access, Networks};
use crate::audit::Notes;
use crate::config::{Authentication, Listener, ListenerProtocol, ListenerTls};
use crate::mail::{Domain, EnhancedStatus, Mid, MidSource, Severity};
use crate::os::{self, Clock};
use crate::queue::Queue;
use crate::routing::Table;
use crate::smtp::reply::Reply;
use crate::smtp::server::Settings;

use limits::{Crowd, Guest, MailMeter, Places, Seat};

pub use answers::RELAYING_DENIED;
pub use client_cert::user as client_certificate_name;
pub use counts::{Counts, ListenerCounts, REASONS};
pub use doorway::{Doorway, Open};
pub use import::{ImportError, Imported, import};
pub use legs::NO_ROUTE;
pub use limits::Limits;
pub use pickup::Pickup;
pub use tls::{
    CertificateEnd, Certificates, Handshakes, TlsError, certificate_ends, certificate_files,
    problems as certificate_problems,
};

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
    pub limits: Arc<Limits>,
    pub counts: Arc<Counts>,
    /// For clients to finish their content once the relay is about to stop.
    pub grace: Duration,
}

impl Deps {
    fn notes(&self) -> Notes {
        Notes::new(self.queue.is_followed())
    }

    fn next_mid(&self) -> Mid {
        self.mids.next(self.clock.now(), rand::random())
    }
}

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("listener '{listener}' cannot listen on {address}: {error}{}", remedy(.error))]
    Socket { listener: String, address: SocketAddr, error: io::Error },
    #[error(
        "systemd passed a socket at {address}, where no listener is: give one this `address`, or take it out of the socket unit"
    )]
    Passed { address: String },
}

/// Sockets that were passed and belong to no listener would keep clients waiting for ever.
pub fn none_left(passed: &[std::net::TcpListener]) -> Result<(), BindError> {
    let Some(socket) = passed.first() else { return Ok(()) };
    let address =
        socket.local_addr().map_or_else(|error| format!("no address ({error})"), |address| address.to_string());
    Err(BindError::Passed { address })
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
    tls: Option<Arc<Handshakes>>,
}

/// A listener at work.
struct Door {
    listener: Listener,
    settings: Arc<Settings>,
    tls: Option<Arc<Handshakes>>,
    deps: Arc<Deps>,
    networks: Networks,
    connections: Places,
    /// Mail of all clients, and of each.
    mail: Arc<MailMeter<()>>,
    client_mail: Arc<MailMeter<IpAddr>>,
    counts: Arc<ListenerCounts>,
    turned_away: Told,
    /// Balancers that say nothing.
    unknown: Told,
}

/// Takes, for the listener, the socket among these that has its address; else its port. To be called within the runtime.
pub fn bind_or_adopt(
    listener: Listener,
    tls: Option<Arc<Handshakes>>,
    passed: &mut Vec<std::net::TcpListener>,
) -> Result<Bound, BindError> {
    let fits = |socket: &std::net::TcpListener| socket.local_addr().is_ok_and(|address| address == listener.address);
    let Some(at) = passed.iter().position(fits) else { return bind(listener, tls) };
    let socket = passed.swap_remove(at);
    match socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)) {
        Ok(socket) => Ok(Bound { socket, listener, tls }),
        Err(error) => Err(BindError::Socket { listener: listener.name, address: listener.address, error }),
    }
}

/// Takes the listener's port. To be called within the runtime. Without what its TLS is made of, a listener that is to have
/// TLS offers none and takes nobody from whom it is wanted from the start.
pub fn bind(listener: Listener, tls: Option<Arc<Handshakes>>) -> Result<Bound, BindError> {
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
}

/// Takes clients on until the token is cancelled.
async fn accept(socket: &TcpListener, doorway: &Arc<Doorway>, token: &CancellationToken, tracker: &TaskTracker) {
    let door = doorway.door();
    info!(listener = door.listener.name, address = %door.listener.address, "listening");
    drop(door);
    loop {
        let accepted = tokio::select! {
            biased;
            () = token.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let door = doorway.door();
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
        let (doorway, token) = (Arc::clone(doorway), token.clone());
        if door.is_balancer(client) {
            match door.seat() {
                Ok(seat) => drop(tracker.spawn(door.behind(doorway, (stream, client), seat, token))),
                Err(crowd) => door.turn_away(stream, client, crowd),
            }
            continue;
        }
        match door.admit(client) {
            Ok(places) => {
                tracker.spawn(async move {
                    door.serve(doorway, stream, client, token).await;
                    drop(places);
                });
            }
            Err(crowd) => door.turn_away(stream, client, crowd),
        }
    }
}

impl Door {
    fn new(listener: Listener, tls: Option<Arc<Handshakes>>, deps: Arc<Deps>) -> Self {
        let settings = Arc::new(Settings {
            hostname: deps.hostname.clone(),
            lmtp: listener.protocol == ListenerProtocol::Lmtp,
            max_message_size: listener.max_message_size.0,
            max_recipients: listener.max_recipients,
            max_errors: listener.max_errors,
            starttls: listener.tls == ListenerTls::StartTls && tls.is_some(),
            authentication: listener.authentication != Authentication::None,
            scram: deps.access.offers_scram(),
            old_auth: listener.old_auth,
        });
        let counts = deps.counts.listeners.of(&listener.name);
        Self {
            settings,
            tls,
            deps,
            networks: Networks::new(&listener),
            connections: Places::default(),
            mail: Arc::new(MailMeter::new(listener.limits)),
            client_mail: Arc::new(MailMeter::new(listener.client_limits)),
            counts,
            turned_away: Told::default(),
            unknown: Told::default(),
            listener,
        }
    }

    /// Whether there is room for one more connection of this client. First the client's own limits: one that comes too
    /// often must not take the places of others.
    fn admit(&self, client: IpAddr) -> Result<(Option<Guest>, Seat), Crowd> {
        Ok((self.welcome(client)?, self.seat()?))
    }

    fn welcome(&self, client: IpAddr) -> Result<Option<Guest>, Crowd> {
        if self.is_exempt(client) { Ok(None) } else { self.deps.limits.welcome(client).map(Some) }
    }

    fn seat(&self) -> Result<Seat, Crowd> {
        self.deps.limits.seat(&self.connections, self.listener.max_connections)
    }

    async fn serve(
        self: Arc<Self>,
        doorway: Arc<Doorway>,
        stream: TcpStream,
        client: IpAddr,
        token: CancellationToken,
    ) {
        let _ = stream.set_nodelay(true);
        let _connected = self.counts.connected();
        connection::serve(self, doorway, stream, client, token).await;
    }

    /// What this address says of its clients is believed.
    fn is_balancer(&self, address: IpAddr) -> bool {
        self.listener.proxy_protocol.iter().any(|net| net.contains(&address))
    }

    /// Serves whom a balancer brings.
    async fn behind(
        self: Arc<Self>,
        doorway: Arc<Doorway>,
        (mut stream, balancer): (TcpStream, IpAddr),
        seat: Seat,
        token: CancellationToken,
    ) {
        let brought = tokio::select! {
            brought = proxy::client(&mut stream) => brought,
            () = token.cancelled() => return,
        };
        let (client, guest) = match brought {
            Ok(Some(client)) => match self.welcome(client) {
                Ok(guest) => (client, guest),
                Err(crowd) => return self.turn_away(stream, client, crowd),
            },
            Ok(None) => (balancer, None),
            Err(proxy::Broken::Nothing) => return,
            Err(error) => return self.tell(balancer, &error),
        };
        debug!(listener = self.listener.name, %balancer, %client, "brought by a balancer");
        self.serve(doorway, stream, client, token).await;
        drop((guest, seat));
    }

    fn tell(&self, balancer: IpAddr, error: &proxy::Broken) {
        if let Some(more) = self.unknown.now() {
            let listener = &self.listener.name;
            warn!(
                listener, %balancer, %error, others = more,
                "a balancer did not say whom it brings: have it send the PROXY protocol (HAProxy: send-proxy-v2), or \
                 take its address out of the listener's `proxy_protocol`"
            );
        }
    }

    /// 421 without waiting for anything: the socket is new, so its buffer has room.
    fn turn_away(&self, stream: TcpStream, client: IpAddr, crowd: Crowd) {
        self.counts.turned_away.add(1);
        if let Some(more) = self.turned_away.now() {
            let listener = &self.listener.name;
            warn!(listener, %client, limit = crowd.name(), others = more, "too many connections: a client was turned away");
        }
        if self.listener.tls != ListenerTls::Implicit
            && let Ok(mut stream) = stream.into_std()
        {
            let _ = stream.write_all(crowd.reply().to_string().as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }

    /// Limits by client pass it over: who may relay by its network is known, and an application on this host may open
    /// as many connections as it needs.
    fn is_exempt(&self, client: IpAddr) -> bool {
        match &self.deps.limits.settings().exempt {
            Some(exempt) => exempt.iter().any(|net| net.contains(&client)),
            None => client.is_loopback() || self.networks.allows(client).is_some(),
        }
    }

    /// `allow` names who needs no authentication, also where it is required of all others.
    fn must_authenticate(&self, client: IpAddr) -> bool {
        self.listener.authentication == Authentication::Required && self.networks.allows(client).is_none()
    }
}

/// Something that may happen a thousand times a second is told once a second.
#[derive(Debug, Default)]
struct Told(Mutex<(Option<Instant>, u64)>);

impl Told {
    /// It happened: how often it did untold, where it is to be told now.
    fn now(&self) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            told.1 += 1;
            return None;
        }
        told.0 = Some(Instant::now());
        Some(std::mem::take(&mut told.1))
    }
}

/// A refusal of the relay's own; its enhanced status' class is the code's.
fn refusal(code: u16, subject: u16, detail: u16, text: impl Into<String>) -> Reply {
    let severity = if code < 500 { Severity::Transient } else { Severity::Permanent };
    Reply::new(code, EnhancedStatus::new(severity, subject, detail), text)
}
