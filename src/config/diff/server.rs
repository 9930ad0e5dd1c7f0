//! The relay's own keys, listeners and users as lists of keys and values.

use std::path::Path;

use super::facts::{Facts, span, spans, word};
use crate::config::{
    Admin, Allowed, Audit, ClientLimits, ClientTimeouts, Directory, Listener, LogSettings, LoginLimits, Lookup,
    MailLimits, Pickup, QueueSettings, Secret, Server, ServerCertificate, Telemetry, User, Verifier,
};

/// What a running relay keeps until it is restarted.
pub(super) const RESTART: &[&str] = &[
    "queue.path",
    "audit",
    "audit.path",
    "audit.keep",
    "audit.max_size",
    "audit.addresses",
    "telemetry",
    "telemetry.endpoint",
    "telemetry.headers",
    "telemetry.sample",
    "telemetry.service",
    "log.format",
    "log.level",
    "admin",
    "admin.address",
    "admin.token",
    "admin.tls",
    "admin.client_ca",
];

/// `rules`: those of alerts are told one by one.
pub(super) fn relay(server: &Server, rules: bool) -> Facts {
    let Server { hostname, listeners: _, tls, users: _, directory, logins, queue, pickup, nameservers, log, .. } =
        server;
    let Server { shutdown_grace, clients, watch, admin, audit, alerts, telemetry, .. } = server;
    let mut facts = Facts::default();
    facts.add("hostname", hostname);
    if !tls.is_empty() {
        // The first is for whoever asks for no name.
        facts.add("tls", tls.iter().map(certificate).collect::<Vec<_>>().join(", "));
    }
    if let Some(directory) = directory {
        ldap(directory, &mut facts);
    }
    let LoginLimits { checks, delay, address_failures, user_failures, within, refuse_for } = *logins;
    facts.may("logins.checks", checks).add("logins.delay", span(delay));
    facts.add("logins.address_failures", address_failures).add("logins.user_failures", user_failures);
    facts.add("logins.within", span(within)).add("logins.refuse_for", span(refuse_for));
    let QueueSettings { path, retry, expire, warn_after, min_free, max_messages, max_size } = queue;
    facts.add("queue.path", path.display()).add("queue.retry", spans(retry)).add("queue.expire", span(*expire));
    facts.add("queue.warn_after", warn_after.map_or_else(|| "never".to_owned(), span));
    facts.add("queue.min_free", min_free).add("queue.max_messages", max_messages).may("queue.max_size", *max_size);
    match audit {
        Some(Audit { path, keep, max_size, addresses }) => {
            facts.add("audit.path", path.display()).add("audit.keep", span(*keep)).add("audit.max_size", max_size);
            facts.add("audit.addresses", word(addresses));
        }
        None => {
            facts.add("audit", "off");
        }
    }
    match telemetry {
        Some(Telemetry { endpoint, headers, sample, service }) => {
            facts.add("telemetry.endpoint", endpoint).add("telemetry.sample", format_args!("{sample}%"));
            facts.add("telemetry.service", service);
            if !headers.is_empty() {
                let all: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.expose())).collect();
                facts.secret("telemetry.headers", &Secret::new(all.join("\n")));
            }
        }
        None => {
            facts.add("telemetry", "none");
        }
    }
    match pickup {
        Some(Pickup { path, badmail, max_message_size, senders, check_from_header, limits }) => {
            facts.add("pickup.path", path.display()).add("pickup.badmail", badmail.display());
            facts.add("pickup.max_message_size", max_message_size).all("pickup.senders", senders);
            facts.add("pickup.check_from_header", check_from_header);
            mail_limits("pickup.", *limits, &mut facts);
        }
        None => {
            facts.add("pickup", "none");
        }
    }
    facts.all("dns.nameservers", nameservers);
    match admin {
        Some(Admin { address, token, tls, client_ca }) => {
            facts.add("admin.address", address);
            if let Some(token) = token {
                facts.secret("admin.token", token);
            }
            facts.may("admin.tls", tls.as_ref().map(certificate));
            facts.may("admin.client_ca", client_ca.as_ref().map(|ca| file(ca)));
        }
        None => {
            facts.add("admin", "off");
        }
    }
    super::alerts::relay(alerts, rules, &mut facts);
    let LogSettings { format, level } = log;
    facts.may("log.format", format.map(word)).add("log.level", level);
    facts.add("shutdown_grace", span(*shutdown_grace)).add("reload", if *watch { "watch" } else { "manual" });
    let ClientLimits { max_connections, max_connections_per_client, connection_rate, .. } = clients;
    let ClientLimits { exempt, max_content_memory, timeout, .. } = clients;
    facts.add("max_connections", max_connections).add("max_connections_per_client", max_connections_per_client);
    facts.add("connection_rate", connection_rate).add("max_content_memory", max_content_memory);
    facts.all("exempt_clients", exempt.as_deref().unwrap_or_default());
    let ClientTimeouts { command, content, message, session } = *timeout;
    facts.add("timeout.command", span(command)).add("timeout.content", span(content));
    facts.add("timeout.message", span(message)).add("timeout.session", span(session));
    facts
}

