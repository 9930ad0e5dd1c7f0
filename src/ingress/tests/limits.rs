//! Each limit, and what a client hears on the wire when it comes to it.

use super::*;
use crate::config::{Directory, Limit, Lookup, Per, Rate, Server, User};

/// One limit: how the relay is set, what is said, and the reply to the last of it.
struct Row {
    limit: &'static str,
    set: fn(&mut Listener, &mut Server),
    /// Connections that are open before the one that says it.
    others: usize,
    said: String,
    replies: usize,
    last: &'static str,
}

/// A row whose talk begins behind the greeting, which is one of its replies.
fn row(
    limit: &'static str,
    set: fn(&mut Listener, &mut Server),
    said: impl Into<String>,
    replies: usize,
    last: &'static str,
) -> Row {
    Row { limit, set, others: 0, said: said.into(), replies, last }
}

fn crowd(limit: &'static str, set: fn(&mut Listener, &mut Server), last: &'static str) -> Row {
    Row { others: 1, ..row(limit, set, "", 1, last) }
}

/// One an hour.
fn hourly(per: Per) -> Option<Limit> {
    Some(Limit { rate: Rate { count: 1, span: Duration::from_secs(3600) }, burst: 1, per })
}

fn user(limits: MailLimits) -> User {
    User { name: "billing".to_owned(), password: None, senders: Vec::new(), check_from_header: false, limits }
}

fn directory(limits: MailLimits) -> Directory {
    Directory {
        url: "ldap://127.0.0.1".to_owned(),
        starttls: false,
        ca: None,
        lookup: Lookup::Template("uid={user}".to_owned()),
        group: None,
        senders: Vec::new(),
        check_from_header: false,
        limits,
        timeout: Duration::from_secs(1),
        cache: Duration::from_secs(1),
    }
}

fn content(octets: usize) -> String {
    format!("{}A: b\r\n\r\n{}.\r\n", envelope(&["x"]), "0123456789\r\n".repeat(octets / 12))
}

