//! The ways to a target, and its task with a bounded queue, which `bring`s parcels one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{error, warn};

use super::bring::{Carrier, Desk, Last, Parcel};
use super::letter::Letter;
use super::post::Message;
use super::routes::origin;
use super::webhook::{self, Failure};
use super::words::{By, Note, note};
use super::{Deps, Setup, lock};
use crate::audit::{Arrival, Notes};
use crate::config::{Action, AlertTarget, MailTarget, WebhookTarget};
use crate::delivery::{ProviderState, fresh_leg, lane};
use crate::mail::{Envelope, Mid, ProviderName, Timestamp};
use crate::queue::{Content, Leg, LegRecipient, LegState, NewContent, NewMessage};
use crate::routing::{Decision, Facts};
use crate::transport::{Attempt, Outcome, Progress};

/// Notes that wait for a target; the next one is dropped, and that is told.
const WAITING: usize = 64;
/// For one attempt past the queue.
const ATTEMPT: Duration = Duration::from_secs(60);

/// Where parcels for a target are handed in. Dropped, it lets its task bring what waits and end.
pub struct Courier {
    pub desk: Arc<Desk>,
    parcels: mpsc::Sender<Parcel>,
    road: Arc<Mutex<(Arc<Setup>, Way)>>,
}

/// The way of now: a reload may put another in its place while parcels wait.
struct Road {
    deps: Arc<Deps>,
    road: Arc<Mutex<(Arc<Setup>, Way)>>,
}

impl Carrier for Road {
    async fn carry(&self, Parcel { id, at, news }: Parcel) -> Result<String, Failure> {
        let (setup, way) = lock(&self.road).clone();
        let note = note(&Message(news), By { relay: setup.hostname.as_str(), id: &id, now: at });
        way.send(&self.deps, &setup, &note).await
    }

    fn now(&self) -> Timestamp {
        self.deps.clock.wall()
    }
}

impl Courier {
    /// Its task ends with the tracker's token.
    pub fn start(deps: &Arc<Deps>, setup: &Arc<Setup>, way: Way, desk: Desk) -> Self {
        let (parcels, mut waiting) = mpsc::channel::<Parcel>(WAITING);
        let desk = Arc::new(desk);
        let road = Arc::new(Mutex::new((Arc::clone(setup), way)));
        let courier = Self { desk: desk.clone(), parcels, road: road.clone() };
        let carrier = Road { deps: Arc::clone(deps), road };
        let token = deps.token.clone();
        deps.tasks.clone().spawn(token.run_until_cancelled_owned(async move {
            while let Some(parcel) = waiting.recv().await {
                desk.bring(parcel, &carrier).await;
            }
        }));
        courier
    }

    /// The target is reached so from now on, with what waits too.
    pub fn change(&self, setup: &Arc<Setup>, way: Way) {
        *lock(&self.road) = (Arc::clone(setup), way);
        self.desk.hurry();
    }

    pub fn is_of(&self, way: &Way) -> bool {
        (self.desk.name.as_str(), self.desk.kind) == (way.name(), way.kind())
    }

    pub fn hand_in(&self, parcel: &Parcel) {
        if self.parcels.try_send(parcel.clone()).is_err() {
            error!(
                to = self.desk.name,
                note = parcel.id,
                waiting = WAITING,
                "an alert is dropped: its target does not keep up"
            );
            self.desk.came(&parcel.id, Some(false), "dropped: too many wait for it", parcel.at);
        }
        self.desk.ring();
    }

    pub fn tested(&self, last: Last) {
        *lock(&self.desk.last) = Some(last);
    }

    pub fn waiting(&self) -> usize {
        self.parcels.max_capacity() - self.parcels.capacity()
    }

    pub fn last(&self) -> Option<Last> {
        lock(&self.desk.last).clone()
    }
}

