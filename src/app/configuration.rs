//! The configuration loaded and checked whole, as a start and a reload need it: its files, the table, the certificates.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use super::watch::{Stamps, Watched, stamps};
use crate::config::{self, Config, Origin, Outside, Problem, ReadError, RouteTest, Severity, Sources, System};
use crate::os::{Clock, stamp};
use crate::{ingress, routing};

/// What loading came to.
pub struct Checked {
    /// `None` where there are errors.
    pub config: Option<Config>,
    pub tests: Vec<RouteTest>,
    /// All errors and warnings, in the order of their places.
    pub problems: Vec<Problem>,
    pub sources: Sources,
}

impl Checked {
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.is_error()).count()
    }
}

/// Reads the files and checks them. Blocking.
pub fn load(origin: &Origin, outside: &dyn Outside) -> Result<Checked, ReadError> {
    Ok(check(config::read(origin)?, outside))
}

/// Checks them all. Blocking, where `outside` does not assume.
pub fn check(sources: Sources, outside: &dyn Outside) -> Checked {
    let config::Loaded { config, tests, mut problems, .. } = config::load(&sources, outside);
    if let Some(config) = &config {
        problems.extend(routing_problems(config, &tests));
        if !outside.assumes() {
            problems.extend(certificate_problems(config));
        }
        config::sort(&mut problems);
    }
    let config = config.filter(|_| !problems.iter().any(Problem::is_error));
    Checked { config, tests, problems, sources }
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

/// The system, noting which files a configuration refers to, and how they and its own were.
pub struct Noting {
    own: Stamps,
    beside: RefCell<Stamps>,
}

impl Noting {
    /// To be made before the files are read: what changes meanwhile is then seen. Blocking.
    pub fn new(origin: &Origin) -> Self {
        Self { own: stamps(config::files(origin)), beside: RefCell::default() }
    }

    /// What is to be watched from now on. The listeners' certificates are looked after elsewhere, where they could be used.
    pub fn watched(self, checked: &Checked) -> Watched {
        let server = checked.config.as_ref().map(|config| &config.server);
        let own = server.iter().flat_map(|server| &server.listeners).filter_map(|one| one.certificate.as_ref());
        let all = own.chain(server.iter().flat_map(|server| &server.tls));
        let elsewhere: Vec<_> = all.flat_map(|one| [&one.files.certificate, &one.files.key]).collect();
        let mut beside = self.beside.into_inner();
        beside.retain(|(path, _)| !elsewhere.contains(&path));
        // The users' file is one that the configuration names; the others are its own.
        beside.extend(stamps(checked.sources.names().map(PathBuf::from).collect()));
        Watched::new(self.own, beside)
    }

    /// The same where the files could not even be found.
    pub fn watched_as_before(self, beside: Vec<PathBuf>) -> Watched {
        Watched::new(self.own, stamps(beside))
    }

    fn note(&self, path: &Path) {
        self.beside.borrow_mut().push((path.to_owned(), stamp(path)));
    }
}

impl Outside for Noting {
    fn env(&self, name: &str) -> Option<String> {
        System.env(name)
    }

    fn secret_file(&self, path: &Path) -> io::Result<String> {
        self.note(path);
        System.secret_file(path)
    }

    fn readable(&self, path: &Path) -> io::Result<()> {
        self.note(path);
        System.readable(path)
    }

    fn hostname(&self) -> Option<String> {
        System.hostname()
    }
}
