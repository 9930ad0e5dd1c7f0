//! What operators do: the one place where an act is recorded, with who and why.

use tracing::warn;

use super::Operator;

/// Something that an operator did. `what` is a few words that stay (`provider pause`), `on` whom it was done to.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    pub what: &'static str,
    pub on: &'a str,
    /// Empty: none was given.
    pub reason: &'a str,
    /// Further facts, for people.
    pub detail: &'a str,
}

/// To be called once the act is done.
pub fn record(operator: &Operator, act: Act<'_>) {
    let Act { what, on, reason, detail } = act;
    warn!(operator = operator.0, act = what, on, reason, detail, "an operator acted");
}
