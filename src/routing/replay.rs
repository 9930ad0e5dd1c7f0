//! Mail that came in in the last days, asked of two tables: how much of it would go another way. It is asked piece by piece,
//! from what the audit trail keeps of each.
//!
//! The trail keeps no header, and where `audit: {addresses: hashed}` is set no local parts. What is missing is made up for by
//! the route that took the mail, where the old table has it: mail that took a route had what the route asks for, and lacked
//! what an earlier one asks for. Only what that leaves open cannot be told.

#[cfg(test)]
mod tests;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher as _, Hash};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::compare::{Count, Groups};
use super::matching::{Verdict, holds};
use super::table::conditions;
use super::{Comparison, Decision, Facts, Sample, Table};
use crate::config::{AddressPattern, Condition, Glob, Route, Test};
use crate::mail::Address;

/// Answers that are kept, so that mail of a kind is decided once.
const KEPT: usize = 1 << 20;
/// What the trail has in a route's place for mail that none took.
const NO_ROUTE: &str = "-";

/// A recipient's mail, as the trail has it.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// `None` is the null reverse-path.
    pub sender: Option<Name<'a>>,
    pub recipient: Name<'a>,
    pub listener: &'a str,
    pub client: Option<IpAddr>,
    pub user: Option<Name<'a>>,
    pub size: u64,
    /// The route that took it, where that is known.
    pub taken: Option<&'a str>,
}

/// An address or a user's name.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    pub text: &'a str,
    /// Its local part, or all of a name without a domain, is a hash.
    pub hashed: bool,
}

/// Who can tell what stands behind a hash.
pub trait Unhash {
    /// Whether `hashed` stands for that address; `None`: the key is not known.
    fn is(&self, hashed: &str, address: &str) -> Option<bool>;
}

/// Asks both tables.
pub struct Replay<'t> {
    old: &'t Table,
    new: &'t Table,
    unhash: &'t dyn Unhash,
    looks: Looks,
    /// By a number made of all that the tables look at.
    answers: HashMap<u64, Answer>,
    numbers: RandomState,
    groups: Groups,
    found: Replayed,
}

/// What came of it. Its serialized form is that of `--json`, and stable.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replayed {
    #[serde(flatten)]
    pub comparison: Comparison,
    /// Why some cannot be told.
    pub untold_for: UntoldFor,
    /// Mail that took another route then than the old table says now: it was another table, or mail was moved by hand.
    pub otherwise: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UntoldFor {
    /// A route asks for fields of its header, these among them, and the trail keeps none.
    pub header: u64,
    pub fields: BTreeSet<String>,
    /// A route asks for a local part, and the trail has it hashed.
    pub hashed: u64,
    /// An address does not read back.
    pub unreadable: u64,
}

/// What the tables look at, of mail in general.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Looks {
    sender: Part,
    recipient: Part,
    listener: bool,
    client: bool,
    user: bool,
    size: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    #[default]
    Nothing,
    Domain,
    Whole,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    what: What,
    otherwise: bool,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Same,
    /// The number of the group.
    Differs(usize),
    Untold(Lack),
}

#[derive(Debug, Clone, Copy)]
enum Lack {
    Header,
    Hashed,
}

/// A condition of which it is known whether its test, not negated, holds.
type Known<'r> = (&'r Test, bool);

/// A route that may take mail, and the conditions on which that hangs; empty: it does.
struct Candidate<'t> {
    route: &'t Arc<Route>,
    open: Vec<&'t Condition>,
}

/// The routes that may take it, in order, and whether the last of them does.
struct Candidates<'t> {
    list: Vec<Candidate<'t>>,
    ends: bool,
}

impl<'t> Replay<'t> {
    pub fn new(old: &'t Table, new: &'t Table, unhash: &'t dyn Unhash) -> Self {
        let looks = Looks::of(old).and(Looks::of(new));
        let (answers, numbers) = (HashMap::new(), RandomState::new());
        Self { old, new, unhash, looks, answers, numbers, groups: Groups::default(), found: Replayed::default() }
    }

    /// Asks both tables of one recipient's mail.
    pub fn ask(&mut self, past: &Past<'_>) {
        let found = &mut self.found.comparison;
        found.asked += 1;
        let number = self.numbers.hash_one(self.looks.seen(past));
        let answer = match self.answers.get(&number) {
            Some(answer) => *answer,
            None => {
                let Some(answer) = self.answer(past) else {
                    self.found.untold_for.unreadable += 1;
                    return;
                };
                if self.answers.len() < KEPT {
                    self.answers.insert(number, answer);
                }
                answer
            }
        };
        self.found.otherwise += u64::from(answer.otherwise);
        match answer.what {
            What::Same => {}
            What::Untold(Lack::Header) => self.found.untold_for.header += 1,
            What::Untold(Lack::Hashed) => self.found.untold_for.hashed += 1,
            What::Differs(group) => {
                let looks = self.looks;
                let whole = Looks { sender: Part::Whole, recipient: Part::Whole, listener: true, user: true, ..looks };
                let known = self.numbers.hash_one(whole.seen(&Past { taken: None, ..*past }));
                self.groups.add(group, 1, Some(known), || looks.sample(past));
            }
        }
    }

