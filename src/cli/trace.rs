//! `waypost trace`: what became of messages, from the audit trail.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use jiff::SignedDuration;

use super::load;
use super::remote::Remote;
use super::usage::{OrUsage as _, Usage};
use crate::admin::{Anchors, Traced, Wanted};
use crate::audit::{AuditError, EVENTS, Event, Filter, Found, Head, Trail, Verified, timeline};
use crate::config;
use crate::mail::Timestamp;
use crate::os::Clock;
use crate::queue;

/// Events that the relay is asked for at a time.
const PAGE: usize = 5000;

/// Tell what became of messages, from the audit trail: by mid, address, Message-ID or provider's id, or all of a time
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A mid, an address, a Message-ID, or the id that a provider gave
    #[arg(value_name = "MID|ADDRESS|ID", conflicts_with = "verify")]
    wanted: Option<String>,
    /// Events from then on: a span before now, such as 1h, or a time such as 2026-11-26T02:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Events up to then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Events of this route
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Events of this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Events of this name
    #[arg(long, value_name = "NAME", value_parser = EVENTS)]
    event: Option<String>,
    /// Messages that an address or id may name, the newest of them
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,
    /// Read all of the trail, and tell what was altered or is missing
    #[arg(long, conflicts_with_all = ["since", "until", "route", "provider", "event"])]
    verify: bool,
    /// A head that the log has told (RECORDS:HASH): the trail must still have it; may be given several times
    #[arg(long, value_name = "HEAD", requires = "verify")]
    anchor: Vec<String>,
    /// Print JSON: an array of events, or with --verify an object
    #[arg(long)]
    json: bool,
}

