//! From what somebody asks for, in text, to what the queue looks for; and the cursor of lists. Pure.

use std::str::FromStr;

use super::OperateError;
use super::form::{Filter, State};
use crate::config::{AddressPattern, DomainPattern, Glob, parse_duration};
use crate::delivery::plan::chain;
use crate::delivery::span::before;
use crate::mail::{Mid, ProviderName, RouteName, Timestamp};
use crate::queue::{OfProvider, Party, Wanted};
use crate::routing::Table;

/// Where a list, or an act on many, goes on: behind this leg, for what was there at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub behind: (Mid, u32),
    pub began: Timestamp,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mid, number) = self.behind;
        write!(f, "{mid}.{number}.{}", self.began.as_millisecond())
    }
}

impl FromStr for Cursor {
    type Err = OperateError;
    fn from_str(text: &str) -> Result<Self, OperateError> {
        let parsed = || {
            let mut parts = text.split('.');
            let (mid, number, began) = (parts.next()?, parts.next()?, parts.next()?);
            let began = Timestamp::from_millisecond(began.parse().ok()?).ok()?;
            let behind = (mid.parse().ok()?, number.parse().ok()?);
            parts.next().is_none().then_some(Self { behind, began })
        };
        parsed()
            .ok_or_else(|| OperateError::Asked(format!("'{text}' is no cursor: give the `next` of the part before")))
    }
}

pub fn mid(text: &str) -> Result<Mid, OperateError> {
    text.parse().map_err(|error: crate::mail::MidError| OperateError::Asked(error.to_string()))
}

/// `now`: ages are counted from here, and what comes later is not meant.
pub fn wanted(filter: &Filter, table: &Table, now: Timestamp) -> Result<Wanted, OperateError> {
    let Filter { route, provider, sender, recipient, older, newer, state, reason } = filter;
    let age = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => match parse_duration(text) {
            Ok(age) => Ok(Some(Mid::floor(before(now, age)))),
            Err(error) => Err(OperateError::Asked(format!("{name}: {error}"))),
        },
    };
    let party = |name: &str, text: &Option<String>| text.as_ref().map(|text| party(name, text)).transpose();
    let reason = reason
        .as_ref()
        .map(|text| Glob::parse(&format!("*{text}*")).map_err(|error| OperateError::Asked(format!("reason: {error}"))));
    // A millisecond more: what came in this one is there already.
    let came = Mid::floor(now.saturating_add(std::time::Duration::from_millis(1)).unwrap_or(now));
    Ok(Wanted {
        from: age("newer", newer)?,
        before: Some(age("older", older)?.map_or(came, |older| older.min(came))),
        route: route.as_deref().map(RouteName::new),
        provider: provider.as_deref().map(|name| of_provider(&ProviderName::new(name), table)),
        sender: party("sender", sender)?,
        recipient: party("recipient", recipient)?,
        held: state.map(|state| state == State::Held),
        reason: reason.transpose()?,
    })
}

fn of_provider(name: &ProviderName, table: &Table) -> OfProvider {
    let begins_with = |tiers: &[crate::config::Tier]| {
        tiers.first().is_some_and(|tier| tier.0.iter().any(|(member, _)| member == name))
    };
    let routes = table.routes().filter(|route| begins_with(chain(route)));
    OfProvider { name: name.clone(), first_of: routes.map(|route| route.name.clone()).collect() }
}

