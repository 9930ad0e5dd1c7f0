//! A provider that plays a script: what it does depends on the time, the attempt and the recipient.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::mail::{Diagnosis, EnhancedStatus, Mid, Severity};
use crate::transport::{Attempt, Lack, Outcome, Transport, Trouble, TroubleKind};

/// What it does with one attempt.
#[derive(Debug, Clone)]
pub enum Act {
    /// Takes it, after its latency.
    Take,
    /// The same, and tells the sender itself what it asked to be told.
    TakeWithDsn,
    Refuse,
    Defer,
    /// No connection.
    Out,
    Trouble(TroubleKind),
    Throttle(Option<Duration>),
    LackMessage,
    LackSender,
    /// Takes all of it and never answers; the transport gives up after so long.
    Silence(Duration),
    /// Takes all of it, keeps it, and never answers.
    TakeSilently(Duration),
    Panic {
        after_the_last: bool,
    },
    /// Does not come back by itself.
    Hang {
        after_the_last: bool,
    },
}

type Play = Box<dyn Fn(Duration, &Attempt, u32) -> Act + Send + Sync>;

pub struct Script {
    play: Play,
    latency: Duration,
    by_destination: bool,
    most_recipients: usize,
    start: Instant,
    log: Arc<Log>,
}

/// What came of it, for the test to read.
#[derive(Debug, Default)]
pub struct Log {
    /// (when, message, recipient)
    pub taken: Mutex<Vec<(Duration, Mid, u32)>>,
    /// (when, message, recipients, destination)
    pub attempts: Mutex<Vec<(Duration, Mid, usize, String)>>,
    in_flight: Mutex<(usize, usize)>,
}

impl Script {
    pub fn new(play: impl Fn(Duration, &Attempt, u32) -> Act + Send + Sync + 'static) -> Self {
        Self {
            play: Box::new(play),
            latency: Duration::from_millis(20),
            by_destination: false,
            most_recipients: 100,
            start: Instant::now(),
            log: Arc::default(),
        }
    }

    pub fn up() -> Self {
        Self::new(|_, _, _| Act::Take)
    }

    /// Does that from the first time to the second, and else takes all.
    pub fn between(from: u64, to: u64, act: Act) -> Self {
        Self::new(move |now, _, _| {
            let during = (Duration::from_secs(from)..Duration::from_secs(to)).contains(&now);
            if during { act.clone() } else { Act::Take }
        })
    }

    pub fn down_for(seconds: u64) -> Self {
        Self::between(0, seconds, Act::Out)
    }

    pub fn always(act: Act) -> Self {
        Self::new(move |_, _, _| act.clone())
    }

    pub fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    pub fn serving_destinations(self) -> Self {
        Self { by_destination: true, ..self }
    }

    pub fn most_recipients(self, most_recipients: usize) -> Self {
        Self { most_recipients, ..self }
    }

    pub fn log(&self) -> Arc<Log> {
        self.log.clone()
    }

    fn outcome(act: &Act) -> Outcome {
        let says = |severity, subject, detail, text: &str| {
            Diagnosis::remote("mx.example", 250, EnhancedStatus::new(severity, subject, detail), text)
        };
        let transient = |text: &str| says(Severity::Transient, 4, 1, text);
        match act {
            Act::Take | Act::TakeWithDsn => Outcome::Delivered {
                diagnosis: says(Severity::Success, 0, 0, "taken"),
                provider_id: None,
                dsn: matches!(act, Act::TakeWithDsn),
            },
            Act::Refuse => Outcome::Rejected(says(Severity::Permanent, 1, 1, "no such user")),
            Act::Defer => Outcome::Deferred(transient("come again")),
            Act::Out => Outcome::Unavailable(Trouble {
                kind: TroubleKind::Connection,
                diagnosis: transient("connection refused"),
            }),
            Act::Trouble(kind) => Outcome::Unavailable(Trouble { kind: *kind, diagnosis: transient("trouble") }),
            Act::Throttle(retry_after) => {
                Outcome::Throttled { retry_after: *retry_after, diagnosis: transient("too fast") }
            }
            Act::LackMessage => Outcome::Unsupported(Lack::Message(transient("cannot carry that"))),
            Act::LackSender => Outcome::Unsupported(Lack::Sender(transient("sender not verified"))),
            Act::Silence(_) | Act::TakeSilently(_) => Outcome::Unknown(transient("no answer")),
            Act::Panic { .. } | Act::Hang { .. } => panic!("a bug in a transport"),
        }
    }
}

impl Transport for Script {
    fn by_destination(&self) -> bool {
        self.by_destination
    }

    fn most_recipients(&self) -> usize {
        self.most_recipients
    }

    fn attempt<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            assert!(!attempt.recipients.is_empty() && attempt.recipients.len() <= self.most_recipients);
            let now = self.start.elapsed();
            let destination = attempt.destination.as_ref().map(ToString::to_string).unwrap_or_default();
            assert_eq!(self.by_destination, attempt.destination.is_some());
            if let Some(destination) = &attempt.destination {
                assert!(attempt.recipients().all(|to| to.address.domain() == destination), "one destination each");
            }
            self.log.attempts.lock().unwrap().push((now, attempt.mid, attempt.recipients.len(), destination));
            let _slot = Slot::new(&self.log);
            let acts: Vec<_> = attempt.recipients.iter().map(|index| (self.play)(now, attempt, *index)).collect();
            let mut wait = self.latency;
            for act in &acts {
                match act {
                    Act::Silence(span) | Act::TakeSilently(span) => wait = *span,
                    Act::Out => wait = Duration::from_millis(1),
                    Act::Hang { .. } => wait = Duration::from_secs(1_000_000_000),
                    _ => {}
                }
                if matches!(act, Act::Panic { after_the_last: true } | Act::Hang { after_the_last: true }) {
                    attempt.progress.sending_the_last();
                }
            }
            tokio::time::sleep(wait).await;
            let at = self.start.elapsed();
            let mut taken = Vec::new();
            let outcomes = acts.iter().zip(&attempt.recipients).map(|(act, index)| {
                if matches!(act, Act::Take | Act::TakeWithDsn | Act::TakeSilently(_)) {
                    taken.push((at, attempt.mid, *index));
                }
                Self::outcome(act)
            });
            let outcomes = outcomes.collect();
            self.log.taken.lock().unwrap().extend(taken);
            outcomes
        })
    }
}

impl Log {
    pub fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    pub fn attempts(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }

    /// Taken from the first second on and before the second one.
    pub fn between(&self, from: u64, to: u64) -> usize {
        let span = Duration::from_secs(from)..Duration::from_secs(to);
        self.taken.lock().unwrap().iter().filter(|(at, ..)| span.contains(at)).count()
    }

    pub fn attempts_between(&self, from: u64, to: u64) -> usize {
        let span = Duration::from_secs(from)..Duration::from_secs(to);
        self.attempts.lock().unwrap().iter().filter(|(at, ..)| span.contains(at)).count()
    }

    pub fn attempts_to(&self, destination: &str) -> usize {
        self.attempts.lock().unwrap().iter().filter(|(.., to)| to == destination).count()
    }

    pub fn most_at_once(&self) -> usize {
        self.in_flight.lock().unwrap().1
    }
}

/// Counts attempts under way, however they end.
struct Slot<'a>(&'a Log);

impl<'a> Slot<'a> {
    fn new(log: &'a Log) -> Self {
        let mut in_flight = log.in_flight.lock().unwrap();
        in_flight.0 += 1;
        in_flight.1 = in_flight.1.max(in_flight.0);
        Self(log)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.in_flight.lock().unwrap().0 -= 1;
    }
}
