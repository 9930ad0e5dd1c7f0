//! `providers/*.yaml`.

use std::net::IpAddr;
use std::path::PathBuf;

use super::{Count, Endpoint, Host, Name, Port, Resolved, Span};
use crate::config::read::{Field, List, either, record, words};
use crate::config::tree::{Spot, Value};
use crate::config::{Flavor, MxTls, Per, Quota, Rate, Secret, SmtpTls};
use crate::mail::Domain;

record! {
    /// Ways out.
    struct ProvidersFile {
        /// The providers; routes name them in their chains.
        may "providers" providers: List<RawProvider>,
    }
    later []
}

record! {
    /// A named way out. Which keys it has depends on its transport.
    struct RawProvider {
        /// Unique; routes name it in their chains.
        need "name" name: Name,
        /// How it works: mx, smtp, lmtp, sendgrid, mailgun, ses or maildir.
        need "transport" transport: TransportWord,
        /// Where its data stays: what a route's residency asks for. sendgrid, mailgun: us (default) or eu; ses: the AWS region.
        may "region" region: Name,
        /// How much may pass, such as 500/s.
        may "rate" rate: Rate,
        /// How many may pass at once after a rest. Default: a tenth of a second's worth, at least 1.
        may "burst" burst: Count,
        /// What the rate counts: message or recipient. Default: message.
        may "per" per: Per,
        /// Attempts at one time. Default: 32; mx: 100.
        may "concurrency" concurrency: Count,
        /// Messages in a span, such as 100000/d; spent, the next provider takes over.
        may "quota" quota: Quota,
        /// When it counts as out, and how it is tried again.
        may "breaker" breaker: RawBreaker,
        /// One duration for all, or one for each step.
        may "timeout" timeout: RawTimeout,
        /// mx: none, opportunistic (default), require or verify. smtp, lmtp: none, opportunistic, starttls or implicit.
        may "tls" tls: TlsWord,
        /// smtp: the smart host. lmtp: the server.
        may "host" host: Host,
        /// smtp: default 25, with credentials 587, with implicit TLS 465. mx: default 25. lmtp: default 24.
        may "port" port: Port,
        /// lmtp: a Unix socket, in place of host.
        may "socket" socket: PathBuf,
        /// smtp, lmtp: user name and password of AUTH.
        may "credentials" credentials: RawCredentials,
        /// smtp: whose reply texts mean provider trouble: sendgrid, mailgun or ses.
        may "flavor" flavor: Flavor,
        /// smtp: mail of up to 64 KiB leaves in one write, where the smart host offers CHUNKING and PIPELINING. Default: false.
        may "chunking" chunking: bool,
        /// mx, smtp, lmtp: a PEM file of certificates that are trusted beside the system's.
        may "ca" ca: PathBuf,
        /// mx, smtp, lmtp: the IP address that connections come from.
        may "source" source: IpAddr,
        /// mx: connections to one destination at one time. Default: 10.
        may "destination_concurrency" destination_concurrency: Count,
        /// sendgrid, mailgun: the API's key.
        may "api_key" api_key: Secret,
        /// sendgrid, mailgun, ses: scheme and host, in place of the region's own.
        may "endpoint" endpoint: Endpoint,
        /// mailgun: the sending domain.
        may "domain" domain: Domain,
        /// ses: in place of the credentials that the AWS SDK finds by itself.
        may "access_key_id" access_key_id: Resolved,
        /// ses: goes with access_key_id.
        may "secret_access_key" secret_access_key: Secret,
        /// ses: the configuration set.
        may "configuration_set" configuration_set: String,
        /// maildir: the folder.
        may "path" path: PathBuf,
    }
    later ["dkim", "rewrite", "headers", "webhook", "events", "verified_senders", "proxy", "warmup", "session_token"]
}

record! {
    /// A breaker: so many failures within a span, and the provider is passed over.
    struct RawBreaker {
        /// Default: 5.
        may "failures" failures: Count,
        /// Default: 30s.
        may "within" within: Span,
        /// When one message is let through again. Default: 15s.
        may "probe_after" probe_after: Span,
        /// What the pause between probes doubles up to. Default: 10m.
        may "probe_max" probe_max: Span,
    }
    later []
}

record! {
    /// Time-outs of each step. Defaults: 30s, 5m, 10m for SMTP; 10s, 30s, 60s for APIs.
    struct RawTimeouts {
        /// To connect, TLS included.
        may "connect" connect: Span,
        /// For each command's reply, or for an API's answer.
        may "command" command: Span,
        /// For the content and the reply to it.
        may "content" content: Span,
    }
    later []
}

either! { RawTimeout { Each(RawTimeouts) if Value::Map(_), All(Span) } }

