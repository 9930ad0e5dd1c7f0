//! Between the scheduler and the queue: reads windows of a lane, routing each recipient anew, and writes settlements with
//! the reports that they call for. Runs in tasks beside the scheduler and holds no state of its own.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tracing::{error, info, warn};

use super::Settings;
use super::backlog::Backlog;
use super::orders::{self, Ordered};
use super::pending::{Draft, Pending, Told, What};
use super::settle::permanent;
use super::span::after;
use super::status::Meter;
use super::trail;
use crate::audit::Arrival;
use crate::bounce::{self, Kind};
use crate::config::{Action, Rejection, Route};
use crate::mail::{
    Address, Diagnosis, EnhancedStatus, Envelope, HeaderSection, Mid, MidSource, RouteName, Severity, Timestamp,
};
use crate::os::Clock;
use crate::queue::{
    Claim, Lane, Leg, LegRecipient, LegState, NewContent, NewMessage, Orders, Passed, PassedWhy, QueueError, Settled,
};
use crate::routing::{Decision, Facts, Table};

/// What all of delivery shares.
pub struct Desk<Q> {
    pub queue: Q,
    pub clock: Clock,
    pub mids: Arc<MidSource>,
    pub meter: Arc<Meter>,
    pub rules: ArcSwap<Rules>,
}

/// What delivery goes by; replaced as a whole when the configuration changes.
#[derive(Debug)]
pub struct Rules {
    pub table: Arc<Table>,
    pub settings: Settings,
}

/// A window of a lane, routed.
#[derive(Debug, Default)]
pub struct Window {
    pub legs: Vec<Pending>,
    /// Recipients that leave the lane without an attempt: bounced, held, discarded, or routed elsewhere.
    pub leaving: Vec<Draft>,
    pub next_due: Option<Timestamp>,
    /// Something could not be read: the lane rests a while.
    pub troubled: bool,
    /// What the legs were routed by.
    pub rules: Option<Arc<Rules>>,
}

/// The lane of a recipient whom a route delivers.
pub fn lane(table: &Table, route: &Route, recipient: &Address) -> Lane {
    let destination = table.by_destination(route).then(|| recipient.domain().clone());
    Lane { route: route.name.clone(), destination, via: None }
}

/// What routing says of a recipient that was queued before.
pub enum Way {
    Deliver(Arc<Route>, Lane),
    Hold(Lane, String),
    Discard,
    Bounce(Diagnosis),
}

impl Rules {
    pub fn expires_at(&self, route: Option<&Route>, envelope: &Envelope, leg: &Leg) -> Timestamp {
        after(orders::begins(leg, envelope.accepted_at), self.expire(route))
    }

    pub fn expire(&self, route: Option<&Route>) -> Duration {
        route.and_then(|route| route.expire).unwrap_or(self.settings.expire)
    }

    pub fn route_named(&self, name: &RouteName) -> Option<&Route> {
        self.table.route_named(name).map(AsRef::as_ref)
    }
}

impl<Q: Backlog> Desk<Q> {
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Claims what is due in a lane and routes each recipient anew: the table may have changed since.
    pub async fn read(&self, lane: &Lane, most: usize) -> Result<Window, QueueError> {
        let claimed = self.queue.claim(lane, self.clock.now(), most).await?;
        // Behind the claim: what a door has taken by a new table is never routed by an older one.
        let rules = self.rules();
        let mut window = Window { next_due: claimed.next_due, rules: Some(rules.clone()), ..Window::default() };
        for claim in claimed.claims {
            let (mid, number) = (claim.mid, claim.number);
            match self.route(claim, &rules).await {
                Ok((leg, leaving)) => {
                    window.legs.extend(leg);
                    window.leaving.extend(leaving);
                }
                Err(error) => {
                    error!(%mid, %error, "a queued message cannot be routed for now");
                    self.queue.release(mid, number);
                    window.troubled = true;
                }
            }
        }
        Ok(window)
    }

