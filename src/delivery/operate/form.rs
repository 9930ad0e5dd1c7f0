//! What is asked about the queue and what is answered: one form for the verbs, the admin API and its pages.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::mail::Timestamp;

/// Which queued mail is meant. All that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// A route's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The provider that it was moved to, else the one that tried it last, else one of the first tier of its route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The reverse-path: an address or a domain, both with `*`; `<>` is the null one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// An address or a domain, both with `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Accepted longer ago than this, such as `4h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older: Option<String>,
    /// Accepted within this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Text in the reason of its hold or in the last reply, without case; `*` stands for any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Tried again by itself.
    Waiting,
    /// Until a person releases it.
    Held,
}

/// A part of the list, in the order of acceptance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Goes on behind this part; `null`: that was all.
    pub next: Option<String>,
}

/// Recipients of one message that wait together, as the list shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    pub mid: String,
    pub number: u32,
    /// `null` is the null reverse-path.
    pub from: Option<String>,
    /// The first of them that were asked for.
    pub to: Vec<String>,
    /// How many were asked for.
    pub recipients: u64,
    pub route: String,
    /// The domain, where its route delivers to each by itself.
    pub destination: Option<String>,
    /// The one that it was moved to, else the one that tried it last.
    pub provider: Option<String>,
    pub moved_to_provider: Option<String>,
    pub state: State,
    /// An attempt is under way, or about to be.
    pub in_hand: bool,
    pub due: Timestamp,
    /// Rounds through the chain that came to nothing.
    pub attempts: u32,
    pub accepted: Timestamp,
    /// Octets of content.
    pub size: u64,
    /// Why it is held, or what was said last.
    pub reason: Option<String>,
    /// What it waits for although it is due, in words; of the running relay alone.
    pub waits: Option<String>,
    /// Until when, where that is known.
    #[schema(value_type = Option<String>)]
    pub until: Option<Timestamp>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    pub messages: u64,
    pub recipients: u64,
    /// Content of these messages.
    pub octets: u64,
}

/// One message, with all that still waits of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    pub mid: String,
    /// `null` is the null reverse-path.
    pub from: Option<String>,
    pub accepted: Timestamp,
    pub size: u64,
    pub listener: String,
    pub client: Option<String>,
    pub helo: Option<String>,
    pub user: Option<String>,
    /// `full` or `headers`, as RET asked.
    pub ret: Option<String>,
    pub envid: Option<String>,
    pub smtputf8: bool,
    /// `7bit` or `8bitmime`.
    pub body: String,
    /// The header section as it is stored; `null`: it cannot be read.
    pub header: Option<String>,
    pub legs: Vec<LegShown>,
    /// Recipients that are done with.
    pub settled: u64,
}

/// Recipients that share a route, a due time and a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LegShown {
    pub number: u32,
    pub route: String,
    pub destination: Option<String>,
    pub state: State,
    pub in_hand: bool,
    /// What it waits for, in words.
    pub waits: String,
    pub due: Timestamp,
    /// Of what is due: until when it waits, where that is known.
    #[schema(value_type = Option<String>)]
    pub until: Option<Timestamp>,
    /// When it is given up; held mail is not.
    pub expires: Option<Timestamp>,
    pub attempts: u32,
    pub last_provider: Option<String>,
    pub last_attempt: Option<Timestamp>,
    /// Providers that are passed over: for this round, or for good.
    pub passed: Vec<PassedShown>,
    /// A person chose its route.
    pub moved_to_route: bool,
    /// The provider that a person moved it to.
    pub moved_to_provider: Option<String>,
    /// Routes with `hold` that it was released from.
    pub released_from: Vec<String>,
    pub recipients: Vec<RecipientShown>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PassedShown {
    pub provider: String,
    /// It cannot carry the message: never asked again.
    pub for_good: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecipientShown {
    pub address: String,
    /// As NOTIFY asked.
    pub notify: Option<String>,
    /// The last reply, in full.
    pub last: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub enum Act {
    /// Waiting mail is due now.
    Retry,
    /// Until it is released.
    Hold,
    /// Held mail is due now, past the route that held it.
    Release,
    /// Gone, and nobody told.
    Delete,
    /// Gone, and its sender told.
    Bounce,
    /// To another way, whatever the table says, until it is done; to neither: by the table again.
    Move { route: Option<String>, provider: Option<String> },
}

impl Act {
    /// The word of verbs and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Delete => "delete",
            Self::Bounce => "bounce",
            Self::Move { .. } => "move",
        }
    }

    /// Where mail is moved, in words; empty: nowhere in particular.
    pub fn to(&self) -> String {
        let Self::Move { route, provider } = self else { return String::new() };
        let words = [("route", route), ("provider", provider)];
        let named = words.iter().filter_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?)));
        named.collect::<Vec<_>>().join(", ")
    }

    /// What was done, behind "3 messages".
    pub fn done(&self) -> &'static str {
        match self {
            Self::Retry => "due now",
            Self::Hold => "held",
            Self::Release => "released",
            Self::Delete => "deleted",
            Self::Bounce => "bounced",
            Self::Move { .. } => "moved",
        }
    }

    /// Why nothing was to be done for the others.
    pub fn unchanged(&self) -> &'static str {
        match self {
            Self::Retry => "are due already, or held (release lets those go)",
            Self::Hold => "are held already",
            Self::Release => "are not held",
            Self::Delete | Self::Bounce => "are gone",
            Self::Move { .. } => "go that way already",
        }
    }
}

/// One step of an act: on these messages, or on what the filter finds from `after` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActRequest {
    #[serde(flatten)]
    pub act: Act,
    /// Of these messages alone.
    #[serde(default)]
    pub mids: Vec<String>,
    #[serde(default)]
    pub filter: Filter,
    /// Neither mids nor a filter: all that is queued is meant.
    #[serde(default)]
    pub all: bool,
    /// What a step before this one gave as `next`.
    #[serde(default)]
    pub after: Option<String>,
    /// Why: it is recorded; held mail shows it, and the sender of bounced mail is told.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a step came to. All of it is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActAnswer {
    pub messages: u64,
    pub recipients: u64,
    /// Recipients for whom nothing was to be done.
    pub unchanged: u64,
    /// Being attempted now: nothing was done with these.
    pub in_attempt: Vec<InAttempt>,
    /// Nothing was done, for this reason.
    pub refused: Vec<Refused>,
    /// Messages of the request that are not in the queue (any more).
    pub missing: Vec<String>,
    /// There may be more to do: ask again with this as `after`.
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InAttempt {
    pub mid: String,
    pub recipients: u64,
    /// Who makes the attempt, where that is known.
    pub provider: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    pub mid: String,
    pub why: String,
}

impl ActAnswer {
    pub fn add(&mut self, more: Self) {
        let Self { messages, recipients, unchanged, in_attempt, refused, missing, next } = more;
        self.messages += messages;
        self.recipients += recipients;
        self.unchanged += unchanged;
        self.in_attempt.extend(in_attempt);
        self.refused.extend(refused);
        self.missing.extend(missing);
        self.next = next;
    }
}
