//! `waypost.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::{
    Count, Int, LogLevel, Name, NameServer, OrNever, PasswordHash, Pause, RawAdmin, RawAlerts, RawAudit, RawPickup,
    RawTelemetry, RawUsers, Span,
};
use crate::config::read::{List, OneOrMany, either, record, words};
use crate::config::tree::Value;
use crate::config::{AddressPattern, Authentication, ListenerProtocol, ListenerTls, LogFormat, Rate, Size};
use crate::mail::Domain;

record! {
    /// The server: listeners, users, queue, DNS, log. Every key has a default.
    struct ServerFile {
        /// What the relay calls itself in greetings, trace fields and bounces. Default: the system's name.
        may "hostname" hostname: Domain,
        /// Addresses that accept SMTP. Default: 127.0.0.1:2525.
        may "listeners" listeners: List<RawListener>,
        /// The certificates of the listeners that speak TLS: one, or a list of which a client gets the one that bears the name
        /// that it asks for, else the first. Default: one that the relay makes itself.
        may "tls" tls: OneOrMany<RawTlsFiles>,
        /// Who may sign in.
        may "users" users: RawUsers,
        /// What logins may cost, and how guessing passwords is slowed down.
        may "logins" logins: RawLogins,
        /// The durable queue and its retry schedule.
        may "queue" queue: RawQueue,
        /// The audit trail, or off. Default: on, audit.redb beside the queue.
        may "audit" audit: RawAudit,
        /// Traces for OpenTelemetry. Default: none.
        may "telemetry" telemetry: RawTelemetry,
        /// The folder whose *.eml files are sent, or none. Default: a folder pickup beside the queue.
        may "pickup" pickup: RawPickup,
        /// Name resolution.
        may "dns" dns: RawDns,
        /// The admin server, or off. Default: on 127.0.0.1:8025.
        may "admin" admin: RawAdmin,
        /// When something is an alert, and whom it is told beside the log; or off. Default: on, and nobody beside the log.
        may "alerts" alerts: RawAlerts,
        /// The log.
        may "log" log: RawLog,
        /// How changed files of the configuration take effect: watch, by themselves, or manual, by SIGHUP and `waypost reload`
        /// alone. Default: watch.
        may "reload" reload: Reloading,
        /// How long attempts in flight may still take after SIGTERM. Default: 30s.
        may "shutdown_grace" shutdown_grace: Pause,
        /// Connections of clients at one time, of all listeners together. Default: 10000.
        may "max_connections" max_connections: Count,
        /// Connections of one client at one time: an IPv4 address, or an IPv6 /64. Default: 100.
        may "max_connections_per_client" max_connections_per_client: Count,
        /// How fast one client may connect. Default: 100/s.
        may "connection_rate" connection_rate: Rate,
        /// Networks whose connections are not limited by client, and whose errors are answered without delay. Default:
        /// loopback, and what the listener allows.
        may "exempt_clients" exempt_clients: List<IpNet>,
        /// Content on its way in that is held in memory; with more of it, new mail is put off with 452. Default: 256MiB.
        may "max_content_memory" max_content_memory: Size,
        /// How long clients may take.
        may "timeout" timeout: RawClientTimeouts,
    }
    later ["inspect", "dkim", "metrics"]
}

record! {
    /// An address that accepts SMTP.
    struct RawListener {
        /// Its name, as logs and `match: {listener: ...}` have it.
        need "name" name: Name,
        /// IP address and port: 127.0.0.1:2525, [::]:25.
        need "address" address: SocketAddr,
        /// smtp or lmtp. Default: smtp.
        may "protocol" protocol: ListenerProtocol,
        /// none, starttls or implicit. Default: none.
        may "tls" tls: ListenerTls,
        /// Its own certificate chain, instead of the server's `tls`.
        may "certificate" certificate: PathBuf,
        /// The key of its own certificate.
        may "key" key: PathBuf,
        /// none, optional or required. Default: none.
        may "authentication" authentication: Authentication,
        /// Networks from which nothing is taken; goes before `allow`.
        may "deny" deny: List<IpNet>,
        /// Networks that may relay without authentication; with {network, senders}, only as these senders. The smallest
        /// network that holds a client decides. Default: loopback alone.
        may "allow" allow: List<RawAllowed>,
        /// The header's From must be among the senders of the user or network too. Default: false.
        may "check_from_header" check_from_header: bool,
        /// Offers AUTH in the form of old as well (AUTH=PLAIN LOGIN), which Outlook Express and devices of its time look for.
        /// Default: false.
        may "old_auth" old_auth: bool,
        /// PEM file with those who issue certificates to clients; a client that shows one is the user whom it names.
        may "client_ca" client_ca: PathBuf,
        /// The largest message. Default: 35MiB.
        may "max_message_size" max_message_size: Size,
        /// Connections at one time. Default: 1000.
        may "max_connections" max_connections: Count,
        /// Recipients of one transaction. Default: 1000.
        may "max_recipients" max_recipients: Int<1, 100_000>,
        /// Errors of one session, failed logins counting five, after which it is ended. Default: 20.
        may "max_errors" max_errors: Count,
        /// How many messages may come in: 100/s. Default: any number.
        may "rate" rate: Rate,
        /// How many of them may come at once after a rest. Default: as many as the rate names.
        may "burst" burst: Count,
        /// How many recipients may come in.
        may "recipient_rate" recipient_rate: Rate,
        /// The same for each client by itself: an IPv4 address, or an IPv6 /64.
        may "client_rate" client_rate: Rate,
        /// Messages of one client that may come at once after a rest. Default: as many as the rate names.
        may "client_burst" client_burst: Count,
        /// How many recipients each client may give.
        may "client_recipient_rate" client_recipient_rate: Rate,
        /// Balancers that say in a PROXY header (version 1 or 2) whom they bring, and must. Default: none.
        may "proxy_protocol" proxy_protocol: List<IpNet>,
    }
    later ["inspect"]
}