    async fn route(&self, claim: Claim, rules: &Rules) -> Result<(Option<Pending>, Option<Draft>), QueueError> {
        let Claim { mid, number, mut leg, envelope } = claim;
        let now = self.clock.now();
        let recipients = std::mem::take(&mut leg.recipients);
        let mut draft = Draft {
            mid,
            lane: leg.lane.clone(),
            number,
            envelope: envelope.clone(),
            recipients: Vec::new(),
            legs: Vec::new(),
            told: Vec::new(),
            counter: None,
            last_attempt: None,
            tried: None,
            silent: false,
        };
        let mut header = None;
        let (mut stays, mut stay) = (None, Vec::new());
        for recipient in recipients {
            let index = recipient.index;
            match self.way(rules, (mid, &envelope, index), &leg, &mut header).await? {
                Way::Deliver(route, lane) if lane == leg.lane => {
                    stays = Some(route);
                    stay.push(recipient);
                    continue;
                }
                Way::Deliver(_, lane) => {
                    info!(%mid, from = %leg.lane.route, to = %lane.route, "routed anew");
                    rerouted(&mut draft, &leg, recipient, lane, LegState::Waiting, now);
                }
                Way::Hold(lane, reason) => {
                    warn!(%mid, route = %lane.route, reason, "held");
                    rerouted(&mut draft, &leg, recipient, lane, LegState::Held { reason }, now);
                }
                Way::Discard => info!(%mid, route = %leg.lane.route, recipients = 1, "discarded"),
                Way::Bounce(diagnosis) => {
                    info!(%mid, %diagnosis, recipients = 1, "bounced: the routing table refuses it now");
                    draft.tell(index, What::Failed, diagnosis);
                }
            }
            draft.recipients.push(index);
        }
        let leaves = !draft.recipients.is_empty();
        let pending = stays.map(|route| {
            let expires_at = rules.expires_at(Some(&route), &envelope, &leg);
            Pending { mid, number, envelope, route, leg, left: stay, started: leaves, expires_at }
        });
        // A leg without recipients is none; it is settled all the same, so that it goes away.
        let draft = (leaves || pending.is_none()).then_some(draft);
        Ok((pending, draft))
    }

    /// Where a recipient of a leg goes by the table as it is now. `header`: once it was read, for the next one.
    pub async fn way(
        &self,
        rules: &Rules,
        (mid, envelope, index): (Mid, &Envelope, u32),
        leg: &Leg,
        header: &mut Option<HeaderSection>,
    ) -> Result<Way, QueueError> {
        let Some(recipient) = envelope.recipients.get(index as usize) else {
            error!(%mid, index, "a leg names a recipient that its envelope does not have");
            return Ok(Way::Discard);
        };
        let address = &recipient.address;
        let past = &leg.orders.past;
        let mut decision = rules.table.route_past(&facts(envelope, address, header.as_ref()), past);
        if matches!(decision, Decision::Undecided) && header.is_none() {
            let octets = self.queue.content(mid, envelope).header().await?;
            *header = Some(HeaderSection::new(octets));
            decision = rules.table.route_past(&facts(envelope, address, header.as_ref()), past);
        }
        if !leg.orders.is_none() || leg.is_moved() {
            match orders::ordered(&rules.table, leg, address, &decision) {
                Some(Ordered::Deliver(route, lane)) => return Ok(Way::Deliver(route, lane)),
                Some(Ordered::Hold(lane, why)) => return Ok(Way::Hold(lane, why)),
                None => {}
            }
        }
        Ok(match decision {
            Decision::Route(route) => match &route.action {
                Action::Deliver(_) => {
                    let lane = lane(&rules.table, &route, address);
                    Way::Deliver(route, lane)
                }
                Action::Hold { reason } => {
                    Way::Hold(Lane { route: route.name.clone(), destination: None, via: None }, reason.clone())
                }
                Action::Discard => Way::Discard,
                Action::Reject(rejection) => Way::Bounce(refused(rejection)),
            },
            Decision::NoRoute | Decision::Undecided => Way::Bounce(Diagnosis::local(
                EnhancedStatus::new(Severity::Permanent, 7, 1),
                format!("no route takes mail to {address} any more"),
            )),
        })
    }

