//! `waypost trace`: what became of messages, from the audit trail.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::SignedDuration;

use crate::audit::{Event, Filter, Found, Head, Trail, Verified, timeline};
use crate::config::{self, Config};
use crate::mail::Timestamp;
use crate::os::Clock;
use crate::queue;

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
    /// Events of this name: accepted, routed, attempt, delivered, deferred, moved, bounced, held, …
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Messages that an address or id may name, the newest of them
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Read all of the trail, and tell what was altered or is missing
    #[arg(long)]
    verify: bool,
    /// A head that the log has told (RECORDS:HASH): the trail must still have it; may be given several times
    #[arg(long, value_name = "HEAD", requires = "verify")]
    anchor: Vec<String>,
    /// Print JSON: an array of events, or with --verify an object
    #[arg(long)]
    json: bool,
}

/// Exit status 1: nothing was found, or the trail is not whole.
pub fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let Some(audit) = &config.server.audit else { bail!("no trail is kept: `audit: off` is in waypost.yaml") };
    if args.wanted.is_none() && args.since.is_none() && !args.verify {
        bail!("what is to be traced? Give a mid, an address or an id, or --since, or --verify");
    }
    if !audit.path.exists() {
        bail!("there is no audit trail {}: the relay has not run yet, or keeps it elsewhere", audit.path.display());
    }
    let trail = Trail::open_to_read(&audit.path)?;
    let good = if args.verify {
        let mut anchors = Vec::new();
        for anchor in &args.anchor {
            anchors.push(anchor.parse::<Head>().map_err(anyhow::Error::msg).context("--anchor")?);
        }
        anchors.extend(queue::follower_mark(&config.server.queue.path).as_deref().and_then(Head::read));
        let verified = trail.verify(&anchors)?;
        print_verified(&verified, args.json)?;
        verified.whole
    } else {
        let filter = filter(args, Clock::system().wall())?;
        match &args.wanted {
            Some(wanted) => print_found(trail.find(wanted, args.limit)?, wanted, &filter, args.json)?,
            None => print_each(&trail, &filter, args.json)?,
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
        println!("{}", serde_json::to_string_pretty(&events)?);
    } else if events.is_empty() {
        eprintln!("waypost: the trail has nothing of {wanted}");
    } else {
        print!("{}", timeline(&events));
    }
    if found.left_out > 0 {
        eprintln!("waypost: {} older messages of {wanted} were left out; --limit shows more", found.left_out);
    }
    Ok(!events.is_empty())
}

/// As they come: there may be millions.
fn print_each(trail: &Trail, filter: &Filter, json: bool) -> anyhow::Result<bool> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut any = false;
    let mut failed = None;
    trail.each(filter, |event| {
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
    if json {
        out.write_all(if any { b"\n]\n" } else { b"[]\n" })?;
    }
    out.flush()?;
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
        println!("{}", serde_json::to_string_pretty(verified)?);
    } else {
        print!("{verified}");
    }
    Ok(())
}
