//! `waypost.yaml`: who may hand in mail, and where it is kept.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Files, Names, admin, audit, clients, pickup, telemetry, users};
use crate::config::fault::Fault;
use crate::config::model::{
    Allowed, Authentication, ClientCa, Listener, ListenerProtocol, ListenerTls, LogSettings, Pickup, QueueSettings,
    Server, ServerCertificate, TlsFiles,
};
use crate::config::raw::{OrNever, RawAllowed, RawListener, RawLogins, RawQueue, Reloading, ServerFile, Span};
use crate::config::read::{Cx, Field, Record};
use crate::config::tree::Spot;
use crate::config::{Alerts, ClientLimits, LoginLimits, MailLimits, Size};
use crate::mail::Domain;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MIB: u64 = 1 << 20;

pub(super) fn check(files: &Files, cx: &mut Cx<'_>) -> Server {
    let Some((name, file)) = &files.server else {
        let queue = queue(None, cx);
        let listeners = vec![usual_listener()];
        return Server {
            hostname: hostname(cx),
            admin: admin::check(files, &listeners, cx),
            listeners,
            tls: Vec::new(),
            users: Vec::new(),
            directory: None,
            logins: LoginLimits::default(),
            pickup: pickup::check(files, &queue, cx),
            audit: audit::check(files, &queue, cx),
            telemetry: None,
            queue,
            nameservers: Vec::new(),
            alerts: Alerts::default(),
            log: LogSettings { format: None, level: "info".to_owned() },
            shutdown_grace: Duration::from_secs(30),
            clients: ClientLimits::default(),
            watch: true,
        };
    };
    cx.file = name.clone();
    let users = users::check(files, cx);
    cx.file = name.clone();
    let directory = users::directory(file, cx);
    let log = file.log.get();
    let queue = queue(file.queue.get(), cx);
    let pickup = pickup::check(files, &queue, cx);
    let audit = audit::check(files, &queue, cx);
    let telemetry = telemetry::check(files, audit.as_ref(), cx);
    if let (Some(_), Some(listeners)) = (&pickup, file.listeners.get()) {
        for name in listeners.iter().filter_map(|raw| raw.name.value.as_ref()) {
            if name.0 == Pickup::LISTENER {
                cx.error(name.spot, Fault::ListenerPickup);
            }
        }
    }
    let listeners = listeners(files, file, cx);
    Server {
        hostname: file.hostname.get().cloned().unwrap_or_else(|| hostname(cx)),
        admin: admin::check(files, &listeners, cx),
        listeners,
        tls: file
            .tls
            .get()
            .map(|tls| &tls.0)
            .into_iter()
            .flatten()
            .filter_map(|tls| certificate(&tls.certificate, &tls.key, cx))
            .collect(),
        users,
        directory,
        logins: logins(file.logins.get()),
        queue,
        audit,
        telemetry,
        pickup,
        nameservers: file
            .dns
            .get()
            .and_then(|dns| dns.nameservers.get())
            .map(|servers| servers.iter().map(|server| server.0).collect())
            .unwrap_or_default(),
        // Judged when routes and providers are known.
        alerts: Alerts::default(),
        log: LogSettings {
            format: log.and_then(|log| log.format.get()).copied(),
            level: log.and_then(|log| log.level.get()).map_or_else(|| "info".to_owned(), |level| level.0.clone()),
        },
        shutdown_grace: file.shutdown_grace.get().map_or(Duration::from_secs(30), |grace| grace.0),
        clients: clients::clients(file, cx),
        watch: file.reload.or(Reloading::Watch) == Reloading::Watch,
    }
}

/// The system's name where it is one for a greeting (RFC 5321, 4.1.1.1).
fn hostname(cx: &Cx<'_>) -> Domain {
    let own = cx.outside.hostname().and_then(|name| name.parse::<Domain>().ok());
    own.unwrap_or_else(|| "localhost".parse().expect("a constant that is a domain"))
}

fn loopback() -> Vec<Allowed> {
    let nets = [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    ];
    nets.map(|network| Allowed { network, senders: Vec::new() }).to_vec()
}

