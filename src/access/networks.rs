//! Who is turned away and who may relay by its address alone: `deny`, then `allow`.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Senders;
use crate::config::Listener;

/// The networks of one listener.
#[derive(Debug)]
pub struct Networks {
    deny: Vec<IpNet>,
    /// The smallest networks first.
    allow: Vec<(IpNet, Arc<Senders>)>,
}

impl Networks {
    pub fn new(listener: &Listener) -> Self {
        let mut allow: Vec<_> =
            listener.allow.iter().map(|allowed| (allowed.network, Arc::new(Senders::of_network(allowed)))).collect();
        allow.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self { deny: listener.deny.clone(), allow }
    }

    /// Nothing at all is taken from this client.
    pub fn denies(&self, client: IpAddr) -> bool {
        self.deny.iter().any(|network| network.contains(&client))
    }

    /// What the client may send as without authentication; `None`: it may not relay. Of the networks that hold it the
    /// smallest decides: a few hosts of a network can be held to their senders.
    pub fn allows(&self, client: IpAddr) -> Option<&Arc<Senders>> {
        self.allow.iter().find(|(network, _)| network.contains(&client)).map(|(_, senders)| senders)
    }
}