    pub fn done(mut self) -> Replayed {
        let UntoldFor { header, hashed, unreadable, .. } = &self.found.untold_for;
        self.found.comparison = self.groups.done(self.found.comparison.asked, header + hashed + unreadable);
        self.found
    }

    /// `None`: its addresses do not read back.
    fn answer(&mut self, past: &Past<'_>) -> Option<Answer> {
        let sender: Option<Address> = past.sender.map(|name| name.text.parse()).transpose().ok()?;
        let recipient: Address = past.recipient.text.parse().ok()?;
        let facts = Facts {
            sender: sender.as_ref(),
            recipient: &recipient,
            listener: past.listener,
            client: past.client,
            user: past.user.map(|name| name.text),
            header: None,
            size: Some(past.size),
        };
        let asked = Asked { past, facts: &facts, unhash: self.unhash };
        let of_old = asked.candidates(self.old, &[]);
        let Some((old, known)) = of_old.decided(past.taken) else {
            return Some(Answer { what: self.untold(&of_old), otherwise: false });
        };
        let otherwise = past.taken.is_some_and(|taken| name(&old) != taken);
        let of_new = asked.candidates(self.new, &known);
        let what = match of_new.only() {
            None => self.untold(&of_new),
            Some(new) => match self.groups.of(&old, &new).flatten() {
                Some(group) => What::Differs(group),
                None => What::Same,
            },
        };
        Some(Answer { what, otherwise })
    }

    fn untold(&mut self, of: &Candidates<'_>) -> What {
        let mut lack = Lack::Hashed;
        for condition in of.list.iter().flat_map(|candidate| &candidate.open) {
            if let Test::Header(fields) = &condition.test {
                lack = Lack::Header;
                self.found.untold_for.fields.extend(fields.iter().map(|(name, _)| name.clone()));
            }
        }
        What::Untold(lack)
    }
}

fn name(decision: &Decision) -> &str {
    match decision {
        Decision::Route(route) => route.name.as_str(),
        Decision::NoRoute | Decision::Undecided => NO_ROUTE,
    }
}

/// Mail, and what is needed to ask for it.
struct Asked<'a> {
    past: &'a Past<'a>,
    facts: &'a Facts<'a>,
    unhash: &'a dyn Unhash,
}

