//! The command line: one file a verb.

/// Runs the command line and gives the exit status.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
