//! In which order hosts and addresses are tried. Pure: what DNS said and a source of randomness are arguments.

use std::net::IpAddr;

use rand::Rng;
use rand::seq::SliceRandom as _;

use super::dns::Mx;
use crate::mail::Domain;

/// Why MX records name no host to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoExchanger {
    /// The domain takes no mail (RFC 7505).
    Null,
    /// The relay itself is the best exchanger: mail would come back to it (RFC 5321, 5.1).
    Loop,
}

/// The hosts by preference, those of equal preference in random order (RFC 5321, 5.1). Where `me` is among them, hosts that
/// are no better than it are left out.
pub(super) fn exchangers(mut records: Vec<Mx>, me: &Domain, rng: &mut impl Rng) -> Result<Vec<String>, NoExchanger> {
    // A null MX stands alone (RFC 7505, section 3); beside others it means nothing.
    records.retain(|mx| !mx.host.is_empty());
    if records.is_empty() {
        return Err(NoExchanger::Null);
    }
    let mine = records.iter().filter(|mx| mx.host.eq_ignore_ascii_case(me.as_str())).map(|mx| mx.preference).min();
    if let Some(mine) = mine {
        records.retain(|mx| mx.preference < mine);
        if records.is_empty() {
            return Err(NoExchanger::Loop);
        }
    }
    records.shuffle(rng);
    records.sort_by_key(|mx| mx.preference);
    let mut hosts: Vec<String> = Vec::with_capacity(records.len());
    for mx in records {
        if !hosts.contains(&mx.host) {
            hosts.push(mx.host);
        }
    }
    Ok(hosts)
}

/// IPv6 and IPv4 by turns, IPv6 first (RFC 8305, section 4), so that a family without a route costs one try; within a
/// family at random. A source address leaves its own family alone.
pub(super) fn in_order(mut addresses: Vec<IpAddr>, source: Option<IpAddr>, rng: &mut impl Rng) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.retain(|address| source.is_none_or(|source| source.is_ipv4() == address.is_ipv4()));
    addresses.shuffle(rng);
    let (mut v6, mut v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let mut ordered = Vec::with_capacity(v6.len() + v4.len());
    while !v6.is_empty() || !v4.is_empty() {
        ordered.extend(v6.pop());
        ordered.extend(v4.pop());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn records(records: &[(u16, &str)]) -> Vec<Mx> {
        records.iter().map(|&(preference, host)| Mx { preference, host: host.to_owned() }).collect()
    }

    fn order(list: &[(u16, &str)], seed: u64) -> Result<Vec<String>, NoExchanger> {
        exchangers(records(list), &"relay.example".parse().unwrap(), &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn preference_rules_and_equals_are_shuffled() {
        let list = [(20, "c"), (10, "a"), (10, "b"), (10, "d")];
        let orders: HashSet<_> = (0..100).map(|seed| order(&list, seed).unwrap()).collect();
        assert_eq!(orders.len(), 6, "all orders of three equals come up");
        assert!(orders.iter().all(|order| order[3] == "c"));
    }

    #[test]
    fn null_and_own_records() {
        for (list, expected) in [
            (&[(0, "")][..], Err(NoExchanger::Null)),
            (&[(0, ""), (10, "a")], Ok(vec!["a"])),
            (&[(10, "relay.example")], Err(NoExchanger::Loop)),
            (&[(10, "Relay.Example"), (20, "a")], Err(NoExchanger::Loop)),
            (&[(10, "a"), (20, "relay.example"), (20, "b"), (30, "c")], Ok(vec!["a"])),
            (&[(10, "a"), (20, "a")], Ok(vec!["a"])),
        ] {
            let expected = expected.map(|hosts: Vec<&str>| hosts.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(order(list, 1), expected, "{list:?}");
        }
    }

    #[test]
    fn families_take_turns() {
        let all = || ["1.1.1.1", "2::2", "3.3.3.3", "4.4.4.4", "2::2"].map(|a| a.parse().unwrap()).to_vec();
        let mut rng = StdRng::seed_from_u64(1);
        let families: Vec<_> = in_order(all(), None, &mut rng).iter().map(IpAddr::is_ipv6).collect();
        assert_eq!(families, [true, false, false, false]);
        let v4: Vec<_> = in_order(all(), Some("0.0.0.0".parse().unwrap()), &mut rng);
        assert!(v4.len() == 3 && v4.iter().all(IpAddr::is_ipv4));
    }
}
