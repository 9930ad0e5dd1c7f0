//! `waypost demo`: the relay between two pretend providers, a few messages a second, and an outage to watch.
//!
//! Promises:
//! - nothing leaves this host, and no configuration or account is used;
//! - what is told at the end is counted by the stand-ins, message by message, and not taken from the relay's word;
//! - it ends clean at any time (Ctrl-C; a second one at once) and leaves nothing on disk.

mod folder;
mod relay;
mod score;
mod stand_in;
mod tell;
mod traffic;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::cli::say::while_read;
use crate::os::{self, StopRequests};
use folder::Folder;
use relay::{Relay, Status};
use score::Score;
use stand_in::StandIn;
use tell::Teller;
use traffic::Traffic;

const PRIMARY: &str = "primary";
const SECONDARY: &str = "secondary";
/// What a change may take before the demo says that it did not come.
const BOUND: Duration = Duration::from_secs(30);
/// For the last messages to arrive.
const REST: Duration = Duration::from_secs(20);
/// Looks at the relay for each line of rates.
const LOOKS: u32 = 8;
/// Messages that show where traffic goes.
const FLOWS: u64 = 5;

/// Watch a provider fail and come back: a relay, two pretend providers and gentle traffic, on this host alone
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many outages to show; 0: until Ctrl-C
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u32,
    /// Everything in a few seconds
    #[arg(long)]
    quick: bool,
    /// Open the admin page in the browser
    #[arg(long)]
    open: bool,
    /// The relay of a demo
    #[arg(long, hide = true, value_name = "DIR")]
    relay: Option<std::path::PathBuf>,
    /// The demo that it is of
    #[arg(long, hide = true, value_name = "PID", default_value_t = 0)]
    parent: u32,
}

/// How long things last, and how fast messages come.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rate: u32,
    calm: Duration,
    outage: Duration,
    line: Duration,
}

const USUAL: Pace =
    Pace { rate: 6, calm: Duration::from_secs(8), outage: Duration::from_secs(14), line: Duration::from_secs(2) };
const QUICK: Pace =
    Pace { rate: 20, calm: Duration::from_secs(1), outage: Duration::from_secs(3), line: Duration::from_millis(500) };

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(directory) = &args.relay {
        // The relay must not live longer than the demo, however that ends.
        return if os::end_with_parent(args.parent) { super::run::run(Some(directory)) } else { Ok(ExitCode::FAILURE) };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let shown = runtime.block_on(show(args));
    runtime.shutdown_timeout(Duration::from_secs(1));
    while_read(shown)
}

/// What was seen of the relay last.
#[derive(Default)]
struct Seen {
    out: bool,
    alerts: Vec<(String, String)>,
}

impl Seen {
    /// What is new. A probe is no news: it says nothing before it has ended.
    fn look(&mut self, status: Status) -> Vec<String> {
        let mut events = Vec::new();
        match (self.out, status.primary.as_str()) {
            (false, "open") => {
                self.out = true;
                let error = status.error.as_deref().unwrap_or("it does not answer");
                events.push(format!("the relay: primary is out: {error}"));
                events.push("the relay: what comes now goes to secondary at once, without asking primary".to_owned());
            }
            (true, "closed") => {
                self.out = false;
                events.push("the relay: a message has found primary well; mail returns by a slow start".to_owned());
            }
            _ => {}
        }
        let is_new = |alert: &&(String, String)| !self.alerts.iter().any(|known| known.0 == alert.0);
        events.extend(status.alerts.iter().filter(is_new).map(|alert| format!("an alert: {}", alert.1)));
        let is_over = |alert: &&(String, String)| !status.alerts.iter().any(|on| on.0 == alert.0);
        events.extend(self.alerts.iter().filter(is_over).map(|alert| format!("the alert is over: {}", alert.0)));
        self.alerts = status.alerts;
        events
    }
}

/// What the show consists of. Dropped, it leaves neither process nor file.
struct Stage {
    relay: Relay,
    primary: StandIn,
    /// It is never cut, and serves as long as the stage stands.
    _secondary: StandIn,
    score: Arc<Score>,
    tell: Arc<Teller>,
    pace: Pace,
}

