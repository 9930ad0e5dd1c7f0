//! What each act does with one leg.

use futures_util::StreamExt as _;
use futures_util::stream;

use super::form::{Act, ActAnswer, ActRequest, Refused};
use super::record::{By, record};
use super::{OperateError, Operator};
use crate::audit;
use crate::config::Action;
use crate::delivery::desk::Way;
use crate::delivery::pending::{Draft, What};
use crate::delivery::recall::Leased;
use crate::delivery::settle::for_good;
use crate::mail::{Diagnosis, EnhancedStatus, Mid, ProviderName, RouteName, Severity, Timestamp};
use crate::queue::{Claim, Lane, Leg, LegRecipient, LegState, Orders, QueueError, Wanted};

/// Legs that are written at one time: they share a sync of the journal.
const AT_ONCE: usize = 128;

/// An act that makes sense, whatever mail it meets.
pub(super) struct Order<'a> {
    operator: &'a Operator,
    act: &'a Act,
    by: &'a By,
    now: Timestamp,
    to: Option<(Option<RouteName>, Option<ProviderName>)>,
}

/// What came of one leg.
enum Came {
    /// So many recipients.
    Done(usize),
    Unchanged(usize),
    Refused(String),
    /// Nobody of it is asked for any more.
    Gone,
}

/// What is to become of some of a leg's recipients.
enum Then {
    Legs(Vec<Leg>),
    Leave { sender_is_told: bool },
    Unchanged,
    Refuse(String),
}

impl<'a> Order<'a> {
    pub fn new(operator: &'a Operator, request: &'a ActRequest, by: &'a By) -> Result<Self, OperateError> {
        let to = match &request.act {
            Act::Move { route, provider } => Some(destination(operator, route.as_deref(), provider.as_deref())?),
            Act::Retry | Act::Hold | Act::Release | Act::Delete | Act::Bounce => None,
        };
        Ok(Self { operator, act: &request.act, by, now: operator.desk.clock.now(), to })
    }