record! {
    /// User name and password of SMTP AUTH.
    struct RawCredentials {
        /// The user name.
        need "username" username: Resolved,
        /// The password, as ${env:NAME} or ${file:PATH}.
        need "password" password: Secret,
    }
    later ["oauth2"]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum TransportWord {
    Mx,
    Smtp,
    Lmtp,
    SendGrid,
    Mailgun,
    Ses,
    Maildir,
}

words! {
    TransportWord {
        "mx" => TransportWord::Mx,
        "smtp" => TransportWord::Smtp,
        "lmtp" => TransportWord::Lmtp,
        "sendgrid" => TransportWord::SendGrid,
        "mailgun" => TransportWord::Mailgun,
        "ses" => TransportWord::Ses,
        "maildir" => TransportWord::Maildir,
    }
    later ["pipe", "graph", "webhook"]
}

impl TransportWord {
    pub const ALL: [Self; 7] =
        [Self::Mx, Self::Smtp, Self::Lmtp, Self::SendGrid, Self::Mailgun, Self::Ses, Self::Maildir];

    pub fn word(self) -> &'static str {
        match self {
            Self::Mx => "mx",
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
            Self::SendGrid => "sendgrid",
            Self::Mailgun => "mailgun",
            Self::Ses => "ses",
            Self::Maildir => "maildir",
        }
    }

    /// The keys that mean something to it, beyond those of every provider.
    pub fn own_keys(self) -> &'static [&'static str] {
        match self {
            Self::Mx => &["tls", "port", "ca", "source", "destination_concurrency"],
            Self::Smtp => &["tls", "host", "port", "credentials", "flavor", "chunking", "ca", "source"],
            Self::Lmtp => &["tls", "host", "port", "socket", "credentials", "ca", "source"],
            Self::SendGrid => &["api_key", "endpoint"],
            Self::Mailgun => &["api_key", "endpoint", "domain"],
            Self::Ses => &["endpoint", "access_key_id", "secret_access_key", "configuration_set"],
            Self::Maildir => &["path"],
        }
    }

    /// The keys that it cannot do without.
    pub fn needed_keys(self) -> &'static [&'static str] {
        match self {
            // One of `host` and `socket`, which is judged by itself.
            Self::Mx | Self::Lmtp => &[],
            Self::Smtp => &["host"],
            Self::SendGrid => &["api_key"],
            Self::Mailgun => &["api_key", "domain"],
            Self::Ses => &["region"],
            Self::Maildir => &["path"],
        }
    }

    pub fn takes(self, key: &str) -> bool {
        self.own_keys().contains(&key)
    }
}

impl RawProvider {
    /// The keys that belong to some transports only, where they stand.
    pub fn own_keys(&self) -> impl Iterator<Item = (&'static str, Spot)> {
        fn at<T>(field: &Field<T>) -> Option<Spot> {
            field.key
        }
        [
            ("tls", at(&self.tls)),
            ("host", at(&self.host)),
            ("port", at(&self.port)),
            ("socket", at(&self.socket)),
            ("credentials", at(&self.credentials)),
            ("flavor", at(&self.flavor)),
            ("chunking", at(&self.chunking)),
            ("ca", at(&self.ca)),
            ("source", at(&self.source)),
            ("destination_concurrency", at(&self.destination_concurrency)),
            ("api_key", at(&self.api_key)),
            ("endpoint", at(&self.endpoint)),
            ("domain", at(&self.domain)),
            ("access_key_id", at(&self.access_key_id)),
            ("secret_access_key", at(&self.secret_access_key)),
            ("configuration_set", at(&self.configuration_set)),
            ("path", at(&self.path)),
        ]
        .into_iter()
        .filter_map(|(key, spot)| spot.map(|spot| (key, spot)))
    }
}

/// The TLS of `mx`, `smtp` and `lmtp`; which words go with which is judged when both are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum TlsWord {
    None,
    Opportunistic,
    Require,
    Verify,
    StartTls,
    Implicit,
}

words! {
    TlsWord {
        "none" => TlsWord::None,
        "opportunistic" => TlsWord::Opportunistic,
        "require" => TlsWord::Require,
        "verify" => TlsWord::Verify,
        "starttls" => TlsWord::StartTls,
        "implicit" => TlsWord::Implicit,
    }
    later ["dane"]
}

impl TlsWord {
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Require => "require",
            Self::Verify => "verify",
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
        }
    }

    pub fn mx(self) -> Option<MxTls> {
        match self {
            Self::None => Some(MxTls::None),
            Self::Opportunistic => Some(MxTls::Opportunistic),
            Self::Require => Some(MxTls::Require),
            Self::Verify => Some(MxTls::Verify),
            Self::StartTls | Self::Implicit => None,
        }
    }

    pub fn smtp(self) -> Option<SmtpTls> {
        match self {
            Self::None => Some(SmtpTls::None),
            Self::Opportunistic => Some(SmtpTls::Opportunistic),
            Self::StartTls => Some(SmtpTls::StartTls),
            Self::Implicit => Some(SmtpTls::Implicit),
            Self::Require | Self::Verify => None,
        }
    }
}

words! {
    Flavor {
        "sendgrid" => Flavor::SendGrid,
        "mailgun" => Flavor::Mailgun,
        "ses" => Flavor::Ses,
    }
    later []
}
