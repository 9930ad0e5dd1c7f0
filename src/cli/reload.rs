//! `waypost reload`: has the running relay load its configuration anew, or tell what that would change.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::remote::Remote;
use crate::admin::Reload;

/// Have the running relay load its configuration anew
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tell what would change, and change nothing
    #[arg(long)]
    diff: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Exit status 0: it is in force, or would be; 1: it has errors, and the old one stays.
pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let path = if args.diff { "/reload?diff=true" } else { "/reload" };
    let reload: Reload = Remote::find(directory)?.post(path, &())?;
    let mut out = super::say::out();
    if args.json {
        writeln!(out, "{:#}", serde_json::to_value(&reload)?)?;
    } else {
        show(&reload, args.diff, &mut out)?;
    }
    let bad = reload.problems.iter().any(|problem| problem.is_error());
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(reload: &Reload, diff: bool, out: &mut impl Write) -> io::Result<()> {
    for problem in &reload.problems {
        write!(out, "{}", problem.text)?;
    }
    for change in &reload.changes {
        writeln!(out, "{}", change.text)?;
    }
    let errors = reload.problems.iter().filter(|problem| problem.is_error()).count();
    let changes = match reload.changes.len() {
        0 => "nothing changed".to_owned(),
        1 => "1 change".to_owned(),
        many => format!("{many} changes"),
    };
    match (errors, diff) {
        (0, true) if reload.changes.is_empty() => writeln!(out, "nothing would change"),
        (0, true) => writeln!(out, "{changes}; `waypost reload` makes them"),
        (0, false) if reload.changes.iter().any(|change| change.restart) => {
            writeln!(out, "{changes}: the configuration was loaded anew, and is in force but for what needs a restart")
        }
        (0, false) => writeln!(out, "{changes}: the configuration was loaded anew and is in force"),
        (1, _) => writeln!(out, "1 error: the old configuration stays in force"),
        (many, _) => writeln!(out, "{many} errors: the old configuration stays in force"),
    }
}
