//! The routing table: which route takes a recipient, and why. Pure.

mod check;
mod compare;
mod cover;
mod explain;
mod matching;
mod probes;
mod replay;
mod table;
mod words;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Route;
use crate::mail::{Address, HeaderSection};

pub use check::{Finding, check};
pub use compare::{Comparer, Comparison, Count, Decided, Group, Sample};
pub use explain::{Description, Explanation, Limits, Member, Passed};
pub use probes::{Probe, probes};
pub use replay::{Name, Past, Replay, Replayed, Unhash, UntoldFor};
pub use table::Table;

/// What a decision is made from. At RCPT the content is not there yet: `header` and `size` are unknown then.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `None` is the null reverse-path.
    pub sender: Option<&'a Address>,
    pub recipient: &'a Address,
    pub listener: &'a str,
    pub client: Option<IpAddr>,
    pub user: Option<&'a str>,
    pub header: Option<&'a HeaderSection>,
    pub size: Option<u64>,
}

/// What the table says of one recipient.
#[derive(Debug, Clone)]
pub enum Decision {
    Route(Arc<Route>),
    /// A route asks for the header or the size, and no earlier one takes the recipient: ask again with the content.
    Undecided,
    /// `550 5.7.1`.
    NoRoute,
}
