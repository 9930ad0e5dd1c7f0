//! The checked configuration: what the rest of the relay reads. Every value here is one that makes sense; what does
//! not never gets this far.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{
    AddressPattern, Admin, Alerts, Audit, ClientLimits, DomainPattern, Glob, LoginLimits, MailLimits, Rate, Secret,
    Size, Telemetry, Verifier,
};
use crate::mail::{Domain, EnhancedStatus, ProviderName, RouteName};

/// Everything, checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    /// In the order of the table.
    pub routes: Vec<Arc<Route>>,
    pub providers: Vec<Arc<Provider>>,
    /// Of the routing table: a short hash of the files of routes and providers.
    pub revision: Arc<str>,
}

/// `waypost.yaml`.
#[derive(Debug, Clone)]
pub struct Server {
    /// What the relay calls itself in greetings, EHLO, trace fields and DSNs.
    pub hostname: Domain,
    pub listeners: Vec<Listener>,
    /// For the listeners that have none of their own; the first is for clients that ask for no name or another one.
    pub tls: Vec<ServerCertificate>,
    /// Of `waypost.yaml` and of the users' file.
    pub users: Vec<User>,
    /// Where names are asked for that are not among these.
    pub directory: Option<Directory>,
    pub logins: LoginLimits,
    pub queue: QueueSettings,
    /// `None`: no trail is kept.
    pub audit: Option<Audit>,
    /// `None`: no traces are exported.
    pub telemetry: Option<Telemetry>,
    /// `None`: no folder is looked at.
    pub pickup: Option<Pickup>,
    /// Empty: the system's resolvers.
    pub nameservers: Vec<SocketAddr>,
    /// `None`: nobody can look at the relay or steer it while it runs.
    pub admin: Option<Admin>,
    pub alerts: Alerts,
    pub log: LogSettings,
    /// How long attempts in flight may still take after SIGTERM.
    pub shutdown_grace: Duration,
    pub clients: ClientLimits,
    /// Changed files of the configuration are taken up by themselves.
    pub watch: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    pub address: SocketAddr,
    pub protocol: ListenerProtocol,
    pub tls: ListenerTls,
    /// Its own, instead of the server's.
    pub certificate: Option<ServerCertificate>,
    pub authentication: Authentication,
    /// Whom nothing is taken from; goes before `allow`.
    pub deny: Vec<IpNet>,
    /// Who may relay without authentication. Default: loopback.
    pub allow: Vec<Allowed>,
    /// What bounds the reverse-path bounds the header's From as well.
    pub check_from_header: bool,
    /// AUTH is offered in the form of old as well.
    pub old_auth: bool,
    /// Who issues clients' certificates.
    pub client_ca: Option<ClientCa>,
    pub max_message_size: Size,
    pub max_connections: usize,
    /// Recipients of one transaction.
    pub max_recipients: usize,
    /// Errors of one session.
    pub max_errors: u32,
    pub limits: MailLimits,
    /// Of each client by itself.
    pub client_limits: MailLimits,
    /// Balancers that say whom they bring.
    pub proxy_protocol: Vec<IpNet>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerProtocol {
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// A network that may relay, and what it may send as (empty: anything).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pub network: IpNet,
    pub senders: Vec<AddressPattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerTls {
    None,
    StartTls,
    Implicit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    None,
    Optional,
    Required,
}

/// PEM file with those who issue clients' certificates, and where the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    pub file: PathBuf,
    pub place: Place,
}

/// A certificate, and where the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    pub files: TlsFiles,
    pub certificate_place: Place,
    pub key_place: Place,
}

/// PEM files, resolved against the configuration directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// `None`: it signs in elsewhere, and the entry says what it may send as.
    pub password: Option<Verifier>,
    /// What the user may give as reverse-path; empty: anything.
    pub senders: Vec<AddressPattern>,
    /// The header's From must be one of these too.
    pub check_from_header: bool,
    pub limits: MailLimits,
}

