//! What clients may take: connections in all, of a client, and how fast; mail in a span; memory for content on its way in.
//!
//! Promises:
//! - each question is answered at once, under short locks or none;
//! - what is kept of clients is bounded by those connected, and for rates by `MOST_CLIENTS`;
//! - a client is an IPv4 address or an IPv6 /64, since a host of IPv6 has as many addresses as it likes.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::doorway::kept;
use super::meter::Meter;
use super::refusal;
use crate::config::{ClientLimits, Limit, MailLimits, Rate, Server};
use crate::smtp::reply::Reply;

/// What all listeners share.
pub struct Limits {
    settings: ClientLimits,
    connections: Places,
    clients: Clients,
    pace: Arc<Meter<IpAddr>>,
    users: HashMap<String, Arc<MailMeter<()>>>,
    /// Of users of the directory that have no entry of their own, each by itself.
    others: Option<Arc<MailMeter<String>>>,
    /// Octets of content on its way in.
    content: Arc<AtomicU64>,
}

/// Connections of each client that has any.
type Clients = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Counts connections; how many there may be is told by whoever takes a place, so that it may change.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<AtomicUsize>);

/// One place; given back when it is dropped.
struct Place(Places);

impl Places {
    fn take(&self, most: usize) -> Option<Place> {
        let more = |taken: usize| (taken < most).then(|| taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a client is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowd {
    /// So many connections in all.
    Relay(usize),
    Listener(usize),
    Client(usize),
    Fast(Rate),
}

/// A connection's places; given back when it is dropped.
pub(super) struct Seat(#[expect(dead_code, reason = "held, not read")] [Place; 2]);

/// A client's connection; no longer counted when it is dropped.
pub(super) struct Guest {
    clients: Clients,
    client: IpAddr,
}

impl Limits {
    pub fn new(server: &Server) -> Self {
        let settings = server.clients.clone();
        let rate = settings.connection_rate;
        let users = server.users.iter().map(|user| (user.name.clone(), Arc::new(MailMeter::new(user.limits))));
        Self {
            connections: Places::default(),
            clients: Clients::default(),
            pace: Arc::new(Meter::new(rate, rate.count)),
            users: users.collect(),
            others: server.directory.as_ref().map(|directory| Arc::new(MailMeter::new(directory.limits))),
            content: Arc::default(),
            settings,
        }
    }

    /// The limits of a changed configuration. What is counted stays counted: connections, memory, and where a rate is the same
    /// what was taken of it.
    pub fn renewed(&self, server: &Server) -> Self {
        let mut new = Self::new(server);
        if new.settings.connection_rate == self.settings.connection_rate {
            new.pace = self.pace.clone();
        }
        for (name, meter) in &mut new.users {
            if let Some(before) = self.users.get(name) {
                *meter = kept(before, meter.clone());
            }
        }
        if let (Some(meter), Some(before)) = (&mut new.others, &self.others) {
            *meter = kept(before, meter.clone());
        }
        new.connections = self.connections.clone();
        new.clients = self.clients.clone();
        new.content = self.content.clone();
        new
    }

    pub(super) fn settings(&self) -> &ClientLimits {
        &self.settings
    }

    /// Places for one more connection at a listener.
    pub(super) fn seat(&self, listener: &Places, most: usize) -> Result<Seat, Crowd> {
        let there = listener.take(most).ok_or(Crowd::Listener(most))?;
        let all = self.settings.max_connections;
        Ok(Seat([there, self.connections.take(all).ok_or(Crowd::Relay(all))?]))
    }

    /// One more connection of a client.
    pub(super) fn welcome(&self, client: IpAddr) -> Result<Guest, Crowd> {
        let (client, most) = (network(client), self.settings.max_connections_per_client);
        let mut clients = lock(&self.clients);
        let count = clients.entry(client).or_default();
        if *count >= most {
            return Err(Crowd::Client(most));
        }
        *count += 1;
        drop(clients);
        let guest = Guest { clients: self.clients.clone(), client };
        self.pace.take(&client).map_err(|_| Crowd::Fast(self.settings.connection_rate))?;
        Ok(guest)
    }

    /// Nobody is connected.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.clients).is_empty() && self.connections.0.load(Ordering::Relaxed) == 0
    }

    /// Takes one from what a user may send.
    pub(super) fn user(&self, user: &str, what: Counted) -> Result<(), TooMuch> {
        match (self.users.get(user), &self.others) {
            (Some(own), _) => own.take(what, &()),
            (None, Some(others)) => others.take(what, &user.to_owned()),
            (None, None) => Ok(()),
        }
    }

    /// There is memory for new content.
    pub fn has_memory(&self) -> bool {
        self.content.load(Ordering::Relaxed) < self.settings.max_content_memory.0
    }

    /// To count one message's content by.
    pub(super) fn memory(&self) -> Held {
        Held { all: Arc::clone(&self.content), most: self.settings.max_content_memory.0, octets: 0 }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut clients = lock(&self.clients);
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client that an address belongs to.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

impl Crowd {
    /// What the client is told: each limit in its own words.
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Relay(most) => {
                refusal(421, 3, 2, format!("The relay has {most} connections and takes no more, try again later"))
            }
            Self::Listener(most) => {
                refusal(421, 7, 0, format!("Too many connections: {most} at one time, try again later"))
            }
            Self::Client(most) => {
                refusal(421, 7, 0, format!("Too many connections from your address: {most} at one time"))
            }
            Self::Fast(rate) => refusal(421, 7, 0, format!("Too many new connections from your address: {rate}")),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Relay(_) => "max_connections of the relay",
            Self::Listener(_) => "max_connections of the listener",
            Self::Client(_) => "max_connections_per_client",
            Self::Fast(_) => "connection_rate",
        }
    }
}

/// What of mail is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Message,
    Recipient,
}

/// Messages and recipients of someone, in a span.
pub(super) struct MailMeter<K: Hash + Eq + Clone> {
    limits: MailLimits,
    messages: Option<(Limit, Meter<K>)>,
    recipients: Option<(Limit, Meter<K>)>,
}

/// Too much mail of someone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooMuch {
    what: &'static str,
    rate: Rate,
    wait: Duration,
}

impl<K: Hash + Eq + Clone> MailMeter<K> {
    pub(super) fn new(limits: MailLimits) -> Self {
        let meter = |limit: Limit| (limit, Meter::new(limit.rate, limit.burst));
        Self { limits, messages: limits.messages.map(meter), recipients: limits.recipients.map(meter) }
    }

