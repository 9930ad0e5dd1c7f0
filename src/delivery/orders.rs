//! What a person ordered for a leg, against what the table says of its recipient now. Pure.
//!
//! - An order holds until the leg is done: the table is asked anew at each attempt, and the order kept.
//! - Residency binds it: that of the table's own route for the recipient, and that of the route it was moved to.
//! - One that cannot be kept (its route or provider is not there any more, or not of the region) is told, and the leg held:
//!   its mail is neither bounced nor sent another way than was ordered.

use std::sync::Arc;

use super::plan::chain;
use crate::config::{Action, Route, Tier, residency_met};
use crate::mail::{Address, ProviderName, Timestamp};
use crate::queue::{Lane, Leg};
use crate::routing::{Decision, Table};

/// What an order comes to.
#[derive(Debug)]
pub enum Ordered {
    Deliver(Arc<Route>, Lane),
    /// It cannot be kept; why, and what to do.
    Hold(Lane, String),
}

/// `None`: what the table says holds. `said`: the table's answer, but for the routes that the leg was released from.
pub fn ordered(table: &Table, leg: &Leg, recipient: &Address, said: &Decision) -> Option<Ordered> {
    let own = match said {
        Decision::Route(route) => Some(route),
        Decision::NoRoute | Decision::Undecided => None,
    };
    let hold = |why: String| Some(Ordered::Hold(Lane { destination: None, ..leg.lane.clone() }, why));
    if !leg.is_moved() {
        return match (own, leg.orders.past.last()) {
            (None, Some(past)) => hold(format!(
                "it was released from route {past}, and no route behind that takes it: move it to a route or a provider"
            )),
            (Some(_), _) | (None, None) => None,
        };
    }
    let route = if leg.orders.route {
        let name = &leg.lane.route;
        match table.route_named(name) {
            Some(route) if delivers(route) => route,
            Some(_) => {
                return hold(format!(
                    "it was moved to route {name}, which delivers nothing now: move it to another one"
                ));
            }
            None => {
                return hold(format!(
                    "it was moved to route {name}, which is not there any more: move it to another one"
                ));
            }
        }
    } else {
        match own {
            Some(route) if delivers(route) => route,
            Some(route) => match &route.action {
                Action::Hold { reason } => {
                    let lane = Lane { route: route.name.clone(), destination: None, via: leg.lane.via.clone() };
                    return Some(Ordered::Hold(lane, reason.clone()));
                }
                Action::Deliver(_) | Action::Reject(_) | Action::Discard => {
                    return hold(format!(
                        "route {} takes it now, and does not deliver: move it to a route",
                        route.name
                    ));
                }
            },
            None => return hold("no route takes it any more: move it to a route".to_owned()),
        }
    };
    let route = match &leg.lane.via {
        Some(provider) if table.provider(provider).is_none() => {
            return hold(format!(
                "it was moved to provider {provider}, which is not there any more: move it to another one"
            ));
        }
        Some(provider) => through(route, provider),
        None => route.clone(),
    };
    let bounds =
        [Some(&route), own].into_iter().flatten().filter_map(|route| Some((&route.name, route.residency.as_deref()?)));
    for (of, residency) in bounds {
        for (provider, _) in chain(&route).iter().flat_map(|tier| &tier.0) {
            let region = table.provider(provider).and_then(|provider| provider.region.as_deref());
            if !residency_met(region, residency) {
                return hold(format!(
                    "route {of} keeps its mail in '{residency}', and provider {provider}, to which it was moved, is not there: \
                     move it to another one"
                ));
            }
        }
    }
    let lane = Lane { via: leg.lane.via.clone(), ..super::lane(table, &route, recipient) };
    Some(Ordered::Deliver(route, lane))
}

fn delivers(route: &Route) -> bool {
    matches!(route.action, Action::Deliver(_))
}

/// The route with one provider in place of its chain. Nothing is left of what it matches: it was chosen already.
pub fn through(route: &Route, provider: &ProviderName) -> Arc<Route> {
    Arc::new(Route {
        action: Action::Deliver(vec![Tier(vec![(provider.clone(), 1)])]),
        conditions: Vec::new(),
        owner: Vec::new(),
        place: route.place.clone(),
        name: route.name.clone(),
        residency: route.residency.clone(),
        retry: route.retry.clone(),
        ..*route
    })
}

/// The route that a lane's mail goes by; `None` where it, or the provider it was moved to, is not there any more: its mail is
/// to be routed anew.
pub fn route_of(table: &Table, lane: &Lane) -> Option<Arc<Route>> {
    let route = table.route_named(&lane.route)?;
    match &lane.via {
        Some(provider) => table.provider(provider).map(|_| through(route, provider)),
        None => Some(route.clone()),
    }
}

