//! Sizes, rates and durations as users write them. What `Display` shows reads back as the same value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Octets: `35MiB`, `10MB`, `512`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Events a span: `100/s`, `5000/h`, `100000/d`. Neither is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub span: Duration,
}

/// Why a text is no size, rate or duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("'{0}' is no size: write one such as 35MiB, 10MB or 512")]
    Size(String),
    #[error("'{0}' is more than can be counted")]
    TooLarge(String),
    #[error("'{0}' is no rate: write one such as 100/s, 50/m, 5000/h or 100000/d")]
    Rate(String),
    #[error("a rate of 0 lets nothing pass: to stop mail, use 'hold' or 'reject'")]
    RateZero,
    #[error("'{0}' is faster than can be kept: at most 1000000/s")]
    RateFast(String),
    #[error("'{0}' is no duration: write one such as 30s, 5m, 4h or 5d")]
    Duration(String),
    #[error("'{0}' needs a unit: {0}s, {0}m, {0}h or {0}d")]
    NoUnit(String),
    #[error("'{0}' is longer than ten years")]
    Long(String),
}

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// In falling order, as they follow one another in `1h30m`.
const DURATIONS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What a timestamp can be moved by without care.
const LONGEST: u64 = 10 * 366 * 86_400_000;

/// Leading digits and what follows them.
fn number(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let none = || UnitError::Size(text.to_owned());
        let large = || UnitError::TooLarge(text.to_owned());
        let (digits, unit) = number(text.trim()).ok_or_else(none)?;
        let unit = unit.trim_start();
        let factor = match unit {
            "" => 1,
            unit => SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(none)?.1,
        };
        let count: u64 = digits.parse().map_err(|_| large())?;
        count.checked_mul(factor).map(Size).ok_or_else(large)
    }
}

/// In the largest unit that leaves no rest.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZES.iter().find(|(_, factor)| *factor > 1 && self.0 >= *factor && self.0.is_multiple_of(*factor)) {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Rate {
    /// The pause between two events at an even pace.
    pub fn interval(&self) -> Duration {
        self.span / self.count.max(1)
    }
}

/// `count/unit`; shared by rates and quotas.
pub(super) fn per_span(text: &str) -> Result<(u64, Duration), UnitError> {
    let none = || UnitError::Rate(text.to_owned());
    let (count, unit) = text.split_once('/').ok_or_else(none)?;
    let (digits, rest) = number(count.trim()).ok_or_else(none)?;
    let seconds = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(none()),
    };
    if !rest.is_empty() {
        return Err(none());
    }
    match digits.parse() {
        Ok(0) => Err(UnitError::RateZero),
        Ok(count) => Ok((count, Duration::from_secs(seconds))),
        Err(_) => Err(UnitError::TooLarge(text.to_owned())),
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (count, span) = per_span(text)?;
        let fast = || UnitError::RateFast(text.to_owned());
        let count = u32::try_from(count).map_err(|_| fast())?;
        let rate = Self { count, span };
        if rate.interval() < Duration::from_micros(1) { Err(fast()) } else { Ok(rate) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.span.as_secs() {
            1 => "s",
            60 => "m",
            3600 => "h",
            _ => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// `30s`, `4h`, `5d`, `500ms`, `2w`, `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let none = || UnitError::Duration(text.to_owned());
    let mut rest = text.trim();
    let mut units = DURATIONS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() || total == 0 && units.len() == DURATIONS.len() {
        let (digits, behind) = number(rest).ok_or_else(none)?;
        let end = behind.bytes().position(|b| !b.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        if unit.is_empty() && digits.len() == text.trim().len() {
            return Err(UnitError::NoUnit(text.to_owned()));
        }
        let (_, factor) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(none)?;
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(*factor))
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= LONGEST)
            .ok_or_else(|| UnitError::Long(text.to_owned()))?;
        rest = next;
    }
    Ok(Duration::from_millis(total))
}

/// A duration as `parse_duration` reads it; what is finer than a millisecond is left out.
pub struct ShowDuration(pub Duration);

impl fmt::Display for ShowDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        // Days are the largest unit that people compare at a glance: `15d`, not `2w1d`.
        for (name, factor) in DURATIONS.iter().skip(1) {
            if rest >= *factor {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read() {
        for (text, octets) in [
            ("512", 512),
            ("0", 0),
            ("1B", 1),
            ("10MB", 10_000_000),
            ("10 MB", 10_000_000),
            ("35MiB", 36_700_160),
            ("35mib", 36_700_160),
            ("1KB", 1000),
            ("16777215TiB", 16_777_215 << 40),
        ] {
            assert_eq!(text.parse::<Size>(), Ok(Size(octets)), "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5MiB", "10Mb/s", "10 M B", "10M", "99999999999999999999", "16777216TiB", "1e3"]
        {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_read() {
        for (text, count, seconds) in
            [("100/s", 100, 1), ("50 / m", 50, 60), ("1/d", 1, 86_400), ("1000000/s", 1_000_000, 1)]
        {
            assert_eq!(text.parse::<Rate>(), Ok(Rate { count, span: Duration::from_secs(seconds) }), "{text}");
        }
        for bad in
            ["", "100", "/s", "100/", "100/w", "0/s", "00/h", "-5/s", "1.5/s", "1000001/s", "5000000000/d", "10/s/s"]
        {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1m", 60_000),
            ("1h30m", 5_400_000),
            ("5d", 432_000_000),
            ("2w", 1_209_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("30"), Err(UnitError::NoUnit("30".into())));
        for bad in ["", " ", "s", "-1s", "1.5h", "30m1h", "1s1s", "1 s", "5y", "1h30", "99999999999999999999s", "4000d"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(octets: u64, count in 1u32..=1_000_000, unit in 0usize..4, millis in 0..=LONGEST) {
            let size = Size(octets);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            let span = Duration::from_secs([1, 60, 3600, 86_400][unit]);
            let rate = Rate { count, span };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            let span = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&ShowDuration(span).to_string()), Ok(span));
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,24}") {
            let _ = text.parse::<Size>();
            let _ = text.parse::<Rate>();
            let _ = parse_duration(&text);
        }
    }
}
