//! How delivery stands at one moment, for people to look at.

use super::backlog::Backlog;
use super::board::Gate;
use super::health::Patient;
use super::plan::Standing;
use super::scheduler::Scheduler;
use crate::mail::{ProviderName, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// In the table's order.
    pub providers: Vec<ProviderSnapshot>,
}

/// A provider. Of one that delivers by destination, `standing` is that of none in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSnapshot {
    pub name: ProviderName,
    pub standing: Standing,
    /// Attempts under way, and as many as may be.
    pub under_way: usize,
    pub concurrency: usize,
}

impl<Q: Backlog> Scheduler<Q> {
    pub(super) fn snapshot(&self, now: Timestamp) -> Snapshot {
        let stations = self.rules.table.providers().filter_map(|settings| self.stations.get(&settings.name));
        let providers = stations.map(|station| {
            let name = station.settings.name.clone();
            ProviderSnapshot {
                standing: self.health.standing(&Patient { provider: name.clone(), destination: None }, now),
                under_way: self.board.in_use(&Gate::Provider(name.clone())),
                concurrency: station.slots(&name, &self.health),
                name,
            }
        });
        Snapshot { providers: providers.collect() }
    }
}
