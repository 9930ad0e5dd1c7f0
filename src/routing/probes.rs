//! Mail to ask tables of: made from what their routes, owners and tests name, so that whatever a change of them moves has a
//! piece that shows it. For each route there is mail that it wants, key by key and value by value, and mail that it just does
//! not want; beside that every sender they name to every recipient.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;

use super::Facts;
use super::table::conditions;
use crate::config::{AddressPattern, Config, DomainPattern, Glob, Pickup, Route, RouteTest, Test};
use crate::mail::{Address, HeaderSection};

/// Senders times recipients, at most.
const MOST_PAIRS: usize = 200_000;
/// Values of one key of a route, at most.
const MOST_VALUES: usize = 1_000;
/// The domain of whoever nobody names.
const ELSEWHERE: &str = "elsewhere.example";

/// A piece of mail.
#[derive(Debug, Clone)]
pub struct Probe {
    sender: Option<Address>,
    recipient: Address,
    listener: String,
    client: IpAddr,
    user: Option<String>,
    header: HeaderSection,
    size: u64,
}

/// The same before it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Draft {
    /// `<>` is the null reverse-path.
    sender: String,
    recipient: String,
    listener: String,
    client: IpAddr,
    user: Option<String>,
    header: Vec<(String, String)>,
    size: u64,
}

impl Probe {
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            sender: self.sender.as_ref(),
            recipient: &self.recipient,
            listener: &self.listener,
            client: Some(self.client),
            user: self.user.as_deref(),
            header: Some(&self.header),
            size: Some(self.size),
        }
    }
}

/// Probes for these configurations, each with the tests of its route files. Each once.
pub fn probes(configurations: &[(&Config, &[RouteTest])]) -> Vec<Probe> {
    let listener = configurations.iter().find_map(|(config, _)| config.server.listeners.first());
    let usual = Draft {
        sender: format!("someone@{ELSEWHERE}"),
        recipient: format!("somebody@{ELSEWHERE}"),
        listener: listener.map_or_else(String::new, |listener| listener.name.clone()),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        user: None,
        header: Vec::new(),
        size: 1024,
    };
    let mut all = Gathered::default();
    all.add(usual.clone());
    all.add(Draft { sender: "<>".to_owned(), ..usual.clone() });
    for (config, tests) in configurations {
        let names = config.server.listeners.iter().map(|listener| listener.name.as_str());
        for name in names.chain(config.server.pickup.as_ref().map(|_| Pickup::LISTENER)) {
            all.add(Draft { listener: name.to_owned(), ..usual.clone() });
        }
        for user in &config.server.users {
            all.add(Draft { user: Some(user.name.clone()), ..usual.clone() });
        }
        config.routes.iter().for_each(|route| of_route(route, &usual, &mut all));
        tests.iter().for_each(|test| of_test(test, &usual, &mut all));
    }
    all.pairs(&usual);
    all.list.into_iter().filter_map(Draft::probe).collect()
}

#[derive(Default)]
struct Gathered {
    list: Vec<Draft>,
    known: HashSet<Draft>,
}

impl Gathered {
    fn add(&mut self, draft: Draft) {
        if self.known.insert(draft.clone()) {
            self.list.push(draft);
        }
    }

    /// Every sender to every recipient, where that is no more than can be looked at.
    fn pairs(&mut self, usual: &Draft) {
        let distinct = |of: fn(&Draft) -> &String| {
            let mut known = HashSet::new();
            self.list.iter().map(of).filter(|one| known.insert(*one)).cloned().collect::<Vec<_>>()
        };
        let (senders, recipients) = (distinct(|draft| &draft.sender), distinct(|draft| &draft.recipient));
        if senders.len().saturating_mul(recipients.len()) > MOST_PAIRS {
            return;
        }
        for sender in &senders {
            for recipient in &recipients {
                self.add(Draft { sender: sender.clone(), recipient: recipient.clone(), ..usual.clone() });
            }
        }
    }
}

/// Mail that has all that the route asks; then the same with each other value of each of its keys, wanted or not.
fn of_route(route: &Route, usual: &Draft, all: &mut Gathered) {
    let mut wanted = usual.clone();
    for condition in conditions(route).filter(|condition| !condition.negated) {
        if let Some(change) = values(&condition.test).into_iter().next() {
            change.make(&mut wanted);
        }
    }
    all.add(wanted.clone());
    for condition in conditions(route) {
        for change in values(&condition.test) {
            let mut other = wanted.clone();
            change.make(&mut other);
            all.add(other);
        }
        // Without this one key of it.
        let mut without = wanted.clone();
        match &condition.test {
            Test::Sender(_) | Test::SenderDomain(_) => without.sender.clone_from(&usual.sender),
            Test::Recipient(_) | Test::RecipientDomain(_) => without.recipient.clone_from(&usual.recipient),
            Test::Listener(_) => without.listener.clone_from(&usual.listener),
            Test::Client(_) => without.client = usual.client,
            Test::User(_) => without.user = None,
            Test::Header(_) => without.header.clear(),
            Test::Size(_) => without.size = usual.size,
        }
        all.add(without);
    }
}

