//! `waypost run`.

use std::path::Path;
use std::process::ExitCode;

use super::{load, log};
use crate::app;

/// Checks the configuration and runs the relay with it; one that does not check clean starts nothing.
pub fn run(directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let config = load::to_run(directory)?;
    log::install(&config.server.log)?;
    app::run(config)?;
    Ok(ExitCode::SUCCESS)
}
