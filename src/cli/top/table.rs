//! Text in columns, as wide as the screen: lines of pieces that look alike. Pure.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: usize = 2;
/// Columns of a name that stay however narrow the screen is.
const NAME: usize = 12;

/// How a piece looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Look {
    #[default]
    Plain,
    Bold,
    Dim,
    Good,
    Odd,
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub look: Look,
    pub text: String,
}

pub type Line = Vec<Piece>;

pub fn piece(look: Look, text: impl Into<String>) -> Piece {
    Piece { look, text: text.into() }
}

/// What is there without its looks.
pub fn plain(line: &Line) -> String {
    line.iter().map(|piece| piece.text.as_str()).collect::<String>().trim_end().to_owned()
}

/// Text from elsewhere, such as a remote's reply: what would steer the terminal, or turn the reading direction, is shown by
/// its number.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        let turns =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if c.is_control() {
            clean.extend(c.escape_debug());
        } else if turns {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, cut so that it takes no more columns.
pub fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if taken + wide >= most {
            break;
        }
        cut.push(c);
        taken += wide;
    }
    if most > 0 {
        cut.push('…');
    }
    cut
}

/// A column: its head, and how it gives way.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub head: &'static str,
    pub kind: Kind,
    /// On a narrow screen, the one with the greatest goes first; 0 stays.
    pub rank: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// At the left, cut at so many columns, and at fewer before another column goes.
    Name(usize),
    /// At the left, as wide as it needs.
    Word,
    /// At the right, as wide as it needs.
    Number,
    /// The last one: what is left, and at least so much.
    Rest(usize),
}

pub struct Cell {
    pub look: Look,
    pub text: String,
}

pub fn cell(look: Look, text: impl Into<String>) -> Cell {
    Cell { look, text: text.into() }
}

/// A head and its rows, none wider than `screen`.
pub fn table(columns: &[Column], rows: &[Vec<Cell>], screen: usize) -> Vec<Line> {
    let natural = |n: usize, column: &Column| {
        let cells = rows.iter().filter_map(|row| row.get(n)).map(|cell| width(&cell.text));
        cells.chain([width(column.head)]).max().unwrap_or(0)
    };
    let least = |n: usize, column: &Column| match column.kind {
        Kind::Name(most) => natural(n, column).min(most).min(NAME),
        Kind::Word | Kind::Number => natural(n, column),
        Kind::Rest(least) => natural(n, column).min(least),
    };
    let mut shown: Vec<(usize, &Column, usize)> =
        columns.iter().enumerate().map(|(n, column)| (n, column, least(n, column))).collect();
    let needed = |shown: &[(usize, &Column, usize)]| {
        shown.iter().map(|(_, _, width)| width + GAP).sum::<usize>().saturating_sub(GAP)
    };
    while needed(&shown) > screen {
        let places = shown.iter().enumerate().filter(|(_, (_, column, _))| column.rank > 0);
        let Some((at, _)) = places.max_by_key(|(_, (_, column, _))| column.rank) else { break };
        shown.remove(at);
    }
    // What is left goes to the name, as far as it has use for it, and to the rest.
    let mut left = screen.saturating_sub(needed(&shown));
    for (n, column, width) in &mut shown {
        let more = match column.kind {
            Kind::Name(most) => natural(*n, column).min(most).saturating_sub(*width).min(left),
            Kind::Rest(_) => left,
            Kind::Word | Kind::Number => 0,
        };
        *width += more;
        left -= more;
    }
    let line = |text: &dyn Fn(usize, &Column) -> (Look, String)| -> Line {
        let mut line = Line::new();
        let mut room = screen;
        for (place, (n, column, wide)) in shown.iter().enumerate() {
            let gap = if place > 0 { GAP } else { 0 };
            let (look, text) = text(*n, column);
            let wide = (*wide).min(room.saturating_sub(gap));
            let text = cut(&text, wide);
            let blanks = " ".repeat(wide.saturating_sub(width(&text)));
            let text = match column.kind {
                Kind::Number => format!("{}{blanks}{text}", " ".repeat(gap)),
                Kind::Name(_) | Kind::Word | Kind::Rest(_) => format!("{}{text}{blanks}", " ".repeat(gap)),
            };
            room = room.saturating_sub(width(&text));
            line.push(piece(look, text));
        }
        line
    };
    let mut lines = vec![line(&|_, column| (Look::Bold, column.head.to_owned()))];
    for row in rows {
        lines
            .push(line(&|n, _| row.get(n).map_or((Look::Plain, String::new()), |cell| (cell.look, cell.text.clone()))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_the_terminal_is_shown() {
        for (text, shown) in [
            ("550 no\r\n such \u{1b}[2Juser\u{7}", "550 no\\r\\n such \\u{1b}[2Juser\\u{7}"),
            ("a\u{202e}b\u{200b}c\u{9b}31m", "a\\u{202e}b\\u{200b}c\\u{9b}31m"),
            ("größer – 大", "größer – 大"),
        ] {
            assert_eq!(clean(text), shown);
        }
    }

    #[test]
    fn text_is_cut_by_the_columns_that_it_takes() {
        for (text, most, wanted) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("大大大", 6, "大大大"),
            ("大大大", 5, "大大…"),
            ("大大大", 4, "大…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(cut(text, most), wanted, "{text} {most}");
            assert!(width(&cut(text, most)) <= most);
        }
    }

    #[test]
    fn a_narrow_screen_has_fewer_columns_and_no_line_is_wider() {
        let columns = [
            Column { head: "NAME", kind: Kind::Name(8), rank: 0 },
            Column { head: "NUMBER", kind: Kind::Number, rank: 1 },
            Column { head: "WORD", kind: Kind::Word, rank: 3 },
            Column { head: "TEXT", kind: Kind::Rest(6), rank: 2 },
        ];
        let row = || ["a-long-name", "12", "well", "as long as it takes"].map(|text| cell(Look::Plain, text)).into();
        for (screen, wanted) in [
            (50, "NAME      NUMBER  WORD  TEXT\na-long-…      12  well  as long as it takes"),
            (30, "NAME      NUMBER  WORD  TEXT\na-long-…      12  well  as lo…"),
            (29, "NAME      NUMBER  TEXT\na-long-…      12  as long as…"),
            (20, "NAME      NUMBER\na-long-…      12"),
            (15, "NAME\na-long-…"),
            (5, "NAME\na-lo…"),
        ] {
            let lines = table(&columns, &[row()], screen);
            assert_eq!(lines.iter().map(plain).collect::<Vec<_>>().join("\n"), wanted, "{screen}");
            assert!(lines.iter().all(|line| line.iter().map(|piece| width(&piece.text)).sum::<usize>() <= screen));
        }
    }
}