fn usual_listener() -> Listener {
    Listener {
        name: "default".to_owned(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 2525)),
        protocol: ListenerProtocol::Smtp,
        tls: ListenerTls::None,
        certificate: None,
        authentication: Authentication::None,
        deny: Vec::new(),
        allow: loopback(),
        check_from_header: false,
        old_auth: false,
        client_ca: None,
        max_message_size: Size(35 * MIB),
        max_connections: 1000,
        max_recipients: 1000,
        max_errors: 20,
        limits: MailLimits::default(),
        client_limits: MailLimits::default(),
        proxy_protocol: Vec::new(),
    }
}

fn listeners(files: &Files, file: &ServerFile, cx: &mut Cx<'_>) -> Vec<Listener> {
    let Some(raw) = file.listeners.get() else {
        return vec![usual_listener()];
    };
    if raw.is_empty() {
        cx.error(file.listeners.spot(file.spot()), Fault::NoListeners);
    }
    let mut names = Names::new("listener", false);
    let mut listeners: Vec<Listener> = Vec::new();
    for raw in raw {
        let (Some(name), Some(address)) = (&raw.name.value, &raw.address.value) else { continue };
        if !names.add(&name.0, name.spot, cx) {
            continue;
        }
        let (name, address) = (name.0.clone(), address.value);
        if address.port() != 0
            && let Some(other) = listeners.iter().find(|other| other.address == address)
        {
            let (address, other) = (address.to_string(), other.name.clone());
            cx.error(raw.address.spot(raw.spot()), Fault::AddressTaken { listener: name.clone(), address, other });
        }
        let usual = usual_listener();
        let (limits, client_limits) = clients::of_listener(raw, cx);
        let listener = Listener {
            name,
            address,
            protocol: raw.protocol.or(ListenerProtocol::Smtp),
            tls: raw.tls.or(ListenerTls::None),
            certificate: own_certificate(raw, cx),
            authentication: raw.authentication.or(Authentication::None),
            deny: raw.deny.get().into_iter().flatten().map(|net| net.value).collect(),
            allow: raw.allow.get().map_or(usual.allow, |nets| nets.iter().filter_map(|net| allowed(net)).collect()),
            check_from_header: raw.check_from_header.or(false),
            old_auth: raw.old_auth.or(false),
            client_ca: client_ca(raw, cx),
            max_message_size: raw.max_message_size.or(usual.max_message_size),
            max_connections: raw.max_connections.get().map_or(usual.max_connections, |most| most.to_usize()),
            max_recipients: raw.max_recipients.get().map_or(usual.max_recipients, |most| most.to_usize()),
            max_errors: raw.max_errors.get().map_or(usual.max_errors, |most| most.to_u32()),
            limits,
            client_limits,
            proxy_protocol: raw.proxy_protocol.get().into_iter().flatten().map(|net| net.value).collect(),
        };
        judge(files, file, raw, &listener, cx);
        listeners.push(listener);
    }
    if let Some(users) = file.users.key
        && users::some(files)
        && listeners.len() == raw.len()
        && listeners.iter().all(|one| one.authentication == Authentication::None && one.client_ca.is_none())
    {
        cx.warning(users, Fault::IdleUsers);
    }
    listeners
}

fn allowed(raw: &RawAllowed) -> Option<Allowed> {
    match raw {
        RawAllowed::Plain(network) => Some(Allowed { network: *network, senders: Vec::new() }),
        RawAllowed::Held(raw) => Some(Allowed {
            network: *raw.network.get()?,
            senders: raw.senders.get().into_iter().flatten().map(|sender| sender.value.clone()).collect(),
        }),
    }
}

fn logins(raw: Option<&RawLogins>) -> LoginLimits {
    let usual = LoginLimits::default();
    let Some(raw) = raw else { return usual };
    LoginLimits {
        checks: raw.checks.get().map(|most| most.to_usize()),
        delay: raw.delay.get().map_or(usual.delay, |delay| delay.0),
        address_failures: raw.address_failures.get().map_or(usual.address_failures, |most| most.to_u32()),
        user_failures: raw.user_failures.get().map_or(usual.user_failures, |most| most.to_u32()),
        within: raw.within.get().map_or(usual.within, |span| span.0),
        refuse_for: raw.refuse_for.get().map_or(usual.refuse_for, |span| span.0),
    }
}

