//! The terminal, taken over and given back as it was, however this ends.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use super::table::{Line, Look};
use crate::os;

/// A screen of its own, without a cursor, on which too long a line is cut (xterm, and all that follow it).
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const GIVE_BACK: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
const CLEAR: &str = "\x1b[2J";
const CLEAR_REST_OF_LINE: &str = "\x1b[K";
/// Where the terminal does not say.
const USUAL: (usize, usize) = (80, 24);

/// While it is there, the terminal is ours.
pub struct Screen {
    colours: bool,
    /// What is on it, to write only what is another.
    shown: Vec<String>,
    size: (usize, usize),
}

impl Screen {
    /// `colours`: without, what counts is bold or reversed.
    pub fn take(colours: bool) -> io::Result<Self> {
        let before = std::panic::take_hook();
        // A panic's message would go with the screen that it stands on.
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        os::raw_terminal()?;
        let screen = Self { colours, shown: Vec::new(), size: (0, 0) };
        write(TAKE)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub fn size() -> (usize, usize) {
        os::terminal_size().unwrap_or(USUAL)
    }

    pub fn show(&mut self, size: (usize, usize), lines: &[Line]) -> io::Result<()> {
        let mut out = String::new();
        if size != self.size {
            self.size = size;
            self.shown.clear();
            out.push_str(CLEAR);
        }
        let lines: Vec<String> = lines.iter().map(|line| painted(line, self.colours)).collect();
        for (row, line) in lines.iter().enumerate() {
            if self.shown.get(row) != Some(line) {
                // A `String` takes all.
                let _ = write!(out, "\x1b[{};1H{line}{CLEAR_REST_OF_LINE}", row + 1);
            }
        }
        self.shown = lines;
        if out.is_empty() { Ok(()) } else { write(&out) }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Does no harm where it was given back already.
fn give_back() {
    let _ = write(GIVE_BACK);
    os::cook_terminal();
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn painted(line: &Line, colours: bool) -> String {
    let mut out = String::new();
    for piece in line {
        let code = match (piece.look, colours) {
            (Look::Plain, _) | (Look::Good, false) => "",
            (Look::Bold, _) | (Look::Odd, false) => "1",
            (Look::Dim, _) => "2",
            (Look::Good, true) => "32",
            (Look::Odd, true) => "33",
            (Look::Bad, true) => "1;31",
            (Look::Bad, false) => "7",
        };
        let _ = match code {
            "" => write!(out, "{}", piece.text),
            code => write!(out, "\x1b[{code}m{}\x1b[0m", piece.text),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::table::piece;
    use super::*;

    #[test]
    fn without_colours_there_are_none() {
        let line = vec![piece(Look::Good, "well"), piece(Look::Odd, "odd"), piece(Look::Bad, "OUT")];
        assert_eq!(painted(&line, true), "\x1b[32mwell\x1b[0m\x1b[33modd\x1b[0m\x1b[1;31mOUT\x1b[0m");
        assert_eq!(painted(&line, false), "well\x1b[1modd\x1b[0m\x1b[7mOUT\x1b[0m");
    }
}
