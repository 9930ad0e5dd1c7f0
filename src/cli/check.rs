//! `waypost check`: all errors and warnings of a configuration, with places, and its route tests.

mod online;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use online::Proof;

use crate::config::{
    self, Assumed, Config, Listener, Origin, Outside, Problem, ProblemJson, RouteTest, Sources, System,
};

/// Check the configuration: all errors and warnings, with their places
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Take secrets and certificate files as given: for a check where they are not, such as a review
    #[arg(long)]
    pub without_secrets: bool,
    /// Come to the running relay's listeners as a stranger, who must not be able to relay
    #[arg(long, conflicts_with = "without_secrets")]
    pub online: bool,
}

/// What the listeners do with a stranger.
type Prover = fn(&[Listener]) -> anyhow::Result<Vec<Proof>>;

/// What the table itself has to say: shadowed routes, failing tests. Asked only of a configuration without errors.
pub type RoutingCheck = fn(&Config, &[RouteTest]) -> Vec<Problem>;
/// The same of the certificates' files.
pub type CertificateCheck = fn(&Config) -> Vec<Problem>;

/// The stable form of `--json`.
#[derive(Default, Serialize)]
struct Report<'a> {
    ok: bool,
    errors: usize,
    warnings: usize,
    files: usize,
    routes: usize,
    providers: usize,
    tests: usize,
    /// Of the routing table, as the log and the audit trail name it; absent with errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    problems: Vec<ProblemJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<Vec<Proof>>,
}