/// What a listener must not be.
fn judge(files: &Files, file: &ServerFile, raw: &RawListener, listener: &Listener, cx: &mut Cx<'_>) {
    let named = || listener.name.clone();
    if listener.max_message_size.0 == 0 {
        cx.error(raw.max_message_size.spot(raw.spot()), Fault::ZeroSize);
    }
    if listener.protocol == ListenerProtocol::Lmtp && listener.address.port() == 25 {
        cx.error(raw.address.spot(raw.spot()), Fault::LmtpPort { what: format!("listener '{}'", listener.name) });
    }
    let own = raw.certificate.is_given() || raw.key.is_given();
    if listener.tls != ListenerTls::None && !file.tls.is_given() && !own {
        cx.warning(raw.tls.spot(raw.spot()), Fault::SelfSigned { listener: named() });
    }
    // A tls that could not be read may be any.
    let clear = listener.tls == ListenerTls::None && raw.tls.is_given() == raw.tls.get().is_some();
    if clear && own {
        cx.warning(raw.certificate.spot(raw.spot()), Fault::IdleCertificate { listener: named() });
    }
    if raw.client_ca.is_given() && clear {
        cx.error(raw.client_ca.spot(raw.spot()), Fault::ClientCaWithoutTls { listener: named() });
    }
    let signs_in = listener.authentication != Authentication::None;
    let unread = file.users.is_given() && file.users.get().is_none();
    if signs_in && !unread && !users::some(files) {
        cx.error(raw.authentication.spot(raw.spot()), Fault::NoUsers { listener: named() });
    }
    if covers_the_internet(listener.proxy_protocol.iter().copied()) {
        cx.error(raw.proxy_protocol.spot(raw.spot()), Fault::AnyBalancer { listener: named() });
    }
    // Whom a balancer on this host brings is not on this host.
    if listener.address.ip().to_canonical().is_loopback() && listener.proxy_protocol.is_empty() {
        return;
    }
    let address = listener.address.to_string();
    if signs_in && clear {
        let fault = Fault::ClearAuthentication { listener: named(), address: address.clone() };
        cx.error(raw.authentication.spot(raw.spot()), fault);
    }
    if covers_the_internet(listener.allow.iter().map(|allowed| allowed.network)) {
        cx.error(raw.allow.spot(raw.spot()), Fault::OpenRelay { listener: named(), address });
    }
}

/// The networks take in at least half of the IPv4 or of the IPv6 internet (2000::/3, RFC 4291, 2.4): nobody's own
/// networks do, however they are cut up.
fn covers_the_internet(nets: impl Iterator<Item = IpNet>) -> bool {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for net in nets {
        match net {
            IpNet::V4(net) => v4.push(net),
            // An IPv4 client of a dual-stack socket.
            IpNet::V6(net) => match net.addr().to_ipv4_mapped() {
                Some(ip) if net.prefix_len() >= 96 => {
                    v4.extend(Ipv4Net::new(ip, net.prefix_len() - 96).ok());
                }
                Some(_) | None => v6.push(net),
            },
        }
    }
    let v4: u64 = Ipv4Net::aggregate(&v4).iter().map(|net| 1_u64 << (32 - net.prefix_len())).sum();
    let global = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    let v6: u128 = Ipv6Net::aggregate(&v6)
        .iter()
        .filter_map(|net| match (global.contains(net), net.contains(&global)) {
            (true, _) => Some(1_u128 << (128 - net.prefix_len())),
            (false, true) => Some(1_u128 << 125),
            (false, false) => None,
        })
        .sum();
    v4 >= 1 << 31 || v6 >= 1 << 124
}

pub(super) fn certificate(
    certificate: &Field<PathBuf>,
    key: &Field<PathBuf>,
    cx: &mut Cx<'_>,
) -> Option<ServerCertificate> {
    let files = (readable(certificate, cx), readable(key, cx));
    let place = |field: &Field<PathBuf>| field.value.as_ref().map(|at| cx.place(at.spot));
    let (certificate_place, key_place) = (place(certificate)?, place(key)?);
    Some(ServerCertificate { files: TlsFiles { certificate: files.0?, key: files.1? }, certificate_place, key_place })
}