    /// Writes it down. Returns once it is on disk; while that is full, it waits.
    pub async fn write(&self, draft: Draft) {
        let settled = self.settled(draft).await;
        let mid = settled.mid;
        if let Err(error) = self.queue.settle(settled).await {
            // Under lease until the next start, and then tried anew: a duplicate at worst, never a loss.
            error!(%mid, %error, "an outcome could not be written");
        }
    }

    /// What is to be written, with the reports that it calls for.
    pub async fn settled(&self, draft: Draft) -> Settled {
        self.meter.add_bounced(draft.told.iter().filter(|told| told.what == What::Failed).count());
        let held = draft.legs.iter().filter(|leg| matches!(leg.state, LegState::Held { .. }));
        self.meter.add_held(held.map(|leg| leg.recipients.len()).sum());
        self.meter.settled(&draft, self.clock.now());
        let notices = self.notices(&draft).await;
        let rules = self.rules();
        let note = trail::note(rules.settings.notes, &draft, rules.table.revision(), self.clock.now());
        let Draft { mid, number, recipients, legs, counter, .. } = draft;
        let counters = counter.into_iter().collect();
        Settled { mid, number, recipients, legs, notices, counters, note }
    }

    /// One report for each kind of news, for all its recipients.
    async fn notices(&self, draft: &Draft) -> Vec<NewMessage> {
        let mut kinds: Vec<Kind> = Vec::new();
        for told in &draft.told {
            let Some(kind) = kind(told.what) else { continue };
            if bounce::wanted(kind, &draft.envelope, told.index) && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let mut notices = Vec::new();
        for kind in kinds {
            // In a place of its own, for few settlements have any.
            notices.extend(Box::pin(self.notice(kind, draft)).await);
        }
        notices
    }

    async fn notice(&self, kind: Kind, draft: &Draft) -> Option<NewMessage> {
        let of_kind = draft.told.iter().filter(|told| self::kind(told.what) == Some(kind));
        let told: Vec<_> = of_kind
            .map(|Told { index, diagnosis, .. }| bounce::Told {
                index: *index,
                diagnosis,
                last_attempt: draft.last_attempt,
            })
            .collect();
        let original = self.beginning(draft, bounce::octets_wanted(kind, &draft.envelope)).await;
        let now = self.clock.now();
        let mid = self.mids.next(now, rand::random());
        let rules = self.rules();
        let by = bounce::By { hostname: rules.settings.hostname.as_str(), now, mid };
        let report = bounce::report(kind, draft.mid, &draft.envelope, &told, &original, &by)?;
        let address = &report.envelope.recipients.first()?.address;
        let header_size = (report.envelope.header_size as usize).min(report.content.len());
        let header = HeaderSection::new(report.content.slice(..header_size));
        // What only says that mail is late, or went well, is not worth a person's time.
        let held_or_none = |lane: Lane, reason: String| {
            let keep = kind == Kind::Failure;
            let then = if keep { "held" } else { "dropped" };
            warn!(about = %draft.mid, to = %address, kind = kind.name(), reason, "a delivery status notification is {then}");
            self.meter.add_held(usize::from(keep));
            keep.then(|| fresh_leg(lane, LegState::Held { reason }, now))
        };
        // Routed as all mail is, so that an operator decides where reports go.
        let leg = match rules.table.route(&facts(&report.envelope, address, Some(&header))) {
            Decision::Route(route) => {
                let lane = lane(&rules.table, &route, address);
                match &route.action {
                    Action::Deliver(_) => fresh_leg(lane, LegState::Waiting, now),
                    Action::Hold { reason } => fresh_leg(lane, LegState::Held { reason: reason.clone() }, now),
                    Action::Reject(_) => held_or_none(lane, format!("route {} refuses this report", route.name))?,
                    Action::Discard => {
                        info!(about = %draft.mid, to = %address, route = %route.name, "a delivery status notification is discarded");
                        return None;
                    }
                }
            }
            // It stays where the mail was that it tells of: a person finds it a way, or a route does when it is released.
            Decision::NoRoute | Decision::Undecided => {
                held_or_none(draft.lane.clone(), format!("no route takes this report to <{address}>"))?
            }
        };
        info!(%mid, about = %draft.mid, kind = kind.name(), recipients = told.len(), "delivery status notification");
        let legs = vec![leg];
        let id = format!("{mid}@{}", rules.settings.hostname);
        let arrival = Arrival { message_id: Some(&id), about: Some(draft.mid), ..Arrival::default() };
        let note = rules.settings.notes.accepted(mid, &report.envelope, &legs, arrival, rules.table.revision());
        let content = NewContent::Memory(report.content);
        Some(NewMessage { mid, envelope: report.envelope, legs, content, note })
    }

    /// The first octets of the original. What cannot be read is left out of the report: the news matters more.
    async fn beginning(&self, draft: &Draft, octets: u64) -> Bytes {
        let content = self.queue.content(draft.mid, &draft.envelope);
        let read =
            if octets > u64::from(draft.envelope.header_size) { content.all().await } else { content.header().await };
        let mut read = read.unwrap_or_else(|error| {
            warn!(mid = %draft.mid, %error, "the original cannot be read for its report");
            Bytes::new()
        });
        read.truncate(usize::try_from(octets).unwrap_or(usize::MAX));
        read
    }
}

/// What the sender is told of it, where the relay is the one who tells.
fn kind(what: What) -> Option<Kind> {
    match what {
        What::Failed => Some(Kind::Failure),
        What::Delayed { until } => Some(Kind::Delay { until }),
        What::Relayed => Some(Kind::Relayed),
        What::PassedOn => None,
        What::Delivered => Some(Kind::Delivered),
    }
}

fn facts<'a>(envelope: &'a Envelope, recipient: &'a Address, header: Option<&'a HeaderSection>) -> Facts<'a> {
    Facts {
        sender: envelope.reverse_path.as_ref(),
        recipient,
        listener: &envelope.origin.listener,
        client: envelope.origin.client,
        user: envelope.origin.user.as_deref(),
        header,
        size: Some(envelope.size),
    }
}

