//! The configuration, for verbs that work with one that checks clean.

use std::path::Path;

use anyhow::bail;

use crate::config::{self, Assumed, Config, Known, Outside, Problem, RouteTest, Severity, System};
use crate::os::Clock;
use crate::{ingress, routing};

/// Loads it to run it; prints what is wrong with it, and what is doubtful, to standard error.
pub fn to_run(directory: Option<&Path>) -> anyhow::Result<Config> {
    load(directory, &System, Severity::Warning, certificate_problems)
}

/// Loads it to ask it: secrets and certificate files are taken as given, for they may not be where it is asked.
pub fn to_ask(directory: Option<&Path>) -> anyhow::Result<Config> {
    load(directory, &Assumed, Severity::Warning, |_| Vec::new())
}

/// The same without a word about what is merely doubtful: for what runs once a message.
pub fn to_send(directory: Option<&Path>) -> anyhow::Result<Config> {
    load(directory, &Assumed, Severity::Error, |_| Vec::new())
}

/// To speak to the relay that runs with it: of the secrets, only those count that can be read.
pub fn to_steer(directory: Option<&Path>) -> anyhow::Result<Config> {
    load(directory, &Known, Severity::Error, |_| Vec::new())
}

fn load(
    directory: Option<&Path>,
    outside: &dyn Outside,
    least: Severity,
    certificates: fn(&Config) -> Vec<Problem>,
) -> anyhow::Result<Config> {
    let origin = config::locate(directory);
    let sources = config::read(&origin)?;
    let mut loaded = config::load(&sources, outside);
    if let Some(config) = &loaded.config {
        loaded.problems.extend(routing_problems(config, &loaded.tests));
        loaded.problems.extend(certificates(config));
        config::sort(&mut loaded.problems);
    }
    for problem in loaded.problems.iter().filter(|problem| problem.is_error() || least == Severity::Warning) {
        eprint!("{}", problem.render(&sources));
    }
    let errors = loaded.problems.iter().filter(|problem| problem.is_error()).count();
    match loaded.config {
        Some(config) if errors == 0 => Ok(config),
        Some(_) | None => bail!("the configuration has {errors} error(s), see above"),
    }
}

/// What the table itself has to say: shadowed routes, failing tests.
pub fn routing_problems(config: &Config, tests: &[RouteTest]) -> Vec<Problem> {
    let findings = routing::check(config, tests).into_iter();
    findings.map(|finding| Problem::at(finding.place, Severity::Error, finding.message)).collect()
}

/// What the certificates have to say: files are read for it.
pub fn certificate_problems(config: &Config) -> Vec<Problem> {
    ingress::certificate_problems(&config.server, Clock::system().wall())
}