fn client_ca(raw: &RawListener, cx: &mut Cx<'_>) -> Option<ClientCa> {
    let file = readable(&raw.client_ca, cx)?;
    raw.client_ca.value.as_ref().map(|at| ClientCa { file, place: cx.place(at.spot) })
}

fn own_certificate(raw: &RawListener, cx: &mut Cx<'_>) -> Option<ServerCertificate> {
    match (raw.certificate.key, raw.key.key) {
        (Some(_), Some(_)) => certificate(&raw.certificate, &raw.key, cx),
        (Some(spot), None) | (None, Some(spot)) => {
            cx.error(spot, Fault::HalfCertificate);
            None
        }
        (None, None) => None,
    }
}

/// The path of a file that must be there.
pub(super) fn readable(field: &Field<PathBuf>, cx: &mut Cx<'_>) -> Option<PathBuf> {
    let at = field.value.as_ref()?;
    if let Err(error) = cx.outside.readable(&at.value) {
        let fault =
            Fault::UnreadableFile { path: at.value.display().to_string(), error: crate::config::secret::plain(&error) };
        cx.error(at.spot, fault);
    }
    Some(at.value.clone())
}

fn queue(raw: Option<&RawQueue>, cx: &mut Cx<'_>) -> QueueSettings {
    let usual_retry = || vec![MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR];
    let span = |field: &Field<Span>| field.get().map(|span| span.0);
    let expire = raw.and_then(|raw| span(&raw.expire)).unwrap_or(5 * 24 * HOUR);
    if let Some(raw) = raw.filter(|raw| raw.max_size.get().is_some_and(|size| size.0 == 0)) {
        cx.error(raw.max_size.spot(raw.spot()), Fault::ZeroSize);
    }
    // Given by the user, it is judged; the usual one gives way to a short `expire`.
    let given: Option<&OrNever> = raw.and_then(|raw| raw.warn_after.get());
    let warn_after = match given {
        Some(OrNever(Some(warn_after))) if *warn_after >= expire => {
            let spot = raw.map_or(Spot::default(), |raw| raw.warn_after.spot(raw.spot()));
            cx.error(spot, Fault::WarnAfterExpire { warn_after: *warn_after, expire });
            None
        }
        Some(OrNever(given)) => *given,
        None => Some(4 * HOUR).filter(|usual| *usual < expire),
    };
    QueueSettings {
        path: raw.and_then(|raw| raw.path.get().cloned()).unwrap_or_else(|| cx.base.join("data/queue.redb")),
        retry: raw
            .and_then(|raw| raw.retry.get())
            .map_or_else(usual_retry, |list| list.0.iter().map(|span| span.0).collect()),
        expire,
        warn_after,
        min_free: raw.and_then(|raw| raw.min_free.get()).copied().unwrap_or(Size(64 * MIB)),
        max_messages: raw.and_then(|raw| raw.max_messages.get()).map_or(10_000_000, |most| most.0),
        max_size: raw.and_then(|raw| raw.max_size.get()).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn half_of_the_internet_is_anyone() {
        for (nets, all) in [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("2000::/3", true),
            ("0.0.0.0/1 128.0.0.0/1", true),
            ("0.0.0.0/2 64.0.0.0/2", true),
            ("2000::/4 3000::/4", true),
            ("::ffff:0.0.0.0/96", true),
            ("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fe80::/10", false),
            ("203.0.113.0/24 2001:db8::/32", false),
            ("", false),
        ] {
            let list: Vec<IpNet> = nets.split_whitespace().map(|net| net.parse().unwrap()).collect();
            assert_eq!(covers_the_internet(list.into_iter()), all, "{nets}");
        }
    }

    #[test]
    fn loopback_is_allowed_by_default() {
        for ip in ["127.0.0.1", "127.9.9.9", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert!(loopback().iter().any(|allowed| allowed.network.contains(&ip)), "{ip}");
        }
        assert!(!loopback().iter().any(|allowed| allowed.network.contains(&"10.0.0.1".parse::<IpAddr>().unwrap())));
    }
}
