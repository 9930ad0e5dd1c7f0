//! The doors as clients find them: real octets over real sockets, and a real queue behind.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

use argon2::password_hash::{PasswordHasher as _, SaltString};

use super::*;
use crate::config::{
    self, Action, AddressPattern, Allowed, BreakerSettings, ClientTimeouts, Condition, LoginLimits, MailLimits,
    MxSettings, MxTls, Place, Provider, Rejection, Route, Size, SizeOrder, SizeTest, Test, Tier, Transport, User,
    Verifier,
};
use crate::mail::{BodyKind, ProviderName, RouteName};
use crate::queue::{Claim, LegState, QueueOptions};

mod delivery;
mod life;
mod limits;
mod proxy;
mod refusals;
mod security;

/// User `billing` with password `secret` may send as anyone of billing.example.
fn access() -> Access {
    let params = argon2::Params::new(8, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::encode_b64(b"salt and pepper").unwrap();
    let hash = argon2.hash_password(b"secret", &salt).unwrap().to_string();
    let user = User {
        name: "billing".to_owned(),
        password: Verifier::parse(&hash),
        senders: vec![AddressPattern::parse("*@billing.example").unwrap()],
        check_from_header: false,
        limits: MailLimits::default(),
    };
    Access::new(vec![user], None, LoginLimits { delay: Duration::ZERO, ..LoginLimits::default() }).unwrap()
}

/// `AUTH PLAIN` of that user.
const LOGIN: &str = "AUTH PLAIN AGJpbGxpbmcAc2VjcmV0\r\n";

fn place() -> Place {
    Place { file: "routes/test.yaml".into(), line: 1, column: 1 }
}

/// A route by that name for recipients with these local parts.
fn route(name: &str, locals: &[&str], action: Action) -> Route {
    let patterns = locals.iter().map(|local| AddressPattern::parse(&format!("{local}@*")).unwrap()).collect();
    Route {
        name: RouteName::new(name),
        place: place(),
        conditions: vec![Condition { negated: false, test: Test::Recipient(patterns) }],
        owner: Vec::new(),
        action,
        limit: None,
        concurrency: None,
        priority: config::Priority::Normal,
        residency: None,
        tls: None,
        expire: None,
        retry: None,
        on_throttle: config::OnThrottle::Wait,
        on_unknown: config::OnUnknown::Next,
        sticky: config::Sticky::Message,
    }
}

fn deliver(provider: &str) -> Action {
    Action::Deliver(vec![Tier(vec![(ProviderName::new(provider), 1)])])
}

fn reject(text: &str) -> Action {
    Action::Reject(Rejection { code: 550, status: "5.7.2".parse().unwrap(), text: text.to_owned() })
}

/// One route of each kind: `direct` goes by destination, `rest` does not, `large` refuses what is.
fn table() -> Table {
    let provider = |name: &str, transport| {
        Arc::new(Provider {
            name: ProviderName::new(name),
            place: place(),
            transport,
            region: None,
            limit: None,
            concurrency: 1,
            quota: None,
            breaker: BreakerSettings {
                failures: 1,
                within: Duration::from_secs(1),
                probe_after: Duration::from_secs(1),
                probe_max: Duration::from_secs(1),
            },
            timeout: config::Timeouts {
                connect: Duration::from_secs(1),
                command: Duration::from_secs(1),
                content: Duration::from_secs(1),
            },
        })
    };
    let mx = MxSettings { tls: MxTls::None, port: 25, destination_concurrency: 1, ca: None, source: None };
    let mut large = route("large", &["large"], reject("too large for this route"));
    let size = SizeTest { order: SizeOrder::Greater, size: Size(1000) };
    large.conditions.push(Condition { negated: false, test: Test::Size(size) });
    Table::new(
        vec![
            route("direct", &["direct"], deliver("mx")),
            route("refused", &["refused"], reject("not here")),
            route("held", &["held"], Action::Hold { reason: "review".into() }),
            route("gone", &["gone"], Action::Discard),
            large,
            route("rest", &["x", "y", "large"], deliver("outbox")),
        ]
        .into_iter()
        .map(Arc::new)
        .collect(),
        vec![
            provider("mx", Transport::Mx(mx)),
            provider("outbox", Transport::Maildir(config::MaildirSettings { path: "unused".into() })),
        ],
    )
}

/// What a relay without a `waypost.yaml` has; it keeps nothing back of the disk.
pub(super) fn server() -> config::Server {
    let mut server = config::load(
        &config::Sources::new("").with("routes/all.yaml", "routes: [{name: all, discard: true}]"),
        &config::Assumed,
    );
    let mut server = server.config.take().unwrap().server;
    server.queue.min_free = Size(0);
    server
}

fn allowed(network: &str) -> Allowed {
    Allowed { network: network.parse().unwrap(), senders: Vec::new() }
}

fn listener() -> Listener {
    Listener {
        name: "apps".into(),
        address: "127.0.0.1:0".parse().unwrap(),
        protocol: ListenerProtocol::Smtp,
        tls: ListenerTls::None,
        certificate: None,
        authentication: Authentication::None,
        deny: Vec::new(),
        allow: vec![allowed("127.0.0.0/8")],
        check_from_header: false,
        old_auth: false,
        client_ca: None,
        max_message_size: Size(4 * 1024 * 1024),
        max_connections: 10,
        max_recipients: 100,
        max_errors: 20,
        limits: MailLimits::default(),
        client_limits: MailLimits::default(),
        proxy_protocol: Vec::new(),
    }
}

/// A relay with one listener and no way out.
struct Relay {
    _folder: tempfile::TempDir,
    queue: Queue,
    deps: Arc<Deps>,
    address: SocketAddr,
    certificate: Option<rustls::pki_types::CertificateDer<'static>>,
    token: CancellationToken,
    tracker: TaskTracker,
}

pub(super) fn deps(folder: &std::path::Path, server: &config::Server) -> Deps {
    let config::QueueSettings { min_free, max_messages, max_size, .. } = server.queue;
    let options =
        QueueOptions { path: folder.join("queue.redb"), min_free, max_messages, max_size, cache: 1024 * 1024 };
    Deps {
        hostname: "relay.example".parse().unwrap(),
        table: Arc::new(table()),
        queue: Queue::open(options).unwrap(),
        access: Arc::new(access()),
        clock: Clock::system(),
        mids: Arc::new(MidSource::default()),
        limits: Arc::new(Limits::new(server)),
        counts: Arc::default(),
        grace: Duration::from_secs(20),
    }
}

impl Relay {
    async fn start(listener: Listener) -> Self {
        Self::with(listener, &server()).await
    }

    async fn with(listener: Listener, server: &config::Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deps = Arc::new(deps(folder.path(), server));
        let (tls, certificate) = if listener.tls == ListenerTls::None {
            (None, None)
        } else {
            let made = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
            let files = config::TlsFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
            std::fs::write(&files.certificate, made.cert.pem()).unwrap();
            std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
            (Some(tls::of_files(files)), Some(made.cert.der().clone()))
        };
        let bound = bind(listener, tls).unwrap();
        let (address, token, tracker) = (bound.address().unwrap(), CancellationToken::new(), TaskTracker::new());
        tracker.spawn(bound.serve(Arc::clone(&deps), token.clone(), tracker.clone()));
        Self { _folder: folder, queue: deps.queue.clone(), deps, address, certificate, token, tracker }
    }

    /// A client that has read the greeting.
    async fn client(&self) -> Client<TcpStream> {
        let mut client = Client::new(TcpStream::connect(self.address).await.unwrap());
        assert_eq!(client.reply().await, "220 relay.example ESMTP waypost\r\n");
        client
    }

    async fn legs(&self) -> Vec<Claim> {
        let later = self.deps.clock.now() + jiff::SignedDuration::from_hours(1);
        self.queue.walk(None, later, 100).await.unwrap()
    }

    /// The content of the only message.
    async fn content(&self) -> Vec<u8> {
        let claim = self.legs().await.remove(0);
        self.queue.content(claim.mid, &claim.envelope).all().await.unwrap().to_vec()
    }
}

struct Client<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(octets.as_ref()).await.unwrap();
        self.0.get_mut().flush().await.unwrap();
    }

    /// The next reply; empty at the end of the connection.
    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.0.read_line(&mut reply).await.unwrap_or(0) == 0 || reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    /// Sends, and gives as many replies as there are in `count`.
    async fn ask(&mut self, octets: impl AsRef<[u8]>, count: usize) -> Vec<String> {
        self.send(octets).await;
        let mut replies = Vec::new();
        for _ in 0..count {
            replies.push(self.reply().await);
        }
        replies
    }

    /// The same, with codes alone: of the first line of each reply, reply code and enhanced status.
    async fn codes(&mut self, octets: impl AsRef<[u8]>, count: usize) -> String {
        let replies = self.ask(octets, count).await;
        let code = |reply: &String| {
            let words: Vec<&str> = reply.split([' ', '-', '\r']).collect();
            match words[..] {
                [code, status, ..] if status.parse::<EnhancedStatus>().is_ok() => format!("{code} {status}"),
                [code, ..] => code.to_owned(),
                [] => String::new(),
            }
        };
        replies.iter().map(code).collect::<Vec<_>>().join(", ")
    }

    async fn gone(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]).await, Ok(0) | Err(_))
    }
}

const ENVELOPE: &str = "EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@y.example>\r\n";

/// `EHLO`, an envelope to these local parts, and `DATA`.
fn envelope(to: &[&str]) -> String {
    let to: String = to.iter().map(|to| format!("RCPT TO:<{to}@y.example>\r\n")).collect();
    format!("EHLO me\r\nMAIL FROM:<a@b.example>\r\n{to}DATA\r\n")
}