/// Exit status 0: no errors; 1: errors.
pub fn run(
    args: &Args,
    directory: Option<&Path>,
    routing: RoutingCheck,
    certificates: CertificateCheck,
) -> anyhow::Result<ExitCode> {
    let origin = config::locate(directory);
    let sources = match config::read(&origin) {
        Ok(sources) => sources,
        // A program gets its object whatever happens.
        Err(error) if args.json => {
            let problem = Problem::general(config::Severity::Error, error.to_string());
            let sources = Sources::new("");
            let report = Report { errors: 1, problems: vec![problem.json(&sources)], ..Report::default() };
            say!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    let outside: &dyn Outside = if args.without_secrets { &Assumed } else { &System };
    let checks = |config: &Config, tests: &[RouteTest]| {
        let mut problems = routing(config, tests);
        if !args.without_secrets {
            problems.extend(certificates(config));
        }
        problems
    };
    let prove: Option<Prover> = args.online.then_some(online::prove);
    let good = report(&origin, &sources, outside, args.json, &checks, prove, &mut super::say::out())?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(
    origin: &Origin,
    sources: &Sources,
    outside: &dyn Outside,
    json: bool,
    checks: &dyn Fn(&Config, &[RouteTest]) -> Vec<Problem>,
    prove: Option<Prover>,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut loaded = config::load(sources, outside);
    if let Some(config) = &loaded.config {
        loaded.problems.extend(checks(config, &loaded.tests));
        config::sort(&mut loaded.problems);
    }
    // With errors, it is not what runs.
    let sound = loaded.config.as_ref().filter(|_| !loaded.problems.iter().any(Problem::is_error));
    let online = match (prove, sound) {
        (Some(prove), Some(config)) => Some(prove(&config.server.listeners)?),
        (Some(_), None) | (None, _) => None,
    };
    let proven = online.iter().flatten().all(|proof| !proof.is_bad());
    let problems = &loaded.problems;
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let (routes, providers) =
        loaded.config.as_ref().map_or((0, 0), |config| (config.routes.len(), config.providers.len()));
    let (files, tests) = (sources.names().count(), loaded.tests.len());
    if json {
        let problems = problems.iter().map(|problem| problem.json(sources)).collect();
        let ok = errors == 0 && proven;
        let revision = sound.map(|config| config.revision.to_string());
        let report = Report { ok, errors, warnings, files, routes, providers, tests, revision, problems, online };
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
        return Ok(ok);
    }
    for problem in problems {
        write!(out, "{}", problem.render(sources))?;
    }
    let what = match origin {
        Origin::Directory(dir) => dir.display().to_string(),
        Origin::BuiltIn => "the built-in default".to_owned(),
    };
    let count = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    if errors > 0 {
        writeln!(out, "{what}: {}, {}", count(errors, "error"), count(warnings, "warning"))?;
    } else {
        let proven = if tests == 0 { String::new() } else { format!(", {} passed", count(tests, "test")) };
        let (routes, providers) = (count(routes, "route"), count(providers, "provider"));
        let warnings = if warnings == 0 { String::new() } else { format!(", {}", count(warnings, "warning")) };
        let revision = sound.map(|config| format!(", revision {}", config.revision)).unwrap_or_default();
        writeln!(out, "{what}: good: {routes}, {providers}{proven}{warnings}{revision}")?;
    }
    for proof in online.iter().flatten() {
        writeln!(out, "{proof}")?;
    }
    Ok(errors == 0 && proven)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Severity;

    fn said(route: &str, json: bool, routing: RoutingCheck) -> (bool, String) {
        let sources = Sources::new("")
            .with("routes/a.yaml", route)
            .with("providers/a.yaml", "providers: [{name: out, transport: maildir, path: out}]");
        let mut out = Vec::new();
        let origin = Origin::Directory("conf".into());
        let good = report(&origin, &sources, &Assumed, json, &routing, None, &mut out).unwrap();
        (good, String::from_utf8(out).unwrap())
    }

    fn nothing(_: &Config, _: &[RouteTest]) -> Vec<Problem> {
        Vec::new()
    }

    fn shadowed(config: &Config, _: &[RouteTest]) -> Vec<Problem> {
        vec![Problem::at(config.routes[0].place.clone(), Severity::Error, "shadowed")]
    }

    #[test]
    fn people_get_places_and_a_summary() {
        let good = "routes:\n  - {name: all, deliver: out}\ntests:\n  - {from: a@b.c, to: d@e.f, route: all}\n";
        let (is_good, text) = said(good, false, nothing);
        let (line, revision) = text.trim_end().rsplit_once(", revision ").unwrap();
        assert_eq!((is_good, line), (true, "conf: good: 1 route, 1 provider, 1 test passed"));
        let json: serde_json::Value = serde_json::from_str(&said(good, true, nothing).1).unwrap();
        assert_eq!((json["revision"].as_str(), revision.len()), (Some(revision), 12));
        let elsewhere = Sources::new("")
            .with("/etc/waypost/routes/a.yaml", good)
            .with("/etc/waypost/providers/a.yaml", "providers: [{name: out, transport: maildir, path: out}]");
        let elsewhere = config::load(&elsewhere, &Assumed).config.unwrap();
        assert_eq!(&*elsewhere.revision, revision, "it does not hang on where it is looked at from");
        let bad = "routes:\n  - {name: all, deliver: outt}\n";
        let text = "routes/a.yaml:2:26: error: route 'all': unknown provider 'outt', did you mean 'out'?\n \
                    2 |   - {name: all, deliver: outt}\n   |                          ^\nconf: 1 error, 0 warnings\n";
        assert_eq!(said(bad, false, nothing), (false, text.to_owned()));
        let text = "routes/a.yaml:2:12: error: shadowed\n 2 |   - {name: all, deliver: out}\n   |            ^\nconf: 1 error, 0 warnings\n";
        assert_eq!(said(good, false, shadowed), (false, text.to_owned()));
    }

    #[test]
    fn programs_get_one_object() {
        let (good, text) = said("routes: [{name: all, deliver: outt}]", true, nothing);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(!good);
        assert_eq!(json["ok"], false);
        assert_eq!(json["errors"], 1);
        assert_eq!(json.get("revision"), None, "it would be the name of what runs nowhere");
        let problem = &json["problems"][0];
        assert_eq!(
            (problem["file"].as_str(), problem["line"].as_u64(), problem["column"].as_u64()),
            (Some("routes/a.yaml"), Some(1), Some(31))
        );
        assert_eq!(problem["severity"], "error");
        assert_eq!(problem["source"], "routes: [{name: all, deliver: outt}]");
    }
}
