//! What a verb says on standard output. `println!` panics where that is closed, as it is behind `waypost … | head -1`.

use std::fmt;
use std::io::{ErrorKind, Write as _};
use std::process::exit;

/// Says something, with its line's end.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::say::text(format_args!("{}\n", format_args!($($words)*))) };
}

/// Says text as it is. Where nobody reads any more the program ends: a verb's answer is the last that it does.
pub fn text(words: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(words).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(0),
        Err(error) => {
            eprintln!("waypost: standard output takes no more: {error}");
            exit(1)
        }
    }
}
