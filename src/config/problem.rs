//! What is wrong with a configuration, as people and programs read it: like a compiler's messages.

use std::fmt::{self, Write};

use serde::Serialize;

use super::Sources;
use super::model::Place;

/// An error keeps a configuration from being used; a warning does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `None`: the configuration as a whole.
    pub place: Option<Place>,
    pub severity: Severity,
    /// On one line; says the remedy where there is one. Never holds a secret.
    pub message: String,
}

/// The stable form of `--json`.
#[derive(Debug, Serialize)]
pub struct ProblemJson<'a> {
    severity: Severity,
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    message: &'a str,
    /// The line itself, secrets masked.
    source: Option<String>,
}

impl Problem {
    pub fn at(place: Place, severity: Severity, message: impl Into<String>) -> Self {
        Self { place: Some(place), severity, message: one_line(message.into()) }
    }

    pub fn general(severity: Severity, message: impl Into<String>) -> Self {
        Self { place: None, severity, message: one_line(message.into()) }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// File, line, column, message, and the source line with a marker under the place.
    pub fn render(&self, sources: &Sources) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = match &self.place {
            Some(place) => write!(text, "{place}: {}: {}", self.severity, self.message),
            None => write!(text, "{}: {}", self.severity, self.message),
        };
        text.push('\n');
        if let Some(place) = &self.place
            && let Some(line) = sources.line(place)
        {
            let (line, column) = window(line, place.column);
            let number = place.line.to_string();
            // What stands before the marker keeps its tabs, so that both lines are equally wide.
            let pad: String = line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let _ = writeln!(text, " {number} | {line}");
            let _ = writeln!(text, " {:width$} | {pad}^", "", width = number.len());
        }
        text
    }

    pub fn json<'a>(&'a self, sources: &Sources) -> ProblemJson<'a> {
        ProblemJson {
            severity: self.severity,
            file: self.place.as_ref().map(|place| &*place.file),
            line: self.place.as_ref().map(|place| place.line),
            column: self.place.as_ref().map(|place| place.column),
            message: &self.message,
            source: self.place.as_ref().and_then(|place| sources.line(place)).map(|line| mask(line, 1).0),
        }
    }
}

/// Messages quote what the files say, and YAML's values may hold line ends.
fn one_line(message: String) -> String {
    if !message.contains(char::is_control) {
        return message;
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    message.chars().map(escape).collect()
}

/// In the order of the files' names, lines and columns; those without a place come first.
pub fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|a, b| (&a.place, a.severity, &a.message).cmp(&(&b.place, b.severity, &b.message)));
    problems.dedup();
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// As much of a line as a terminal shows, secrets masked, and where the column (1-based) then is.
fn window(line: &str, column: usize) -> (String, usize) {
    const BEFORE: usize = 80;
    const WIDTH: usize = 140;
    let (line, column) = mask(line, column);
    let count = line.chars().count();
    // The marker may stand just behind the line, where something is missing.
    let column = column.clamp(1, count + 1);
    if count <= WIDTH {
        return (line, column);
    }
    let skip = column.saturating_sub(BEFORE);
    let mut cut: String = if skip > 0 { "…".into() } else { String::new() };
    cut.extend(line.chars().skip(skip).take(WIDTH));
    if skip + WIDTH < count {
        cut.push('…');
    }
    (cut, column - skip + usize::from(skip > 0))
}

/// Words that tell that a key's value is a secret; misspelt keys too are likely to have one of them.
const SECRETIVE: [&str; 8] = ["pass", "pasw", "pwd", "secret", "secert", "api", "token", "cred"];

/// The line with `***` for each secret that it may hold, whatever else is wrong with it, and the column moved along.
fn mask(line: &str, column: usize) -> (String, usize) {
    let chars: Vec<char> = line.chars().collect();
    let mut masked = String::with_capacity(line.len());
    let mut moved = column;
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        masked.push(c);
        at += 1;
        let key: String = if c == ':' { word_before(&chars, at - 1) } else { continue };
        if !SECRETIVE.iter().any(|word| key.contains(word)) {
            continue;
        }
        while let Some(c) = chars.get(at).filter(|c| c.is_whitespace()) {
            masked.push(*c);
            at += 1;
        }
        let end = value_end(&chars, at);
        let value: String = chars.get(at..end).unwrap_or_default().iter().collect();
        // A mapping's own keys tell which of its values are secret; a reference is none, and its name is what the
        // reader needs.
        let bare = value.trim().trim_matches(['"', '\'']);
        let reference = bare.starts_with("${") && bare.find('}') == Some(bare.len() - 1);
        if value.is_empty() || value.starts_with('{') || reference {
            continue;
        }
        masked.push_str("***");
        if column > end {
            moved = (moved + 3).saturating_sub(end - at);
        } else if column > at {
            moved = moved.saturating_sub(column - at - 1);
        }
        at = end;
    }
    (masked, moved)
}