/// From when on its age counts: a person who lets mail go gives it all its time.
pub fn begins(leg: &Leg, accepted_at: Timestamp) -> Timestamp {
    leg.orders.since.map_or(accepted_at, |since| since.max(accepted_at))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::fixtures::{deliver, leg, provider, provider_settings};
    use crate::mail::RouteName;
    use crate::queue::Orders;

    fn table() -> Table {
        let mut eu = deliver("eu", &[&[("eu-1", 1)]]);
        eu.residency = Some("eu".to_owned());
        let held = Route { action: Action::Hold { reason: "review".to_owned() }, ..deliver("held", &[]) };
        let routes = [deliver("r", &[&[("a", 1)], &[("b", 1)]]), deliver("other", &[&[("b", 1)]]), eu, held];
        let providers = [("a", None), ("b", None), ("eu-1", Some("eu-west-1")), ("eu-2", Some("eu"))];
        let of = |(name, region): (&str, Option<&str>)| {
            Arc::new(crate::config::Provider { region: region.map(str::to_owned), ..provider_settings(name) })
        };
        Table::new(routes.into_iter().map(Arc::new).collect(), providers.into_iter().map(of).collect())
    }

    fn moved(route: Option<&str>, via: Option<&str>) -> Leg {
        let mut leg = leg();
        leg.orders.route = route.is_some();
        leg.lane.route = RouteName::new(route.unwrap_or("r"));
        leg.lane.via = via.map(provider);
        leg
    }

    /// The providers that it may go to, or why it is held.
    fn comes_to(leg: &Leg, own: Option<&str>) -> String {
        let table = table();
        let said = own.map_or(Decision::NoRoute, |name| {
            Decision::Route(table.route_named(&RouteName::new(name)).unwrap().clone())
        });
        match ordered(&table, leg, &"b@example.com".parse().unwrap(), &said) {
            None => "as the table says".to_owned(),
            Some(Ordered::Hold(lane, why)) => format!("{}: held: {why}", lane.route),
            Some(Ordered::Deliver(route, lane)) => {
                assert_eq!((&lane.route, &lane.via), (&route.name, &leg.lane.via));
                let names: Vec<_> =
                    chain(&route).iter().flat_map(|tier| &tier.0).map(|(name, _)| name.as_str()).collect();
                format!("{}: {}", lane.route, names.join(" "))
            }
        }
    }

    #[test]
    fn orders_are_kept_and_none_is_lost() {
        for (route, via, own, expected) in [
            (None, None, Some("r"), "as the table says"),
            (None, None, None, "as the table says"),
            (None, Some("b"), Some("r"), "r: b"),
            (None, Some("b"), Some("other"), "other: b"),
            (Some("other"), None, Some("r"), "other: b"),
            (Some("other"), None, None, "other: b"),
            (Some("r"), Some("eu-2"), Some("other"), "r: eu-2"),
            // What is not there any more.
            (Some("gone"), None, Some("r"), "gone: held: it was moved to route gone, which is not there any more"),
            (Some("held"), None, Some("r"), "held: held: it was moved to route held, which delivers nothing now"),
            (None, Some("gone"), Some("r"), "r: held: it was moved to provider gone, which is not there any more"),
            (None, Some("b"), None, "r: held: no route takes it any more"),
            (None, Some("b"), Some("held"), "held: held: review"),
            // Residency: the table's own route binds, and the one it was moved to.
            (None, Some("eu-2"), Some("eu"), "eu: eu-2"),
            (None, Some("b"), Some("eu"), "r: held: route eu keeps its mail in 'eu', and provider b"),
            (Some("other"), None, Some("eu"), "other: held: route eu keeps its mail in 'eu', and provider b"),
            (Some("eu"), Some("b"), Some("r"), "eu: held: route eu keeps its mail in 'eu', and provider b"),
            (Some("eu"), None, Some("r"), "eu: eu-1"),
        ] {
            let told = comes_to(&moved(route, via), own);
            assert!(told.starts_with(expected), "{route:?} {via:?} {own:?}: {told}");
        }
    }

    #[test]
    fn what_was_released_and_finds_no_route_waits_for_a_person() {
        let mut released = leg();
        released.orders = Orders { past: vec![RouteName::new("held")], ..Orders::default() };
        assert_eq!(comes_to(&released, Some("r")), "as the table says");
        assert!(comes_to(&released, None).starts_with("r: held: it was released from route held"));
    }
}