/// An LDAP server that knows users: who can bind there signs in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// `ldap://` or `ldaps://`, with a host and perhaps a port.
    pub url: String,
    pub starttls: bool,
    /// Trusted beside the system's roots.
    pub ca: Option<PathBuf>,
    pub lookup: Lookup,
    /// The DN of the group that a user must be a member of.
    pub group: Option<String>,
    /// What users without an entry of their own may send as; empty: anything.
    pub senders: Vec<AddressPattern>,
    pub check_from_header: bool,
    /// Of each such user.
    pub limits: MailLimits,
    /// For all that one login asks of it.
    pub timeout: Duration,
    /// How long a good login needs no further bind.
    pub cache: Duration,
}

/// How a user's DN is known. `{user}` stands for the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    Template(String),
    Search { base: String, filter: String, bind: Option<(String, Secret)> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    pub path: PathBuf,
    pub retry: Vec<Duration>,
    pub expire: Duration,
    /// When a sender is told of a delay; `None`: never.
    pub warn_after: Option<Duration>,
    /// Below this much free disk space, new mail gets 452 so that outcomes can still be written.
    pub min_free: Size,
    /// With so many messages queued, new mail gets 452.
    pub max_messages: u64,
    /// With so much content queued, new mail gets 452; `None`: the disk is the bound.
    pub max_size: Option<Size>,
}

/// The folder whose files are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pickup {
    pub path: PathBuf,
    /// Where files go that cannot be sent.
    pub badmail: PathBuf,
    pub max_message_size: Size,
    /// What its files may be sent as; empty: anything.
    pub senders: Vec<AddressPattern>,
    /// The header's From must be one of these too.
    pub check_from_header: bool,
    /// How many files are taken in a span; others wait.
    pub limits: MailLimits,
}

impl Pickup {
    /// The listener of its messages, to routes and in logs.
    pub const LISTENER: &str = "pickup";
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `None`: text on a terminal, the journal's where standard error goes there, JSON otherwise.
    pub format: Option<LogFormat>,
    /// A `tracing` filter directive, such as `info` or `waypost=debug`.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
    /// To the journal, each field by itself.
    Journald,
}

/// One row of the routing table.
#[derive(Debug, Clone)]
pub struct Route {
    pub name: RouteName,
    /// File and line, for messages about it.
    pub place: Place,
    /// All must hold; empty takes all mail.
    pub conditions: Vec<Condition>,
    /// The `owner` of its file: ANDed with the conditions.
    pub owner: Vec<Condition>,
    pub action: Action,
    pub limit: Option<Limit>,
    pub concurrency: Option<usize>,
    pub priority: Priority,
    pub residency: Option<String>,
    /// The least TLS that each provider of the chain must use.
    pub tls: Option<TlsFloor>,
    /// `None`: the queue's.
    pub expire: Option<Duration>,
    pub retry: Option<Vec<Duration>>,
    pub on_throttle: OnThrottle,
    pub on_unknown: OnUnknown,
    pub sticky: Sticky,
}

/// File, line and column (1-based) of something in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
}

/// One key of a `match`: negated by `not`, and then the OR of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub negated: bool,
    pub test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    Sender(Vec<AddressPattern>),
    SenderDomain(Vec<DomainPattern>),
    Recipient(Vec<AddressPattern>),
    RecipientDomain(Vec<DomainPattern>),
    Listener(Vec<Glob>),
    Client(Vec<IpNet>),
    User(Vec<Glob>),
    /// Each named field must have a value that matches one of its globs.
    Header(Vec<(String, Vec<Glob>)>),
    Size(SizeTest),
}

/// `">10MiB"`, `"<=1MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeTest {
    pub order: SizeOrder,
    pub size: Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeOrder {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tiers in order; each a set of providers with weights.
    Deliver(Vec<Tier>),
    Reject(Rejection),
    Hold {
        reason: String,
    },
    Discard,
}

/// Providers that share traffic by weight; each covers for the others. Never empty, no weight is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier(pub Vec<(ProviderName, u32)>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// 4yz or 5yz.
    pub code: u16,
    pub status: EnhancedStatus,
    pub text: String,
}

/// `rate`, `burst` and `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub rate: Rate,
    /// How many may pass at once after a rest; at least 1.
    pub burst: u32,
    pub per: Per,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Per {
    #[default]
    Message,
    Recipient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    Bulk,
    #[default]
    Normal,
    High,
}

