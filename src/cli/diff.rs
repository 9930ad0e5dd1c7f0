//! `waypost diff`: what two configurations say and decide differently. No relay is needed, and no secret; for `--replay`, an
//! audit trail.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use super::replay::{Counted, Where, replay};
use crate::app::configuration;
use crate::config::{self, Change, ChangeJson, Config, Origin, Outside, RouteTest};
use crate::os::Clock;
use crate::routing::{Comparer, Comparison, Table, probes};

/// Tell what two configuration directories say differently, and which mail would go another way
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory as it was
    old: PathBuf,
    /// The directory as it would be
    new: PathBuf,
    /// Count, from the audit trail, how much of the mail of this span, such as 7d, would go another way
    #[arg(long, value_name = "SPAN", value_parser = config::parse_duration)]
    replay: Option<Duration>,
    /// The trail to replay: its file, or the folder that it lies in [default: that of --config, else of OLD]
    #[arg(long, value_name = "PATH", requires = "replay")]
    trail: Option<PathBuf>,
    /// End with status 1 where some mail would take another route or way
    #[arg(long)]
    fail_on_change: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The stable form of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    changes: Vec<ChangeJson<'a>>,
    decisions: &'a Comparison,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<&'a Counted>,
}

/// Exit status 0; 1: one of the two has errors, or with `--fail-on-change`, some mail would take another route or way.
///
/// `directory`: the configuration of the relay whose trail is replayed.
pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let (old, old_tests) = load(&args.old)?;
    let (new, new_tests) = load(&args.new)?;
    let changes = config::changes(&old, &new);
    let tables = [&old, &new].map(Table::of);
    let mut comparer = Comparer::new(&tables[0], &tables[1]);
    for probe in probes(&[(&old, &old_tests), (&new, &new_tests)]) {
        comparer.ask(&probe.facts(), 1);
    }
    let decisions = comparer.done();
    let counted = match args.replay {
        Some(span) => {
            let of = Where { trail: args.trail.as_deref(), directory: directory.unwrap_or(&args.old) };
            Some(replay((&tables[0], &tables[1]), span, &of, Clock::system().wall())?)
        }
        None => None,
    };
    let mut out = super::say::out();
    if args.json {
        let changes = changes.iter().map(Change::json).collect();
        let report = Report { changes, decisions: &decisions, replay: counted.as_ref() };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        show(&changes, &decisions, &mut out)?;
        if let Some(counted) = &counted {
            writeln!(out)?;
            counted.show(&mut out)?;
        }
    }
    let differ = decisions.differ + counted.as_ref().map_or(0, Counted::differ);
    Ok(if args.fail_on_change && differ > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(changes: &[Change], decisions: &Comparison, out: &mut impl Write) -> io::Result<()> {
    for change in changes {
        writeln!(out, "{change}")?;
    }
    if changes.is_empty() {
        writeln!(out, "both say the same")?;
    }
    if decisions.differ > 0 {
        writeln!(out, "\n{decisions}")?;
    }
    let Comparison { asked, differ, same_way, .. } = decisions;
    write!(out, "of {asked} probes, made from both tables, ")?;
    match differ - same_way {
        0 => write!(out, "all go the same way")?,
        1 => write!(out, "1 goes another way")?,
        other => write!(out, "{other} go another way")?,
    }
    match same_way {
        0 => writeln!(out),
        1 => writeln!(out, "; 1 goes the same way by another route"),
        _ => writeln!(out, "; {same_way} go the same way by another route"),
    }
}

fn load(directory: &Path) -> anyhow::Result<(Config, Vec<RouteTest>)> {
    // Paths are compared as they are written: the two directories stand for one at two times.
    let sources = config::read(&Origin::Directory(directory.to_owned()))?.relative_to("");
    let checked = configuration::check(sources, &Named);
    let errors = checked.errors();
    for problem in checked.problems.iter().filter(|problem| problem.is_error()) {
        eprint!("{}", problem.render(&checked.sources));
    }
    match checked.config {
        Some(config) => Ok((config, checked.tests)),
        None => bail!("the configuration in {} has {errors} error(s), see above", directory.display()),
    }
}

/// For each secret its reference, so that another reference is a change.
struct Named;

impl Outside for Named {
    fn env(&self, name: &str) -> Option<String> {
        Some(format!("env {name}"))
    }

    fn secret_file(&self, path: &Path) -> io::Result<String> {
        Ok(format!("file {}", path.display()))
    }

    fn readable(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn hostname(&self) -> Option<String> {
        Some("relay.example".to_owned())
    }

    fn assumes(&self) -> bool {
        true
    }
}
