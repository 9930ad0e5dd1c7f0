//! How numbers, times and states are written on all pages.

use std::time::Duration;

use maud::{Markup, html};

use crate::mail::Timestamp;

/// What is good, what wants a look, what is bad. Shown by a word and a sign, and coloured beside that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Warn,
    Bad,
    Calm,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Calm => "calm",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Good => "\u{25cf}",
            Self::Warn => "\u{25b2}",
            Self::Bad => "\u{25a0}",
            Self::Calm => "\u{25cb}",
        }
    }
}

pub fn badge(tone: Tone, word: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) } { span aria-hidden="true" { (tone.sign()) } " " (word) } }
}

/// `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `12 s`, `3 min`, `2 h 05 min`, `4 d 3 h`: two places are enough to judge by.
pub fn duration(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0 if span.as_millis() > 0 => format!("{} ms", span.as_millis()),
        0..60 => format!("{s} s"),
        60..600 if !s.is_multiple_of(60) => format!("{} min {:02} s", s / 60, s % 60),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(earlier.duration_until(later)).unwrap_or_default()
}

/// A moment in UTC, as the log has it: the time alone where it is of the last day.
pub fn moment(at: Timestamp, now: Timestamp) -> Markup {
    let near = between(at, now).max(between(now, at)) < Duration::from_secs(20 * 3600);
    let text = at.strftime(if near { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" }).to_string();
    html! { time datetime=(at) title={ (at.strftime("%Y-%m-%d %H:%M:%S")) " UTC" } { (text) } }
}

/// `14:02:31 (3 min ago)`, `14:10:00 (in 12 s)`.
pub fn moment_and_span(at: Timestamp, now: Timestamp) -> Markup {
    html! { (moment(at, now)) " " span.muted { "(" (relative(at, now)) ")" } }
}

pub fn relative(at: Timestamp, now: Timestamp) -> String {
    if now < at {
        return format!("in {}", duration(between(now, at)));
    }
    format!("{} ago", duration(between(at, now)))
}

pub fn size(octets: u64) -> String {
    match octets {
        0..1024 => format!("{octets} B"),
        1024..1_048_576 => format!("{:.1} KiB", octets as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", octets as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", octets as f64 / 1_073_741_824.0),
    }
}

/// `1 message`, `2 messages`.
pub fn plural(n: u64, one: &str) -> String {
    format!("{} {one}{}", number(n), if n == 1 { "" } else { "s" })
}

/// An address; `None` is the null reverse-path.
pub fn path(address: Option<&str>) -> Markup {
    html! {
        @match address {
            Some(address) => { (address) }
            None => { span.muted title="the null reverse-path: a bounce or another report" { "<>" } }
        }
    }
}

/// Nothing is there.
pub fn dash() -> Markup {
    html! { span.muted { "\u{2013}" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_short() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), text);
        }
        for (ms, text) in [
            (0, "0 s"),
            (40, "40 ms"),
            (59_900, "59 s"),
            (60_000, "1 min"),
            (187_000, "3 min 07 s"),
            (3_599_000, "59 min"),
            (7_500_000, "2 h 05 min"),
            (357_000_000, "4 d 3 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
        assert_eq!((plural(1, "message"), plural(0, "message")), ("1 message".to_owned(), "0 messages".to_owned()));
        assert_eq!((size(1023), size(1536)), ("1023 B".to_owned(), "1.5 KiB".to_owned()));
    }

    #[test]
    fn a_moment_says_its_day_where_it_is_another() {
        let at: Timestamp = "2026-03-05T14:02:31Z".parse().unwrap();
        let later = |hours: u64| at.saturating_add(Duration::from_secs(hours * 3600)).unwrap();
        assert!(moment(at, later(1)).into_string().contains(">14:02:31<"));
        assert!(moment(at, later(30)).into_string().contains(">2026-03-05 14:02<"));
        assert_eq!(relative(at, later(1)), "1 h 00 min ago");
        assert_eq!(relative(later(1), at), "in 1 h 00 min");
    }
}
