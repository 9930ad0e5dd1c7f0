//! All that can be wrong with a configuration, and how each is said. No variant holds a secret's value.

use std::fmt;

use super::pattern::PatternError;
use super::secret::SecretError;
use super::unit::{ShowDuration, UnitError};
use crate::mail::{AddressError, DomainError};
use std::time::Duration;

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    // The files.
    #[error("{0}")]
    Unreadable(super::origin::Unreadable),
    #[error("this is no YAML: {0}")]
    Syntax(String),
    #[error("the routing table is empty: every recipient would be refused; add a route")]
    NoRoutes,

    // Keys and values as such.
    #[error("unknown key '{key}'{}", near(.nearest, .known))]
    UnknownKey { key: String, nearest: Option<String>, known: &'static [&'static str] },
    #[error("key '{0}' is not supported yet")]
    LaterKey(String),
    #[error("key '{key}' stands here twice, first in line {first}")]
    DuplicateKey { key: String, first: usize },
    #[error("key '{0}' is missing")]
    MissingKey(&'static str),
    #[error("key '{key}' has no value; give it {wanted}, or remove it")]
    NoValue { key: String, wanted: String },
    #[error("{wanted} is wanted here, this is {found}{hint}")]
    Kind { wanted: String, found: &'static str, hint: &'static str },
    #[error("'{word}' is none of {}{}", list(.known), did_you_mean(.nearest))]
    UnknownWord { word: String, nearest: Option<String>, known: Vec<&'static str> },
    #[error("'{0}' is not supported yet")]
    LaterWord(String),
    #[error("{found} is out of range: {least} to {most}")]
    Range { found: String, least: u64, most: u64 },
    #[error("the list is empty; name at least one, or remove the key")]
    EmptyList,
    #[error("the text is empty")]
    EmptyText,
    #[error("'{0}' is no name: letters, digits, '-', '_' and '.', at most 64 of them, a letter or digit first")]
    BadName(String),
    #[error("a duration of 0 makes no sense here")]
    ZeroDuration,
    #[error("a size of 0 makes no sense here")]
    ZeroSize,
    #[error("{0}")]
    Unit(#[from] UnitError),
    #[error("{0}")]
    Pattern(#[from] PatternError),
    #[error("{0}")]
    Domain(#[from] DomainError),
    #[error("{0}")]
    Address(#[from] AddressError),
    #[error("{0}")]
    Secret(#[from] SecretError),
    #[error("a secret in clear text; write ${{env:NAME}} or ${{file:PATH}} instead")]
    ClearSecret,
    #[error("'{text}' is no network in CIDR form, such as 10.0.0.0/8 or 2001:db8::/32")]
    Network { text: String },
    #[error("'{text}' has bits set behind its prefix, did you mean '{meant}'?")]
    HostBits { text: String, meant: String },
    #[error("'{0}' is no address and port; write one such as 127.0.0.1:2525 or [::]:25")]
    Socket(String),
    #[error("'{0}' is no IP address")]
    Ip(String),
    #[error("'{0}' is no size test; write one such as '>10MiB' or '<=1MB'")]
    SizeTest(String),
    #[error("'{0}' is no field name of a header")]
    FieldName(String),
    #[error("'{0}' is no host name or IP address")]
    Host(String),
    #[error("'{0}' is no endpoint; write one such as https://host or https://host:port")]
    Endpoint(String),
    #[error("the endpoint must be https, lest keys and mail travel in clear; http is for loopback addresses alone")]
    EndpointClear,
    #[error("'{text}' is no log level or filter, such as 'info' or 'info,waypost=debug'{}", did_you_mean(.nearest))]
    LogLevel { text: String, nearest: Option<String> },
    #[error(
        "this is no argon2 hash ($argon2id$...) and no SCRAM verifier (SCRAM-SHA-256$...); `waypost hash-password` makes one"
    )]
    PasswordHash,
    #[error("cannot read {path}: {error}")]
    UnreadableFile { path: String, error: String },

    // waypost.yaml.
    #[error("there are two {kind}s '{name}', the first at {first}")]
    DuplicateName { kind: &'static str, name: String, first: String },
    #[error("listener '{listener}': address {address} is taken by listener '{other}'")]
    AddressTaken { listener: String, address: String, other: String },
    #[error("no listener: nothing could hand in mail")]
    NoListeners,
    #[error(
        "listener '{listener}': no certificate is given: the relay makes a self-signed one, which clients refuse that check it; \
         give 'tls: {{certificate: ..., key: ...}}' at the top level"
    )]
    SelfSigned { listener: String },
    #[error("'certificate' and 'key' go together; give both or neither")]
    HalfCertificate,
    #[error("listener '{listener}': its certificate does nothing without 'tls: starttls' or 'tls: implicit'")]
    IdleCertificate { listener: String },
    #[error("listener '{listener}': clients show certificates under TLS alone; set 'tls: starttls' or 'tls: implicit'")]
    ClientCaWithoutTls { listener: String },
    #[error("listener '{listener}': authentication needs users, and there are none")]
    NoUsers { listener: String },
    #[error(
        "listener '{listener}': passwords would travel in clear on {address}; set 'tls: starttls' or 'tls: implicit'"
    )]
    ClearAuthentication { listener: String, address: String },
    #[error(
        "listener '{listener}': an open relay: {address} would take mail from anyone to anywhere; name your own networks"
    )]
    OpenRelay { listener: String, address: String },
    #[error(
        "listener '{listener}': 'proxy_protocol' believes anyone who says to be someone else; name your balancers alone"
    )]
    AnyBalancer { listener: String },
    #[error(
        "the admin server would be open to others in clear at {address}; keep it on loopback (127.0.0.1:8025), or give 'tls: {{certificate, key}}'"
    )]
    AdminInClear { address: String },
    #[error("operators show certificates under TLS alone; give 'tls: {{certificate, key}}' beside 'client_ca'")]
    AdminClientCa,
    #[error("address {address} is taken by listener '{other}'; give the admin server another")]
    AdminAddressTaken { address: String, other: String },
    #[error("'{0}' is no OTLP endpoint; write one such as http://127.0.0.1:4318 or https://collector.example")]
    Collector(String),
    #[error("traces are made of the audit trail, and 'audit' is off: turn it on, or remove 'telemetry'")]
    TelemetryWithoutTrail,
    #[error("'{0}' is no field name of HTTP")]
    HttpFieldName(String),
    #[error("the value of '{0}' has a line end or another control character in it: no field of HTTP can carry it")]
    HttpFieldValue(String),
    #[error("a target of alerts has one of 'webhook' and 'mail'")]
    WebhookOrMail,
    #[error("this is no URL of a webhook; write one such as https://hooks.example/path")]
    Webhook,
    #[error("'{0}' is no share; write one such as 80%")]
    Percent(String),
    #[error("'{0}' is no day; write one such as \"2027-03-01\"")]
    Day(String),
    #[error("the name 'pickup' stands for the pickup folder: give the listener another, or set 'pickup: none'")]
    ListenerPickup,
    #[error(
        "pickup and badmail are one folder, {0}: what cannot be sent would be tried for ever; give 'badmail' another"
    )]
    BadmailIsPickup(String),
    #[error("user '{user}': key 'password' is missing; without it, a user is one of a directory or of a certificate")]
    NoPassword { user: String },
    #[error("the file {path} names no user")]
    EmptyUsersFile { path: String },
    #[error("{0}")]
    Ldap(&'static str),
    #[error("'{0}' is no LDAP URL; write ldap://host or ldaps://host, with a port where it is not 389 or 636")]
    LdapUrl(String),
    #[error("passwords would travel in clear to {host}; write ldaps:// or 'starttls: true'")]
    LdapClear { host: String },
    #[error("no listener has 'authentication': no user can sign in")]
    IdleUsers,
    #[error("'warn_after' ({}) is not before 'expire' ({}): nobody would be warned", ShowDuration(*.warn_after), ShowDuration(*.expire))]
    WarnAfterExpire { warn_after: Duration, expire: Duration },

    // Providers.
    #[error("provider '{provider}': key '{key}' means nothing for transport '{transport}'{}", belongs(.to))]
    KeyOfOther { provider: String, key: &'static str, transport: &'static str, to: Vec<&'static str> },
    #[error("provider '{provider}': transport '{transport}' needs key '{key}'")]
    TransportNeeds { provider: String, transport: &'static str, key: &'static str },
    #[error("provider '{provider}': tls '{word}' is not for transport '{transport}': {}", list(.known))]
    TlsOfOther { provider: String, word: &'static str, transport: &'static str, known: &'static [&'static str] },
    #[error("provider '{provider}': {transport} has no region '{region}': us or eu{}", did_you_mean(.nearest))]
    NoSuchRegion { provider: String, transport: &'static str, region: String, nearest: Option<String> },
    #[error("provider '{provider}': '{region}' is no AWS region, such as eu-west-1 or us-east-1")]
    AwsRegion { provider: String, region: String },
    #[error("provider '{provider}': 'probe_max' ({}) is less than 'probe_after' ({})", ShowDuration(*.probe_max), ShowDuration(*.probe_after))]
    ProbeOrder { provider: String, probe_after: Duration, probe_max: Duration },
    #[error(
        "provider '{provider}': the password may travel in clear to {host}; set 'tls: starttls' or 'tls: implicit'"
    )]
    ClearPassword { provider: String, host: String },
    #[error("provider '{provider}': transport 'lmtp' needs one of 'host' and 'socket'")]
    HostOrSocket { provider: String },
    #[error("provider '{provider}': key '{key}' means nothing beside 'socket'")]
    BesideSocket { provider: String, key: &'static str },
    #[error("{what}: port 25 is SMTP's, and never LMTP's (RFC 2033, section 5); 24 is usual")]
    LmtpPort { what: String },
    #[error("key '{key}' does nothing without 'rate'")]
    LimitWithoutRate { key: &'static str },
    #[error("key '{key}' does nothing without '{of}'")]
    IdleBurst { key: &'static str, of: &'static str },
    #[error("'access_key_id' and 'secret_access_key' go together; give both or neither")]
    HalfCredentials,

    // Routes.
    #[error("route '{route}': say what happens: one of deliver, reject, hold, discard")]
    NoAction { route: String },
    #[error("route '{route}': '{second}' beside '{first}': a route has just one of deliver, reject, hold, discard")]
    TwoActions { route: String, first: &'static str, second: &'static str },
    #[error("route '{route}': key '{key}' does nothing without 'deliver'")]
    IdleKey { route: String, key: &'static str },
    #[error("route '{route}': unknown provider '{name}'{}", did_you_mean(.nearest))]
    UnknownProvider { route: String, name: String, nearest: Option<String> },
    #[error("route '{route}': provider '{name}' stands in the chain twice")]
    TwiceInChain { route: String, name: String },
    #[error("a weight of 0 lets nothing pass; give it at least 1, or remove the provider")]
    WeightZero,
    #[error("route '{route}': residency '{residency}' is not met by provider '{provider}', {}", says(.region))]
    Residency { route: String, residency: String, provider: String, region: Option<String> },
    #[error("route '{route}': 'tls: {floor}' is not met by provider '{provider}', which has 'tls: none'")]
    TlsFloor { route: String, floor: &'static str, provider: String },
    #[error("'not' within 'not'; leave out both")]
    NotNot,
    #[error("{0} names nothing; without a condition, leave it out")]
    NoConditions(&'static str),
    #[error("reply code {0} is no refusal: 400 to 559, but not 421, which ends the session")]
    RejectCode(u64),
    #[error("'{0}' is no enhanced status code, such as 5.7.1 or 4.7.0")]
    Status(String),
    #[error("status {status} does not go with reply code {code}: both begin with 4, or both with 5")]
    StatusClass { code: u16, status: String },
    #[error("the text of a reply is 1 to 400 printable ASCII characters")]
    ReplyText,
    #[error("unknown {kind} '{name}'{}", did_you_mean(.nearest))]
    UnknownName { kind: &'static str, name: String, nearest: Option<String> },
    #[error("'{0}' is not among the recipients of 'to'")]
    NotARecipient(String),
    #[error("the test does not say which route takes '{0}'")]
    NoRouteGiven(String),
}

/// `, did you mean 'x'?`
fn did_you_mean(nearest: &Option<String>) -> DidYouMean<'_> {
    DidYouMean(nearest.as_deref())
}

struct DidYouMean<'a>(Option<&'a str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ", did you mean '{name}'?"),
            None => Ok(()),
        }
    }
}