fn certificate(certificate: &ServerCertificate) -> String {
    let ServerCertificate { files, certificate_place: _, key_place: _ } = certificate;
    file(&files.certificate)
}

fn file(path: &Path) -> String {
    path.display().to_string()
}

fn ldap(directory: &Directory, facts: &mut Facts) {
    let Directory { url, starttls, ca, lookup, group, senders, check_from_header, .. } = directory;
    let Directory { limits, timeout, cache, .. } = directory;
    facts.add("users.ldap.url", url).add("users.ldap.starttls", starttls);
    facts.may("users.ldap.ca", ca.as_ref().map(|ca| file(ca)));
    match lookup {
        Lookup::Template(template) => {
            facts.add("users.ldap.bind_dn", template);
        }
        Lookup::Search { base, filter, bind } => {
            facts.add("users.ldap.search.base", base).add("users.ldap.search.filter", filter);
            if let Some((dn, password)) = bind {
                facts.add("users.ldap.search.bind_dn", dn).secret("users.ldap.search.password", password);
            }
        }
    }
    facts.may("users.ldap.group", group.as_ref()).all("users.ldap.senders", senders);
    facts.add("users.ldap.check_from_header", check_from_header).add("users.ldap.timeout", span(*timeout));
    facts.add("users.ldap.cache", span(*cache));
    mail_limits("users.ldap.", *limits, facts);
}

pub(super) fn listener(listener: &Listener) -> Facts {
    let Listener { name: _, address, protocol, tls, certificate: own, authentication, deny, allow, .. } = listener;
    let Listener { check_from_header, client_ca, max_message_size, max_connections, max_recipients, .. } = listener;
    let Listener { max_errors, limits, client_limits, proxy_protocol, old_auth, .. } = listener;
    let mut facts = Facts::default();
    facts.add("address", address).add("protocol", word(protocol)).add("tls", word(tls));
    facts.may("certificate", own.as_ref().map(certificate)).add("authentication", word(authentication));
    facts.all("deny", deny).all("allow", &allow.iter().map(allowed).collect::<Vec<_>>());
    facts.add("check_from_header", check_from_header).may("client_ca", client_ca.as_ref().map(|ca| file(&ca.file)));
    facts.add("max_message_size", max_message_size).add("max_connections", max_connections);
    facts.add("max_recipients", max_recipients).add("max_errors", max_errors);
    facts.add("old_auth", old_auth);
    mail_limits("", *limits, &mut facts);
    mail_limits("client_", *client_limits, &mut facts);
    facts.all("proxy_protocol", proxy_protocol);
    facts
}

fn allowed(Allowed { network, senders }: &Allowed) -> String {
    match &senders[..] {
        [] => network.to_string(),
        some => {
            let some: Vec<String> = some.iter().map(ToString::to_string).collect();
            format!("{network} as {}", some.join(" or "))
        }
    }
}

fn mail_limits(of: &str, MailLimits { messages, recipients }: MailLimits, facts: &mut Facts) {
    facts.limit_as(&format!("{of}rate"), &format!("{of}burst"), messages);
    facts.may(format!("{of}recipient_rate"), recipients.map(|limit| limit.rate));
}

pub(super) fn user(user: &User) -> Facts {
    let User { name: _, password, senders, check_from_header, limits } = user;
    let mut facts = Facts::default();
    match password {
        Some(Verifier::Argon2(hash)) => {
            facts.secret("password", hash);
        }
        Some(Verifier::Scram(verifier)) => {
            facts.secret("password", &Secret::new(verifier.text()));
        }
        None => {}
    }
    facts.all("senders", senders).add("check_from_header", check_from_header);
    mail_limits("", *limits, &mut facts);
    facts
}
