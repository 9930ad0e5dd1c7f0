//! Bringing notes to a target: one task each, with a bounded queue, a pause after each failure, and an end of patience.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::letter::Letter;
use super::routes::origin;
use super::sent::Ledger;
use super::webhook::{self, Failure};
use super::words::Note;
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
/// Pauses between the tries of a note.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(1800),
];
/// No target asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);
/// For one attempt past the queue.
const ATTEMPT: Duration = Duration::from_secs(60);

/// Where notes for a target are handed in. Dropped, it lets its task bring what waits and end.
#[derive(Debug)]
pub struct Courier {
    pub name: String,
    pub kind: &'static str,
    notes: mpsc::Sender<Arc<Note>>,
    log: Log,
}

/// Where it is told what comes of notes.
#[derive(Debug, Clone)]
struct Log {
    last: Arc<Mutex<Option<Last>>>,
    sent: Arc<Mutex<Ledger>>,
}

/// What came of the last note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    pub at: Timestamp,
    pub ok: bool,
    pub text: String,
}

impl Courier {
    /// Its task ends with the tracker's token. `last`: what is known of the target.
    pub fn start(deps: &Arc<Deps>, setup: &Arc<Setup>, way: Way, last: Option<Last>, sent: Arc<Mutex<Ledger>>) -> Self {
        let (notes, mut waiting) = mpsc::channel::<Arc<Note>>(WAITING);
        let log = Log { last: Arc::new(Mutex::new(last)), sent };
        let courier = Self { name: way.name().to_owned(), kind: way.kind(), notes, log: log.clone() };
        let (deps, setup) = (Arc::clone(deps), Arc::clone(setup));
        let token = deps.token.clone();
        deps.tasks.clone().spawn(token.run_until_cancelled_owned(async move {
            while let Some(note) = waiting.recv().await {
                bring(&deps, &setup, &way, &note, &log).await;
            }
        }));
        courier
    }

    pub fn hand_in(&self, note: &Arc<Note>, now: Timestamp) {
        if self.notes.try_send(Arc::clone(note)).is_err() {
            error!(
                to = self.name,
                note = note.id,
                waiting = WAITING,
                "an alert is dropped: its target does not keep up"
            );
            self.log.came((&self.name, self.kind), note, Some(false), "dropped: too many wait for it", now);
        }
    }

    pub fn tested(&self, last: Last) {
        *lock(&self.log.last) = Some(last);
    }

    pub fn waiting(&self) -> usize {
        self.notes.max_capacity() - self.notes.capacity()
    }

    pub fn last(&self) -> Option<Last> {
        lock(&self.log.last).clone()
    }
}

impl Log {
    fn came(&self, target: (&str, &str), note: &Note, ok: Option<bool>, text: &str, at: Timestamp) {
        *lock(&self.last) = Some(Last { at, ok: ok == Some(true), text: text.to_owned() });
        lock(&self.sent).came(&note.id, target, ok, text, at);
    }
}

/// Tries again and again, with growing pauses.
async fn bring(deps: &Deps, setup: &Setup, way: &Way, note: &Note, log: &Log) {
    let mut pauses = PAUSES.iter();
    let came = |ok, text: &str| log.came((way.name(), way.kind()), note, ok, text, deps.clock.wall());
    loop {
        let failure = match way.send(deps, setup, note).await {
            Ok(said) => {
                info!(to = way.name(), note = note.id, said, "an alert was sent");
                return came(Some(true), &said);
            }
            Err(failure) => failure,
        };
        match (failure.again, pauses.next()) {
            (Some(asked), Some(pause)) => {
                let pause = asked.unwrap_or(*pause).clamp(*pause, LONGEST_PAUSE.max(*pause));
                warn!(
                    to = way.name(),
                    note = note.id,
                    error = failure.text,
                    again_in_s = pause.as_secs(),
                    "an alert could not be sent"
                );
                came(None, &format!("{}; again in {} s", failure.text, pause.as_secs()));
                sleep(pause).await;
            }
            (None, _) | (_, None) => {
                error!(
                    to = way.name(),
                    note = note.id,
                    error = failure.text,
                    "an alert could not be sent, and is given up"
                );
                return came(Some(false), &format!("{}; given up", failure.text));
            }
        }
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
