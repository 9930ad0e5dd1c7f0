//! `waypost man DIR`: the manual's pages, one a verb from the command line, and one of all keys from the schemas.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap_mangen::roff::{Roff, bold, italic, roman};
use serde_json::Value as Json;

use crate::config::{self, Kind};

/// Write the manual's pages: waypost(1), one for each verb, waypost.yaml(5)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory; made where it is not there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

pub fn run(args: &Args, line: clap::Command) -> anyhow::Result<ExitCode> {
    let dir = &args.dir;
    let named = || format!("cannot write the pages to {}", dir.display());
    fs::create_dir_all(dir).with_context(named)?;
    clap_mangen::generate_to(line.disable_help_subcommand(true), dir).with_context(named)?;
    fs::write(dir.join("waypost.yaml.5"), keys()).with_context(named)?;
    Ok(ExitCode::SUCCESS)
}

/// waypost.yaml(5).
fn keys() -> String {
    let mut page = Roff::new();
    page.control("TH", ["WAYPOST.YAML", "5", "", concat!("waypost ", env!("CARGO_PKG_VERSION")), ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("waypost.yaml, routes/*.yaml, providers/*.yaml - configuration of waypost(1)")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "The directory that --config names (else /etc/waypost) holds waypost.yaml, routes/*.yaml and providers/*.yaml. Every \
         key of waypost.yaml has a default; `waypost init DIR` writes a start, `waypost check` tells all that is wrong. Sizes \
         are written 35MiB, durations 30s, 4h or 5d, rates 100/s. A secret is ${env:NAME} or ${file:PATH}.",
    )]);
    for (file, kind) in [
        ("waypost.yaml", Kind::Server),
        ("routes/*.yaml", Kind::Routes),
        ("providers/*.yaml", Kind::Providers),
        ("the file of users", Kind::Users),
    ] {
        let schema = config::schema(kind);
        page.control("SH", [file.to_uppercase().as_str()]);
        let mut told = Vec::new();
        if let Some(root) = schema.get("$ref").and_then(Json::as_str) {
            records(root, "", &schema, &mut told, &mut page);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("waypost(1), waypost-check(1), waypost-explain(1)")]);
    page.to_roff()
}

/// A record's keys, and then those of the records in it, each once.
fn records(reference: &str, at: &str, schema: &Json, told: &mut Vec<String>, page: &mut Roff) {
    if told.iter().any(|known| known == reference) {
        return;
    }
    told.push(reference.to_owned());
    let record = schema.pointer(reference.trim_start_matches('#')).unwrap_or(&Json::Null);
    let text = |json: &Json| json.get("description").and_then(Json::as_str).unwrap_or_default().to_owned();
    if !at.is_empty() {
        page.control("SS", [at]);
    }
    page.text([roman(text(record))]);
    let needed = |key: &str| {
        let list = record.get("required").and_then(Json::as_array);
        list.is_some_and(|list| list.iter().any(|one| one == key))
    };
    let properties = record.get("properties").and_then(Json::as_object).into_iter().flatten();
    let mut below = Vec::new();
    for (key, property) in properties {
        page.control("TP", []);
        if needed(key) {
            page.text([bold(key.as_str()), roman(" ("), italic("needed"), roman(")")]);
        } else {
            page.text([bold(key.as_str())]);
        }
        page.text([roman(text(property))]);
        references(property, &mut |reference| below.push((reference.to_owned(), path(at, key))));
    }
    for (reference, at) in below {
        records(&reference, &at, schema, told, page);
    }
}

fn path(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

fn references(json: &Json, each: &mut impl FnMut(&str)) {
    match json {
        Json::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(Json::as_str) {
                each(reference);
            }
            map.values().for_each(|value| references(value, each));
        }
        Json::Array(list) => list.iter().for_each(|value| references(value, each)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_told() {
        let page = keys();
        for kind in [Kind::Server, Kind::Routes, Kind::Providers, Kind::Users] {
            let schema = config::schema(kind);
            for (record, definition) in schema["$defs"].as_object().unwrap() {
                for (key, property) in definition["properties"].as_object().into_iter().flatten() {
                    let heading = format!("\\fB{}\\fR", key.replace('-', "\\-"));
                    assert!(page.contains(&heading), "{record}.{key}");
                    // As roff has it: leading dots and dashes are masked.
                    let text = property["description"].as_str().unwrap();
                    let first: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == ' ').collect();
                    assert!(page.contains(first.trim()), "{record}.{key}: {first}");
                }
            }
        }
    }
}
