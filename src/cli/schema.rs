//! `waypost schema`: the JSON Schemas of the configuration, for editors.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use crate::config::{self, Kind};

/// Print the JSON Schema of a kind of file, or of all
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which one; without it, all as one object
    #[arg(value_enum)]
    pub kind: Option<Which>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// waypost.yaml
    Waypost,
    /// The file that `users: {file: ...}` names
    Users,
    /// routes/*.yaml
    Routes,
    /// providers/*.yaml
    Providers,
}

impl Which {
    fn kind(self) -> Kind {
        match self {
            Self::Waypost => Kind::Server,
            Self::Users => Kind::Users,
            Self::Routes => Kind::Routes,
            Self::Providers => Kind::Providers,
        }
    }
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::say::out().write_all(text(args.kind).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn text(which: Option<Which>) -> String {
    let schema = match which {
        Some(which) => config::schema(which.kind()),
        None => json!({
            "waypost": config::schema(Kind::Server),
            "users": config::schema(Kind::Users),
            "routes": config::schema(Kind::Routes),
            "providers": config::schema(Kind::Providers),
        }),
    };
    format!("{schema:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `WAYPOST_WRITE_SCHEMA=1 cargo nextest run schema` renews the files.
    #[test]
    fn the_committed_schemas_are_current() {
        for (which, name) in [
            (Which::Waypost, "waypost"),
            (Which::Users, "users"),
            (Which::Routes, "routes"),
            (Which::Providers, "providers"),
        ] {
            let path = format!("{}/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("WAYPOST_WRITE_SCHEMA").is_some() {
                std::fs::write(&path, text(Some(which))).unwrap();
            }
            let committed: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(committed, config::schema(which.kind()), "run: waypost schema {name} > {path}");
        }
    }
}
