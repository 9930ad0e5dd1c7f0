//! `waypost queue`: what is queued, and what is to become of it; asked of the running relay, or, with that stopped, done on
//! its files.

mod act;
mod ask;
mod beside;
mod files;
mod hint;
mod snapshot;
mod text;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::say::while_read;
use super::usage::span;
use crate::delivery::operate::{Act, Filter, Page, State};
use ask::Ask;

/// Look at the queue and change what waits in it, whether the relay runs or not
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List queued mail, oldest first: a line for recipients of one message that wait together
    List(List),
    /// Count queued mail
    Count(Count),
    /// Show one message: envelope, header section, what waits of it, for what and until when
    Show(Show),
    /// Try waiting mail now
    Retry(act::Args),
    /// Keep mail until it is released
    Hold(act::Args),
    /// Let held mail go, past the route that held it
    Release(act::Args),
    /// Delete mail and tell nobody
    Delete(act::Args),
    /// Give mail up and tell its senders
    Bounce(act::Args),
    /// Send mail another way than the routing table says, until it is done
    Move(Move),
    /// Write messages as .eml files that `import` and the pickup folder read
    Export(files::Export),
    /// Take messages from .eml files: exported ones as they were, others as by the pickup folder
    Import(files::Import),
    /// Write all that is queued into one file, whether the relay runs or not
    Snapshot(snapshot::Snapshot),
    /// Make a queue of a snapshot, where there is none; before the relay is started
    Restore(snapshot::Restore),
}

/// Which mail is meant. All that is given must hold.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Which {
    /// Mail of this route
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Mail that was moved to this provider, or was tried by it last, or waits for it as one of its route's first tier
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The reverse-path: an address or a domain, with `*` for any text; `<>` is the null one
    #[arg(long, value_name = "GLOB")]
    sender: Option<String>,
    /// Recipients: an address or a domain, with `*` for any text
    #[arg(long, value_name = "GLOB")]
    recipient: Option<String>,
    /// Accepted longer ago than this, such as 4h
    #[arg(long, value_name = "AGE", value_parser = span)]
    older: Option<String>,
    /// Accepted within this time
    #[arg(long, value_name = "AGE", value_parser = span)]
    newer: Option<String>,
    /// waiting (tried again by itself) or held (until it is released)
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<State>,
    /// Text in the reason of its hold or in the last reply, without case
    #[arg(long, value_name = "TEXT")]
    saying: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// Lines to print
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Go on behind the last line of an earlier list, as that one said
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// All of it, however much
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Print JSON: an array with an object for each line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Count {
    #[command(flatten)]
    which: Which,
    /// Print JSON: messages, recipients, octets
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    mid: String,
    /// Print the content as well, as it is stored
    #[arg(long, conflicts_with = "json")]
    content: bool,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Move {
    /// Send it by this route
    #[arg(long, value_name = "NAME", required_unless_present_any = ["to_provider", "by_table"])]
    to_route: Option<String>,
    /// Send it by this provider, within the limits of its route
    #[arg(long, value_name = "NAME")]
    to_provider: Option<String>,
    /// Send it as the routing table says again
    #[arg(long, conflicts_with_all = ["to_route", "to_provider"])]
    by_table: bool,
    #[command(flatten)]
    rest: act::Args,
}

fn state(text: &str) -> Result<State, String> {
    match text {
        "waiting" => Ok(State::Waiting),
        "held" => Ok(State::Held),
        _ => Err("waiting or held".to_owned()),
    }
}

impl Which {
    fn filter(&self) -> Filter {
        let Self { route, provider, sender, recipient, older, newer, state, saying } = self.clone();
        Filter { route, provider, sender, recipient, older, newer, state, reason: saying }
    }
}

/// Exit status: 1, some of it was not done or is not there; 2, it is not clear what is meant.
pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::List(args) => while_read(list(args, directory)),
        Verb::Count(args) => count(args, directory),
        Verb::Show(args) => while_read(show(args, directory)),
        Verb::Retry(args) => act::run(Act::Retry, args, directory),
        Verb::Hold(args) => act::run(Act::Hold, args, directory),
        Verb::Release(args) => act::run(Act::Release, args, directory),
        Verb::Delete(args) => act::run(Act::Delete, args, directory),
        Verb::Bounce(args) => act::run(Act::Bounce, args, directory),
        Verb::Move(args) => {
            let act = Act::Move { route: args.to_route.clone(), provider: args.to_provider.clone() };
            act::run(act, &args.rest, directory)
        }
        Verb::Export(args) => files::export(args, directory),
        Verb::Import(args) => files::import(args, directory),
        Verb::Snapshot(args) => snapshot::take(args, directory),
        Verb::Restore(args) => snapshot::restore(args, directory),
    }
}

/// Lines of one part that is asked for.
const PART: usize = 1000;

fn list(args: &List, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let ask = Ask::find(directory, false)?;
    let filter = args.which.filter();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut left = if args.all { usize::MAX } else { args.limit };
    let mut after = args.after.clone();
    let mut lines = 0usize;
    if args.json {
        write!(out, "[")?;
    }
    while left > 0 {
        let Page { entries, next } = ask.list(&filter, after.as_deref(), left.min(PART))?;
        left -= entries.len().min(left);
        for entry in &entries {
            match args.json {
                true => write!(out, "{}\n{}", if lines > 0 { "," } else { "" }, serde_json::to_string(entry)?)?,
                false => text::line(&mut out, entry, ask.now())?,
            }
            lines += 1;
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    if args.json {
        writeln!(out, "{}]", if lines > 0 { "\n" } else { "" })?;
    } else if lines == 0 {
        writeln!(out, "nothing")?;
    }
    out.flush()?;
    if lines == 0 {
        hint::of_names(&filter, directory);
    }
    if let Some(after) = after {
        eprintln!("there may be more: --after {after}");
    }
    ask.end();
    Ok(ExitCode::SUCCESS)
}

fn count(args: &Count, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let ask = Ask::find(directory, false)?;
    let filter = args.which.filter();
    let count = ask.count(&filter)?;
    if args.json {
        say!("{:#}", serde_json::to_value(count)?);
    } else {
        say!("{}", text::count(&count));
    }
    hint::of_none(&count, &filter, directory);
    ask.end();
    Ok(ExitCode::SUCCESS)
}

fn show(args: &Show, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let ask = Ask::find(directory, false)?;
    let message = ask.show(&args.mid)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", serde_json::to_value(&message)?)?;
    } else {
        text::message(&mut out, &message, ask.now())?;
        if args.content {
            writeln!(out)?;
            ask.export(&args.mid, true, &mut out)?;
        }
    }
    ask.end();
    Ok(ExitCode::SUCCESS)
}

/// A file's name in an error.
fn at(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}
