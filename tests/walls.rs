//! The walls (ARCHITECTURE.md, "The walls"), held by program: arrows go down only, there is no import circle, and the
//! pure parts know no runtime, no clock and no files.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Top floor first. A module uses its own floor and those below it.
const FLOORS: [&str; 18] = [
    "cli",
    "app",
    "admin",
    "alerts",
    "ingress",
    "delivery",
    "transport",
    "access",
    "bounce",
    "telemetry",
    "audit",
    "queue",
    "routing",
    "smtp",
    "config",
    "mail",
    "metrics",
    "os",
];

/// Files and folders without I/O, clocks, tasks or randomness of their own: all of that comes as arguments.
const PURE: [&str; 23] = [
    "src/routing",
    "src/config/diff.rs",
    "src/config/diff",
    "src/smtp",
    "src/mail",
    "src/ingress/proxy/header.rs",
    "src/admin/history.rs",
    "src/telemetry/span.rs",
    "src/delivery/breaker.rs",
    "src/delivery/schedule.rs",
    "src/delivery/plan.rs",
    "src/delivery/orders.rs",
    "src/delivery/settle.rs",
    "src/alerts/facts.rs",
    "src/alerts/history.rs",
    "src/alerts/rules.rs",
    "src/alerts/book.rs",
    "src/alerts/post.rs",
    "src/alerts/belief.rs",
    "src/alerts/words.rs",
    "src/alerts/sent.rs",
    "src/alerts/routes.rs",
    "src/alerts/letter.rs",
];

/// What a pure part may not name, whatever stands before it.
const IMPURE: [&str; 9] = [
    "tokio::",
    "reqwest::",
    "redb::",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "rand::rng",
    "rand::random",
];

/// Modules that a pure part may not use: of the standard library, and of ours.
const IMPURE_MODULES: [(&str, &[&str]); 2] =
    [("std::", &["fs", "thread", "process", "env"]), ("crate::", &["os", "queue", "transport"])];

/// Pure files that may use types of a floor which does I/O: the types, and no call.
const TYPES_ONLY: [&str; 5] = [
    "src/delivery/breaker.rs",
    "src/delivery/schedule.rs",
    "src/delivery/plan.rs",
    "src/delivery/orders.rs",
    "src/delivery/settle.rs",
];

/// One `crate::…` in code.
#[derive(Debug)]
struct Use {
    file: String,
    line: usize,
    from: String,
    to: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The code of a file, a line a line: without comments, strings and test modules.
fn code(path: &Path) -> Vec<String> {
    strip(&std::fs::read_to_string(path).unwrap())
}

fn strip(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    // The depth of braces in which a test module stands, while in one.
    let (mut depth, mut tests, mut marked, mut comment, mut raw) = (0_i32, None, false, 0, None);
    for line in text.lines() {
        let line = without_text(line, &mut comment, &mut raw);
        if tests.is_none() && line.trim_start().starts_with("#[cfg(test)]") {
            marked = true;
        }
        let opens = line.matches('{').count() as i32;
        let closes = line.matches('}').count() as i32;
        let hidden = tests.is_some() || marked;
        if marked && opens > 0 {
            tests = Some(depth);
            marked = false;
        } else if marked && line.trim_end().ends_with(';') {
            marked = false;
        }
        depth += opens - closes;
        if tests.is_some_and(|at| depth <= at) {
            tests = None;
        }
        out.push(if hidden { String::new() } else { line });
    }
    out
}

/// Blanks comments, strings and character literals; `comment` and `raw` carry what goes on over the line's end.
fn without_text(line: &str, comment: &mut usize, raw: &mut Option<String>) -> String {
    let mut out = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        if let Some(end) = raw.clone() {
            match find_end(rest, &end) {
                Some(at) => {
                    rest = &rest[at + end.len()..];
                    *raw = None;
                }
                None => return out,
            }
        } else if *comment > 0 {
            match rest.find("*/") {
                Some(at) => {
                    rest = &rest[at + 2..];
                    *comment -= 1;
                }
                None => return out,
            }
        } else if rest.starts_with("//") {
            return out;
        } else if let Some(inside) = rest.strip_prefix("/*") {
            *comment += 1;
            rest = inside;
        } else if let Some(inside) = rest.strip_prefix('"') {
            *raw = Some("\"".to_owned());
            rest = inside;
        } else if let Some((hashes, inside)) = raw_string(rest).filter(|_| !out.ends_with(is_name)) {
            *raw = Some(format!("\"{}", "#".repeat(hashes)));
            rest = inside;
        } else if let Some(inside) = character(rest) {
            rest = inside;
        } else {
            let next = rest.chars().next().unwrap();
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where a string ends; a plain one knows escapes.
fn find_end(text: &str, end: &str) -> Option<usize> {
    if end.len() > 1 {
        return text.find(end);
    }
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// `r#"`: the number of hashes and what follows.
fn raw_string(text: &str) -> Option<(usize, &str)> {
    let behind = text.strip_prefix('r').or_else(|| text.strip_prefix("br"))?;
    let hashes = behind.chars().take_while(|&c| c == '#').count();
    // `r"` without hashes ends at any quote, like a plain one but for escapes, which such code does without.
    behind[hashes..].strip_prefix('"').map(|inside| (hashes, inside))
}

/// `'{'` and the like; a lifetime is none.
fn character(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('\'')?;
    let mut chars = inside.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        let end = inside.get(2..)?.find('\'')?;
        return inside.get(2 + end + 1..);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then(|| &inside[at + 1..])
}

/// The top module that a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Every use of another top module, `use crate::{a::b, c}` taken apart.
fn uses() -> Vec<Use> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let from = module(&path);
        let text = code(&path).join("\n");
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        for (line, to) in ["crate::", "waypost::"].iter().flat_map(|prefix| named(&text, prefix)) {
            found.push(Use { file: file.clone(), line, from: from.clone(), to });
        }
    }
    found
}

/// What is named behind a prefix, each with its line.
fn named(text: &str, prefix: &str) -> Vec<(usize, String)> {
    let places = text.match_indices(prefix).filter(|(at, _)| !text[..*at].ends_with(|c| is_name(c) || c == '$'));
    places
        .flat_map(|(at, _)| {
            let line = text[..at].matches('\n').count() + 1;
            heads(&text[at + prefix.len()..]).into_iter().map(move |head| (line, head))
        })
        .collect()
}

/// The first names of a path, or of each path of a braced list.
fn heads(text: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|&c| is_name(c)).collect::<String>();
    let Some(list) = text.strip_prefix('{') else { return vec![name(text)] };
    let (mut depth, mut heads, mut start) = (1, Vec::new(), 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            heads.push(name(&list[start..at]));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == module)
}

#[test]
fn every_module_has_its_floor() {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.split(';').next()).collect();
    assert_eq!(declared, FLOORS.into_iter().collect(), "src/lib.rs and the floors here name different modules");
}

