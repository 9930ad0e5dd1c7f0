//! What is done to queued mail: named by message ids, or by a filter with its count first.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::ask::Ask;
use super::{Which, hint, text};
use crate::delivery::operate::{Act, ActAnswer, ActRequest, Count};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Message ids
    #[arg(value_name = "MID")]
    mids: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// All queued mail
    #[arg(long, conflicts_with = "mids")]
    all: bool,
    /// Why: it is recorded with your name; held mail shows it, and senders of bounced mail are told
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print what it would be done with, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// Messages beyond which it shows how far it is.
const LONG: u64 = 1000;
/// Of each kind of what was not done, lines that are printed.
const LINES: usize = 20;

#[derive(Serialize)]
struct DryRun<'a> {
    dry_run: bool,
    #[serde(flatten)]
    act: &'a Act,
    #[serde(flatten)]
    count: Count,
}

pub fn run(act: Act, args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let filter = args.which.filter();
    if args.mids.is_empty() && filter.is_empty() && !args.all {
        eprintln!("waypost: say which mail: message ids, a filter (see --help), or --all");
        return Ok(ExitCode::from(2));
    }
    let ask = Ask::find(directory, !args.dry_run)?;
    let mut request =
        ActRequest { act, mids: args.mids.clone(), filter, all: args.all, after: None, reason: args.reason.clone() };
    let by_filter = args.mids.is_empty();
    let count = if by_filter || args.dry_run { Some(ask.count_of(&request)?) } else { None };
    if let Some(count) = &count {
        hint::of_none(count, &request.filter, directory);
        if args.dry_run {
            match args.json {
                true => {
                    say!("{:#}", serde_json::to_value(DryRun { dry_run: true, act: &request.act, count: *count })?)
                }
                false => say!("{}: {}", would(&request.act), text::count(count)),
            }
            ask.end();
            return Ok(ExitCode::SUCCESS);
        }
        if count.messages > 0 && !args.yes && !agreed(&request.act, count)? {
            ask.end();
            return Ok(ExitCode::from(2));
        }
    }
    let answer = all_steps(&ask, &mut request, count.as_ref())?;
    match args.json {
        true => say!("{:#}", serde_json::to_value(&answer)?),
        false => tell(&request.act, &answer),
    }
    ask.end();
    let all_done = answer.in_attempt.is_empty() && answer.refused.is_empty() && answer.missing.is_empty();
    Ok(if all_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn would(act: &Act) -> String {
    match act {
        Act::Retry => "would be due now".to_owned(),
        Act::Hold => "would be held".to_owned(),
        Act::Release => "would be released".to_owned(),
        Act::Delete => "would be deleted, and nobody told".to_owned(),
        Act::Bounce => "would be given up, and the senders told".to_owned(),
        Act::Move { route: None, provider: None } => "would go by the routing table again".to_owned(),
        Act::Move { route, provider } => {
            let route = route.as_ref().map(|name| format!(" route {name}")).unwrap_or_default();
            let provider = provider.as_ref().map(|name| format!(" provider {name}")).unwrap_or_default();
            format!("would be moved to{route}{provider}")
        }
    }
}

/// Asks on a terminal; nobody else is asked.
fn agreed(act: &Act, count: &Count) -> anyhow::Result<bool> {
    let what = format!("{}: {}", would(act), text::count(count));
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        eprintln!("waypost: {what}; say --yes to do it, or --dry-run to look");
        return Ok(false);
    }
    eprint!("{what}. Do it? [y/N] ");
    io::stderr().flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Asks again until all of it is done with.
fn all_steps(ask: &Ask, request: &mut ActRequest, count: Option<&Count>) -> anyhow::Result<ActAnswer> {
    let bar = count.filter(|count| count.messages > LONG && io::stderr().is_terminal()).map(|count| {
        let bar = ProgressBar::new(count.recipients);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} recipients, {eta} to go") {
            bar.set_style(style);
        }
        bar
    });
    let mut answer = ActAnswer::default();
    loop {
        answer.add(ask.act(request)?);
        if let Some(bar) = &bar {
            bar.set_position(answer.recipients + answer.unchanged);
        }
        request.after = answer.next.take();
        if request.after.is_none() {
            break;
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(answer)
}

fn tell(act: &Act, answer: &ActAnswer) {
    let ActAnswer { messages, recipients, unchanged, in_attempt, refused, missing, next: _ } = answer;
    say!("{}: {}", act.done(), text::messages(*messages, *recipients));
    if *unchanged > 0 {
        say!("{}: {}", act.unchanged(), text::plural(*unchanged, "recipient"));
    }
    for one in in_attempt.iter().take(LINES) {
        let by = one.provider.as_ref().map(|name| format!(" by {name}")).unwrap_or_default();
        say!("{}: being attempted now{by}: nothing was done with it; ask again", one.mid);
    }
    for one in refused.iter().take(LINES) {
        say!("{}: {}", one.mid, one.why);
    }
    for mid in missing.iter().take(LINES) {
        say!("{mid}: not in the queue: delivered, bounced or deleted, or never here");
    }
    let more =
        [in_attempt.len(), refused.len(), missing.len()].map(|all| all.saturating_sub(LINES)).iter().sum::<usize>();
    if more > 0 {
        say!("and {more} more; --json names all");
    }
}
