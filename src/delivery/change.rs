//! A changed configuration takes over while mail is queued, waits and is under way.
//!
//! Promises:
//! - nothing stays behind in a lane whose route is gone, or at a gate of a provider that is: all that waits looks anew, and
//!   what was claimed goes back and is routed by the new table;
//! - attempts under way end as they began; what is left of their message then goes on by the new table;
//! - what is known of a provider stays (breaker, pauses, permits taken, quota spent) where its way out is the same one.
//!   One that is set up anew, with other credentials for instance, is tried at once.

use std::collections::HashMap;
use std::sync::Arc;

use super::Settings;
use super::backlog::Backlog;
use super::desk::Rules;
use super::limits::Pace;
use super::scheduler::{Scheduler, UNWRITTEN};
use super::stations;
use crate::config::Priority;
use crate::mail::{ProviderName, Timestamp};
use crate::queue::Counter;
use crate::routing::Table;
use crate::transport::Transport;

/// What delivery goes by from now on.
pub struct Change {
    pub table: Arc<Table>,
    /// One for each provider of the table.
    pub transports: HashMap<ProviderName, Arc<dyn Transport>>,
    pub settings: Settings,
    /// As the queue keeps them, for quotas that are new.
    pub counters: HashMap<String, Counter>,
}

impl<Q: Backlog> Scheduler<Q> {
    pub(super) fn change(&mut self, change: Change, now: Timestamp) {
        let Change { table, transports, settings, counters } = change;
        let before = std::mem::replace(&mut self.rules, Arc::new(Rules { table: table.clone(), settings }));
        self.desk.rules.store(self.rules.clone());
        self.change_stations(&table, transports);
        self.quotas.renew(self.stations.values().map(|station| &*station.settings), &counters);
        let mut paces = std::mem::take(&mut self.route_paces);
        for route in table.routes() {
            let Some(limit) = route.limit else { continue };
            let known = before.route_named(&route.name).is_some_and(|before| before.limit == Some(limit));
            let kept = paces.remove(&route.name).filter(|_| known);
            self.route_paces.insert(route.name.clone(), kept.unwrap_or_else(|| Pace::new(limit)));
        }
        for lane in self.board.with_windows() {
            self.give_up_window(&lane);
        }
        self.board.reprioritize(|lane| table.route_named(&lane.route).map_or(Priority::default(), |r| r.priority));
        self.board.unshut();
        for lane in self.board.parked() {
            self.board.wake(&lane);
        }
        // By another `expire` some may be due.
        if self.sweep_at.is_some() {
            self.sweep_at = Some(now);
        }
    }

    fn change_stations(&mut self, table: &Table, transports: HashMap<ProviderName, Arc<dyn Transport>>) {
        let mut before = std::mem::replace(&mut self.stations, stations::of(table, transports, &self.desk.meter));
        self.most_unwritten = stations::under_way(&self.stations).saturating_add(UNWRITTEN);
        for (name, station) in &mut self.stations {
            let Some(known) = before.remove(name) else { continue };
            station.lately = known.lately;
            if station.goes_out_as(&known.settings) {
                station.last_error = known.last_error;
                self.health.renew(name, &station.settings.breaker);
            } else {
                self.health.forget(name);
            }
            if known.settings.limit == station.settings.limit {
                station.pace = known.pace;
            }
        }
        for gone in before.keys() {
            self.health.forget(gone);
        }
    }
}