either!(RawAllowed { Held(RawNetwork) if Value::Map(_), Plain(IpNet) });

record! {
    /// A network, and what it may send as.
    struct RawNetwork {
        /// In CIDR form.
        need "network" network: IpNet,
        /// Addresses that the network may send from. Default: any.
        may "senders" senders: List<AddressPattern>,
    }
    later ["rate", "burst", "check_from_header"]
}

record! {
    /// PEM files of certificate chain and key.
    struct RawTlsFiles {
        /// The certificate chain, the server's own certificate first.
        need "certificate" certificate: PathBuf,
        /// The private key.
        need "key" key: PathBuf,
    }
    later []
}

record! {
    /// Who may sign in, and what for.
    struct RawUser {
        /// The user name of AUTH.
        need "name" name: String,
        /// The password's argon2 hash in PHC form, or its SCRAM verifier (SCRAM-SHA-256$...): `waypost hash-password` makes both.
        may "password" password: PasswordHash,
        /// Addresses that the user may send from. Default: any.
        may "senders" senders: List<AddressPattern>,
        /// The header's From must be one of them too. Default: false.
        may "check_from_header" check_from_header: bool,
        /// How many messages the user may send: 20/s. Default: any number.
        may "rate" rate: Rate,
        /// How many of them may come at once after a rest. Default: as many as the rate names.
        may "burst" burst: Count,
        /// How many recipients the user may send to.
        may "recipient_rate" recipient_rate: Rate,
    }
    later ["quota"]
}

record! {
    /// What logins may cost, and how guessing passwords is slowed down.
    struct RawLogins {
        /// Passwords that are checked at one time in the whole process. Default: half of the CPUs.
        may "checks" checks: Int<1, 1000>,
        /// Before the reply to a failed login; doubles with each further one of the address, up to five times. Default: 1s.
        may "delay" delay: Pause,
        /// Failed logins of an address (IPv6: of a /64) before it is refused for a while. Default: 20.
        may "address_failures" address_failures: Count,
        /// Failed logins of a user name before it is refused for a while, but for addresses where it got in before. Default: 20.
        may "user_failures" user_failures: Count,
        /// The span in which failures count. Default: 10m.
        may "within" within: Span,
        /// How long no login is tried then. Default: 10m.
        may "refuse_for" refuse_for: Span,
    }
    later []
}

record! {
    /// The durable queue and its retry schedule.
    struct RawQueue {
        /// The queue's index; its journal lies in a folder beside it. Default: data/queue.redb.
        may "path" path: PathBuf,
        /// The pauses between attempts; the last one repeats. Default: [1m, 5m, 15m, 1h].
        may "retry" retry: OneOrMany<Span>,
        /// When a message is given up and its sender told. Default: 5d.
        may "expire" expire: Span,
        /// When a sender is told of a delay, or never. Default: 4h.
        may "warn_after" warn_after: OrNever,
        /// With less free disk than this, new mail is put off with 452. Default: 64MiB.
        may "min_free" min_free: Size,
        /// With so many messages in the queue, new mail is put off with 452. Default: 10000000.
        may "max_messages" max_messages: Int<1, 1_000_000_000>,
        /// With so much content in the queue, new mail is put off with 452. Default: what the disk holds.
        may "max_size" max_size: Size,
    }
    later ["url"]
}

record! {
    /// How long clients may take.
    struct RawClientTimeouts {
        /// For the next command, since the last reply. Default: 5m.
        may "command" command: Span,
        /// Between two pieces of content. Default: 5m.
        may "content" content: Span,
        /// For the whole content of a message. Default: 30m.
        may "message" message: Span,
        /// For a session, since it began or has last sent a message. Default: 1h.
        may "session" session: Span,
    }
    later []
}

record! {
    /// Name resolution.
    struct RawDns {
        /// Name servers, with a port where it is not 53. Default: the system's.
        may "nameservers" nameservers: List<NameServer>,
    }
    later ["dnssec", "timeout"]
}

record! {
    /// The log.
    struct RawLog {
        /// text, json or journald. Default: text on a terminal, journald under systemd, else json.
        may "format" format: LogFormat,
        /// A level or filter: info, waypost=debug. Default: info.
        may "level" level: LogLevel,
    }
    later ["file"]
}

/// `reload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Reloading {
    Watch,
    Manual,
}

words! {
    Reloading {
        "watch" => Reloading::Watch,
        "manual" => Reloading::Manual,
    }
    later []
}

words! {
    ListenerProtocol {
        "smtp" => ListenerProtocol::Smtp,
        "lmtp" => ListenerProtocol::Lmtp,
    }
    later []
}

words! {
    ListenerTls {
        "none" => ListenerTls::None,
        "starttls" => ListenerTls::StartTls,
        "implicit" => ListenerTls::Implicit,
    }
    later []
}

words! {
    Authentication {
        "none" => Authentication::None,
        "optional" => Authentication::Optional,
        "required" => Authentication::Required,
    }
    later []
}

words! {
    LogFormat {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        "journald" => LogFormat::Journald,
    }
    later []
}