/// Exit status 1: nothing was found, or the trail is not whole.
pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    if args.wanted.is_none() && args.since.is_none() && !args.verify {
        return Err(Usage::error(anyhow!(
            "what is to be traced? Give a mid, an address or an id, or --since, or --verify"
        )));
    }
    let server = load::to_steer(directory)?;
    let Some(audit) = &server.audit else { bail!("no trail is kept: `audit: off` is in waypost.yaml") };
    if !audit.path.exists() {
        bail!("there is no audit trail {}: the relay has not run yet, or keeps it elsewhere", audit.path.display());
    }
    let source = match Trail::open_to_read(&audit.path) {
        Ok(trail) => Source::File { trail, mark: queue::follower_mark(&server.queue.path) },
        Err(busy @ AuditError::Busy { .. }) => Source::Relay(Remote::find(directory).context(busy)?),
        Err(error) => return Err(error.into()),
    };
    let good = if args.verify {
        let verified = source.verify(&args.anchor)?;
        print_verified(&verified, args.json)?;
        verified.whole
    } else {
        let filter = filter(args, Clock::system().wall()).or_usage()?;
        match &args.wanted {
            Some(wanted) => print_found(source.find(wanted, args.limit.get())?, wanted, &filter, args.json)?,
            None => print_each(&source, &filter, args.json)?,
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The file itself where no relay runs, else the relay.
enum Source {
    File { trail: Trail, mark: Option<Vec<u8>> },
    Relay(Remote),
}

impl Source {
    fn verify(&self, anchors: &[String]) -> anyhow::Result<Verified> {
        let mut heads = Vec::new();
        for anchor in anchors {
            heads.push(anchor.parse::<Head>().map_err(anyhow::Error::msg).context("--anchor").or_usage()?);
        }
        match self {
            Self::File { trail, mark } => {
                heads.extend(mark.as_deref().and_then(Head::read));
                Ok(trail.verify(&heads)?)
            }
            Self::Relay(remote) => remote.get_slow(&path("/trace/verify", &Anchors { anchor: anchors.join(",") })?),
        }
    }

    fn find(&self, wanted: &str, most: usize) -> anyhow::Result<Found> {
        match self {
            Self::File { trail, .. } => Ok(trail.find(wanted, most)?),
            Self::Relay(remote) => {
                let asked = Wanted { wanted: Some(wanted.to_owned()), limit: Some(most), ..Wanted::default() };
                let traced: Traced = remote.get(&path("/trace", &asked)?)?;
                Ok(Found { events: traced.events, left_out: traced.left_out })
            }
        }
    }

    fn each(&self, filter: &Filter, mut take: impl FnMut(Event) -> ControlFlow<()>) -> anyhow::Result<()> {
        let remote = match self {
            Self::File { trail, .. } => return Ok(trail.each(filter, take)?),
            Self::Relay(remote) => remote,
        };
        let mut asked = Wanted {
            since: filter.since,
            until: filter.until,
            route: filter.route.clone(),
            provider: filter.provider.clone(),
            event: filter.event.clone(),
            limit: Some(PAGE),
            ..Wanted::default()
        };
        loop {
            let traced: Traced = remote.get(&path("/trace", &asked)?)?;
            for event in traced.events {
                if take(event).is_break() {
                    return Ok(());
                }
            }
            match traced.next {
                Some(next) => asked.after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// The path with its parameters.
pub(super) fn path(base: &str, asked: &impl serde::Serialize) -> anyhow::Result<String> {
    let mut url = reqwest::Url::parse("http://relay")?;
    let asked = serde_json::to_value(asked)?;
    for (key, value) in asked.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        url.query_pairs_mut().append_pair(key, &value);
    }
    Ok(format!("{base}?{}", url.query().unwrap_or_default()))
}

fn filter(args: &Args, now: Timestamp) -> anyhow::Result<Filter> {
    let time = |given: &Option<String>, of: &'static str| {
        given.as_deref().map(|text| moment(text, now)).transpose().context(of)
    };
    Ok(Filter {
        since: time(&args.since, "--since")?,
        until: time(&args.until, "--until")?,
        route: args.route.clone(),
        provider: args.provider.clone(),
        event: args.event.clone(),
        after: None,
    })
}

/// `1h` before now, or a time.
pub fn moment(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Ok(span) = config::parse_duration(text) {
        let span = SignedDuration::try_from(span).context("too long a span")?;
        return Ok(now.saturating_sub(span).unwrap_or(Timestamp::MIN));
    }
    text.parse()
        .with_context(|| format!("'{text}' is neither a span such as 1h nor a time such as 2026-11-26T02:00:00Z"))
}

fn print_found(found: Found, wanted: &str, filter: &Filter, json: bool) -> anyhow::Result<bool> {
    let events: Vec<Event> = found.events.into_iter().filter(|event| filter.takes(event)).collect();
    if json {
        say!("{}", serde_json::to_string_pretty(&events)?);
    } else if events.is_empty() {
        eprintln!("waypost: the trail has nothing of {wanted}");
    } else {
        crate::cli::say::text(format_args!("{}", timeline(&events)));
    }
    if found.left_out > 0 {
        eprintln!("waypost: {} older messages of {wanted} were left out; --limit shows more", found.left_out);
    }
    Ok(!events.is_empty())
}

/// As they come: there may be millions.
fn print_each(source: &Source, filter: &Filter, json: bool) -> anyhow::Result<bool> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut any = false;
    let mut failed = None;
    source.each(filter, |event| {
        let written = match (json, any) {
            (true, false) => out.write_all(b"[\n").and_then(|()| json_line(&mut out, &event)),
            (true, true) => out.write_all(b",\n").and_then(|()| json_line(&mut out, &event)),
            (false, _) => writeln!(out, "{} {event}", event.mid.as_deref().unwrap_or("-")),
        };
        any = true;
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match failed {
        // Whoever reads has seen enough.
        Some(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(true),
        Some(error) => return Err(error.into()),
        None => {}
    }
    let end: &[u8] = match (json, any) {
        (true, true) => b"\n]\n",
        (true, false) => b"[]\n",
        (false, _) => b"",
    };
    match out.write_all(end).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    if !any && !json {
        eprintln!("waypost: the trail has nothing of that");
    }
    Ok(any)
}

fn json_line(out: &mut impl std::io::Write, event: &Event) -> std::io::Result<()> {
    Ok(serde_json::to_writer(out, event)?)
}

fn print_verified(verified: &Verified, json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string_pretty(verified)?);
    } else {
        crate::cli::say::text(format_args!("{verified}"));
    }
    Ok(())
}