/// The nearest name, or all of them where none is near.
fn near(nearest: &Option<String>, known: &[&str]) -> String {
    match nearest {
        Some(_) => did_you_mean(nearest).to_string(),
        None => format!("; known here: {}", known.join(", ")),
    }
}

fn list(words: &[&'static str]) -> String {
    words.join(", ")
}

fn belongs(to: &[&'static str]) -> String {
    if to.is_empty() { String::new() } else { format!("; it is a key of {}", to.join(", ")) }
}

fn says(region: &Option<String>) -> String {
    match region {
        Some(region) => format!("which is in '{region}'"),
        None => "which says no region; give it 'region'".to_owned(),
    }
}

/// The known name that a misspelt one most likely means.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let wanted = plain(name);
    // A third of the letters may be wrong; in a short name, one.
    let most = (wanted.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(wanted.chars().count()) <= most)
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let known = ["mailgun-eu", "mailgun", "ses", "sendgrid", "max_message_size", "tls"];
        for (name, meant) in [
            ("mailgum", Some("mailgun")),
            ("Sendgird", Some("sendgrid")),
            ("max-message-size", Some("max_message_size")),
            ("sess", Some("ses")),
            ("ttls", Some("tls")),
            ("quarantine", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known).as_deref(), meant, "{name}");
        }
    }
}