#[test]
fn arrows_go_down() {
    let uses = uses();
    assert!(uses.len() > 50, "the search found {} uses: it does not see the code", uses.len());
    let up: Vec<_> = uses
        .iter()
        // main.rs stands above all floors.
        .filter(|u| u.from != "main" && u.from != "lib")
        .filter(|u| match (floor(&u.from), floor(&u.to)) {
            (Some(from), Some(to)) => from > to,
            _ => true,
        })
        .map(|u| format!("{}:{}: {} reaches up to {}", u.file, u.line, u.from, u.to))
        .collect();
    assert!(up.is_empty(), "{}", up.join("\n"));
}

#[test]
fn there_is_no_import_circle() {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for u in uses().into_iter().filter(|u| u.from != u.to) {
        arrows.entry(u.from).or_default().insert(u.to);
    }
    // Takes away what points nowhere, until nothing is left to take: what stays stands in a circle.
    loop {
        let left: BTreeSet<String> = arrows.keys().cloned().collect();
        let before = arrows.len();
        arrows.retain(|_, to| to.iter().any(|to| left.contains(to)));
        if arrows.len() == before {
            break;
        }
    }
    assert!(arrows.is_empty(), "{arrows:?}");
}

#[test]
fn the_pure_parts_are_pure() {
    let mut broken = Vec::new();
    for part in PURE {
        let path = root().join(part);
        let mut files = Vec::new();
        if path.is_dir() {
            sources(&path, &mut files)
        } else {
            files.push(path)
        }
        for file in files {
            // Test modules in files of their own may do what they like.
            if file.file_stem().is_some_and(|stem| stem == "tests") || !file.exists() {
                continue;
            }
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            let lines = code(&file);
            for (n, line) in lines.iter().enumerate() {
                broken.extend(
                    IMPURE.iter().filter(|w| line.contains(**w)).map(|word| format!("{name}:{}: {word}", n + 1)),
                );
            }
            let text = lines.join("\n");
            for (prefix, modules) in IMPURE_MODULES {
                for (line, module) in named(&text, prefix).iter().filter(|(_, m)| modules.contains(&m.as_str())) {
                    let types = ["queue", "transport"].contains(&module.as_str()) && TYPES_ONLY.contains(&part);
                    if !types {
                        broken.push(format!("{name}:{line}: {prefix}{module}"));
                    }
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_file_is_too_long_to_hold_in_the_head() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let long: Vec<_> = files
        .iter()
        .map(|file| (std::fs::read_to_string(file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "over 600 lines: {long:?}");
}

/// The reader of code, on code: what it misses, the walls would miss.
#[test]
fn code_is_told_from_text() {
    let text = r##"
use crate::{mail::{Mid, Address}, os}; // crate::cli
fn f<'a>(x: &'a str) -> char { let s = "crate::app { "; let r = r#"crate::app"#; '{' }
/* crate::app
   crate::app */ use crate::queue;
#[cfg(test)]
mod tests { use crate::ingress;
    fn g() { crate::app::x() }
}
use crate::smtp;
#[cfg(test)]
mod more;
use crate::routing::Table;
"##;
    let code = strip(text).join("\n");
    let found: Vec<String> = named(&code, "crate::").into_iter().map(|(_, head)| head).collect();
    assert_eq!(found, ["mail", "os", "queue", "smtp", "routing"]);
}
