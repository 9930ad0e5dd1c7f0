//! Bringing one parcel of news to a target: a pause after each failure, an end of patience, and nothing told that is stale.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::belief::Beliefs;
use super::book::News;
use super::lock;
use super::sent::Ledger;
use super::webhook::Failure;
use crate::mail::Timestamp;

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

/// News that are one note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Of the note, at each try.
    pub id: String,
    pub at: Timestamp,
    pub news: Vec<News>,
}

/// What came of the last note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    pub at: Timestamp,
    pub ok: bool,
    pub text: String,
}

/// How a target is reached.
pub trait Carrier {
    /// One try with those of the parcel's news that are none by now left out.
    fn carry(&self, parcel: Parcel) -> impl Future<Output = Result<String, Failure>> + Send;

    fn now(&self) -> Timestamp;
}

/// A target's place: what it was told, and what is known of it.
#[derive(Debug)]
pub struct Desk {
    pub name: String,
    pub kind: &'static str,
    pub last: Mutex<Option<Last>>,
    sent: Arc<Mutex<Ledger>>,
    beliefs: Arc<Mutex<Beliefs>>,
    bell: Notify,
    hurries: AtomicBool,
}

impl Desk {
    pub fn new(name: &str, kind: &'static str, sent: Arc<Mutex<Ledger>>, beliefs: Arc<Mutex<Beliefs>>) -> Self {
        let (bell, hurries) = (Notify::new(), AtomicBool::new(false));
        Self { name: name.to_owned(), kind, last: Mutex::default(), sent, beliefs, bell, hurries }
    }

    /// What waits may be stale by now.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// What waits is tried at once: the target is reached in another way.
    pub fn hurry(&self) {
        self.hurries.store(true, Ordering::Relaxed);
        self.ring();
    }

    pub fn came(&self, id: &str, ok: Option<bool>, text: &str, at: Timestamp) {
        *lock(&self.last) = Some(Last { at, ok: ok == Some(true), text: text.to_owned() });
        lock(&self.sent).came(id, (&self.name, self.kind), ok, text, at);
    }

