//! The watch: looks at how the relay stands every few seconds, and tells what has changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::book::{Book, Kept, News};
use super::facts::{Counts, Facts, Order, Out, ProviderFacts, QueueFacts, QuotaFacts, RouteFacts};
use super::history::History;
use super::post::Post;
use super::routes::is_own;
use super::rules::{findings, is_watched};
use super::{Alerts, Setup, lock};
use crate::delivery::{OrderKind, ProviderSnapshot, ProviderState, Snapshot};
use crate::ingress;
use crate::os;

/// Between two looks; more where one takes long, so that looking is a twentieth of the time at most.
const LOOK: Duration = Duration::from_secs(2);
const SHARE: u32 = 20;
/// Between two looks at the files of certificates.
const FILES: Duration = Duration::from_secs(600);
/// What growth is seen over where no rule says.
const WITHIN: Duration = Duration::from_secs(600);

pub struct Watch {
    alerts: Alerts,
    book: Book,
    post: Post,
    history: History,
    within: Duration,
    certificates: Option<(Instant, Arc<Setup>, Vec<super::facts::CertificateFacts>)>,
    file: PathBuf,
    /// Targets have been told what the last run has not told them.
    is_caught_up: bool,
}

impl Watch {
    pub(super) fn new(alerts: Alerts, queue: &Path) -> Self {
        let file = queue.with_file_name("alerts.json");
        let mut kept = kept(&file);
        let told = kept.told.take();
        let setup = alerts.setup();
        let rules = &setup.rules;
        let within = rules.growth.map_or(WITHIN, |growth| growth.within);
        let book = Book::new(rules.settle, kept, alerts.0.deps.clock.now());
        let post = Post::new(rules.most);
        let history = History::new(within);
        let watch = Self { book, post, history, within, certificates: None, file, is_caught_up: false, alerts };
        watch.show();
        watch.alerts.believe(told);
        watch
    }

    /// Looks until the relay stops.
    pub async fn run(mut self) {
        let token = self.alerts.0.deps.token.clone();
        let _ = token
            .run_until_cancelled(async {
                loop {
                    let began = Instant::now();
                    self.look().await;
                    sleep(LOOK.max(began.elapsed() * SHARE)).await;
                }
            })
            .await;
        if lock(&self.alerts.0.beliefs).changed() {
            self.keep().await;
        }
    }

    async fn look(&mut self) {
        let setup = self.alerts.setup();
        let within = setup.rules.growth.map_or(WITHIN, |growth| growth.within);
        if within != self.within {
            (self.within, self.history) = (within, History::new(within));
        }
        self.book.set_settle(setup.rules.settle);
        self.post.set_most(setup.rules.most);
        // Delivery has ended: so does the relay.
        let Ok(snapshot) = self.alerts.0.deps.control.snapshot().await else { return };
        let facts = self.facts(&setup, snapshot).await;
        let now = self.alerts.0.deps.clock.now();
        self.history.take(&facts, now);
        let mut news = self.book.withdraw(|key| is_watched(&setup.rules, &facts, key), now);
        news.extend(self.book.look(findings(&setup.rules, &facts, &self.history, now), now));
        for one in &news {
            tell(one);
        }
        self.show();
        if lock(&self.alerts.0.beliefs).changed() || !news.is_empty() {
            self.keep().await;
        }
        if !std::mem::replace(&mut self.is_caught_up, true) {
            self.alerts.catch_up(&news, now);
        }
        self.post.add(news);
        for message in self.post.due(now) {
            self.alerts.send(message, now);
        }
    }

    async fn facts(&mut self, setup: &Arc<Setup>, snapshot: Snapshot) -> Facts {
        let queue = self.alerts.0.deps.queue.clone();
        self.alerts.trail_is(queue.follower_fails());
        let meter = &self.alerts.0.deps.meter;
        let counts = Counts { delivered: meter.delivered(), bounced: meter.bounced() };
        let mut in_queue = QueueFacts { most: setup.max_messages, ..QueueFacts::default() };
        in_queue.refuses = queue.admits(0).err().map(|error| error.to_string());
        if let Some(disk) = setup.rules.disk {
            in_queue.near = queue.admits(disk.0).err().map(|error| error.to_string());
        }
        let mut waiting = Vec::new();
        match (queue.depth().await, queue.routes().await) {
            (Ok(depth), Ok(routes)) => {
                in_queue.messages = depth.messages;
                waiting = routes;
            }
            (Err(error), _) | (_, Err(error)) => in_queue.refuses = Some(error.to_string()),
        }
        // What is told of mail is told of the configuration's routes, not of the mail that tells it.
        let routes = snapshot.routes.into_iter().filter(|route| !is_own(&route.name)).map(|route| {
            let depth = waiting.iter().find(|depth| depth.route == route.name);
            RouteFacts {
                name: route.name,
                chain: route.chain,
                waiting: depth.map_or(0, |depth| depth.waiting),
                oldest: depth.and_then(|depth| depth.oldest),
            }
        });
        Facts {
            routes: routes.collect(),
            providers: snapshot
                .providers
                .into_iter()
                .map(|one| provider(one, self.alerts.0.deps.clock.now()))
                .collect(),
            queue: in_queue,
            counts,
            certificates: self.certificates(setup).await,
            reload: self.alerts.reload(),
            trail: self.alerts.trail(),
        }
    }

