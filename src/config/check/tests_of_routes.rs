//! The entries of `tests` in route files: that what they name is there. Whether they hold is asked of the table.

use std::collections::BTreeMap;

use super::Files;
use super::providers::Providers;
use super::routes::Routes as Table;
use super::{Names, routes};
use crate::config::fault::Fault;
use crate::config::model::{RouteTest, Server};
use crate::config::raw::{RawTest, Routes};
use crate::config::read::{Cx, Record};
use crate::mail::Address;

pub(super) fn check(
    files: &Files,
    server: &Server,
    providers: &Providers,
    table: &routes::Routes,
    cx: &mut Cx<'_>,
) -> Vec<RouteTest> {
    let (listeners, users) = (super::listeners(files, server), super::users(files, server));
    let known = Known { providers, table, listeners, users };
    let mut tests = Vec::new();
    for (file, routes) in &files.routes {
        cx.file = file.clone();
        for raw in routes.tests.get().into_iter().flatten() {
            tests.extend(known.test(raw, cx));
        }
    }
    tests
}

struct Known<'a> {
    providers: &'a Providers,
    table: &'a Table,
    listeners: Names,
    users: Names,
}

impl Known<'_> {
    fn test(&self, raw: &RawTest, cx: &mut Cx<'_>) -> Option<RouteTest> {
        for (names, field) in [(&self.listeners, &raw.listener), (&self.users, &raw.user)] {
            if let Some(name) = &field.value {
                names.expect(&name.value, name.spot, cx);
            }
        }
        for name in raw.chain.get().map(|chain| chain.0.as_slice()).unwrap_or_default() {
            self.providers.names.expect(&name.value, name.spot, cx);
        }
        let routes = self.routes(raw, cx);
        Some(RouteTest {
            place: cx.place(raw.spot()),
            from: match &raw.from.get()?.0 {
                Some(address) => address.to_string(),
                None => "<>".to_owned(),
            },
            to: raw.to.get()?.0.iter().map(|to| to.value.to_string()).collect(),
            user: raw.user.get().cloned(),
            client: raw.client.get().copied(),
            listener: raw.listener.get().cloned(),
            headers: raw
                .header
                .get()
                .map(|fields| fields.0.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect())
                .unwrap_or_default(),
            size: raw.size.get().copied(),
            routes: routes?,
            chain: raw.chain.get().map(|chain| chain.0.iter().map(|name| name.value.clone()).collect()),
        })
    }

    /// The route of each recipient, under the recipient's plain form.
    fn routes(&self, raw: &RawTest, cx: &mut Cx<'_>) -> Option<BTreeMap<String, String>> {
        let to: Vec<String> = raw.to.get()?.0.iter().map(|to| to.value.to_string()).collect();
        let given = raw.route.value.as_ref()?;
        match &given.value {
            Routes::All(route) => {
                self.table.names.expect(route, given.spot, cx);
                Some(to.into_iter().map(|to| (to, route.clone())).collect())
            }
            Routes::Each(each) => {
                let mut routes = BTreeMap::new();
                for (recipient, route) in &each.0 {
                    self.table.names.expect(&route.value, route.spot, cx);
                    let plain = recipient.value.parse::<Address>().map(|address| address.to_string());
                    match plain.ok().filter(|plain| to.contains(plain)) {
                        Some(plain) => drop(routes.insert(plain, route.value.clone())),
                        None => cx.error(recipient.spot, Fault::NotARecipient(recipient.value.clone())),
                    }
                }
                for missing in to.iter().filter(|to| !routes.contains_key(*to)) {
                    cx.error(given.spot, Fault::NoRouteGiven(missing.clone()));
                }
                Some(routes)
            }
        }
    }
}
