//! What the relay takes of its clients: connections, time, and mail in a span.

use std::time::Duration;

use ipnet::IpNet;

use super::{Limit, Rate, Size};

/// Whichever listener they come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// Of all listeners together.
    pub max_connections: usize,
    /// Of an IPv4 address, or of an IPv6 /64.
    pub max_connections_per_client: usize,
    pub connection_rate: Rate,
    /// Whom the two above pass over, and the delay of errors too; `None`: loopback, and what the listener allows.
    pub exempt: Option<Vec<IpNet>>,
    /// Content on its way in that is held in memory.
    pub max_content_memory: Size,
    pub timeout: ClientTimeouts,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_client: 100,
            connection_rate: Rate { count: 100, span: Duration::from_secs(1) },
            exempt: None,
            max_content_memory: Size(256 << 20),
            timeout: ClientTimeouts::default(),
        }
    }
}

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For its next command, since the last reply (RFC 5321, 4.5.3.2.7).
    pub command: Duration,
    /// Between two reads of content.
    pub content: Duration,
    /// For the content of a message, however steadily it comes.
    pub message: Duration,
    /// For a session, since it began or a message of it was taken.
    pub session: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { command: minutes(5), content: minutes(5), message: minutes(30), session: minutes(60) }
    }
}

/// How much mail may come in a span; what is over that is put off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailLimits {
    pub messages: Option<Limit>,
    pub recipients: Option<Limit>,
}

/// What logins may cost, and how guessing is slowed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginLimits {
    /// Passwords that are checked at one time in the whole process; `None`: half of the CPUs.
    pub checks: Option<usize>,
    /// Before the reply to a failed login; grows with the address' failures.
    pub delay: Duration,
    /// So many failures of an address (IPv6: of its /64), or of a user, `within` a span: no more logins for `refuse_for`.
    pub address_failures: u32,
    pub user_failures: u32,
    pub within: Duration,
    pub refuse_for: Duration,
}

impl Default for LoginLimits {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            checks: None,
            delay: Duration::from_secs(1),
            address_failures: 20,
            user_failures: 20,
            within: minutes(10),
            refuse_for: minutes(10),
        }
    }
}
