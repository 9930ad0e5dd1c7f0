//! The configuration, for verbs that work with one that checks clean.

use std::path::Path;

use anyhow::bail;

use crate::app::Watched;
use crate::app::configuration::{self, Checked, Noting};
use crate::config::{self, Assumed, Config, Known, Origin, Outside, Server, Severity};

pub use crate::app::configuration::{certificate_problems, routing_problems};

/// Loads it to run it; prints what is wrong with it, and what is doubtful, to standard error. With it comes what is to be
/// watched for changes.
pub fn to_run(origin: &Origin) -> anyhow::Result<(Config, Watched)> {
    let noting = Noting::new(origin);
    let checked = configuration::load(origin, &noting)?;
    let watched = noting.watched(&checked);
    Ok((good(checked, Severity::Warning)?, watched))
}

/// Loads it to ask it: secrets and certificate files are taken as given, for they may not be where it is asked.
pub fn to_ask(directory: Option<&Path>) -> anyhow::Result<Config> {
    load(directory, &Assumed, Severity::Warning)
}

/// The same without a word about what is merely doubtful: for what runs once a message.
pub fn to_send(directory: Option<&Path>) -> anyhow::Result<Config> {
    load(directory, &Assumed, Severity::Error)
}

/// To speak to the relay that runs with it, or with what it was before: its files may have errors now. Of the secrets, only
/// those count that can be read.
pub fn to_steer(directory: Option<&Path>) -> anyhow::Result<Server> {
    let sources = config::read_what_is_there(&config::locate(directory))?;
    Ok(config::load(&sources, &Known).server)
}

fn load(directory: Option<&Path>, outside: &dyn Outside, least: Severity) -> anyhow::Result<Config> {
    good(configuration::load(&config::locate(directory), outside)?, least)
}

fn good(checked: Checked, least: Severity) -> anyhow::Result<Config> {
    for problem in checked.problems.iter().filter(|problem| problem.is_error() || least == Severity::Warning) {
        eprint!("{}", problem.render(&checked.sources));
    }
    let errors = checked.errors();
    match checked.config {
        Some(config) => Ok(config),
        None => bail!("the configuration has {errors} error(s), see above"),
    }
}
