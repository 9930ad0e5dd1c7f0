//! The command line: one file a verb.

pub mod check;
pub mod init;
pub mod schema;

/// Runs the command line and gives the exit status.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