    async fn certificates(&mut self, setup: &Arc<Setup>) -> Vec<super::facts::CertificateFacts> {
        if let Some((at, of, certificates)) = &self.certificates
            && at.elapsed() < FILES
            && Arc::ptr_eq(of, setup)
        {
            return certificates.clone();
        }
        let files = setup.certificates.clone();
        let read = tokio::task::spawn_blocking(move || ingress::certificate_ends(&files)).await;
        let facts: Vec<_> = read
            .unwrap_or_default()
            .into_iter()
            .map(|end| super::facts::CertificateFacts { file: end.file, names: end.names, not_after: end.not_after })
            .collect();
        self.certificates = Some((Instant::now(), setup.clone(), facts.clone()));
        facts
    }

    fn show(&self) {
        self.alerts.show(self.book.running().cloned().collect(), self.book.ended().to_vec());
    }

    async fn keep(&self) {
        let told = lock(&self.alerts.0.beliefs).kept();
        let (file, kept) = (self.file.clone(), self.book.kept(told));
        let written = tokio::task::spawn_blocking(move || write(&file, &kept)).await;
        if let Ok(Err(error)) = written {
            warn!(file = %self.file.display(), %error, "which alerts are on cannot be written: after a restart they are told again");
        }
    }
}

fn provider(provider: ProviderSnapshot, now: crate::mail::Timestamp) -> ProviderFacts {
    let out = match (provider.state, &provider.order) {
        (ProviderState::Open | ProviderState::HalfOpen, _) => Some(Out {
            since: provider.since.unwrap_or(now),
            probe_at: provider.until,
            cause: provider.last_error.map(|error| error.text),
        }),
        // Whoever watches does what they would.
        (ProviderState::Drill, Some(order)) => Some(Out {
            since: order.since,
            probe_at: Some(order.until),
            cause: Some(format!("a drill: {} rehearses its outage ({})", order.by, order.reason)),
        }),
        (
            ProviderState::Paused
            | ProviderState::Drill
            | ProviderState::QuotaSpent
            | ProviderState::Throttled
            | ProviderState::Closed,
            _,
        ) => None,
    };
    let paused = provider.order.filter(|order| order.kind == OrderKind::Pause).map(|order| Order {
        since: order.since,
        until: order.until,
        by: order.by,
        reason: order.reason,
    });
    let quota = provider
        .quota
        .and_then(|quota| Some(QuotaFacts { used: quota.used, of: quota.quota.messages, until: quota.until? }));
    ProviderFacts { name: provider.name, out, paused, quota }
}

fn tell(news: &News) {
    let (rule, subject, since) = (news.key.rule.name(), &news.key.subject, news.since);
    match news.over {
        None => warn!(rule, subject, %since, "alert: {}", news.told.summary),
        Some(over) if news.withdrawn => {
            let was = &news.told.summary;
            info!(rule, subject, %since, %over, was, "alert is withdrawn: the configuration has changed");
        }
        Some(over) => {
            let was = &news.told.summary;
            info!(rule, subject, %since, %over, was, "alert is over: {}", news.key.rule.over(subject));
        }
    }
}

/// What was on when the relay stopped. What cannot be read is told, and nothing was on.
fn kept(file: &Path) -> Kept {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Kept::default(),
        Err(error) => {
            error!(file = %file.display(), %error, "which alerts were on cannot be read");
            return Kept::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        error!(file = %file.display(), %error, "which alerts were on cannot be read");
        Kept::default()
    })
}

/// Whole or not at all.
fn write(file: &Path, kept: &Kept) -> std::io::Result<()> {
    let fresh = file.with_extension("json.new");
    match std::fs::remove_file(&fresh) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    std::io::Write::write_all(&mut os::create_private(&fresh)?, &serde_json::to_vec(kept)?)?;
    std::fs::rename(&fresh, file)
}
