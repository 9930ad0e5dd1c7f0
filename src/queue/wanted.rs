//! Which of the queued recipients somebody asks for. Pure.

use std::collections::HashSet;

use super::{Leg, LegRecipient, LegState};
use crate::config::{AddressPattern, DomainPattern, Glob};
use crate::mail::{Address, Envelope, Mid, ProviderName, RouteName};

/// All of it must hold; empty asks for everything.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Accepted at this moment or later, and before that one: a mid begins with its time.
    pub from: Option<Mid>,
    pub before: Option<Mid>,
    pub route: Option<RouteName>,
    pub provider: Option<OfProvider>,
    pub sender: Option<Party>,
    pub recipient: Option<Party>,
    pub held: Option<bool>,
    /// Stands in the reason of its hold, or in what was last said of a recipient.
    pub reason: Option<Glob>,
}

/// Legs that wait for a provider, or were last tried by it.
#[derive(Debug, Clone)]
pub struct OfProvider {
    pub name: ProviderName,
    /// The routes that it is of the first tier of: for legs that nobody has tried yet.
    pub first_of: HashSet<RouteName>,
}

/// An address, or a domain.
#[derive(Debug, Clone)]
pub enum Party {
    Address(AddressPattern),
    Domain(DomainPattern),
}

impl Party {
    pub fn matches(&self, address: Option<&Address>) -> bool {
        match self {
            Self::Address(pattern) => pattern.matches(address),
            Self::Domain(pattern) => address.is_some_and(|address| pattern.matches(address.domain())),
        }
    }
}

impl OfProvider {
    fn matches(&self, leg: &Leg) -> bool {
        match (&leg.lane.via, &leg.tried) {
            (Some(via), _) => *via == self.name,
            (None, Some(tried)) => tried.provider == self.name,
            (None, None) => self.first_of.contains(&leg.lane.route),
        }
    }
}

impl Wanted {
    /// The same, of one message alone.
    pub fn of(self, mid: Mid) -> Self {
        let next = Mid::from_bits(mid.bits().saturating_add(1));
        let from = self.from.map_or(mid, |from| from.max(mid));
        Self { from: Some(from), before: Some(self.before.map_or(next, |before| before.min(next))), ..self }
    }

    /// By the leg alone; `recipients` says the rest.
    pub(super) fn holds_for(&self, leg: &Leg) -> bool {
        self.route.as_ref().is_none_or(|route| *route == leg.lane.route)
            && self.held.is_none_or(|held| held == matches!(leg.state, LegState::Held { .. }))
            && self.provider.as_ref().is_none_or(|provider| provider.matches(leg))
    }

    pub(super) fn needs_envelope(&self) -> bool {
        self.sender.is_some() || self.recipient.is_some()
    }

    /// Those of the leg's recipients (envelope indices) that are asked for.
    pub fn recipients(&self, leg: &Leg, envelope: &Envelope) -> Vec<u32> {
        if !self.holds_for(leg)
            || !self.sender.as_ref().is_none_or(|sender| sender.matches(envelope.reverse_path.as_ref()))
        {
            return Vec::new();
        }
        let by_address = |recipient: &LegRecipient| {
            self.recipient.as_ref().is_none_or(|wanted| {
                let found = envelope.recipients.get(recipient.index as usize);
                found.is_some_and(|found| wanted.matches(Some(&found.address)))
            })
        };
        let found = leg.recipients.iter().filter(|recipient| by_address(recipient) && self.reason_of(leg, recipient));
        found.map(|recipient| recipient.index).collect()
    }

    /// The same count, where no envelope is needed.
    pub(super) fn count(&self, leg: &Leg) -> usize {
        leg.recipients.iter().filter(|recipient| self.reason_of(leg, recipient)).count()
    }

    fn reason_of(&self, leg: &Leg, recipient: &LegRecipient) -> bool {
        let Some(wanted) = &self.reason else { return true };
        let of_hold = match &leg.state {
            LegState::Held { reason } => wanted.matches(reason),
            LegState::Waiting => false,
        };
        of_hold || recipient.last.as_ref().is_some_and(|last| wanted.matches(&last.to_string()))
    }
}