impl Asked<'_> {
    fn candidates<'t>(&self, table: &'t Table, known: &[Known<'_>]) -> Candidates<'t> {
        let mut list = Vec::new();
        for route in table.candidate_routes(self.facts) {
            let mut open = Vec::new();
            let fails = conditions(route).any(|condition| match self.holds(condition, known) {
                Verdict::Fails => true,
                Verdict::Holds => false,
                Verdict::Open => {
                    open.push(condition);
                    false
                }
            });
            if fails {
                continue;
            }
            let ends = open.is_empty();
            list.push(Candidate { route, open });
            if ends {
                return Candidates { list, ends };
            }
        }
        Candidates { list, ends: false }
    }

    fn holds(&self, condition: &Condition, known: &[Known<'_>]) -> Verdict {
        let past = self.past;
        let plain = match &condition.test {
            Test::Sender(patterns) => match (past.sender.filter(|name| name.hashed), self.facts.sender) {
                (Some(name), Some(address)) => self.of_address(patterns, name, address),
                (Some(_), None) | (None, _) => return holds(condition, self.facts),
            },
            Test::Recipient(patterns) if past.recipient.hashed => {
                self.of_address(patterns, past.recipient, self.facts.recipient)
            }
            Test::User(globs) => match past.user.filter(|name| name.hashed) {
                Some(name) => any(globs.iter().map(|glob| self.of_user(glob, name))),
                None => return holds(condition, self.facts),
            },
            Test::Header(_) => None,
            Test::SenderDomain(_)
            | Test::Recipient(_)
            | Test::RecipientDomain(_)
            | Test::Listener(_)
            | Test::Client(_)
            | Test::Size(_) => return holds(condition, self.facts),
        };
        let known = || known.iter().find(|(test, _)| **test == condition.test).map(|(_, holds)| *holds);
        match plain.or_else(known) {
            Some(plain) if plain != condition.negated => Verdict::Holds,
            Some(_) => Verdict::Fails,
            None => Verdict::Open,
        }
    }

    fn of_address(&self, patterns: &[AddressPattern], name: Name<'_>, address: &Address) -> Option<bool> {
        let domain = address.domain();
        let same = |local: &str| self.unhash.is(name.text, &format!("{local}@{domain}"));
        any(patterns.iter().map(|pattern| pattern.matches_hidden(domain, same)))
    }

    fn of_user(&self, glob: &Glob, name: Name<'_>) -> Option<bool> {
        glob.matches_hidden(|user| self.unhash.is(name.text, user))
    }
}

/// Whether one of them is true; `None`: that cannot be told.
fn any(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut found = Some(false);
    for one in all {
        match one {
            Some(true) => return Some(true),
            Some(false) => {}
            None => found = None,
        }
    }
    found
}

impl<'t> Candidates<'t> {
    /// What the table says, if nothing is left open.
    fn only(&self) -> Option<Decision> {
        match &self.list[..] {
            [] => Some(Decision::NoRoute),
            [one] if self.ends => Some(Decision::Route(one.route.clone())),
            _ => None,
        }
    }

    /// What the table says of mail that took the route of this name, and what else is known of that mail then.
    fn decided(&self, taken: Option<&str>) -> Option<(Decision, Vec<Known<'t>>)> {
        if let Some(only) = self.only() {
            return Some((only, Vec::new()));
        }
        let taken = taken?;
        let (passed, decision) = match self.list.iter().position(|candidate| candidate.route.name.as_str() == taken) {
            Some(at) => (at, Decision::Route(self.list[at].route.clone())),
            None if taken == NO_ROUTE && !self.ends => (self.list.len(), Decision::NoRoute),
            None => return None,
        };
        // It has all that its route asks for, and of what an earlier one asks for it lacks something.
        let mut known: Vec<Known<'t>> = Vec::new();
        for condition in self.list.get(passed).into_iter().flat_map(|candidate| &candidate.open) {
            known.push((&condition.test, !condition.negated));
        }
        for candidate in &self.list[..passed] {
            let unknown = |condition: &&&Condition| !known.iter().any(|(test, _)| **test == condition.test);
            let mut open = candidate.open.iter().filter(unknown);
            if let (Some(one), None) = (open.next(), open.next()) {
                known.push((&one.test, one.negated));
            }
        }
        Some((decision, known))
    }
}

impl Looks {
    fn of(table: &Table) -> Self {
        let mut looks = Self::default();
        let part = |patterns: &[AddressPattern]| {
            if patterns.iter().any(AddressPattern::asks_for_local) { Part::Whole } else { Part::Domain }
        };
        for condition in table.routes().flat_map(|route| conditions(route)) {
            match &condition.test {
                Test::Sender(patterns) => looks.sender = looks.sender.max(part(patterns)),
                Test::SenderDomain(_) => looks.sender = looks.sender.max(Part::Domain),
                Test::Recipient(patterns) => looks.recipient = looks.recipient.max(part(patterns)),
                Test::RecipientDomain(_) => looks.recipient = looks.recipient.max(Part::Domain),
                Test::Listener(_) => looks.listener = true,
                Test::Client(_) => looks.client = true,
                Test::User(_) => looks.user = true,
                Test::Size(_) => looks.size = true,
                Test::Header(_) => {}
            }
        }
        looks
    }

    fn and(self, other: Self) -> Self {
        Self {
            sender: self.sender.max(other.sender),
            recipient: self.recipient.max(other.recipient),
            listener: self.listener || other.listener,
            client: self.client || other.client,
            user: self.user || other.user,
            size: self.size || other.size,
        }
    }

    /// What is looked at of this mail: where that is the same, the answer is.
    fn seen<'p>(&self, past: &'p Past<'_>) -> impl Hash + use<'p> {
        let part = |name: Name<'p>, part: Part| match part {
            Part::Nothing => "",
            Part::Domain => name.text.rsplit_once('@').map_or(name.text, |(_, domain)| domain),
            Part::Whole => name.text,
        };
        (
            past.sender.map(|name| part(name, self.sender)),
            part(past.recipient, self.recipient),
            self.listener.then_some(past.listener),
            self.client.then_some(past.client),
            self.user.then_some(past.user.map(|name| name.text)),
            self.size.then_some(past.size),
            past.taken,
        )
    }

    /// As an example: client and size are told where they count.
    fn sample(&self, past: &Past<'_>) -> Sample {
        Sample {
            sender: past.sender.map(|name| name.text.to_owned()),
            recipient: past.recipient.text.to_owned(),
            listener: past.listener.to_owned(),
            client: past.client.filter(|_| self.client).map(|client| client.to_string()),
            user: past.user.map(|name| name.text.to_owned()),
            header: None,
            size: Some(past.size).filter(|_| self.size),
            count: 1,
        }
    }
}

/// Why some cannot be told: a line for each reason there is.
impl fmt::Display for UntoldFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.header > 0 {
            let fields: Vec<&str> = self.fields.iter().map(String::as_str).collect();
            let fields = fields.join(", ");
            let cannot = "cannot be told: routes ask for fields that the trail does not keep";
            writeln!(f, "{} {cannot} ({fields})", Count(self.header))?;
        }
        if self.hashed > 0 {
            let many = Count(self.hashed);
            writeln!(f, "{many} cannot be told: routes ask for local parts, and the trail has them hashed")?;
        }
        if self.unreadable > 0 {
            writeln!(f, "{} cannot be told: an address does not read back", Count(self.unreadable))?;
        }
        Ok(())
    }
}