/// How a target is reached.
#[derive(Debug, Clone)]
pub enum Way {
    Webhook(WebhookTarget, reqwest::Client),
    /// With its number among the mail targets.
    Mail(MailTarget, usize),
}

impl Way {
    /// All targets' ways. Those that cannot be had are told, and left out.
    pub fn all(targets: &[AlertTarget]) -> Vec<Self> {
        let mut mails = 0;
        let way = |target: &AlertTarget| match target {
            AlertTarget::Webhook(webhook) => match webhook::client() {
                Ok(client) => Some(Self::Webhook(webhook.clone(), client)),
                Err(error) => {
                    error!(to = webhook.name, error, "alerts cannot be sent there");
                    None
                }
            },
            AlertTarget::Mail(mail) => {
                mails += 1;
                Some(Self::Mail(mail.clone(), mails - 1))
            }
        };
        targets.iter().filter_map(way).collect()
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Webhook(webhook, _) => &webhook.name,
            Self::Mail(mail, _) => &mail.name,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(..) => "webhook",
            Self::Mail(..) => "mail",
        }
    }

    /// One try. Mail goes through the queue, as all mail does.
    async fn send(&self, deps: &Deps, setup: &Setup, note: &Note) -> Result<String, Failure> {
        match self {
            Self::Webhook(webhook, client) => webhook::send(client, webhook, note, deps.clock.wall()).await,
            Self::Mail(mail, nth) => Post::new(deps, setup, mail, *nth, note).queued().await,
        }
    }

    /// The same, past the queue, so that what comes of it is known at once.
    pub async fn try_now(&self, deps: &Deps, setup: &Setup, note: &Note) -> Result<String, Failure> {
        match self {
            Self::Webhook(..) => self.send(deps, setup, note).await,
            Self::Mail(mail, nth) => Post::new(deps, setup, mail, *nth, note).direct().await,
        }
    }
}

/// A note as a message with its envelope.
struct Post<'a> {
    deps: &'a Deps,
    setup: &'a Setup,
    mid: Mid,
    envelope: Arc<Envelope>,
    content: bytes::Bytes,
}

impl<'a> Post<'a> {
    fn new(deps: &'a Deps, setup: &'a Setup, target: &MailTarget, nth: usize, note: &Note) -> Self {
        let now = deps.clock.now();
        let mid = deps.mids.next(now, rand::random());
        let hostname = setup.hostname.as_str();
        let letter = Letter { mid, from: &target.from, to: &target.to, origin: origin(nth), hostname, now };
        let (envelope, content) = letter.write(note);
        Self { deps, setup, mid, envelope: Arc::new(envelope), content }
    }

    /// Where the queue does not take it, it is the trouble: then the message goes out without it.
    async fn queued(self) -> Result<String, Failure> {
        let legs = self.legs();
        if legs.is_empty() {
            return self.direct().await;
        }
        let notes = Notes::new(self.deps.queue.is_followed());
        let id = format!("{}@{}", self.mid, self.setup.hostname);
        let arrival = Arrival { message_id: Some(&id), ..Arrival::default() };
        let note = notes.accepted(self.mid, &self.envelope, &legs, arrival, self.setup.table.revision());
        let message = NewMessage {
            mid: self.mid,
            envelope: Envelope::clone(&self.envelope),
            legs,
            content: NewContent::Memory(self.content.clone()),
            note,
        };
        match self.deps.queue.accept(message).await {
            Ok(()) => Ok(format!("queued as {}", self.mid)),
            Err(error) => {
                warn!(mid = %self.mid, %error, "the queue takes no mail of alerts: it is sent without it");
                self.direct().await
            }
        }
    }

    fn decision(&self, index: usize) -> Option<Arc<crate::config::Route>> {
        let facts = Facts {
            sender: self.envelope.reverse_path.as_ref(),
            recipient: &self.envelope.recipients.get(index)?.address,
            listener: &self.envelope.origin.listener,
            client: None,
            user: None,
            header: None,
            size: Some(self.envelope.size),
        };
        match self.setup.table.route(&facts) {
            Decision::Route(route) => Some(route),
            Decision::Undecided | Decision::NoRoute => None,
        }
    }

