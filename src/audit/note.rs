//! Notes for the journal, from what ingress and delivery know. Empty where the trail is off.

use std::time::Duration;

use super::record::{
    Accepted, Act, Discarded, Fate, Message, Record, Refused, Routed, Settled, Text, Then, What, octets,
};
use crate::mail::{Diagnosis, Envelope, HeaderSection, Mid, RouteName, Timestamp};
use crate::queue::{Leg, LegState};

/// Longest Message-ID that is kept, and found.
pub const MESSAGE_ID: usize = 512;

/// Makes notes, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notes {
    on: bool,
}

/// What of a message's coming in its envelope does not have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival<'a> {
    /// RFC 3848's word for how it came; empty for what the relay makes.
    pub protocol: &'a str,
    pub message_id: Option<&'a str>,
    pub took: Duration,
    /// What a report is about.
    pub about: Option<Mid>,
    /// Routes that discard some of its recipients, with the indices of these.
    pub discarded: &'a [(RouteName, Vec<u32>)],
}

impl Notes {
    pub fn new(on: bool) -> Self {
        Self { on }
    }

    pub fn are_on(self) -> bool {
        self.on
    }

    /// The note of an acceptance.
    pub fn accepted(
        self,
        mid: Mid,
        envelope: &Envelope,
        legs: &[Leg],
        arrival: Arrival<'_>,
        revision: &str,
    ) -> Vec<u8> {
        if !self.on {
            return Vec::new();
        }
        let routed = legs.iter().map(routed).chain(arrival.discarded.iter().map(goes)).collect();
        let what = Accepted { message: message(envelope, arrival), revision: revision.into(), routed };
        let mut note = note(&Record::new(envelope.accepted_at, Some(mid), What::Accepted(what)), 256);
        for (route, indices) in arrival.discarded {
            let gone = What::Settled(gone(envelope, route, indices, revision));
            Record::new(envelope.accepted_at, Some(mid), gone).push(&mut note);
        }
        note
    }

    /// Of a message that every recipient's route discards.
    pub fn discarded(
        self,
        mid: Mid,
        envelope: &Envelope,
        routes: &[(RouteName, Vec<u32>)],
        arrival: Arrival<'_>,
        revision: &str,
    ) -> Vec<u8> {
        if !self.on {
            return Vec::new();
        }
        let routes = routes.iter().map(|(route, _)| route.as_str().into()).collect();
        let what = Discarded { message: message(envelope, arrival), revision: revision.into(), routes };
        note(&Record::new(envelope.accepted_at, Some(mid), What::Discarded(what)), 256)
    }

    /// Of content that was refused.
    pub fn refused(self, mid: Mid, envelope: &Envelope, arrival: Arrival<'_>, reply: &str) -> Vec<u8> {
        if !self.on {
            return Vec::new();
        }
        let what = Refused { message: message(envelope, arrival), reply: reply.trim_end().into() };
        note(&Record::new(envelope.accepted_at, Some(mid), What::Refused(what)), 256)
    }

    /// Of what a person did, to a message or to something else.
    pub fn act(self, at: Timestamp, mid: Option<Mid>, act: Act<'_>) -> Vec<u8> {
        if !self.on {
            return Vec::new();
        }
        note(&Record::new(at, mid, What::Act(act)), 128)
    }
}

/// A note of one record.
pub fn note(record: &Record<'_>, room: usize) -> Vec<u8> {
    let mut note = Vec::with_capacity(room);
    record.push(&mut note);
    note
}

/// The Message-ID of a header section, without its brackets.
pub fn message_id(header: &HeaderSection) -> Option<String> {
    let id = header.values("Message-ID").next()?;
    let id = id.trim().trim_start_matches('<').trim_end_matches('>');
    Some(id[..id.floor_char_boundary(MESSAGE_ID)].to_owned()).filter(|id| !id.is_empty())
}

pub fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

fn message<'a>(envelope: &'a Envelope, arrival: Arrival<'a>) -> Message<'a> {
    Message {
        listener: envelope.origin.listener.as_str().into(),
        client: envelope.origin.client,
        user: envelope.origin.user.as_deref().map(Text::from),
        helo: envelope.origin.helo.as_deref().map(Text::from),
        protocol: arrival.protocol.into(),
        sender: envelope.reverse_path.as_ref().map(|sender| sender.to_string().into()),
        recipients: envelope.recipients.iter().map(|recipient| recipient.address.to_string().into()).collect(),
        message_id: arrival.message_id.map(Text::from),
        size: envelope.size,
        duration_ms: millis(arrival.took),
        about: arrival.about.map(octets),
    }
}

fn routed(leg: &Leg) -> Routed<'_> {
    Routed {
        route: leg.lane.route.as_str().into(),
        destination: leg.lane.destination.as_ref().map(|domain| domain.as_str().into()),
        recipients: leg.recipients.iter().map(|recipient| recipient.index).collect(),
        held: match &leg.state {
            LegState::Waiting => None,
            LegState::Held { reason } => Some(reason.as_str().into()),
        },
    }
}

fn goes((route, indices): &(RouteName, Vec<u32>)) -> Routed<'_> {
    Routed { route: route.as_str().into(), destination: None, recipients: indices.clone(), held: None }
}

/// The end of recipients that a route discards.
fn gone<'a>(envelope: &Envelope, route: &'a RouteName, indices: &[u32], revision: &'a str) -> Settled<'a> {
    let address = |index: &u32| envelope.recipients.get(usize::try_from(*index).ok()?).map(|of| of.address.to_string());
    let recipients = indices.iter().filter_map(address).map(Text::from).collect();
    let fate = Fate { recipients, said: None, then: Then::Discarded };
    Settled { revision: revision.into(), route: route.as_str().into(), attempt: None, fates: vec![fate] }
}

/// What a remote said, as a record has it.
pub fn said<'a>(
    diagnosis: &'a Diagnosis,
    outcome: Option<&'a str>,
    provider_id: Option<&'a str>,
) -> super::record::Said<'a> {
    super::record::Said {
        outcome: outcome.map(Text::from),
        code: diagnosis.code,
        status: diagnosis.status.to_string().into(),
        text: diagnosis.text.as_str().into(),
        remote: diagnosis.remote.as_deref().map(Text::from),
        provider_id: provider_id.map(Text::from),
    }
}