async fn show(args: &Args) -> anyhow::Result<ExitCode> {
    // From here on a signal ends the demo in order.
    let mut signals = StopRequests::listen().context("signals cannot be received")?;
    let folder = Folder::make()?;
    let score = Arc::new(Score::default());
    let (primary, secondary) = (StandIn::start(PRIMARY, &score).await?, StandIn::start(SECONDARY, &score).await?);
    let relay = tokio::select! {
        relay = Relay::start(&folder, [&primary, &secondary]) => relay?,
        signal = signals.next() => {
            say!("{signal}: the demo ends before it has begun");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let pace = if args.quick { QUICK } else { USUAL };
    let mut stage = Stage { relay, primary, _secondary: secondary, score, tell: Arc::new(Teller::new()), pace };
    stage.welcome(&folder)?;
    if args.open {
        open(stage.relay.page());
    }
    let traffic = Traffic::start(stage.relay.smtp(), pace.rate, &stage.score);
    let watching = CancellationToken::new();
    let mut came = Ok(());
    {
        let watch = stage.watch(watching.clone());
        let act = async {
            let came = stage.rounds(args.rounds).await;
            watching.cancel();
            came
        };
        tokio::select! {
            (watched, acted) = async { tokio::join!(watch, act) } => came = watched.and(acted),
            signal = signals.next() => stage.tell.event(&format!("{signal}: the demo ends"))?,
        }
    }
    let ended = tokio::select! {
        ended = stage.end(traffic) => ended,
        signal = signals.next() => Err(anyhow::anyhow!("{signal} once more: the demo ends at once, nothing was counted")),
    };
    drop(stage);
    drop(folder);
    came?;
    ended
}

impl Stage {
    fn welcome(&self, folder: &Folder) -> anyhow::Result<()> {
        let lines = [
            "waypost demo: one relay, two pretend providers, a few messages a second. Nothing leaves this host."
                .to_owned(),
            String::new(),
            format!("  the relay      takes mail at {}", self.relay.smtp()),
            "  two senders    app@shop.example and news@shop.example".to_owned(),
            "  three routes   receipts: primary, then secondary".to_owned(),
            "                 newsletters: 4 of 5 by primary, 1 by secondary; each covers for the other".to_owned(),
            "                 everything-else: primary, then secondary".to_owned(),
            format!("  admin page     {}", self.relay.page()),
            format!("  sign in with   {}", self.relay.token()),
            format!("  its files      {} (removed at the end)", folder.path().display()),
            "  Ctrl-C         ends it at any time".to_owned(),
            String::new(),
        ];
        for line in lines {
            self.tell.line(&line)?;
        }
        self.tell.head()
    }

    /// One line every now and then: rates and queue; and what the relay says of its providers when that changes.
    async fn watch(&self, token: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = interval(self.pace.line / LOOKS);
        let (mut before, mut looks, mut seen) = (self.score.now(), 0, Seen::default());
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let status = self.relay.status().await?;
            if looks == LOOKS {
                let now = self.score.now();
                self.tell.rates(before, now, self.pace.line, status.queued)?;
                (before, looks) = (now, 0);
            }
            looks += 1;
            for event in seen.look(status) {
                self.tell.event(&event)?;
            }
        }
    }

    async fn rounds(&self, rounds: u32) -> anyhow::Result<()> {
        let mut round = 0;
        while rounds == 0 || round < rounds {
            round += 1;
            sleep(self.pace.calm).await;
            self.flows(PRIMARY, "mail flows through primary").await?;
            self.tell.event(">>> the demo cuts primary: it refuses every connection")?;
            self.primary.cut(true);
            let cut = Instant::now();
            self.flows(SECONDARY, "mail flows through secondary").await?;
            sleep(self.pace.outage.saturating_sub(cut.elapsed())).await;
            self.tell.event("<<< the demo puts primary back")?;
            self.primary.cut(false);
            self.flows(PRIMARY, "mail returns to primary").await?;
            sleep(self.pace.calm).await;
        }
        Ok(())
    }

    /// Waits until a provider takes a few messages from now on.
    async fn flows(&self, provider: &'static str, what: &str) -> anyhow::Result<()> {
        let enough = self.score.taken(provider) + FLOWS;
        let began = Instant::now();
        while self.score.taken(provider) < enough {
            anyhow::ensure!(
                began.elapsed() < BOUND,
                "not within {} s: {what}; the relay's log says why",
                BOUND.as_secs()
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// No more traffic; all that was accepted may arrive; the relay stops; the count.
    async fn end(&mut self, traffic: Traffic) -> anyhow::Result<ExitCode> {
        traffic.stop().await;
        self.primary.cut(false);
        let began = Instant::now();
        while !self.score.sum().is_complete() && began.elapsed() < REST {
            sleep(Duration::from_millis(20)).await;
        }
        self.relay.stop().await?;
        let sum = self.score.sum();
        self.tell.line("")?;
        for line in sum.lines() {
            self.tell.line(&line)?;
        }
        Ok(if sum.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What cannot be opened is no trouble: its address is on the screen.
fn open(page: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = std::process::Command::new(program);
    let quiet = || std::process::Stdio::null();
    let _ = command.arg(page).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
}
