//! Providers as the scheduler uses them, and how many attempts fit at a gate.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::error;

use super::board::Gate;
use super::health::{Health, Patient};
use super::lately::Lately;
use super::limits::Pace;
use super::scheduler::READS;
use super::snapshot::LastError;
use super::status::{Meter, ProviderMeter};
use crate::config::{Provider, Transport as TransportSettings};
use crate::mail::{Domain, ProviderName};
use crate::queue::Lane;
use crate::routing::Table;
use crate::transport::Transport;

/// A provider, as the scheduler uses it.
pub struct Station {
    pub settings: Arc<Provider>,
    pub transport: Arc<dyn Transport>,
    pub by_destination: bool,
    pub destination_concurrency: usize,
    pub pace: Option<Pace>,
    pub lately: Lately,
    /// What was said last that counted against it.
    pub last_error: Option<LastError>,
    pub meter: Arc<ProviderMeter>,
}

/// The stations of a table's providers.
pub fn of(
    table: &Table,
    mut transports: HashMap<ProviderName, Arc<dyn Transport>>,
    meter: &Meter,
) -> HashMap<ProviderName, Station> {
    let mut stations = HashMap::new();
    for settings in table.providers() {
        let Some(transport) = transports.remove(&settings.name) else {
            error!(provider = %settings.name, "the provider has no transport: its mail waits");
            continue;
        };
        let destination_concurrency = match &settings.transport {
            TransportSettings::Mx(mx) => mx.destination_concurrency.max(1),
            TransportSettings::Smtp(_)
            | TransportSettings::Lmtp(_)
            | TransportSettings::SendGrid(_)
            | TransportSettings::Mailgun(_)
            | TransportSettings::Ses(_)
            | TransportSettings::Maildir(_) => usize::MAX,
        };
        let station = Station {
            lately: Lately::default(),
            last_error: None,
            meter: meter.providers.of(&settings.name),
            by_destination: transport.by_destination(),
            destination_concurrency,
            pace: settings.limit.map(Pace::new),
            settings: settings.clone(),
            transport,
        };
        stations.insert(settings.name.clone(), station);
    }
    stations
}

/// Attempts that all of them together may have under way.
pub fn under_way(stations: &HashMap<ProviderName, Station>) -> usize {
    stations.values().map(|station| station.settings.concurrency).fold(0, usize::saturating_add)
}

/// What is needed to see whether a gate is open.
pub struct Limits<'a> {
    pub health: &'a Health,
    pub stations: &'a HashMap<ProviderName, Station>,
    pub table: &'a Table,
    pub most_unwritten: usize,
}

impl Limits<'_> {
    pub fn is_open(&self, gate: &Gate, in_use: usize) -> bool {
        match gate {
            Gate::Writing => in_use < self.most_unwritten,
            Gate::Reading => in_use < READS,
            Gate::Route(name) => {
                self.table.route_named(name).and_then(|route| route.concurrency).is_none_or(|most| in_use < most)
            }
            Gate::Provider(name) => {
                self.stations.get(name).is_none_or(|station| in_use < station.slots(name, self.health))
            }
            Gate::Destination(name, domain) => {
                self.stations.get(name).is_none_or(|station| in_use < station.slots_of(name, domain, self.health))
            }
            // Shut until a time, or not.
            Gate::RouteRate(_) | Gate::ProviderRate(_) => true,
            // Opens for all at once, by `wake_all` or by each lane's own alarm.
            Gate::Health(_) => false,
        }
    }
}

impl Station {
    /// The provider leads to the same place in the same way: what is known of the one holds for the other.
    pub fn goes_out_as(&self, other: &Arc<Provider>) -> bool {
        Arc::ptr_eq(&self.settings, other) || self.settings.transport == other.transport
    }

    pub fn patient(&self, lane: &Lane) -> Patient {
        let destination = lane.destination.clone().filter(|_| self.by_destination);
        Patient { provider: self.settings.name.clone(), destination }
    }

    /// Attempts that may be under way at one time.
    pub fn slots(&self, name: &ProviderName, health: &Health) -> usize {
        let configured = self.settings.concurrency;
        if self.by_destination {
            return configured.max(1);
        }
        health.concurrency(&Patient { provider: name.clone(), destination: None }, configured)
    }

    /// The same for one destination.
    pub fn slots_of(&self, name: &ProviderName, destination: &Domain, health: &Health) -> usize {
        let patient = Patient { provider: name.clone(), destination: Some(destination.clone()) };
        health.concurrency(&patient, self.most_at(&patient))
    }

    /// The concurrency that a patient of this provider has when it is well.
    pub fn most_at(&self, patient: &Patient) -> usize {
        let all = self.settings.concurrency;
        if patient.destination.is_some() { all.min(self.destination_concurrency) } else { all }
    }
}
