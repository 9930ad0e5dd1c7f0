//! `waypost run`.

use std::path::Path;
use std::process::ExitCode;

use super::{load, log};
use crate::app;
use crate::{config, os};

/// Checks the configuration and runs the relay with it; one that does not check clean starts nothing.
pub fn run(directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    os::forgo_huge_pages();
    let origin = config::locate(directory);
    let (config, watched) = load::to_run(&origin)?;
    let log = log::install(&config.server.log)?;
    Ok(match app::run(config, (origin, watched), log.lost_lines())? {
        app::Ended::InOrder => ExitCode::SUCCESS,
        app::Ended::AtOnce => ExitCode::FAILURE,
    })
}
