//! Sizes and rates as users write them.

use std::fmt;
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

impl Rate {
    /// The pause between two events at an even pace.
    pub fn interval(&self) -> Duration {
        self.span / self.count.max(1)
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
