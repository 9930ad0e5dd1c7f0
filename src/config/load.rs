//! From files to a checked configuration, with all that is wrong with it.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;

use super::check::{self, Files};
use super::fault::Fault;
use super::model::{Config, RouteTest, Server};
use super::origin::{Kind, Source, Sources, Unreadable};
use super::problem::{self, Problem, Severity};
use super::raw::{ProvidersFile, RoutesFile, ServerFile, UsersFile};
use super::read::{Cx, Read};
use super::secret::Outside;
use super::tree::{self, Spot, Value};

/// What loading came to.
#[derive(Debug)]
pub struct Loaded {
    /// `None` where there are errors.
    pub config: Option<Config>,
    /// The server's part as far as it makes sense, errors or not: to find the relay that runs with it.
    pub server: Server,
    /// The `tests` of the route files, to be asked of the table.
    pub tests: Vec<RouteTest>,
    /// All errors and warnings of all files, in their order.
    pub problems: Vec<Problem>,
}

/// Checks all files; nothing that is wrong hides anything else, but for what a broken file would have said.
pub fn load(sources: &Sources, outside: &dyn Outside) -> Loaded {
    let mut cx = Cx { file: Arc::from(""), base: sources.base(), outside, problems: Vec::new() };
    let mut files = Files::default();
    for source in sources.files() {
        cx.file = source.name.clone();
        match source.kind {
            Kind::Server => match file::<ServerFile>(source, &mut cx) {
                Content::Read(file) => files.server = Some((source.name.clone(), file)),
                Content::Empty => {}
                Content::Broken => files.server_broken = true,
            },
            // What is only assumed to be there is good.
            Kind::Users if outside.assumes() && source.text.is_err() => files.users_broken = true,
            Kind::Users => match file::<UsersFile>(source, &mut cx) {
                Content::Read(file) => files.users = Some((source.name.clone(), file)),
                Content::Empty => {}
                Content::Broken => files.users_broken = true,
            },
            Kind::Routes => match file::<RoutesFile>(source, &mut cx) {
                Content::Read(file) => files.routes.push((source.name.clone(), file)),
                Content::Empty => {}
                Content::Broken => files.routes_broken = true,
            },
            Kind::Providers => match file::<ProvidersFile>(source, &mut cx) {
                Content::Read(file) => files.providers.push((source.name.clone(), file)),
                Content::Empty => {}
                Content::Broken => files.providers_broken = true,
            },
        }
    }
    let (config, tests) = check::check(&files, &mut cx);
    let mut problems = cx.problems;
    // With errors, the table may be empty for another reason than that nobody wrote one.
    if config.routes.is_empty() && !problems.iter().any(Problem::is_error) {
        problems.push(Problem::general(Severity::Error, Fault::NoRoutes.to_string()));
    }
    problem::sort(&mut problems);
    let server = config.server.clone();
    let config = (!problems.iter().any(Problem::is_error)).then(|| Config { revision: revision(sources), ..config });
    Loaded { config, server, tests, problems }
}

/// Names what the table was made of: the first twelve hex digits of SHA-256 over the names and texts of the files of routes
/// and providers. The same wherever the directory lies and however it is named.
fn revision(sources: &Sources) -> Arc<str> {
    let mut context = digest::Context::new(&digest::SHA256);
    for source in sources.files() {
        match source.kind {
            Kind::Routes | Kind::Providers => {
                let text = source.text.as_deref().unwrap_or("");
                let folder = if source.kind == Kind::Routes { "routes" } else { "providers" };
                let name = Path::new(&*source.name).file_name().and_then(OsStr::to_str).unwrap_or(&source.name);
                for part in [folder, name, text] {
                    context.update(&(part.len() as u64).to_le_bytes());
                    context.update(part.as_bytes());
                }
            }
            Kind::Server | Kind::Users => {}
        }
    }
    context.finish().as_ref().iter().take(6).map(|octet| format!("{octet:02x}")).collect::<String>().into()
}

enum Content<T> {
    Read(T),
    /// Nothing but comments.
    Empty,
    Broken,
}

fn file<T: Read>(source: &Source, cx: &mut Cx<'_>) -> Content<T> {
    let text = match &source.text {
        Ok(text) => text,
        Err(fault) => {
            let (line, column) = match fault {
                Unreadable::NotUtf8 { line, column } => (*line, *column),
                Unreadable::Io(_) | Unreadable::Large | Unreadable::Utf16 => (1, 1),
            };
            cx.error(Spot { line, column }, Fault::Unreadable(fault.clone()));
            return Content::Broken;
        }
    };
    let node = match tree::parse(text) {
        Ok(node) => node,
        Err(broken) => {
            cx.error(broken.spot, Fault::Syntax(broken.why));
            return Content::Broken;
        }
    };
    if matches!(node.value, Value::Null) {
        return Content::Empty;
    }
    match T::read(&node, cx) {
        Some(file) => Content::Read(file),
        None => Content::Broken,
    }
}
