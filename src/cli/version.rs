//! `waypost version`.

use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    if args.json {
        say!("{}", serde_json::json!({ "name": "waypost", "version": version }));
    } else {
        say!("waypost {version}");
    }
    Ok(ExitCode::SUCCESS)
}
