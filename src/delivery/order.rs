//! What operators have ordered of providers: to be left alone for a while, or to be treated as out. Orders survive a restart
//! (the queue keeps them) and end by themselves. Time is an argument.
//!
//! A pause passes a provider over, as an open breaker does: its mail goes to the next of the chain, or waits. A drill plays an
//! outage: attempts come to `unavailable` without being made, so that breaker, failover and whoever watches them do what they
//! would; when it ends, the provider is probed at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracing::error;

use crate::mail::{ProviderName, Timestamp};

/// What the queue keeps orders under.
pub(super) const KEPT: &str = "order/";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    Pause,
    Drill,
}

impl OrderKind {
    /// The word of logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Drill => "drill",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub kind: OrderKind,
    pub since: Timestamp,
    pub until: Timestamp,
    /// Who gave it.
    pub by: String,
    pub reason: String,
}

#[derive(Debug, Default)]
pub(super) struct Orders(BTreeMap<ProviderName, Order>);

impl Orders {
    /// As the queue kept them. One that cannot be read is told, and none.
    pub fn new(kept: Vec<(String, Vec<u8>)>) -> Self {
        let orders = kept.into_iter().filter_map(|(name, record)| match serde_json::from_slice(&record) {
            Ok(order) => Some((ProviderName::new(&name), order)),
            Err(error) => {
                error!(provider = name, %error, "what was ordered of a provider cannot be read: it is as if it were not");
                None
            }
        });
        Self(orders.collect())
    }

    pub fn of(&self, provider: &ProviderName, now: Timestamp) -> Option<&Order> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(provider).filter(|order| now < order.until)
    }

    /// In place of the one that holds.
    pub fn give(&mut self, provider: ProviderName, order: Order) {
        self.0.insert(provider, order);
    }

    pub fn end(&mut self, provider: &ProviderName) -> Option<Order> {
        self.0.remove(provider)
    }

    /// Takes away those whose time is over.
    pub fn ended(&mut self, now: Timestamp) -> Vec<(ProviderName, Order)> {
        if self.next_end().is_none_or(|end| now < end) {
            return Vec::new();
        }
        self.0.extract_if(.., |_, order| order.until <= now).collect()
    }

    pub fn next_end(&self) -> Option<Timestamp> {
        self.0.values().map(|order| order.until).min()
    }
}

impl Order {
    /// As the queue keeps it.
    pub(super) fn record(&self) -> Vec<u8> {
        // Texts and times always have a form; nothing would be an order that was taken back.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::fixtures::{moment, provider};

    #[test]
    fn orders_hold_until_their_end_and_read_back() {
        let order = |kind, until| Order {
            kind,
            since: moment(0),
            until: moment(until),
            by: "alice".to_owned(),
            reason: "maintenance \u{fc}".to_owned(),
        };
        let mut orders = Orders::new(vec![
            ("a".to_owned(), order(OrderKind::Pause, 10).record()),
            ("b".to_owned(), order(OrderKind::Drill, 20).record()),
            ("c".to_owned(), b"nonsense".to_vec()),
        ]);
        let (a, b) = (provider("a"), provider("b"));
        assert_eq!(orders.of(&a, moment(9)), Some(&order(OrderKind::Pause, 10)));
        assert_eq!(orders.of(&a, moment(10)), None);
        assert_eq!(orders.of(&provider("c"), moment(0)), None);
        assert_eq!(orders.next_end(), Some(moment(10)));
        assert_eq!(orders.ended(moment(9)), []);
        assert_eq!(orders.ended(moment(10)), [(a.clone(), order(OrderKind::Pause, 10))]);
        orders.give(b.clone(), order(OrderKind::Pause, 30));
        assert_eq!(orders.end(&b), Some(order(OrderKind::Pause, 30)));
        assert_eq!((orders.end(&b), orders.next_end()), (None, None));
    }
}