fn party(name: &str, text: &str) -> Result<Party, OperateError> {
    let wrong = |error| OperateError::Asked(format!("{name}: {error}"));
    if text.contains('@') || text == "<>" {
        return AddressPattern::parse(text).map(Party::Address).map_err(wrong);
    }
    DomainPattern::parse(text).map(Party::Domain).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::fixtures::{deliver, leg, moment, provider, provider_settings};
    use crate::mail::{BodyKind, Diagnosis, DsnRequest, EnhancedStatus, Envelope, Origin, Recipient, Severity};
    use crate::queue::{Leg, LegRecipient, LegState, Tried};
    use std::sync::Arc;

    type Set = fn(&mut Filter, Option<String>);

    fn table() -> Table {
        let routes = [deliver("r", &[&[("a", 1), ("b", 1)], &[("c", 1)]]), deliver("other", &[&[("c", 1)]])];
        let providers = ["a", "b", "c"].map(|name| Arc::new(provider_settings(name)));
        Table::new(routes.into_iter().map(Arc::new).collect(), providers.to_vec())
    }

    fn envelope(from: Option<&str>, to: &[&str]) -> Envelope {
        Envelope {
            reverse_path: from.map(|from| from.parse().unwrap()),
            recipients: to.iter().map(|to| Recipient::new(to.parse().unwrap())).collect(),
            dsn: DsnRequest::default(),
            body: BodyKind::SevenBit,
            smtputf8: false,
            origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
            accepted_at: moment(0),
            header_size: 2,
            size: 2,
        }
    }

    fn two() -> Leg {
        let recipients = [0, 1].map(|index| LegRecipient { index, last: None }).to_vec();
        Leg { recipients, ..leg() }
    }

    fn chosen(filter: Filter, leg: &Leg) -> Vec<u32> {
        let envelope = envelope(Some("app@Shop.example"), &["b@corp.example", "x@eu.corp.example"]);
        wanted(&filter, &table(), moment(9)).unwrap().recipients(leg, &envelope)
    }

    #[test]
    fn filters_choose_recipients() {
        let some = |text: &str| Some(text.to_owned());
        let by = |set: Set, text: &str| {
            let mut filter = Filter::default();
            set(&mut filter, some(text));
            filter
        };
        let (route, provider): (Set, Set) = (|f, t| f.route = t, |f, t| f.provider = t);
        let (sender, recipient): (Set, Set) = (|f, t| f.sender = t, |f, t| f.recipient = t);
        let all = vec![0, 1];
        for (filter, expected) in [
            (Filter::default(), all.clone()),
            (by(route, "r"), all.clone()),
            (by(route, "other"), vec![]),
            (by(sender, "shop.example"), all.clone()),
            (by(sender, "*@shop.example"), all.clone()),
            (by(sender, "*.example"), all.clone()),
            (by(sender, "b@shop.example"), vec![]),
            (by(sender, "<>"), vec![]),
            (by(recipient, "corp.example"), vec![0]),
            (by(recipient, "*.corp.example"), vec![1]),
            (by(recipient, "x@*"), vec![1]),
            (by(provider, "a"), all.clone()),
            (by(provider, "b"), all.clone()),
            (by(provider, "c"), vec![]),
            (Filter { state: Some(State::Held), ..Filter::default() }, vec![]),
            (Filter { state: Some(State::Waiting), ..Filter::default() }, all.clone()),
        ] {
            assert_eq!(chosen(filter.clone(), &two()), expected, "{filter:?}");
        }
        let mut tried = two();
        tried.tried = Some(Tried { provider: self::provider("c"), at: moment(1) });
        assert_eq!((chosen(by(provider, "c"), &tried), chosen(by(provider, "a"), &tried)), (all.clone(), vec![]));
        tried.lane.via = Some(self::provider("a"));
        assert_eq!((chosen(by(provider, "c"), &tried), chosen(by(provider, "a"), &tried)), (vec![], all.clone()));
    }

    #[test]
    fn reasons_are_those_of_the_hold_and_of_each_reply() {
        let by = |text: &str| Filter { reason: Some(text.to_owned()), ..Filter::default() };
        let mut leg = two();
        let status = EnhancedStatus::new(Severity::Transient, 2, 2);
        leg.recipients[1].last = Some(Diagnosis::remote("mx.example", 452, status, "Mailbox full"));
        for (text, expected) in
            [("mailbox FULL", vec![1]), ("452", vec![1]), ("mx.example", vec![1]), ("nothing", vec![])]
        {
            assert_eq!(chosen(by(text), &leg), expected, "{text}");
        }
        leg.state = LegState::Held { reason: "macro attachments are reviewed".to_owned() };
        assert_eq!(chosen(by("Macro*reviewed"), &leg), [0, 1]);
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for (filter, told) in [
            (Filter { older: Some("4".to_owned()), ..Filter::default() }, "older: '4' needs a unit"),
            (Filter { newer: Some("soon".to_owned()), ..Filter::default() }, "newer: 'soon' is no duration"),
            (Filter { sender: Some("a b@c".to_owned()), ..Filter::default() }, "sender: "),
            (Filter { recipient: Some(String::new()), ..Filter::default() }, "recipient: a pattern cannot be empty"),
        ] {
            let error = wanted(&filter, &table(), moment(0)).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn cursors_go_both_ways() {
        let cursor = Cursor { behind: (Mid::from_bits(77), 3), began: moment(5) };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for bad in ["", "x", "1.2.3", &format!("{cursor}.1")] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
