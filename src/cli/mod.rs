//! The command line: one file a verb.

mod log;
mod run;
mod send;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A hybrid SMTP routing relay: one local endpoint in; MX, smart hosts and cloud APIs out.
#[derive(Debug, Parser)]
#[command(name = "waypost", version, arg_required_else_help = false)]
struct Line {
    /// The configuration directory. Default: `.` where it holds routes/, else /etc/waypost, else the compiled-in one.
    #[arg(long, global = true, value_name = "DIR", env = "WAYPOST_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the relay (also without a verb).
    Run,
    /// Print the version.
    Version(version::Args),
}

/// Runs the command line and gives the exit status: 0 good, 1 the answer is bad, 2 usage.
pub fn main() -> ExitCode {
    let line = Line::parse();
    let done = match line.verb.unwrap_or(Verb::Run) {
        Verb::Run => run::run(line.config.as_deref()),
        Verb::Version(args) => version::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("waypost: {error:#}");
        ExitCode::FAILURE
    })
}
