//! The table in force, and how a recipient finds its route.
//!
//! Routes that ask for exact domains are looked up by domain, all others are scanned; both lists are in the table's
//! order, and the first route that holds in their merge wins. So a decision costs the same with ten routes of exact
//! domains and with ten thousand.

use std::collections::HashMap;
use std::sync::Arc;

use super::matching::{Verdict, verdict};
use super::{Decision, Facts};
use crate::config::{Action, Condition, Config, Provider, Route, Test, Transport};
use crate::mail::{Domain, ProviderName, RouteName};

/// Routes in order, providers by name. Built once, then only read.
#[derive(Debug)]
pub struct Table {
    routes: Vec<Arc<Route>>,
    numbers: HashMap<RouteName, usize>,
    providers: HashMap<ProviderName, Arc<Provider>>,
    /// Numbers of the routes that exact recipient domains lead to.
    by_recipient_domain: HashMap<Domain, Vec<usize>>,
    /// The same for sender domains, of routes that no recipient domain leads to.
    by_sender_domain: HashMap<Domain, Vec<usize>>,
    /// Numbers of all other routes.
    scanned: Vec<usize>,
    needs_header: bool,
    revision: Arc<str>,
}

impl Table {
    pub fn new(routes: Vec<Arc<Route>>, providers: Vec<Arc<Provider>>) -> Self {
        let mut table = Self {
            numbers: routes.iter().enumerate().map(|(number, route)| (route.name.clone(), number)).collect(),
            providers: providers.into_iter().map(|provider| (provider.name.clone(), provider)).collect(),
            by_recipient_domain: HashMap::new(),
            by_sender_domain: HashMap::new(),
            scanned: Vec::new(),
            needs_header: routes.iter().flat_map(|route| conditions(route)).any(|c| matches!(c.test, Test::Header(_))),
            routes: Vec::new(),
            revision: Arc::from(""),
        };
        for (number, route) in routes.iter().enumerate() {
            let recipient_domains = conditions(route).find_map(|condition| match &condition.test {
                Test::RecipientDomain(patterns) => exact_domains(condition, patterns),
                _ => None,
            });
            let sender_domains = conditions(route).find_map(|condition| match &condition.test {
                Test::SenderDomain(patterns) => exact_domains(condition, patterns),
                _ => None,
            });
            let (index, domains) = match (recipient_domains, sender_domains) {
                (Some(domains), _) => (&mut table.by_recipient_domain, domains),
                (None, Some(domains)) => (&mut table.by_sender_domain, domains),
                (None, None) => {
                    table.scanned.push(number);
                    continue;
                }
            };
            for domain in domains {
                let numbers = index.entry(domain).or_default();
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
        }
        table.routes = routes;
        table
    }

    /// The same, under the name of what it was made of (`Config::revision`).
    pub fn of(config: &Config) -> Self {
        Self::with_routes(config, config.routes.clone())
    }

    /// The same, with these routes in the place of the configuration's.
    pub fn with_routes(config: &Config, routes: Vec<Arc<Route>>) -> Self {
        Self { revision: config.revision.clone(), ..Self::new(routes, config.providers.clone()) }
    }

    /// Names this table in logs and in the trail; empty where it was not made of a configuration.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The first route whose conditions hold.
    pub fn route(&self, facts: &Facts<'_>) -> Decision {
        self.route_past(facts, &[])
    }

    /// The same as if the routes of these names were not there.
    pub fn route_past(&self, facts: &Facts<'_>, past: &[RouteName]) -> Decision {
        for number in self.candidates(facts) {
            let Some(route) = self.routes.get(number).filter(|route| !past.contains(&route.name)) else { continue };
            match verdict(route, facts) {
                Verdict::Holds => return Decision::Route(route.clone()),
                Verdict::Open => return Decision::Undecided,
                Verdict::Fails => {}
            }
        }
        Decision::NoRoute
    }

    /// All routes that may hold, in the table's order.
    pub(super) fn candidate_routes(&self, facts: &Facts<'_>) -> impl Iterator<Item = &Arc<Route>> {
        self.candidates(facts).filter_map(|number| self.routes.get(number))
    }

    /// The numbers of all routes that may hold, in the table's order.
    fn candidates<'a>(&'a self, facts: &Facts<'_>) -> impl Iterator<Item = usize> + 'a {
        fn listed<'a>(index: &'a HashMap<Domain, Vec<usize>>, domain: Option<&Domain>) -> &'a [usize] {
            domain.and_then(|domain| index.get(domain)).map_or(&[], Vec::as_slice)
        }
        let mut lists = [
            listed(&self.by_recipient_domain, Some(facts.recipient.domain())),
            listed(&self.by_sender_domain, facts.sender.map(crate::mail::Address::domain)),
            &self.scanned,
        ];
        std::iter::from_fn(move || {
            let list = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
            let (&first, rest) = list.split_first()?;
            *list = rest;
            Some(first)
        })
    }

    /// Some route matches on header fields: decisions need the header section.
    pub fn needs_header(&self) -> bool {
        self.needs_header
    }

    /// The route's chain has a provider that delivers to the recipients' own domain (`mx`): what holds back one
    /// destination must not hold back the others.
    pub fn by_destination(&self, route: &Route) -> bool {
        let Action::Deliver(chain) = &route.action else { return false };
        let mut members = chain.iter().flat_map(|tier| &tier.0);
        members.any(|(name, _)| self.provider(name).is_some_and(|p| matches!(p.transport, Transport::Mx(_))))
    }

    pub fn provider(&self, name: &ProviderName) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    pub fn route_named(&self, name: &RouteName) -> Option<&Arc<Route>> {
        self.numbers.get(name).and_then(|&number| self.routes.get(number))
    }

    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }

    /// In the table's order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}

/// All that a route asks: its own conditions and its file's owner's.
pub(super) fn conditions(route: &Route) -> impl Iterator<Item = &Condition> {
    route.conditions.iter().chain(&route.owner)
}

/// The domains, where the condition names nothing but exact ones.
fn exact_domains(condition: &Condition, patterns: &[crate::config::DomainPattern]) -> Option<Vec<Domain>> {
    if condition.negated {
        return None;
    }
    patterns.iter().map(crate::config::DomainPattern::exact).collect()
}
