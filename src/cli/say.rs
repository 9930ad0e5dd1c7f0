//! What a verb says on standard output. `println!` panics where that is closed, as it is behind `waypost … | head -1`.
//!
//! A reader that goes away has seen enough, and changes nothing: the verb does what it has to do, and its exit status is what
//! it would have been.

use std::fmt;
use std::io::{self, ErrorKind, StdoutLock, Write};
use std::process::{ExitCode, exit};

/// Says something, with its line's end.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::say::text(format_args!("{}\n", format_args!($($words)*))) };
}

/// Says text as it is. Where it is lost otherwise than by its reader's leave, as on a full disk, the program ends with status 1.
pub fn text(words: fmt::Arguments<'_>) {
    let mut out = out();
    if let Err(error) = out.write_fmt(words).and_then(|()| out.flush()) {
        eprintln!("waypost: standard output takes no more: {error}");
        exit(1);
    }
}

/// Standard output for an answer: what nobody reads any more counts as written. Not for a file's octets, of which a part is a
/// failure, and not for what may never end.
pub fn out() -> Out {
    Out(io::stdout().lock())
}

pub struct Out(StdoutLock<'static>);

impl Write for Out {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        unread(self.0.write(octets), octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unread(self.0.flush(), ())
    }
}

fn unread<T>(done: io::Result<T>, otherwise: T) -> io::Result<T> {
    match done {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(otherwise),
        done => done,
    }
}

/// The end of what was told line by line, as long as there is somebody who reads: that there is nobody any more is no error.
pub fn while_read(told: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let is_unread = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    match told {
        Err(error) if error.downcast_ref().is_some_and(is_unread) => Ok(ExitCode::SUCCESS),
        told => told,
    }
}
