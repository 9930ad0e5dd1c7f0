//! The command line: one file a verb.

// What a verb says goes through `say!`: it must not panic where nobody reads.
#![deny(clippy::print_stdout)]

#[macro_use]
mod say;

mod alerts;
mod check;
mod completions;
mod demo;
mod diff;
mod explain;
mod hash_password;
mod health;
mod init;
mod load;
mod log;
mod man;
mod provider;
mod queue;
mod reload;
mod remote;
mod replay;
mod run;
mod schema;
mod send;
mod status;
mod top;
mod trace;
mod usage;
mod version;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// A hybrid SMTP routing relay: one local endpoint in; MX, smart hosts and cloud APIs out.
#[derive(Debug, Parser)]
#[command(name = "waypost", version)]
struct Line {
    /// The configuration directory [default: $WAYPOST_CONFIG, `.` where it holds routes/, /etc/waypost, the built-in one]
    #[arg(long, global = true, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the relay; also what happens without a verb
    Run,
    Init(init::Args),
    Check(check::Args),
    Demo(demo::Args),
    Diff(diff::Args),
    Explain(explain::Args),
    Status(status::Args),
    Alerts(alerts::Args),
    Health(health::Args),
    Top(top::Args),
    Provider(provider::Args),
    Queue(queue::Args),
    Reload(reload::Args),
    /// Submit a message as sendmail does; also when the program is called `sendmail`
    #[command(disable_help_flag = true)]
    Send(send::Args),
    Trace(trace::Args),
    Schema(schema::Args),
    HashPassword(hash_password::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
    /// Print the version
    Version(version::Args),
}

/// Runs the command line and gives the exit status: 0 good, 1 the answer is bad, 2 usage; `send` has sendmail's.
pub fn main() -> ExitCode {
    let line = Line::parse_from(words(std::env::args_os()));
    let config = line.config.as_deref();
    let done = match line.verb.unwrap_or(Verb::Run) {
        Verb::Run => run::run(config),
        Verb::Init(args) => init::run(&args),
        Verb::Check(args) => check::run(&args, config, load::routing_problems, load::certificate_problems),
        Verb::Demo(args) => demo::run(&args),
        Verb::Diff(args) => diff::run(&args, config),
        Verb::Explain(args) => explain::run(&args, config),
        Verb::Provider(args) => provider::run(&args, config),
        Verb::Alerts(args) => alerts::run(&args, config),
        Verb::Status(args) => status::run(&args, config),
        Verb::Health(args) => health::run(&args, config),
        Verb::Top(args) => top::run(&args, config),
        Verb::Queue(args) => queue::run(&args, config),
        Verb::Reload(args) => reload::run(&args, config),
        Verb::Send(args) => Ok(send::run(&args, || load::to_send(config).map(|config| config.server))),
        Verb::Trace(args) => trace::run(&args, config),
        Verb::Schema(args) => schema::run(&args),
        Verb::HashPassword(args) => hash_password::run(&args),
        Verb::Completions(args) => completions::run(&args, Line::command()),
        Verb::Man(args) => man::run(&args, Line::command()),
        Verb::Version(args) => version::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("waypost: {error:#}");
        if error.is::<usage::Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
    })
}

/// A program called `sendmail` has that verb already.
fn words(mut given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let name = given.next().unwrap_or_else(|| "waypost".into());
    let called = Path::new(&name).file_stem().is_some_and(|stem| stem == "sendmail");
    let verb = called.then(|| OsString::from("send"));
    std::iter::once(name).chain(verb).chain(given).collect()
}
