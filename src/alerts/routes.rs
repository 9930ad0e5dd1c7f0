//! The routes by which mail of alerts goes out: of the relay's own, before all routes of the table, and for nobody else's mail.
//! Each address has the chain of the route that takes it, behind the provider of `via`, and then all others: what tells of an
//! outage must not wait for the provider that is out. Delivery does the rest, breakers and failover included. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{
    Action, AddressPattern, AlertTarget, Condition, Config, Glob, MailTarget, OnThrottle, OnUnknown, Place, Priority,
    Provider, Route, Sticky, Test, Tier, TlsFloor, Transport, residency_met,
};
use crate::mail::{Address, ProviderName, RouteName};
use crate::routing::{Decision, Facts, Table};

/// What no route or listener of a configuration is called.
const NAME: &str = "-alerts";
/// News of yesterday are none.
const EXPIRE: Duration = Duration::from_secs(24 * 3600);

/// The table that a configuration puts in force, with the relay's own routes in it.
pub fn table(config: &Config) -> Table {
    Table::with_routes(config, with_own(config))
}

/// All routes: the relay's own first.
fn with_own(config: &Config) -> Vec<Arc<Route>> {
    let mut own: Vec<Arc<Route>> = Vec::new();
    let table = Table::new(config.routes.clone(), config.providers.clone());
    let mail = config.server.alerts.targets.iter().filter_map(|target| match target {
        AlertTarget::Mail(mail) => Some(mail),
        AlertTarget::Webhook(_) => None,
    });
    for (nth, target) in mail.enumerate() {
        let mut chains: Vec<(Vec<Tier>, Option<TlsFloor>, Vec<&Address>)> = Vec::new();
        for address in &target.to {
            let (chain, tls) = chain(target, address, &table, &config.providers);
            match chains.iter_mut().find(|(other, floor, _)| (alike(other, &chain), *floor) == (true, tls)) {
                Some((_, _, addresses)) => addresses.push(address),
                None => chains.push((chain, tls, vec![address])),
            }
        }
        for (chain, tls, addresses) in chains {
            if let Some(route) = route((own.len(), nth), chain, tls, &addresses) {
                own.push(Arc::new(route));
            }
        }
    }
    own.into_iter().chain(config.routes.iter().cloned()).collect()
}

/// What a target's mail says of where it came from, by which these routes know it.
pub fn origin(nth: usize) -> String {
    numbered(nth)
}

/// It is one of these, and none of the configuration's.
pub fn is_own(route: &RouteName) -> bool {
    route.as_str().starts_with('-')
}

fn numbered(nth: usize) -> String {
    match nth {
        0 => NAME.to_owned(),
        nth => format!("{NAME}-{}", nth + 1),
    }
}

fn alike(one: &[Tier], other: &[Tier]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.0 == other.0)
}

fn chain(
    target: &MailTarget,
    address: &Address,
    table: &Table,
    providers: &[Arc<Provider>],
) -> (Vec<Tier>, Option<TlsFloor>) {
    let facts = Facts {
        sender: Some(&target.from),
        recipient: address,
        listener: NAME,
        client: None,
        user: None,
        header: None,
        size: None,
    };
    let taken = match table.route(&facts) {
        Decision::Route(route) => Some(route),
        Decision::Undecided | Decision::NoRoute => None,
    };
    let tiers = match taken.as_ref().map(|route| &route.action) {
        Some(Action::Deliver(tiers)) => &tiers[..],
        Some(Action::Reject(_) | Action::Hold { .. } | Action::Discard) | None => &[],
    };
    let residency = taken.as_ref().and_then(|route| route.residency.as_deref());
    let mut chain: Vec<Tier> = Vec::new();
    let mut used: Vec<&ProviderName> = Vec::new();
    if let Some(via) = &target.via {
        chain.push(Tier(vec![(via.clone(), 1)]));
        used.push(via);
    }
    for tier in tiers {
        let members: Vec<_> = tier.0.iter().filter(|(name, _)| !used.contains(&name)).collect();
        used.extend(members.iter().map(|(name, _)| name));
        if !members.is_empty() {
            chain.push(Tier(members.into_iter().cloned().collect()));
        }
    }
    for provider in providers {
        let stays = residency.is_none_or(|residency| residency_met(provider.region.as_deref(), residency));
        // What is kept on this host reaches nobody who is paged.
        let leaves = !matches!(provider.transport, Transport::Maildir(_) | Transport::Lmtp(_));
        if stays && leaves && !used.contains(&&provider.name) {
            chain.push(Tier(vec![(provider.name.clone(), 1)]));
        }
    }
    (chain, taken.and_then(|route| route.tls))
}