fn rows() -> Vec<Row> {
    const BLAH: &str = "BLAH\r\n";
    let set = |_: &mut Listener, _: &mut Server| ();
    let auth: fn(&mut Listener, &mut Server) = |listener, _| listener.authentication = Authentication::Optional;
    let mail = "MAIL FROM:<a@b.example>\r\n";
    let twice = format!("EHLO me\r\n{mail}RSET\r\n{mail}");
    let two = format!("{ENVELOPE}RCPT TO:<y@y.example>\r\n");
    let login = |rest: &str| format!("EHLO me\r\n{LOGIN}{}", rest.replace("b.example", "billing.example"));
    vec![
        crowd(
            "max_connections of the relay",
            |_, server| server.clients.max_connections = 1,
            "421 4.3.2 The relay has 1 connections and takes no more, try again later",
        ),
        crowd(
            "max_connections of a listener",
            |listener, _| listener.max_connections = 1,
            "421 4.7.0 Too many connections: 1 at one time, try again later",
        ),
        crowd(
            "max_connections_per_client",
            |_, server| {
                server.clients.exempt = Some(Vec::new());
                server.clients.max_connections_per_client = 1;
            },
            "421 4.7.0 Too many connections from your address: 1 at one time",
        ),
        crowd(
            "connection_rate",
            |_, server| {
                server.clients.exempt = Some(Vec::new());
                server.clients.connection_rate = Rate { count: 1, span: Duration::from_secs(3600) };
            },
            "421 4.7.0 Too many new connections from your address: 1/h",
        ),
        row("max_errors", |listener, _| listener.max_errors = 3, BLAH.repeat(3), 5, "421 4.7.0 Too many errors"),
        row("an unknown command", set, BLAH, 2, "500 5.5.1 Unknown command"),
        row("a command line", set, "x".repeat(4096), 2, "500 5.5.2 The line is too long"),
        row(
            "a line of AUTH",
            auth,
            format!("EHLO me\r\nAUTH LOGIN\r\n{}", "x".repeat(12_288)),
            4,
            "500 5.5.6 The authentication line is too long",
        ),
        row(
            "max_message_size, at MAIL",
            |listener, _| listener.max_message_size = Size(1000),
            "EHLO me\r\nMAIL FROM:<a@b.example> SIZE=1001\r\n",
            3,
            "552 5.3.4 The message is larger than the 1000 octets that are taken here",
        ),
        row(
            "max_message_size, in DATA",
            |listener, _| listener.max_message_size = Size(1000),
            content(2000),
            6,
            "552 5.3.4 The message is larger than the 1000 octets that are taken here",
        ),
        row(
            "max_message_size, in BDAT",
            |listener, _| listener.max_message_size = Size(1000),
            format!("{ENVELOPE}BDAT 2000\r\n{}", "x".repeat(2000)),
            5,
            "552 5.3.4 The message is larger than the 1000 octets that are taken here",
        ),
        row(
            "a header section",
            set,
            format!("{}A: {}\r\n\r\n.\r\n", envelope(&["x"]), "x".repeat(1 << 20)),
            6,
            "552 5.3.4 The header section is larger than the 1048576 octets that are taken here",
        ),
        row(
            "max_recipients",
            |listener, _| listener.max_recipients = 1,
            &two,
            5,
            "452 4.5.3 Too many recipients: 1 a message",
        ),
        row(
            "rate of a listener",
            |listener, _| listener.limits.messages = hourly(Per::Message),
            &twice,
            5,
            "451 4.7.1 Too much mail at this listener: 1/h; try again in 3600 s",
        ),
        row(
            "recipient_rate of a listener",
            |listener, _| listener.limits.recipients = hourly(Per::Recipient),
            &two,
            5,
            "451 4.7.1 Too many recipients at this listener: 1/h; try again in 3600 s",
        ),
        row(
            "client_rate",
            |listener, _| listener.client_limits.messages = hourly(Per::Message),
            &twice,
            5,
            "451 4.7.1 Too much mail from your address: 1/h; try again in 3600 s",
        ),
        row(
            "client_recipient_rate",
            |listener, _| listener.client_limits.recipients = hourly(Per::Recipient),
            &two,
            5,
            "451 4.7.1 Too many recipients from your address: 1/h; try again in 3600 s",
        ),
        row(
            "rate of a user",
            |listener, server| {
                listener.authentication = Authentication::Optional;
                server.users.push(user(MailLimits { messages: hourly(Per::Message), recipients: None }));
            },
            login(&twice[9..]),
            6,
            "451 4.7.1 Too much mail of user billing: 1/h; try again in 3600 s",
        ),
        row(
            "recipient_rate of a user",
            |listener, server| {
                listener.authentication = Authentication::Optional;
                server.users.push(user(MailLimits { messages: None, recipients: hourly(Per::Recipient) }));
            },
            login(&two[9..]),
            6,
            "451 4.7.1 Too many recipients of user billing: 1/h; try again in 3600 s",
        ),
        row(
            "rate of a user of the directory",
            |listener, server| {
                listener.authentication = Authentication::Optional;
                server.directory = Some(directory(MailLimits { messages: hourly(Per::Message), recipients: None }));
            },
            login(&twice[9..]),
            6,
            "451 4.7.1 Too much mail of user billing: 1/h; try again in 3600 s",
        ),
        row(
            "recipient_rate of a user of the directory",
            |listener, server| {
                listener.authentication = Authentication::Optional;
                server.directory = Some(directory(MailLimits { messages: None, recipients: hourly(Per::Recipient) }));
            },
            login(&two[9..]),
            6,
            "451 4.7.1 Too many recipients of user billing: 1/h; try again in 3600 s",
        ),
        row(
            "queue.min_free",
            |_, server| server.queue.min_free = Size(u64::MAX),
            format!("EHLO me\r\n{mail}"),
            3,
            "452 4.3.1 The queue has no room, try again later",
        ),
        row(
            "queue.min_free, by SIZE at MAIL",
            |listener, _| listener.max_message_size = Size(u64::MAX),
            "EHLO me\r\nMAIL FROM:<a@b.example> SIZE=9000000000000000000\r\n",
            3,
            "452 4.3.1 The queue has no room, try again later",
        ),
        row(
            "queue.max_size, by SIZE at MAIL",
            |_, server| server.queue.max_size = Some(Size(1000)),
            "EHLO me\r\nMAIL FROM:<a@b.example> SIZE=1001\r\n",
            3,
            "452 4.3.1 The queue holds as much mail as it may, try again later",
        ),
        row(
            "queue.max_messages",
            |_, server| server.queue.max_messages = 1,
            format!("{}{mail}", content(100)),
            7,
            "452 4.3.1 The queue holds as much mail as it may, try again later",
        ),
        row(
            "queue.max_size",
            |_, server| server.queue.max_size = Some(Size(1000)),
            content(2000),
            6,
            "452 4.3.1 The queue holds as much mail as it may, try again later",
        ),
        row(
            "max_content_memory",
            |_, server| server.clients.max_content_memory = Size(1000),
            content(2000),
            6,
            "452 4.3.1 No memory for more content right now, try again later",
        ),
        row(
            "max_content_memory, at MAIL",
            |_, server| server.clients.max_content_memory = Size(0),
            format!("EHLO me\r\n{mail}"),
            3,
            "452 4.3.1 No memory for more content right now, try again later",
        ),
        row(
            "timeout.command",
            |_, server| server.clients.timeout.command = Duration::from_millis(50),
            "",
            2,
            "421 4.4.2 Timeout: the connection was idle for too long",
        ),
        row(
            "timeout.content",
            |_, server| server.clients.timeout.content = Duration::from_millis(50),
            envelope(&["x"]),
            6,
            "421 4.4.2 Timeout: the connection was idle for too long",
        ),
        row(
            "timeout.message",
            |_, server| server.clients.timeout.message = Duration::from_millis(50),
            envelope(&["x"]),
            6,
            "421 4.4.2 Timeout: the message took too long",
        ),
        row(
            "timeout.session",
            |_, server| server.clients.timeout.session = Duration::from_millis(50),
            "",
            2,
            "421 4.4.2 Timeout: the session went on for too long without a message",
        ),
    ]
}

