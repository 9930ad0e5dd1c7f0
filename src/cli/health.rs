//! `waypost health`: one question to the running relay, for what looks after a container or a service.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::remote::Remote;
use crate::admin::Readiness;

/// Docker's own patience is 30 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ask the running relay whether it takes mail: status 0 if it does, else 1 and one line that says why. Needs no token
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON: {ready, reasons}
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let asked = Remote::readiness(directory, PATIENCE);
    let health = asked.unwrap_or_else(|error| Readiness { ready: false, reasons: vec![format!("{error:#}")] });
    if args.json {
        say!("{}", serde_json::to_value(&health)?);
    } else if health.ready {
        say!("ready: new mail is taken");
    } else {
        say!("not ready: {}", health.reasons.join("; "));
    }
    Ok(if health.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
