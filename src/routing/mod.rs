//! The routing table: which route takes a recipient, and why. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Provider, Route};
use crate::mail::{Address, HeaderSection, ProviderName, RouteName};

/// What a decision is made from. At RCPT the content is not there yet: `header` and `size` are unknown then.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `None` is the null reverse-path.
    pub sender: Option<&'a Address>,
    pub recipient: &'a Address,
    pub listener: &'a str,
    pub client: Option<IpAddr>,
    pub user: Option<&'a str>,
    pub header: Option<&'a HeaderSection>,
    pub size: Option<u64>,
}

/// What the table says of one recipient.
#[derive(Debug, Clone)]
pub enum Decision {
    Route(Arc<Route>),
    /// A route asks for the header or the size, and no earlier one takes the recipient: ask again with the content.
    Undecided,
    /// `550 5.7.1`.
    NoRoute,
}

/// The table in force: routes in order, providers by name. Built once, then only read.
#[derive(Debug)]
pub struct Table {/* the routing helper fills this in */}

impl Table {
    pub fn new(routes: Vec<Arc<Route>>, providers: Vec<Arc<Provider>>) -> Self {
        let _ = (routes, providers);
        todo!()
    }

    /// The first route whose conditions hold.
    pub fn route(&self, facts: &Facts<'_>) -> Decision {
        let _ = facts;
        todo!()
    }

    /// Some route matches on header fields: decisions need the header section.
    pub fn needs_header(&self) -> bool {
        todo!()
    }

    /// The route's chain has a provider that delivers to the recipients' own domain (`mx`).
    pub fn by_destination(&self, route: &Route) -> bool {
        let _ = route;
        todo!()
    }

    pub fn provider(&self, name: &ProviderName) -> Option<&Arc<Provider>> {
        let _ = name;
        todo!()
    }

    pub fn route_named(&self, name: &RouteName) -> Option<&Arc<Route>> {
        let _ = name;
        todo!()
    }

    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        std::iter::empty() // todo
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        std::iter::empty() // todo
    }
}