fn route((number, nth): (usize, usize), chain: Vec<Tier>, tls: Option<TlsFloor>, to: &[&Address]) -> Option<Route> {
    if chain.is_empty() {
        return None;
    }
    let patterns = to.iter().filter_map(|address| AddressPattern::parse(&address.to_string()).ok()).collect();
    let test = |test| Condition { negated: false, test };
    Some(Route {
        name: RouteName::new(&numbered(number)),
        place: Place { file: Arc::from("waypost.yaml"), line: 1, column: 1 },
        conditions: vec![test(Test::Listener(vec![Glob::parse(&origin(nth)).ok()?])), test(Test::Recipient(patterns))],
        owner: Vec::new(),
        action: Action::Deliver(chain),
        limit: None,
        concurrency: None,
        priority: Priority::High,
        residency: None,
        tls,
        expire: Some(EXPIRE),
        retry: Some([30, 60, 300].map(Duration::from_secs).to_vec()),
        on_throttle: OnThrottle::Failover,
        on_unknown: OnUnknown::Next,
        sticky: Sticky::Message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Assumed, Sources};

    fn config(alerts: &str) -> Config {
        let routes = "routes:
  - {name: corp, match: {recipient_domain: corp.example}, deliver: [mx]}
  - {name: eu, match: {recipient_domain: eu.example}, residency: eu, deliver: [far]}
  - {name: none, match: {recipient_domain: none.example}, hold: never}
  - {name: all, deliver: [{a: 80, b: 20}]}
";
        let providers = "providers:
  - {name: mx, transport: mx}
  - {name: far, transport: smtp, host: far.example, region: eu}
  - {name: a, transport: smtp, host: a.example}
  - {name: b, transport: smtp, host: b.example}
  - {name: kept, transport: maildir, path: kept}
";
        let sources = Sources::new("/etc/waypost")
            .with("waypost.yaml", format!("alerts: {{to: [{alerts}]}}"))
            .with("routes/a.yaml", routes)
            .with("providers/a.yaml", providers);
        let loaded = config::load(&sources, &Assumed);
        loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems))
    }

    /// The chain that mail to an address of the target takes.
    fn goes(alerts: &str, nth: usize, to: &str) -> (String, String) {
        let config = config(alerts);
        let table = super::table(&config);
        let (from, to): (Address, Address) = ("waypost@relay.example".parse().unwrap(), to.parse().unwrap());
        let listener = origin(nth);
        let facts = Facts {
            sender: Some(&from),
            recipient: &to,
            listener: &listener,
            client: None,
            user: None,
            header: None,
            size: Some(1),
        };
        let Decision::Route(route) = table.route(&facts) else { panic!("no route") };
        let Action::Deliver(tiers) = &route.action else { panic!("{route:?}") };
        let tiers = tiers.iter().map(|tier| tier.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("+"));
        (route.name.to_string(), tiers.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_chain_of_the_address_comes_first_and_then_all_others() {
        for (alerts, to, name, chain) in [
            ("{mail: ops@x.example}", "ops@x.example", "-alerts", "a+b mx far"),
            ("{mail: ops@corp.example}", "ops@corp.example", "-alerts", "mx far a b"),
            ("{mail: ops@x.example, via: b}", "ops@x.example", "-alerts", "b a mx far"),
            ("{mail: ops@x.example, via: far}", "ops@x.example", "-alerts", "far a+b mx"),
            // Whatever the table would do with it: it is the relay that is to be heard.
            ("{mail: ops@none.example}", "ops@none.example", "-alerts", "mx far a b"),
            // What must stay in a region stays there.
            ("{mail: ops@eu.example}", "ops@eu.example", "-alerts", "far"),
            ("{mail: [ops@x.example, ops@eu.example]}", "ops@eu.example", "-alerts-2", "far"),
        ] {
            assert_eq!(goes(alerts, 0, to), (name.to_owned(), chain.to_owned()), "{alerts}");
        }
        let two = "{mail: ops@x.example, via: b}, {mail: ops@x.example, via: far}";
        assert_eq!(goes(two, 1, "ops@x.example").1, "far a+b mx");
    }

    #[test]
    fn nobody_else_s_mail_takes_them() {
        let config = config("{mail: ops@x.example}");
        let table = super::table(&config);
        let to: Address = "ops@x.example".parse().unwrap();
        let facts = Facts {
            sender: None,
            recipient: &to,
            listener: "apps",
            client: None,
            user: None,
            header: None,
            size: None,
        };
        let Decision::Route(route) = table.route(&facts) else { panic!("no route") };
        assert_eq!(route.name.as_str(), "all");
    }
}