#[tokio::test]
async fn every_limit_has_its_reply() {
    for Row { limit, set, others, said, replies, last } in rows() {
        let (mut listener, mut server) = (listener(), server());
        set(&mut listener, &mut server);
        let relay = Relay::with(listener, &server).await;
        let mut before = Vec::new();
        for _ in 0..others {
            before.push(relay.client().await);
        }
        let mut client = Client::new(TcpStream::connect(relay.address).await.unwrap());
        let heard = client.ask(&said, replies).await;
        println!("{limit:30} {}", heard.last().unwrap().trim_end());
        assert_eq!(heard.last().unwrap().trim_end(), last, "{limit}: {heard:?}");
    }
}

/// An application on this host opens as many connections as it likes, one after the other or at once.
#[tokio::test]
async fn loopback_is_not_hampered_by_what_nobody_asked_for() {
    let relay = Relay::start(Listener { max_connections: 1000, allow: Vec::new(), ..listener() }).await;
    let mut clients = Vec::new();
    for _ in 0..400 {
        clients.push(relay.client().await);
    }
}

#[tokio::test]
async fn places_are_given_back() {
    let mut server = server();
    server.clients.exempt = Some(Vec::new());
    server.clients.max_connections_per_client = 2;
    server.clients.connection_rate = Rate { count: 1_000_000, span: Duration::from_secs(1) };
    let relay = Relay::with(Listener { max_connections: 2, ..listener() }, &server).await;
    for _ in 0..20 {
        let (mut one, two) = (relay.client().await, relay.client().await);
        assert_eq!(one.codes("QUIT\r\n", 1).await, "221 2.0.0");
        assert!(one.gone().await);
        drop((one, two));
        // The relay sees the other's end a moment later.
        tokio::time::timeout(Duration::from_secs(30), async {
            while !relay.deps.limits.is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
