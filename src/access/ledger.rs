//! Failed logins, counted by address and by user.
//!
//! An address is one of IPv4 or a /64 of IPv6, of which a single client has all (RFC 6177). A user's count bars the
//! name for all addresses but those where it got in before, so that nobody locks an application out by guessing at its name.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

use super::bounded::Bounded;
use crate::config::LoginLimits;

/// Entries of each table: some 100 octets each.
const MOST: usize = 10_000;
/// How long an address is remembered for a login that was good.
const GOOD: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct Ledger {
    address_failures: u32,
    user_failures: u32,
    within: Duration,
    refuse_for: Duration,
    addresses: Bounded<IpAddr, Count>,
    /// By the name's hash: names come from strangers, and may be long.
    users: Bounded<u64, Count>,
    /// Where a user got in.
    good: Bounded<(u64, IpAddr), ()>,
    hasher: RandomState,
}

/// Failures since the first of them; its entry ends with the span, or with the refusal.
#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    until: Instant,
    refused: bool,
}

/// Who is refused from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Address,
    User,
}

impl Ledger {
    pub fn new(limits: &LoginLimits) -> Self {
        Self {
            address_failures: limits.address_failures,
            user_failures: limits.user_failures,
            within: limits.within,
            refuse_for: limits.refuse_for,
            addresses: Bounded::new(MOST),
            users: Bounded::new(MOST),
            good: Bounded::new(MOST),
            hasher: RandomState::new(),
        }
    }

    /// Goes on by other limits; a refusal that has begun keeps its end.
    pub fn renew(&mut self, limits: &LoginLimits) {
        self.address_failures = limits.address_failures;
        self.user_failures = limits.user_failures;
        self.within = limits.within;
        self.refuse_for = limits.refuse_for;
    }

    pub fn refuses(&self, client: IpAddr, user: &str, now: Instant) -> bool {
        let (address, user) = (address(client), self.hasher.hash_one(user));
        self.addresses.get(&address, now).is_some_and(|count| count.refused)
            || (self.users.get(&user, now).is_some_and(|count| count.refused)
                && self.good.get(&(user, address), now).is_none())
    }

    /// The address' failures so far, and who is refused from now on.
    pub fn failed(&mut self, client: IpAddr, user: &str, now: Instant) -> (u32, Vec<Refused>) {
        let (address, user) = (address(client), self.hasher.hash_one(user));
        let counted = |count: Option<&Count>, most: u32| {
            let mut count = count.copied().unwrap_or(Count { failures: 0, until: now + self.within, refused: false });
            count.failures = count.failures.saturating_add(1);
            let begins = count.failures >= most && !count.refused;
            if begins {
                count.refused = true;
                count.until = now + self.refuse_for;
            }
            (count, begins)
        };
        let (of_address, address_begins) = counted(self.addresses.get(&address, now), self.address_failures);
        let (of_user, user_begins) = counted(self.users.get(&user, now), self.user_failures);
        self.addresses.put(address, of_address, of_address.until, now);
        self.users.put(user, of_user, of_user.until, now);
        let begins = [(address_begins, Refused::Address), (user_begins, Refused::User)];
        (of_address.failures, begins.into_iter().filter(|(begins, _)| *begins).map(|(_, who)| who).collect())
    }

    /// No count is taken back: who has one password could else guess at others without an end.
    pub fn succeeded(&mut self, client: IpAddr, user: &str, now: Instant) {
        let key = (self.hasher.hash_one(user), address(client));
        self.good.put(key, (), now + GOOD, now);
    }
}

/// What counts as one client.
fn address(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LoginLimits = LoginLimits {
        checks: None,
        delay: Duration::from_secs(1),
        address_failures: 3,
        user_failures: 5,
        within: Duration::from_secs(60),
        refuse_for: Duration::from_secs(600),
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_refused_for_a_while() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut ledger = Ledger::new(&LIMITS);
        assert_eq!(ledger.failed(ip("192.0.2.1"), "a", at(0)), (1, vec![]));
        assert_eq!(ledger.failed(ip("::ffff:192.0.2.1"), "b", at(1)), (2, vec![]));
        assert!(!ledger.refuses(ip("192.0.2.1"), "a", at(2)));
        assert_eq!(ledger.failed(ip("192.0.2.1"), "c", at(59)), (3, vec![Refused::Address]));
        for (client, after, refused) in
            [("192.0.2.1", 59, true), ("192.0.2.1", 658, true), ("192.0.2.1", 659, false), ("192.0.2.2", 59, false)]
        {
            assert_eq!(ledger.refuses(ip(client), "new", at(after)), refused, "{client} {after}");
        }
        // It is told once, and a good login of one user forgives nothing.
        assert_eq!(ledger.failed(ip("192.0.2.1"), "d", at(60)), (4, vec![]));
        ledger.succeeded(ip("192.0.2.1"), "e", at(61));
        assert!(ledger.refuses(ip("192.0.2.1"), "e", at(61)));
    }

    #[test]
    fn failures_count_within_their_span() {
        let start = Instant::now();
        let mut ledger = Ledger::new(&LIMITS);
        for n in 0..100 {
            let now = start + Duration::from_secs(31 * n);
            assert_eq!(ledger.failed(ip("192.0.2.1"), "u", now).1, vec![], "{n}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let now = Instant::now();
        let mut ledger = Ledger::new(&LIMITS);
        for (client, failures) in
            [("2001:db8::1", 1), ("2001:db8::2", 2), ("2001:db8:0:1::1", 1), ("2001:db8::ffff:0:1", 3)]
        {
            assert_eq!(ledger.failed(ip(client), client, now).0, failures, "{client}");
        }
        assert!(ledger.refuses(ip("2001:db8::77"), "u", now) && !ledger.refuses(ip("2001:db8:0:1::1"), "u", now));
    }

    #[test]
    fn a_user_is_refused_but_where_it_got_in_before() {
        let now = Instant::now();
        let mut ledger = Ledger::new(&LIMITS);
        ledger.succeeded(ip("10.0.0.1"), "billing", now);
        for n in 1..=5 {
            let begins = if n == 5 { vec![Refused::User] } else { vec![] };
            assert_eq!(ledger.failed(ip(&format!("198.51.100.{n}")), "billing", now).1, begins, "{n}");
        }
        assert!(ledger.refuses(ip("203.0.113.1"), "billing", now));
        assert!(!ledger.refuses(ip("203.0.113.1"), "other", now));
        assert!(!ledger.refuses(ip("10.0.0.1"), "billing", now));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut ledger = Ledger::new(&LIMITS);
        for n in 0..30_000_u32 {
            let client = IpAddr::from(n.to_be_bytes());
            ledger.failed(client, &n.to_string(), now);
            ledger.succeeded(client, &n.to_string(), now);
        }
        assert!(ledger.addresses.len() <= MOST && ledger.users.len() <= MOST && ledger.good.len() <= MOST);
    }
}