    /// Messages of which something was done go to `touched`.
    pub async fn carry_out(
        &self,
        legs: Vec<Leased>,
        wanted: &Wanted,
        answer: &mut ActAnswer,
        touched: &mut Vec<Mid>,
    ) -> Result<(), QueueError> {
        let each = legs.into_iter().map(|leased| async move {
            let mid = leased.id().0;
            (mid, self.carry_out_one(leased, wanted).await)
        });
        let mut ended = stream::iter(each).buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some((mid, came)) = ended.next().await {
            match came {
                Ok(Came::Done(recipients)) => {
                    answer.recipients += recipients as u64;
                    touched.push(mid);
                }
                // What this very act has changed is met again where another leg of the message had to be waited for.
                Ok(Came::Unchanged(_)) if touched.contains(&mid) => {}
                Ok(Came::Unchanged(recipients)) => answer.unchanged += recipients as u64,
                Ok(Came::Refused(why)) => answer.refused.push(Refused { mid: mid.to_string(), why }),
                Ok(Came::Gone) => {}
                // The others are let end: each is done with or not.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn carry_out_one(&self, leased: Leased, wanted: &Wanted) -> Result<Came, QueueError> {
        let claim = leased.claim().clone();
        let chosen = wanted.recipients(&claim.leg, &claim.envelope);
        if chosen.is_empty() {
            return Ok(Came::Gone);
        }
        let is_chosen = |recipient: &LegRecipient| chosen.contains(&recipient.index);
        let (chosen, others): (Vec<_>, Vec<_>) = claim.leg.recipients.iter().cloned().partition(is_chosen);
        let count = chosen.len();
        let mut draft = draft(&claim);
        match self.then(&claim, chosen.clone()).await? {
            Then::Unchanged => return Ok(Came::Unchanged(count)),
            Then::Refuse(why) => return Ok(Came::Refused(why)),
            Then::Legs(legs) => draft.legs = legs,
            Then::Leave { sender_is_told } => {
                for recipient in chosen.iter().filter(|_| sender_is_told) {
                    draft.tell(recipient.index, What::Failed, self.gave_up(recipient));
                }
            }
        }
        if !others.is_empty() {
            draft.legs.push(Leg { recipients: others, ..claim.leg.clone() });
        }
        let mut settled = self.operator.desk.settled(draft).await;
        settled.note.splice(..0, self.note(&claim, &chosen));
        // Nothing is awaited between these two: from here on the settlement stands, whoever listens.
        leased.settles();
        self.operator.desk.queue.settle(settled).await?;
        record(self.act, &claim, count, self.by);
        Ok(Came::Done(count))
    }

    /// For the trail: who did it to whom, in front of what became of them.
    fn note(&self, claim: &Claim, chosen: &[LegRecipient]) -> Vec<u8> {
        let desk = &self.operator.desk;
        let of = |index: u32| claim.envelope.recipients.get(index as usize);
        let addresses = chosen.iter().filter_map(|recipient| Some(of(recipient.index)?.address.to_string()));
        let recipients = addresses.map(Into::into).collect();
        let act = audit::record::Act { to: self.act.to().into(), recipients, ..self.by.note(self.act.name()) };
        self.operator.notes().act(desk.clock.now(), Some(claim.mid), act)
    }

    async fn then(&self, claim: &Claim, recipients: Vec<LegRecipient>) -> Result<Then, QueueError> {
        let leg = Leg { recipients, ..claim.leg.clone() };
        let held = matches!(leg.state, LegState::Held { .. });
        Ok(match self.act {
            Act::Retry if held || leg.due <= self.now => Then::Unchanged,
            Act::Retry => Then::leg(Leg { due: self.now, passed: for_good(&leg.passed), ..leg }),
            Act::Hold if held => Then::Unchanged,
            Act::Hold => Then::leg(Leg { state: LegState::Held { reason: self.by.reason_of_hold() }, ..leg }),
            Act::Release if !held => Then::Unchanged,
            Act::Release => self.released(claim, leg).await?,
            Act::Delete => Then::Leave { sender_is_told: false },
            Act::Bounce => Then::Leave { sender_is_told: true },
            Act::Move { .. } => self.moved(claim, leg).await?,
        })
    }

    fn gave_up(&self, recipient: &LegRecipient) -> Diagnosis {
        let why = self.by.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let last = recipient.last.as_ref().map(|last| format!(" (last reply: {last})")).unwrap_or_default();
        // RFC 3463, 3.1: other or undefined status, for good.
        let status = EnhancedStatus::new(Severity::Permanent, 0, 0);
        Diagnosis::local(status, format!("an operator of the relay gave it up{why}{last}"))
    }

    /// Past the route that holds it, where that is why it waits.
    async fn released(&self, claim: &Claim, leg: Leg) -> Result<Then, QueueError> {
        let mut orders = Orders { since: Some(self.now), ..leg.orders.clone() };
        self.past_its_route(&leg, &mut orders);
        let passed = for_good(&leg.passed);
        let free = Leg { state: LegState::Waiting, due: self.now, orders, passed, ..leg };
        self.sent_on(claim, free, "released").await
    }

    /// The table is not to be asked for the route that holds it.
    fn past_its_route(&self, leg: &Leg, orders: &mut Orders) {
        let table = self.operator.table();
        let by = table.route_named(&leg.lane.route);
        let holds = by.is_some_and(|route| matches!(route.action, Action::Hold { .. }));
        if holds && !leg.orders.route && !orders.past.contains(&leg.lane.route) {
            orders.past.push(leg.lane.route.clone());
        }
    }

    async fn moved(&self, claim: &Claim, leg: Leg) -> Result<Then, QueueError> {
        let Some((route, provider)) = &self.to else { return Ok(Then::Unchanged) };
        let by_table = route.is_none() && provider.is_none();
        let mut orders = Orders { route: route.is_some(), since: Some(self.now), ..leg.orders.clone() };
        if by_table {
            orders.past.clear();
        } else if matches!(leg.state, LegState::Held { .. }) {
            // It stays held, and this is where it goes when it is released.
            self.past_its_route(&leg, &mut orders);
        }
        let lane = Lane {
            route: route.clone().unwrap_or_else(|| leg.lane.route.clone()),
            destination: leg.lane.destination.clone(),
            via: provider.clone(),
        };
        if (orders.route, &orders.past, &lane) == (leg.orders.route, &leg.orders.past, &leg.lane) {
            return Ok(Then::Unchanged);
        }
        // By another route, what could not carry it cannot; to a provider by name, it is asked whatever it said.
        let passed = if provider.is_some() { Vec::new() } else { for_good(&leg.passed) };
        let moved = Leg { lane, orders, passed, attempts: 0, due: self.now, ..leg };
        self.sent_on(claim, moved, "moved").await
    }

    /// Where that leads by the table as it is now, recipient by recipient. It is refused where one would be held at once,
    /// or never sent.
    async fn sent_on(&self, claim: &Claim, leg: Leg, what: &str) -> Result<Then, QueueError> {
        let desk = &self.operator.desk;
        let rules = desk.rules();
        let mut header = None;
        let mut legs: Vec<Leg> = Vec::new();
        for recipient in &leg.recipients {
            let held = matches!(leg.state, LegState::Held { .. });
            let mut leg = leg.clone();
            let at = (claim.mid, &*claim.envelope, recipient.index);
            let lane = match desk.way(&rules, at, &leg, &mut header).await? {
                Way::Deliver(_, lane) => lane,
                // As the table says, it is held for what the table says.
                Way::Hold(lane, reason) if held && !leg.is_moved() && leg.orders.past.is_empty() => {
                    leg.state = LegState::Held { reason };
                    lane
                }
                Way::Hold(lane, why) => {
                    return Ok(Then::Refuse(format!("it was not {what}: route {} would hold it: {why}", lane.route)));
                }
                Way::Bounce(diagnosis) => {
                    return Ok(Then::Refuse(format!("it was not {what}: it would bounce: {diagnosis}")));
                }
                Way::Discard => {
                    return Ok(Then::Refuse(format!("it was not {what}: the route that takes it now discards it")));
                }
            };
            match legs.iter_mut().find(|known| known.lane == lane && known.state == leg.state) {
                Some(known) => known.recipients.push(recipient.clone()),
                None => legs.push(Leg { lane, recipients: vec![recipient.clone()], ..leg }),
            }
        }
        Ok(Then::Legs(legs))
    }
}

impl Then {
    fn leg(leg: Leg) -> Self {
        Self::Legs(vec![leg])
    }
}

fn draft(claim: &Claim) -> Draft {
    Draft {
        lane: claim.leg.lane.clone(),
        mid: claim.mid,
        number: claim.number,
        envelope: claim.envelope.clone(),
        recipients: claim.leg.recipients.iter().map(|recipient| recipient.index).collect(),
        legs: Vec::new(),
        told: Vec::new(),
        counter: None,
        last_attempt: None,
        tried: None,
        silent: false,
    }
}

/// Where mail is to be moved, which must be there and deliver.
fn destination(
    operator: &Operator,
    route: Option<&str>,
    provider: Option<&str>,
) -> Result<(Option<RouteName>, Option<ProviderName>), OperateError> {
    let table = operator.table();
    let (route, provider) = (route.map(RouteName::new), provider.map(ProviderName::new));
    if let Some(name) = &route {
        let known = table.route_named(name).ok_or_else(|| {
            OperateError::Asked(format!(
                "there is no route '{name}'{}",
                nearest(name.as_str(), table.routes().map(|r| r.name.as_str()))
            ))
        })?;
        if !matches!(known.action, Action::Deliver(_)) {
            return Err(OperateError::Asked(format!(
                "route '{name}' delivers nothing: mail can be moved to one with `deliver`"
            )));
        }
    }
    if let Some(name) = &provider
        && table.provider(name).is_none()
    {
        let near = nearest(name.as_str(), table.providers().map(|p| p.name.as_str()));
        return Err(OperateError::Asked(format!("there is no provider '{name}'{near}")));
    }
    Ok((route, provider))
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.map(|known| (strsim::jaro_winkler(name, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score > 0.8).map(|(_, known)| format!(", did you mean '{known}'?")).unwrap_or_default()
}
