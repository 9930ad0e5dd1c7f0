//! The terminal at standard input: taken over so that each key comes at once, and given back as it was. Unix only.

use std::io;

/// How the terminal was; `None`: nobody has taken it over.
#[cfg(unix)]
static BEFORE: std::sync::Mutex<Option<rustix::termios::Termios>> = std::sync::Mutex::new(None);

/// Each key comes at once and unseen, Ctrl-C too, until `cook_terminal`.
pub fn raw_terminal() -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw)?;
        BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(before);
        Ok(())
    }
    #[cfg(not(unix))]
    Err(io::Error::other("a terminal cannot be taken over on this system"))
}

/// As it was before; does nothing where it was not taken over.
pub fn cook_terminal() {
    #[cfg(unix)]
    if let Some(before) = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
        // Where it is gone, there is nothing to put right.
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &before);
    }
}

/// Columns and lines of the terminal at standard output; `None` where it does not say.
pub fn terminal_size() -> Option<(usize, usize)> {
    #[cfg(unix)]
    {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
    }
    #[cfg(not(unix))]
    None
}