/// The key that a colon ends, in lower case, quotes gone.
fn word_before(chars: &[char], colon: usize) -> String {
    let before = chars.get(..colon).unwrap_or_default();
    let inside = |c: &&char| c.is_alphanumeric() || matches!(c, '_' | '-' | '"' | '\'' | ' ');
    let word: Vec<char> = before.iter().rev().take_while(inside).copied().collect();
    word.iter()
        .rev()
        .filter(|c| !matches!(c, '"' | '\''))
        .map(|c| if *c == '-' { '_' } else { *c })
        .collect::<String>()
        .to_lowercase()
}

/// Behind the scalar that begins at `start`.
fn value_end(chars: &[char], start: usize) -> usize {
    let rest = chars.get(start..).unwrap_or_default();
    let flow = chars.get(..start).unwrap_or_default().contains(&'{');
    let length = match rest.first() {
        Some(quote @ ('"' | '\'')) => {
            let mut escaped = false;
            let end = rest.iter().skip(1).position(|c| {
                let ends = !escaped && c == quote;
                escaped = *quote == '"' && *c == '\\' && !escaped;
                ends
            });
            end.map(|end| end + 2)
        }
        Some('[') => None,
        Some('{') => Some(1),
        Some(_) if flow => rest.iter().position(|c| matches!(c, ',' | '}')),
        Some(_) | None => None,
    };
    length.map_or(chars.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, column: usize) -> String {
        let sources = Sources::new("").with("routes/a.yaml", line);
        let place = Place { file: "routes/a.yaml".into(), line: 1, column };
        Problem::at(place, Severity::Error, "wrong").render(&sources)
    }

    #[test]
    fn the_marker_stands_under_its_place() {
        assert_eq!(shown("a: b", 4), "routes/a.yaml:1:4: error: wrong\n 1 | a: b\n   |    ^\n");
        assert_eq!(shown("ü: b", 4), "routes/a.yaml:1:4: error: wrong\n 1 | ü: b\n   |    ^\n");
        assert_eq!(shown("\ta: b", 2), "routes/a.yaml:1:2: error: wrong\n 1 | \ta: b\n   | \t^\n");
        assert_eq!(shown("a: b", 99), "routes/a.yaml:1:99: error: wrong\n 1 | a: b\n   |     ^\n");
        let long = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let text = shown(&long, 501);
        let lines: Vec<&str> = text.lines().collect();
        let under = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().nth(under), Some('X'), "{text}");
        assert!(lines[1].chars().count() < 160);
    }

    #[test]
    fn no_line_shows_a_secret() {
        for (line, seen) in [
            ("    password: hunter2", "    password: ***"),
            ("    password: hunter2, or 3 # mine", "    password: ***"),
            ("c: {username: a, password: hunter2, x: 1}", "c: {username: a, password: ***, x: 1}"),
            ("c: {\"password\": \"hun,t\\\"er2\", x: 1}", "c: {\"password\": ***, x: 1}"),
            ("passwrod: 'hunter2'", "passwrod: ***"),
            ("api-key: hunter2", "api-key: ***"),
            ("Api_Key : \"hunter2", "Api_Key : ***"),
            ("secret_access_key: ${env:KEY}", "secret_access_key: ${env:KEY}"),
            ("api_key: \"${file:/run/key}\"", "api_key: \"${file:/run/key}\""),
            ("api_key: ${env:KEY}hunter2", "api_key: ***"),
            ("{api_key: [a, hunter2], x: 1}", "{api_key: ***"),
            ("credentials: hunter2", "credentials: ***"),
            ("credentials: {username: u, password: hunter2}", "credentials: {username: u, password: ***}"),
            ("key: tls/key.pem", "key: tls/key.pem"),
        ] {
            assert_eq!(mask(line, 1).0, seen);
        }
        let (line, column) = mask("{password: hunter2-and-more, foo: 1}", 30);
        assert_eq!(line.chars().nth(column - 1), Some('f'), "{line}");
    }
}