    pub(super) fn limits(&self) -> MailLimits {
        self.limits
    }

    pub(super) fn take(&self, counted: Counted, of: &K) -> Result<(), TooMuch> {
        let (meter, what) = match counted {
            Counted::Message => (&self.messages, "mail"),
            Counted::Recipient => (&self.recipients, "recipients"),
        };
        match meter {
            Some((limit, meter)) => meter.take(of).map_err(|wait| TooMuch { what, rate: limit.rate, wait }),
            None => Ok(()),
        }
    }
}

impl TooMuch {
    /// 451 4.7.1, which other relays take for "slow down" (RFC 5321, 4.3.2, lists no 450 for MAIL).
    pub(super) fn reply(&self, of: &str) -> Reply {
        let Self { what, rate, wait } = self;
        let many = if *what == "mail" { "much" } else { "many" };
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        refusal(451, 7, 1, format!("Too {many} {what} {of}: {rate}; try again in {seconds} s"))
    }
}

/// The memory of one message's content; given back when it is dropped.
pub(super) struct Held {
    all: Arc<AtomicU64>,
    most: u64,
    octets: u64,
}

impl Held {
    /// Counts so many octets in all for this message; false where that is more than there is for all of them.
    pub(super) fn hold(&mut self, octets: u64) -> bool {
        if octets <= self.octets {
            self.all.fetch_sub(self.octets - octets, Ordering::Relaxed);
            self.octets = octets;
            return true;
        }
        let more = octets - self.octets;
        if self.all.fetch_add(more, Ordering::Relaxed).saturating_add(more) > self.most {
            self.all.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.octets = octets;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// The reply to content for which there is no memory.
pub(super) fn no_memory() -> Reply {
    refusal(452, 3, 1, "No memory for more content right now, try again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_a_64() {
        for (address, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(network(address.parse().unwrap()), client.parse::<IpAddr>().unwrap(), "{address}");
        }
    }

    #[test]
    fn memory_is_given_back() {
        let all = Arc::new(AtomicU64::new(0));
        let held = |most| Held { all: Arc::clone(&all), most, octets: 0 };
        let (mut one, mut two) = (held(100), held(100));
        assert!(one.hold(60) && two.hold(40));
        assert!(!two.hold(41) && !one.hold(61));
        assert!(one.hold(20) && two.hold(80));
        assert!(!one.hold(21));
        drop(two);
        assert!(one.hold(100));
        drop(one);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