/// A refusal that the client heard nothing of is a bounce, and that is final, whatever its code says.
fn refused(rejection: &Rejection) -> Diagnosis {
    permanent(&Diagnosis {
        code: Some(rejection.code),
        status: rejection.status,
        text: rejection.text.clone(),
        remote: None,
    })
}

fn rerouted(draft: &mut Draft, from: &Leg, recipient: LegRecipient, lane: Lane, state: LegState, now: Timestamp) {
    if let Some(leg) = draft.legs.iter_mut().find(|leg| leg.lane == lane && leg.state == state) {
        leg.recipients.push(recipient);
        return;
    }
    // What a provider cannot carry, it cannot carry by another route either. Its round begins anew.
    let passed: Vec<Passed> =
        from.passed.iter().filter(|passed| passed.why == PassedWhy::Unsupported).cloned().collect();
    let (orders, tried) = (from.orders.clone(), from.tried.clone());
    let leg =
        Leg { recipients: vec![recipient], passed, warned: from.warned, orders, tried, ..fresh_leg(lane, state, now) };
    draft.legs.push(leg);
}

/// A leg that was never tried, of the first recipient.
pub fn fresh_leg(lane: Lane, state: LegState, now: Timestamp) -> Leg {
    let recipients = vec![LegRecipient { index: 0, last: None }];
    let (passed, orders) = (Vec::new(), Orders::default());
    Leg { lane, due: now, recipients, attempts: 0, passed, state, warned: false, orders, tried: None }
}