/// What a route with `tls` asks of its chain. Ordered: each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsFloor {
    /// Encrypted, whoever the peer is.
    Require,
    /// Encrypted, and the certificate names the peer.
    Verify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnThrottle {
    #[default]
    Wait,
    Failover,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    #[default]
    Next,
    Wait,
    Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sticky {
    #[default]
    Message,
    Recipient,
}

/// A named way out.
#[derive(Debug, Clone)]
pub struct Provider {
    pub name: ProviderName,
    pub place: Place,
    pub transport: Transport,
    /// Where the provider says its data stays (`eu`, `us-east-1`): see `residency_met`.
    pub region: Option<String>,
    pub limit: Option<Limit>,
    /// Attempts at one time.
    pub concurrency: usize,
    pub quota: Option<Quota>,
    pub breaker: BreakerSettings,
    pub timeout: Timeouts,
}

/// Whether a provider's region is where a route's mail must stay: the same one, or one within it (`eu-west-1` is in
/// `eu`). A provider that says no region meets none.
pub fn residency_met(region: Option<&str>, residency: &str) -> bool {
    region.is_some_and(|region| {
        let zone = region.split('-').next().unwrap_or(region);
        region.eq_ignore_ascii_case(residency) || zone.eq_ignore_ascii_case(residency)
    })
}

/// So many messages a span, counted from the first one of the span; survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub messages: u64,
    pub span: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    pub failures: u32,
    pub within: Duration,
    pub probe_after: Duration,
    pub probe_max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// For each command's reply, or for an API's answer.
    pub command: Duration,
    /// For the content's transfer and the reply to it.
    pub content: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    Mx(MxSettings),
    Smtp(SmtpSettings),
    Lmtp(LmtpSettings),
    SendGrid(SendGridSettings),
    Mailgun(MailgunSettings),
    Ses(SesSettings),
    Maildir(MaildirSettings),
}

impl Transport {
    /// The word of the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mx(_) => "mx",
            Self::Smtp(_) => "smtp",
            Self::Lmtp(_) => "lmtp",
            Self::SendGrid(_) => "sendgrid",
            Self::Mailgun(_) => "mailgun",
            Self::Ses(_) => "ses",
            Self::Maildir(_) => "maildir",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxSettings {
    pub tls: MxTls,
    pub port: u16,
    /// Connections to one destination domain at one time.
    pub destination_concurrency: usize,
    /// Trusted beside the system's roots, for `verify`.
    pub ca: Option<PathBuf>,
    pub source: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MxTls {
    None,
    Opportunistic,
    Require,
    Verify,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpSettings {
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    pub credentials: Option<Credentials>,
    pub ca: Option<PathBuf>,
    pub source: Option<IpAddr>,
    /// Whose reply texts mean provider trouble.
    pub flavor: Option<Flavor>,
    /// Small mail leaves in one write, by BDAT, where the server offers CHUNKING and PIPELINING.
    pub chunking: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LmtpSettings {
    pub way: LmtpWay,
    /// `None` with a socket.
    pub tls: SmtpTls,
    pub credentials: Option<Credentials>,
    pub ca: Option<PathBuf>,
    pub source: Option<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LmtpWay {
    Host { host: String, port: u16 },
    Socket(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    None,
    /// TLS where offered, certificate unchecked.
    Opportunistic,
    /// TLS or no mail; the certificate is checked.
    StartTls,
    Implicit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    SendGrid,
    Mailgun,
    Ses,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendGridSettings {
    pub api_key: Secret,
    /// Scheme and host, from `region` or `endpoint`, without a final slash.
    pub endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailgunSettings {
    pub api_key: Secret,
    pub endpoint: String,
    pub domain: Domain,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SesSettings {
    pub region: String,
    /// `None`: the region's own.
    pub endpoint: Option<String>,
    /// `None`: the SDK's default chain.
    pub credentials: Option<SesCredentials>,
    pub configuration_set: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SesCredentials {
    pub access_key_id: String,
    pub secret_access_key: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaildirSettings {
    pub path: PathBuf,
}

/// An entry of `tests` in a route file.
#[derive(Debug, Clone)]
pub struct RouteTest {
    pub place: Place,
    pub from: String,
    pub to: Vec<String>,
    pub user: Option<String>,
    pub client: Option<IpAddr>,
    pub listener: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub size: Option<Size>,
    /// The route that each recipient must take.
    pub routes: BTreeMap<String, String>,
    pub chain: Option<Vec<String>>,
}
