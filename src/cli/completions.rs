//! `waypost completions SHELL`.

use std::io;
use std::process::ExitCode;

use clap_complete::Shell;

/// Print the completions of the command line for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

pub fn run(args: &Args, mut line: clap::Command) -> anyhow::Result<ExitCode> {
    let name = line.get_name().to_owned();
    // Made whole first: the generator panics where a pipe is closed early.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut line, name, &mut text);
    io::Write::write_all(&mut super::say::out(), &text)?;
    Ok(ExitCode::SUCCESS)
}