    fn legs(&self) -> Vec<Leg> {
        let mut legs: Vec<Leg> = Vec::new();
        for (index, recipient) in (0u32..).zip(&self.envelope.recipients) {
            let Some(route) = self.decision(index as usize) else { continue };
            let lane = lane(&self.setup.table, &route, &recipient.address);
            let one = LegRecipient { index, last: None };
            match legs.iter_mut().find(|leg| leg.lane == lane) {
                Some(leg) => leg.recipients.push(one),
                None => {
                    let mut leg = fresh_leg(lane, LegState::Waiting, self.envelope.accepted_at);
                    leg.recipients = vec![one];
                    legs.push(leg);
                }
            }
        }
        legs
    }

    /// Each recipient by the first provider of its chain that is well and takes it.
    async fn direct(self) -> Result<String, Failure> {
        let away = self.away().await;
        let mut said = Vec::new();
        for (index, recipient) in self.envelope.recipients.iter().enumerate() {
            let chain = self.decision(index).map(|route| (providers(&route.action), route.tls));
            let (chain, tls) = chain.unwrap_or_default();
            let (well, out): (Vec<_>, Vec<_>) = chain.into_iter().partition(|name| !away.contains(name));
            let mut refusals = Vec::new();
            let mut taken = None;
            for name in well.into_iter().chain(out) {
                let Some(transport) = self.setup.transports.get(&name) else { continue };
                let attempt = Attempt {
                    mid: self.mid,
                    envelope: self.envelope.clone(),
                    recipients: vec![u32::try_from(index).unwrap_or(u32::MAX)],
                    destination: transport.by_destination().then(|| recipient.address.domain().clone()),
                    content: Content::memory(self.content.clone(), self.envelope.header_size as usize),
                    tls,
                    at_once: false,
                    progress: Progress::default(),
                };
                let outcome = timeout(ATTEMPT, transport.attempt(&attempt)).await;
                match outcome.as_deref() {
                    Ok([Outcome::Delivered { diagnosis, .. }]) => {
                        taken = Some(format!("{} by {name}: {diagnosis}", recipient.address));
                        break;
                    }
                    Ok(outcomes) => refusals.extend(outcomes.iter().map(|one| format!("{name}: {}", one.diagnosis()))),
                    Err(_) => refusals.push(format!("{name}: no answer within {} s", ATTEMPT.as_secs())),
                }
            }
            match taken {
                Some(taken) => said.push(taken),
                None => {
                    let why =
                        if refusals.is_empty() { "no provider could carry it".to_owned() } else { refusals.join("; ") };
                    return Err(Failure { text: format!("{}: {why}", recipient.address), again: Some(None) });
                }
            }
        }
        Ok(said.join("; "))
    }

    /// Providers that take nothing now.
    async fn away(&self) -> Vec<ProviderName> {
        let Ok(snapshot) = self.deps.control.snapshot().await else { return Vec::new() };
        let away = snapshot.providers.into_iter().filter(|provider| match provider.state {
            ProviderState::Paused
            | ProviderState::Drill
            | ProviderState::Open
            | ProviderState::HalfOpen
            | ProviderState::QuotaSpent => true,
            ProviderState::Throttled | ProviderState::Closed => false,
        });
        away.map(|provider| provider.name).collect()
    }
}

fn providers(action: &Action) -> Vec<ProviderName> {
    match action {
        Action::Deliver(tiers) => tiers.iter().flat_map(|tier| &tier.0).map(|(name, _)| name.clone()).collect(),
        Action::Reject(_) | Action::Hold { .. } | Action::Discard => Vec::new(),
    }
}

/// By name.
pub type Transports = HashMap<ProviderName, Arc<dyn crate::transport::Transport>>;
