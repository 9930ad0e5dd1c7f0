//! What only the table as a whole can tell: routes that never take any mail, and route tests that do not hold.

use std::collections::HashMap;

use bytes::Bytes;

use super::cover::implies;
use super::table::conditions;
use super::{Explanation, Facts, Table};
use crate::config::{Condition, Config, DomainPattern, Place, Route, RouteTest, Test};
use crate::mail::{Address, Domain, HeaderSection};

/// A fault of the table, at the route or the test that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub place: Place,
    pub message: String,
}

/// All faults of the table, in the order of their places.
pub fn check(config: &Config, tests: &[RouteTest]) -> Vec<Finding> {
    let table = Table::new(config.routes.clone(), config.providers.clone());
    let routes: Vec<&Route> = config.routes.iter().map(AsRef::as_ref).collect();
    let listener = config.server.listeners.first().map_or("", |listener| listener.name.as_str());
    let mut findings = shadowed(&routes);
    findings.extend(tests.iter().flat_map(|test| failing(&table, test, listener)));
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    findings
}

/// Routes that earlier ones leave no mail.
fn shadowed(routes: &[&Route]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Routes that ask for exact recipient domains can only shadow routes that do so too: they are looked up.
    let mut by_domain: HashMap<Domain, Vec<&Route>> = HashMap::new();
    let mut others: Vec<&Route> = Vec::new();
    for route in routes {
        let asked: Vec<Condition> = conditions(route).cloned().collect();
        if let Some(by) = shadowing(&asked, &by_domain, &others) {
            let names: Vec<String> = by.iter().map(|by| format!("'{}' ({})", by.name, by.place)).collect();
            let (noun, takes) = if by.len() == 1 { ("route", "takes") } else { ("routes", "take") };
            findings.push(Finding {
                place: route.place.clone(),
                message: format!(
                    "route '{}' never takes any mail: {noun} {} before it {takes} all of it; move it up, or narrow what is before it",
                    route.name,
                    names.join(" and ")
                ),
            });
        }
        match exact_domains(&asked) {
            Some(domains) => domains.into_iter().for_each(|domain| by_domain.entry(domain).or_default().push(route)),
            None => others.push(route),
        }
    }
    findings
}

/// The earlier routes that together take all that `asked` takes: one of them, or one for each value of one key.
fn shadowing<'r>(
    asked: &[Condition],
    by_domain: &HashMap<Domain, Vec<&'r Route>>,
    others: &[&'r Route],
) -> Option<Vec<&'r Route>> {
    let one = |asked: &[Condition]| {
        let near = exact_domains(asked).and_then(|domains| by_domain.get(domains.first()?));
        let mut candidates = others.iter().chain(near.into_iter().flatten());
        candidates.find(|route| takes_all(route, asked)).copied()
    };
    if let Some(route) = one(asked) {
        return Some(vec![route]);
    }
    asked.iter().enumerate().filter(|(_, condition)| !condition.negated).find_map(|(n, condition)| {
        let values = split(&condition.test);
        if values.len() < 2 {
            return None;
        }
        let mut by: Vec<&Route> = Vec::new();
        let mut narrowed = asked.to_vec();
        for test in values {
            *narrowed.get_mut(n)? = Condition { negated: false, test };
            let route = one(&narrowed)?;
            if !by.iter().any(|known| known.name == route.name) {
                by.push(route);
            }
        }
        Some(by)
    })
}

/// Whatever has all of `asked` has all that the route asks.
fn takes_all(route: &Route, asked: &[Condition]) -> bool {
    conditions(route).all(|general| asked.iter().any(|specific| implies(specific, general)))
}

/// A test of several values as tests of one value each.
fn split(test: &Test) -> Vec<Test> {
    match test {
        Test::Sender(all) => all.iter().map(|one| Test::Sender(vec![one.clone()])).collect(),
        Test::SenderDomain(all) => all.iter().map(|one| Test::SenderDomain(vec![one.clone()])).collect(),
        Test::Recipient(all) => all.iter().map(|one| Test::Recipient(vec![one.clone()])).collect(),
        Test::RecipientDomain(all) => all.iter().map(|one| Test::RecipientDomain(vec![one.clone()])).collect(),
        Test::Listener(all) => all.iter().map(|one| Test::Listener(vec![one.clone()])).collect(),
        Test::Client(all) => all.iter().map(|one| Test::Client(vec![*one])).collect(),
        Test::User(all) => all.iter().map(|one| Test::User(vec![one.clone()])).collect(),
        Test::Header(_) | Test::Size(_) => Vec::new(),
    }
}

/// The recipient domains, where the conditions leave nothing but exact ones.
fn exact_domains(asked: &[Condition]) -> Option<Vec<Domain>> {
    asked.iter().filter(|condition| !condition.negated).find_map(|condition| match &condition.test {
        Test::RecipientDomain(all) => all.iter().map(DomainPattern::exact).collect(),
        Test::Recipient(all) => all.iter().map(|one| one.domain().and_then(DomainPattern::exact)).collect(),
        Test::Sender(_)
        | Test::SenderDomain(_)
        | Test::Listener(_)
        | Test::Client(_)
        | Test::User(_)
        | Test::Header(_)
        | Test::Size(_) => None,
    })
}

/// What of a route test does not hold. Without a size or header fields of its own it is a small message with none.
fn failing(table: &Table, test: &RouteTest, listener: &str) -> Vec<Finding> {
    let finding = |message: String| Finding { place: test.place.clone(), message };
    let sender = match test.from.as_str() {
        "<>" => None,
        from => match from.parse::<Address>() {
            Ok(sender) => Some(sender),
            Err(error) => return vec![finding(format!("test: from '{from}': {error}"))],
        },
    };
    let mut section: String = test.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    section.push_str("\r\n");
    let header = HeaderSection::new(Bytes::from(section));
    let mut findings = Vec::new();
    for to in &test.to {
        let recipient = match to.parse::<Address>() {
            Ok(recipient) => recipient,
            Err(error) => {
                findings.push(finding(format!("test: to '{to}': {error}")));
                continue;
            }
        };
        let explanation = table.explain(&Facts {
            sender: sender.as_ref(),
            recipient: &recipient,
            listener: test.listener.as_deref().unwrap_or(listener),
            client: Some(test.client.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))),
            user: test.user.as_deref(),
            header: Some(&header),
            size: Some(test.size.map_or(1024, |size| size.0)),
        });
        if let Some(message) = differs(test, to, &explanation) {
            findings.push(finding(message));
        }
    }
    findings
}

/// How the table's answer differs from what the test expects.
fn differs(test: &RouteTest, to: &str, explanation: &Explanation) -> Option<String> {
    let taken = explanation.route.as_deref();
    if let Some(expected) = test.routes.get(to)
        && taken != Some(expected)
    {
        let instead = taken.map_or_else(|| "no route takes it".to_owned(), |taken| format!("it takes '{taken}'"));
        let why = match explanation.passed.iter().find(|passed| passed.route == *expected) {
            Some(passed) => format!(": '{expected}' does not match, {} {}", passed.key, passed.why),
            None => format!(", which comes before '{expected}'"),
        };
        return Some(format!("test fails: <{to}> should take route '{expected}', but {instead}{why}"));
    }
    let chain: Vec<&str> = explanation.chain.iter().flatten().map(|member| member.provider.as_str()).collect();
    if let Some(expected) = &test.chain
        && chain != *expected
    {
        return Some(format!(
            "test fails: the chain for <{to}> should be [{}], but is [{}]",
            expected.join(", "),
            chain.join(", ")
        ));
    }
    None
}