fn of_test(test: &RouteTest, usual: &Draft, all: &mut Gathered) {
    for to in &test.to {
        all.add(Draft {
            sender: test.from.clone(),
            recipient: to.clone(),
            listener: test.listener.clone().unwrap_or_else(|| usual.listener.clone()),
            client: test.client.unwrap_or(usual.client),
            user: test.user.clone(),
            header: test.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            size: test.size.map_or(usual.size, |size| size.0),
        });
    }
}

/// One key's value.
enum Value {
    Sender(String),
    SenderDomain(String),
    Recipient(String),
    RecipientDomain(String),
    Listener(String),
    Client(IpAddr),
    User(String),
    Header(Vec<(String, String)>),
    Size(u64),
}

impl Value {
    fn make(self, draft: &mut Draft) {
        let local = |address: &str, usual: &str| match address.rsplit_once('@') {
            Some((local, _)) => local.to_owned(),
            None => usual.to_owned(),
        };
        match self {
            Self::Sender(sender) => draft.sender = sender,
            Self::SenderDomain(domain) => draft.sender = format!("{}@{domain}", local(&draft.sender, "someone")),
            Self::Recipient(recipient) => draft.recipient = recipient,
            Self::RecipientDomain(domain) => {
                draft.recipient = format!("{}@{domain}", local(&draft.recipient, "somebody"));
            }
            Self::Listener(listener) => draft.listener = listener,
            Self::Client(client) => draft.client = client,
            Self::User(user) => draft.user = Some(user),
            Self::Header(header) => draft.header = header,
            Self::Size(size) => draft.size = size,
        }
    }
}

/// A value for each thing that a test names.
fn values(test: &Test) -> Vec<Value> {
    fn each<T>(list: &[T], value: impl Fn(&T) -> Value) -> Vec<Value> {
        list.iter().take(MOST_VALUES).map(value).collect()
    }
    match test {
        Test::Sender(list) => each(list, |one| Value::Sender(address(one, "someone"))),
        Test::SenderDomain(list) => each(list, |one| Value::SenderDomain(domain(one))),
        Test::Recipient(list) => each(list, |one| Value::Recipient(address(one, "somebody"))),
        Test::RecipientDomain(list) => each(list, |one| Value::RecipientDomain(domain(one))),
        Test::Listener(list) => each(list, |one| Value::Listener(text(one))),
        Test::Client(list) => {
            let inside = |net: &ipnet::IpNet| Value::Client(net.hosts().next().unwrap_or(net.addr()));
            each(list, inside)
        }
        Test::User(list) => each(list, |one| Value::User(text(one))),
        Test::Header(fields) => {
            let first = |(name, globs): &(String, Vec<Glob>)| Some((name.clone(), text(globs.first()?)));
            let all: Vec<(String, String)> = fields.iter().filter_map(first).collect();
            let mut values = vec![Value::Header(all.clone())];
            for (n, (name, globs)) in fields.iter().enumerate() {
                for glob in globs.iter().take(MOST_VALUES).skip(1) {
                    let mut other = all.clone();
                    if let Some(field) = other.get_mut(n) {
                        *field = (name.clone(), text(glob));
                    }
                    values.push(Value::Header(other));
                }
            }
            values
        }
        // The one that it names may be on either side.
        Test::Size(test) => {
            let at = test.size.0;
            let mut sizes = [at, at.saturating_add(1), at.saturating_sub(1)];
            use crate::config::SizeOrder::{Greater, GreaterOrEqual, Less, LessOrEqual};
            match test.order {
                Greater => sizes.swap(0, 1),
                Less => sizes.swap(0, 2),
                GreaterOrEqual | LessOrEqual => {}
            }
            sizes.map(Value::Size).into()
        }
    }
}

/// Something that the pattern takes.
fn address(pattern: &AddressPattern, anyone: &str) -> String {
    let shown = pattern.to_string();
    let (Some((local, _)), Some(of)) = (shown.rsplit_once('@'), pattern.domain()) else { return "<>".to_owned() };
    let local = if local == "*" { anyone.to_owned() } else { local.replace('*', "x") };
    format!("{local}@{}", domain(of))
}

fn domain(pattern: &DomainPattern) -> String {
    match pattern.to_string().as_str() {
        "*" => ELSEWHERE.to_owned(),
        shown => match shown.strip_prefix("*.") {
            Some(rest) => format!("sub.{}", rest.replace('*', "x")),
            None => shown.replace('*', "x"),
        },
    }
}

fn text(glob: &Glob) -> String {
    match glob.to_string().as_str() {
        "*" => "anything".to_owned(),
        shown => shown.replace('*', "x"),
    }
}

impl Draft {
    /// `None`: it is no mail, such as from an address that a pattern only hints at.
    fn probe(self) -> Option<Probe> {
        let sender = match self.sender.as_str() {
            "<>" => None,
            sender => Some(sender.parse().ok()?),
        };
        let mut section: String = self.header.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        section.push_str("\r\n");
        Some(Probe {
            sender,
            recipient: self.recipient.parse().ok()?,
            listener: self.listener,
            client: self.client,
            user: self.user,
            header: HeaderSection::new(Bytes::from(section)),
            size: self.size,
        })
    }
}