    /// Tries again and again, with growing pauses, as long as something of it is news.
    pub async fn bring(&self, parcel: Parcel, carrier: &impl Carrier) {
        let (id, mut parcel) = (parcel.id.clone(), parcel);
        let mut pauses = PAUSES.iter();
        loop {
            self.sort_out(&mut parcel, carrier.now());
            if parcel.news.is_empty() {
                return;
            }
            let failure = match carrier.carry(parcel.clone()).await {
                Ok(said) => {
                    info!(to = self.name, note = id, said, "an alert was sent");
                    let mut beliefs = lock(&self.beliefs);
                    for news in &parcel.news {
                        beliefs.took(&self.name, news);
                    }
                    drop(beliefs);
                    return self.came(&id, Some(true), &said, carrier.now());
                }
                Err(failure) => failure,
            };
            let (Some(asked), Some(pause)) = (failure.again, pauses.next()) else {
                error!(to = self.name, note = id, error = failure.text, "an alert could not be sent, and is given up");
                let mut beliefs = lock(&self.beliefs);
                parcel.news.iter().for_each(|news| beliefs.gave_up(&self.name, news));
                drop(beliefs);
                return self.came(&id, Some(false), &format!("{}; given up", failure.text), carrier.now());
            };
            let pause = asked.unwrap_or(*pause).clamp(*pause, LONGEST_PAUSE.max(*pause));
            warn!(
                to = self.name,
                note = id,
                error = failure.text,
                again_in_s = pause.as_secs(),
                "an alert could not be sent"
            );
            self.came(&id, None, &format!("{}; again in {} s", failure.text, pause.as_secs()), carrier.now());
            let due = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = sleep_until(due) => break,
                    () = self.bell.notified() => {
                        self.sort_out(&mut parcel, carrier.now());
                        if parcel.news.is_empty() || self.hurries.swap(false, Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Takes out what is no news to the target any more.
    fn sort_out(&self, parcel: &mut Parcel, now: Timestamp) {
        let beliefs = lock(&self.beliefs);
        let (news, stale): (Vec<_>, Vec<_>) =
            std::mem::take(&mut parcel.news).into_iter().partition(|news| beliefs.is_news(&self.name, news));
        drop(beliefs);
        parcel.news = news;
        for one in stale {
            info!(
                to = self.name,
                note = parcel.id,
                rule = one.key.rule.name(),
                subject = one.key.subject,
                "an alert is not sent: it was over before it was told"
            );
            lock(&self.sent).left_out(&parcel.id, (&self.name, self.kind), &one.which(), one.over.is_some(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::super::book::Which;
    use super::super::rules::{Key, Rule, Told};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn news(subject: &str, over: bool) -> News {
        let told = Told { summary: subject.to_owned(), details: Vec::new() };
        let key = Key::new(Rule::Breaker, subject);
        News { key, since: at(0), began: at(0), over: over.then(|| at(1)), withdrawn: false, told }
    }

    fn parcel(news: &[News]) -> Parcel {
        Parcel { id: "1".to_owned(), at: at(0), news: news.to_vec() }
    }

    /// What was carried, and when; fails so many times, and takes all then.
    struct Script {
        failures: Mutex<VecDeque<Failure>>,
        carried: Mutex<Vec<(u64, String)>>,
        start: Instant,
    }

    impl Script {
        fn failing(times: usize) -> Self {
            let failure = Failure { text: "503".to_owned(), again: Some(None) };
            let failures = Mutex::new(std::iter::repeat_n(failure, times).collect());
            Self { failures, carried: Mutex::default(), start: Instant::now() }
        }

        fn carried(&self) -> Vec<(u64, String)> {
            lock(&self.carried).clone()
        }
    }

    impl Carrier for Script {
        async fn carry(&self, parcel: Parcel) -> Result<String, Failure> {
            let word = |news: &News| format!("{}{}", if news.over.is_some() { "-" } else { "+" }, news.key.subject);
            let words: Vec<_> = parcel.news.iter().map(word).collect();
            lock(&self.carried).push((self.start.elapsed().as_secs(), words.join(" ")));
            lock(&self.failures).pop_front().map_or_else(|| Ok("200 OK".to_owned()), Err)
        }

        fn now(&self) -> Timestamp {
            at(0)
        }
    }

    fn desk() -> (Desk, Arc<Mutex<Beliefs>>) {
        let beliefs = Arc::<Mutex<Beliefs>>::default();
        (Desk::new("hook", "webhook", Arc::default(), beliefs.clone()), beliefs)
    }

    fn stand(beliefs: &Mutex<Beliefs>, on: &[&str], over: &[&str]) {
        let which = |subjects: &[&str]| -> Vec<Which> { subjects.iter().map(|one| news(one, false).which()).collect() };
        lock(beliefs).stand(which(on).into_iter(), which(over).into_iter());
    }

    fn carried(seconds: u64, words: &str) -> (u64, String) {
        (seconds, words.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_begin_that_was_not_taken_when_its_alert_ends_is_never_told_and_nor_is_the_end() {
        let (desk, beliefs) = desk();
        stand(&beliefs, &["a"], &[]);
        let script = Script::failing(3);
        let ends = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            stand(&beliefs, &[], &["a"]);
            desk.ring();
        };
        tokio::join!(desk.bring(parcel(&[news("a", false)]), &script), ends);
        assert_eq!(script.start.elapsed().as_secs(), 20, "its pause does not hold up what comes next");
        desk.bring(parcel(&[news("a", true)]), &script).await;
        assert_eq!(script.carried(), [carried(0, "+a"), carried(1, "+a"), carried(6, "+a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_begin_that_was_taken_is_followed_by_its_end_however_often_that_is_tried() {
        let (desk, beliefs) = desk();
        stand(&beliefs, &["a"], &[]);
        let script = Script::failing(1);
        desk.bring(parcel(&[news("a", false)]), &script).await;
        stand(&beliefs, &[], &["a"]);
        let failing = Script::failing(2);
        desk.bring(parcel(&[news("a", true)]), &failing).await;
        // Handed in twice, it is told once.
        desk.bring(parcel(&[news("a", true)]), &failing).await;
        assert_eq!(script.carried(), [carried(0, "+a"), carried(1, "+a")]);
        assert_eq!(failing.carried(), [carried(0, "-a"), carried(1, "-a"), carried(6, "-a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sum_leaves_out_what_is_over_when_it_is_sent() {
        let (desk, beliefs) = desk();
        stand(&beliefs, &["a", "b", "c"], &[]);
        let script = Script::failing(1);
        let ends = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            stand(&beliefs, &["a", "c"], &["b"]);
        };
        tokio::join!(desk.bring(parcel(&["a", "b", "c"].map(|one| news(one, false))), &script), ends);
        stand(&beliefs, &[], &["a", "b", "c"]);
        desk.bring(parcel(&["a", "b", "c"].map(|one| news(one, true))), &script).await;
        assert_eq!(script.carried(), [carried(0, "+a +b +c"), carried(1, "+a +c"), carried(1, "-a -c")]);
    }

    #[tokio::test(start_paused = true)]
    async fn another_way_to_the_target_is_tried_at_once() {
        let (desk, beliefs) = desk();
        stand(&beliefs, &["a"], &[]);
        let script = Script::failing(4);
        let changes = async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            desk.hurry();
        };
        tokio::join!(desk.bring(parcel(&[news("a", false)]), &script), changes);
        assert_eq!(script.carried().last(), Some(&carried(40, "+a")));
    }
}
