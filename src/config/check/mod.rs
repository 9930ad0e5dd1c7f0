//! From records to the typed configuration: what keys mean together, across all files.

mod audit;
mod admin;
mod alerts;
mod clients;
mod pickup;
mod providers;
mod routes;
mod server;
mod telemetry;
mod tests_of_routes;
mod users;

use std::cell::Cell;
use std::collections::HashMap;

use super::Rate;
use super::fault::Fault;
use super::model::{Config, Limit, Per, Pickup, Place, RouteTest, Server};
use super::raw::{Count, ProvidersFile, RoutesFile, ServerFile, UsersFile};
use super::read::{Cx, Field};
use super::tree::Spot;
use std::sync::Arc;

/// All files that could be read, each with its name.
#[derive(Default)]
pub(super) struct Files {
    pub server: Option<(Arc<str>, ServerFile)>,
    pub providers: Vec<(Arc<str>, ProvidersFile)>,
    pub routes: Vec<(Arc<str>, RoutesFile)>,
    /// A file of that kind could not be read: what it may name is not known.
    pub users: Option<(Arc<str>, UsersFile)>,
    pub server_broken: bool,
    /// The file that `users` names.
    pub users_broken: bool,
    pub providers_broken: bool,
    pub routes_broken: bool,
}

/// The configuration as far as it makes sense; what does not is among the problems.
pub(super) fn check(files: &Files, cx: &mut Cx<'_>) -> (Config, Vec<RouteTest>) {
    let mut server = server::check(files, cx);
    let providers = providers::check(files, cx);
    let routes = routes::check(files, &server, &providers, cx);
    let tests = tests_of_routes::check(files, &server, &providers, &routes, cx);
    server.alerts = alerts::check(files, &server.hostname, (&routes.names, &providers.names), cx);
    let revision = Arc::from("");
    (Config { server, routes: routes.list, providers: providers.list, revision }, tests)
}

/// Names of one kind, each once.
struct Names {
    kind: &'static str,
    first: HashMap<String, Place>,
    /// Some could not be read: an unknown name may be one of them.
    incomplete: bool,
    /// How often a nearest name may still be looked for.
    looks: Cell<u32>,
}

/// Looking for the nearest of many names takes time; after so many mistakes, the user has got the idea.
const MOST_LOOKS: u32 = 100;

impl Names {
    fn new(kind: &'static str, incomplete: bool) -> Self {
        Self { kind, first: HashMap::new(), incomplete, looks: Cell::new(MOST_LOOKS) }
    }

    /// Names that are known to be unique.
    fn of<'n>(kind: &'static str, incomplete: bool, names: impl Iterator<Item = &'n str>) -> Self {
        let nowhere = Place { file: Arc::from(""), line: 0, column: 0 };
        let first = names.map(|name| (name.to_owned(), nowhere.clone())).collect();
        Self { first, ..Self::new(kind, incomplete) }
    }

    /// `false`: there is one of this name already, which has been told.
    fn add(&mut self, name: &str, spot: Spot, cx: &mut Cx<'_>) -> bool {
        if let Some(first) = self.first.get(name) {
            let first = first.to_string();
            cx.error(spot, Fault::DuplicateName { kind: self.kind, name: name.to_owned(), first });
            return false;
        }
        self.first.insert(name.to_owned(), cx.place(spot));
        true
    }

    fn has(&self, name: &str) -> bool {
        self.first.contains_key(name)
    }

    fn nearest(&self, name: &str) -> Option<String> {
        self.looks.set(self.looks.get().checked_sub(1)?);
        // In an order of their own, so that the same mistake always gets the same answer.
        let mut known: Vec<&str> = self.first.keys().map(String::as_str).collect();
        known.sort_unstable();
        super::fault::nearest(name, known)
    }

    /// Tells of a name that is not there.
    fn expect(&self, name: &str, spot: Spot, cx: &mut Cx<'_>) {
        if !self.has(name) && !self.incomplete {
            let nearest = self.nearest(name);
            cx.error(spot, Fault::UnknownName { kind: self.kind, name: name.to_owned(), nearest });
        }
    }
}

/// The names of listeners; incomplete where some could not be read.
fn listeners(files: &Files, server: &Server) -> Names {
    let given = files.server.as_ref().and_then(|(_, file)| file.listeners.value.as_ref()).map(|list| list.len());
    let bad = files.server.as_ref().is_some_and(|(_, file)| file.listeners.is_given()) && given.is_none();
    let lost = bad || given.is_some_and(|given| given != server.listeners.len());
    let pickup = server.pickup.as_ref().map(|_| Pickup::LISTENER);
    let names = server.listeners.iter().map(|one| one.name.as_str()).chain(pickup);
    Names::of("listener", files.server_broken || lost, names)
}

/// The names of users; incomplete where some could not be read, or where a directory or certificates bring further ones.
fn users(files: &Files, server: &Server) -> Names {
    let field = files.server.as_ref().map(|(_, file)| &file.users);
    let given = users::given(files);
    let bad = field.is_some_and(|users| users.is_given() && users.get().is_none());
    let lost = files.server_broken || files.users_broken || bad || given.count() != server.users.len();
    let others = server.directory.is_some() || server.listeners.iter().any(|listener| listener.client_ca.is_some());
    Names::of("user", lost || others, server.users.iter().map(|one| one.name.as_str()))
}

/// `rate`, `burst` and `per` of a route or a provider.
fn limit(rate: &Field<Rate>, burst: &Field<Count>, per: &Field<Per>, cx: &mut Cx<'_>) -> Option<Limit> {
    if !rate.is_given() {
        for (key, given) in [("burst", burst.key), ("per", per.key)] {
            if let Some(spot) = given {
                cx.error(spot, Fault::LimitWithoutRate { key });
            }
        }
    }
    let rate = *rate.get()?;
    let burst = burst.get().map_or_else(|| usual_burst(rate), |burst| burst.to_u32());
    Some(Limit { rate, burst, per: per.or(Per::default()) })
}

/// What a tenth of a second lets pass, at least 1: short of it, a timer's coarseness would cost throughput.
fn usual_burst(rate: Rate) -> u32 {
    let tenths = rate.span.as_secs().max(1) * 10;
    u32::try_from(u64::from(rate.count).div_ceil(tenths)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_burst_is_a_tenth_of_a_second() {
        for (rate, burst) in [("1/s", 1), ("50/s", 5), ("101/s", 11), ("5000/h", 1), ("1000000/s", 100_000)] {
            assert_eq!(usual_burst(rate.parse().unwrap()), burst, "{rate}");
        }
    }
}
