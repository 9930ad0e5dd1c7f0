//! The limits of clients, listeners and users.

use crate::config::fault::Fault;
use crate::config::model::{Limit, Per};
use crate::config::raw::{Count, RawLdap, RawListener, RawPickupFolder, RawUser, ServerFile, Span};
use crate::config::read::{Cx, Field, Record};
use crate::config::{ClientLimits, ClientTimeouts, MailLimits, Rate};

pub(super) fn clients(file: &ServerFile, cx: &mut Cx<'_>) -> ClientLimits {
    let usual = ClientLimits::default();
    if file.max_content_memory.get().is_some_and(|size| size.0 == 0) {
        cx.error(file.max_content_memory.spot(file.spot()), Fault::ZeroSize);
    }
    ClientLimits {
        max_connections: file.max_connections.get().map_or(usual.max_connections, |most| most.to_usize()),
        max_connections_per_client: file
            .max_connections_per_client
            .get()
            .map_or(usual.max_connections_per_client, |most| most.to_usize()),
        connection_rate: file.connection_rate.or(usual.connection_rate),
        exempt: file.exempt_clients.get().map(|nets| nets.iter().map(|net| net.value).collect()),
        max_content_memory: file.max_content_memory.or(usual.max_content_memory),
        timeout: timeouts(file),
    }
}

fn timeouts(file: &ServerFile) -> ClientTimeouts {
    let usual = ClientTimeouts::default();
    let Some(given) = file.timeout.get() else { return usual };
    let span = |field: &Field<Span>, usual| field.get().map_or(usual, |span| span.0);
    ClientTimeouts {
        command: span(&given.command, usual.command),
        content: span(&given.content, usual.content),
        message: span(&given.message, usual.message),
        session: span(&given.session, usual.session),
    }
}

/// Of a listener as a whole, and of each client by itself.
pub(super) fn of_listener(raw: &RawListener, cx: &mut Cx<'_>) -> (MailLimits, MailLimits) {
    let all = mail(("burst", &raw.burst), "rate", &raw.rate, &raw.recipient_rate, cx);
    let each =
        mail(("client_burst", &raw.client_burst), "client_rate", &raw.client_rate, &raw.client_recipient_rate, cx);
    (all, each)
}

pub(super) fn of_user(raw: &RawUser, cx: &mut Cx<'_>) -> MailLimits {
    mail(("burst", &raw.burst), "rate", &raw.rate, &raw.recipient_rate, cx)
}

/// Of each user of a directory.
pub(super) fn of_directory(raw: &RawLdap, cx: &mut Cx<'_>) -> MailLimits {
    mail(("burst", &raw.burst), "rate", &raw.rate, &raw.recipient_rate, cx)
}

/// Of the pickup folder, whose files wait: none of them is refused for it.
pub(super) fn of_pickup(raw: &RawPickupFolder, cx: &mut Cx<'_>) -> MailLimits {
    mail(("burst", &raw.burst), "rate", &raw.rate, &Field { key: None, value: None }, cx)
}

/// A refused client comes again, mail that waits does not: so the burst is what the rate names (`100/h`: a hundred at
/// once, where none came for an hour), and not a moment's share as where mail goes out.
fn mail(
    (key, burst): (&'static str, &Field<Count>),
    of: &'static str,
    messages: &Field<Rate>,
    recipients: &Field<Rate>,
    cx: &mut Cx<'_>,
) -> MailLimits {
    if let Some(spot) = burst.key
        && !messages.is_given()
    {
        cx.error(spot, Fault::IdleBurst { key, of });
    }
    let whole = |rate: &Rate, per| Limit { rate: *rate, burst: rate.count, per };
    MailLimits {
        messages: messages.get().map(|rate| {
            let whole = whole(rate, Per::Message);
            Limit { burst: burst.get().map_or(whole.burst, |burst| burst.to_u32()), ..whole }
        }),
        recipients: recipients.get().map(|rate| whole(rate, Per::Recipient)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Assumed, Limit, Listener, Loaded, MailLimits, Per, Server, Sources};

    fn load(waypost: &str) -> Loaded {
        let sources = Sources::new("").with("waypost.yaml", waypost);
        crate::config::load(&sources.with("routes/all.yaml", "routes: [{name: all, discard: true}]"), &Assumed)
    }

    fn server(waypost: &str) -> Server {
        let loaded = load(waypost);
        assert!(loaded.problems.iter().all(|problem| !problem.is_error()), "{:?}", loaded.problems);
        loaded.config.unwrap().server
    }

    fn listener(keys: &str) -> Listener {
        server(&format!("listeners: [{{name: a, address: '127.0.0.1:0', {keys}}}]")).listeners.remove(0)
    }

    fn limit(rate: &str, burst: u32, per: Per) -> Option<Limit> {
        Some(Limit { rate: rate.parse().unwrap(), burst, per })
    }

    #[test]
    fn limits_are_read() {
        let clients = server("{max_connections: 7, max_connections_per_client: 3, connection_rate: 5/m, exempt_clients: [], timeout: {message: 1m}}").clients;
        assert_eq!((clients.max_connections, clients.max_connections_per_client), (7, 3));
        assert_eq!((clients.connection_rate.to_string(), clients.exempt), ("5/m".to_owned(), Some(Vec::new())));
        assert_eq!(clients.timeout.message, Duration::from_secs(60));
        assert_eq!(clients.timeout.command, Duration::from_secs(300));

        let one = listener("rate: 100/h, burst: 10, client_rate: 50/h, client_recipient_rate: 200/d");
        let of = MailLimits { messages: limit("100/h", 10, Per::Message), recipients: None };
        assert_eq!(one.limits, of);
        let each =
            MailLimits { messages: limit("50/h", 50, Per::Message), recipients: limit("200/d", 200, Per::Recipient) };
        assert_eq!(one.client_limits, each);
        assert_eq!((listener("").limits, listener("").max_errors), (MailLimits::default(), 20));
    }

    #[test]
    fn what_is_wrong_with_limits_is_told() {
        for (waypost, told) in [
            ("listeners: [{name: a, address: '127.0.0.1:0', burst: 5}]", "key 'burst' does nothing without 'rate'"),
            (
                "listeners: [{name: a, address: '127.0.0.1:0', rate: 5/h, client_burst: 5}]",
                "key 'client_burst' does nothing without 'client_rate'",
            ),
            ("max_connections: 0", "0 is out of range: 1 to 1000000"),
            ("connection_rate: '5'", "'5' is no rate: write one such as 100/s"),
            ("max_content_memory: 0", "a size of 0 makes no sense here"),
            ("queue: {max_size: 0}", "a size of 0 makes no sense here"),
            ("queue: {max_message: 5}", "unknown key 'max_message', did you mean 'max_messages'?"),
            (
                "listeners: [{name: a, address: '127.0.0.1:0', proxy_protocol: [0.0.0.0/0]}]",
                "listener 'a': 'proxy_protocol' believes anyone",
            ),
            (
                "listeners: [{name: a, address: '127.0.0.1:0', proxy_protocol: [127.0.0.1], allow: [0.0.0.0/0]}]",
                "listener 'a': an open relay: 127.0.0.1:0 would take mail from anyone",
            ),
            ("timeout: 5m", "a mapping with command, content, message, session is wanted here"),
        ] {
            let told_of: Vec<String> = load(waypost).problems.iter().map(|problem| problem.message.clone()).collect();
            assert!(told_of.len() == 1 && told_of[0].contains(told), "{waypost}: {told_of:?}");
        }
    }
}
