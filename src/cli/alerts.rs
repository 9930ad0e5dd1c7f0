//! `waypost alerts`: what is on, and whether its targets hear of it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use super::remote::Remote;
use crate::admin::{AlertList, AlertTest};

/// List the alerts that are on; exit status 1 where there is one
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Print as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Send a test message to each target, and tell what came of it
    Test,
}

pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let remote = Remote::find(directory)?;
    match args.what {
        None => list(&remote, args.json),
        Some(What::Test) => test(&remote, args.json),
    }
}

fn list(remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let list: AlertList = remote.get("/alerts")?;
    let mut out = super::say::out();
    if json {
        writeln!(out, "{:#}", serde_json::to_value(&list.alerts)?)?;
    } else if list.alerts.is_empty() {
        writeln!(out, "{}", if list.watching { "no alert is on" } else { "alerts are off (`alerts: off`)" })?;
        if let Some(last) = list.ended.first() {
            writeln!(out, "the last one was over at {:.0}: {}", last.ended, last.summary)?;
        }
    }
    for alert in list.alerts.iter().filter(|_| !json) {
        writeln!(out, "{}: {}", alert.rule, alert.summary)?;
        for (name, text) in &alert.details {
            writeln!(out, "    {:<14}{}", name.replace('_', " "), text.as_str().unwrap_or_default())?;
        }
        if let Some(gone) = alert.gone {
            writeln!(out, "    {:<14}since {gone:.0}; over, if it stays so", "gone")?;
        }
        for told in &alert.told {
            writeln!(out, "    {:<14}{} {}: {}", told.came(), told.kind, told.target, told.text)?;
        }
    }
    for target in list.targets.iter().filter(|_| !json) {
        let Some(last) = target.last.as_ref().filter(|last| !last.ok) else { continue };
        writeln!(out, "{} {} could not be told: {}", target.kind, target.name, last.text)?;
    }
    Ok(if list.alerts.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn test(remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let tests: Vec<AlertTest> = remote.post("/alerts/test", &())?;
    let mut out = super::say::out();
    if json {
        writeln!(out, "{:#}", serde_json::to_value(&tests)?)?;
    } else if tests.is_empty() {
        writeln!(out, "no target: waypost.yaml names none under `alerts: {{to: [...]}}`")?;
    }
    for test in tests.iter().filter(|_| !json) {
        let came = if test.ok { "ok" } else { "FAILED" };
        writeln!(out, "{:<8}{:<32}{came}: {}", test.kind, test.target, test.text)?;
    }
    let good = !tests.is_empty() && tests.iter().all(|test| test.ok);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
