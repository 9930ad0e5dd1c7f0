//! Whether a route's conditions hold, as far as the facts are known.

use super::Facts;
use super::table::conditions;
use crate::config::{Condition, Route, SizeOrder, SizeTest, Test};
use crate::mail::Address;

/// Three-valued: before the content is there, header and size leave a route open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    Fails,
    Open,
}

impl Verdict {
    fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }

    fn negated(self) -> Self {
        match self {
            Self::Holds => Self::Fails,
            Self::Fails => Self::Holds,
            Self::Open => Self::Open,
        }
    }
}

/// Whether the route takes what the facts describe: the AND of all it asks.
pub(super) fn verdict(route: &Route, facts: &Facts<'_>) -> Verdict {
    let mut open = false;
    for condition in conditions(route) {
        match holds(condition, facts) {
            Verdict::Fails => return Verdict::Fails,
            Verdict::Open => open = true,
            Verdict::Holds => {}
        }
    }
    if open { Verdict::Open } else { Verdict::Holds }
}

/// One condition: the OR of its values, negated by `not`.
pub(super) fn holds(condition: &Condition, facts: &Facts<'_>) -> Verdict {
    let plain = match &condition.test {
        Test::Sender(patterns) => Verdict::of(patterns.iter().any(|pattern| pattern.matches(facts.sender))),
        Test::SenderDomain(patterns) => {
            let domain = facts.sender.map(Address::domain);
            Verdict::of(domain.is_some_and(|domain| patterns.iter().any(|pattern| pattern.matches(domain))))
        }
        Test::Recipient(patterns) => Verdict::of(patterns.iter().any(|pattern| pattern.matches(Some(facts.recipient)))),
        Test::RecipientDomain(patterns) => {
            Verdict::of(patterns.iter().any(|pattern| pattern.matches(facts.recipient.domain())))
        }
        Test::Listener(globs) => Verdict::of(globs.iter().any(|glob| glob.matches(facts.listener))),
        Test::Client(nets) => {
            Verdict::of(facts.client.is_some_and(|client| nets.iter().any(|net| net.contains(&client))))
        }
        Test::User(globs) => Verdict::of(facts.user.is_some_and(|user| globs.iter().any(|glob| glob.matches(user)))),
        Test::Header(fields) => {
            match facts.header {
                None => Verdict::Open,
                Some(header) => Verdict::of(fields.iter().all(|(name, globs)| {
                    header.values(name).any(|value| globs.iter().any(|glob| glob.matches(&value)))
                })),
            }
        }
        Test::Size(test) => facts.size.map_or(Verdict::Open, |size| Verdict::of(size_holds(*test, size))),
    };
    if condition.negated { plain.negated() } else { plain }
}

fn size_holds(test: SizeTest, size: u64) -> bool {
    match test.order {
        SizeOrder::Less => size < test.size.0,
        SizeOrder::LessOrEqual => size <= test.size.0,
        SizeOrder::Greater => size > test.size.0,
        SizeOrder::GreaterOrEqual => size >= test.size.0,
    }
}
