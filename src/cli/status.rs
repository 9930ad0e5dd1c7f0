//! `waypost status`: how the running relay stands.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::remote::Remote;
use crate::admin::Status;

/// Print how the running relay stands: what is out, since when, why, where its mail goes, how much waits
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let status: Status = Remote::find(directory)?.get("/status")?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", serde_json::to_value(&status)?)?;
    } else {
        writeln!(out, "waypost {}, {} messages queued", status.version, status.queue.messages)?;
    }
    Ok(ExitCode::SUCCESS)
}
