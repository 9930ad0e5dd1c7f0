//! Routes: what each takes, and whether its chain can keep what it promises.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::providers::Providers;
use super::{Files, Names, limit};
use crate::config::Glob;
use crate::config::fault::Fault;
use crate::config::model::{
    Action, Condition, MxTls, OnThrottle, OnUnknown, Priority, Provider, Rejection, Route, Server, SmtpTls, Sticky,
    Test, Tier, TlsFloor, Transport, residency_met,
};
use crate::config::raw::{Chain, RawMatch, RawRejection, RawRoute, RawTier};
use crate::config::read::{At, Cx, OneOrMany, Record};
use crate::config::tree::Spot;
use crate::mail::{EnhancedStatus, ProviderName, RouteName, Severity};

/// The routes that make sense, and the names of all.
pub(super) struct Routes {
    pub list: Vec<Arc<Route>>,
    pub names: Names,
}

pub(super) fn check(files: &Files, server: &Server, providers: &Providers, cx: &mut Cx<'_>) -> Routes {
    let mut names = Names::new("route", files.routes_broken);
    let mut list = Vec::new();
    let known = Known::new(files, server, providers);
    for (file, routes) in &files.routes {
        cx.file = file.clone();
        let owner = match &routes.owner.value {
            Some(owner) => known.conditions(owner, "owner", false, cx),
            None => Vec::new(),
        };
        for raw in routes.routes.get().into_iter().flatten() {
            let (name, unique) = match &raw.name.value {
                Some(name) => (name.0.as_str(), names.add(&name.0, name.spot, cx)),
                None => {
                    names.incomplete = true;
                    ("?", false)
                }
            };
            // A route without a good name is judged all the same.
            list.extend(known.route(raw, name, &owner, cx).filter(|_| unique).map(Arc::new));
        }
        if routes.routes.is_given() && routes.routes.get().is_none() {
            names.incomplete = true;
        }
    }
    Routes { list, names }
}

/// What routes may refer to.
struct Known<'a> {
    providers: &'a Providers,
    by_name: HashMap<&'a str, &'a Arc<Provider>>,
    listeners: Names,
    users: Names,
}

impl<'a> Known<'a> {
    fn new(files: &Files, server: &Server, providers: &'a Providers) -> Self {
        Self {
            providers,
            by_name: providers.list.iter().map(|provider| (provider.name.as_str(), provider)).collect(),
            listeners: super::listeners(files, server),
            users: super::users(files, server),
        }
    }

    fn route(&self, raw: &RawRoute, name: &str, owner: &[Condition], cx: &mut Cx<'_>) -> Option<Route> {
        let conditions = match &raw.conditions.value {
            Some(conditions) => self.conditions(conditions, "match", true, cx),
            None => Vec::new(),
        };
        let limit = limit(&raw.rate, &raw.burst, &raw.per, cx);
        let action = self.action(raw, name, cx);
        Some(Route {
            name: RouteName::new(name),
            place: cx.place(raw.name.spot(raw.spot())),
            conditions,
            owner: owner.to_vec(),
            action: action?,
            limit,
            concurrency: raw.concurrency.get().map(|most| most.to_usize()),
            priority: raw.priority.or(Priority::default()),
            residency: raw.residency.get().map(|residency| residency.0.to_ascii_lowercase()),
            tls: raw.tls.get().copied(),
            expire: raw.expire.get().map(|span| span.0),
            retry: raw.retry.get().map(|list| list.0.iter().map(|span| span.0).collect()),
            on_throttle: raw.on_throttle.or(OnThrottle::default()),
            on_unknown: raw.on_unknown.or(OnUnknown::default()),
            sticky: raw.sticky.or(Sticky::default()),
        })
    }

    /// Exactly one of deliver, reject, hold, discard.
    fn action(&self, raw: &RawRoute, name: &str, cx: &mut Cx<'_>) -> Option<Action> {
        let discards = raw.discard.get() != Some(&false);
        let given: Vec<(&'static str, Spot)> = [
            ("deliver", raw.deliver.key),
            ("reject", raw.reject.key),
            ("hold", raw.hold.key),
            ("discard", raw.discard.key.filter(|_| discards)),
        ]
        .into_iter()
        .filter_map(|(key, spot)| spot.map(|spot| (key, spot)))
        .collect();
        let route = || name.to_owned();
        match given.as_slice() {
            [] => cx.error(raw.name.spot(raw.spot()), Fault::NoAction { route: route() }),
            [(first, _), more @ ..] => {
                for (second, spot) in more {
                    cx.error(*spot, Fault::TwoActions { route: route(), first, second });
                }
            }
        }
        if matches!(given.as_slice(), [("reject" | "discard", _)]) {
            for (key, spot) in idle_keys(raw) {
                cx.warning(spot, Fault::IdleKey { route: route(), key });
            }
        }
        // Each is judged, though only one may stand.
        let deliver = raw.deliver.get().map(|chain| Action::Deliver(self.chain(raw, chain, name, cx)));
        let reject = raw.reject.value.as_ref().map(|rejection| Action::Reject(reject(rejection, cx)));
        let hold = raw.hold.get().map(|reason| Action::Hold { reason: reason.clone() });
        let discard = (raw.discard.get() == Some(&true)).then_some(Action::Discard);
        deliver.or(reject).or(hold).or(discard)
    }

    fn chain(&self, raw: &RawRoute, chain: &Chain, name: &str, cx: &mut Cx<'_>) -> Vec<Tier> {
        let mut seen = BTreeSet::new();
        let mut tiers = Vec::new();
        for tier in &chain.0 {
            let shares: Vec<(At<&str>, u32)> = match &tier.value {
                RawTier::One(one) => vec![(At { spot: tier.spot, value: one.as_str() }, 1)],
                RawTier::Shared(shares) => shares
                    .0
                    .iter()
                    .map(|(name, weight)| (At { spot: name.spot, value: name.value.as_str() }, weight.0))
                    .collect(),
            };
            for (provider, _) in &shares {
                if !seen.insert(provider.value) {
                    let fault = Fault::TwiceInChain { route: name.to_owned(), name: provider.value.to_owned() };
                    cx.error(provider.spot, fault);
                    continue;
                }
                self.link(raw, provider, name, cx);
            }
            tiers
                .push(Tier(shares.into_iter().map(|(name, weight)| (ProviderName::new(name.value), weight)).collect()));
        }
        tiers
    }

    /// One provider of a chain: it exists, and keeps what the route promises.
    fn link(&self, raw: &RawRoute, at: &At<&str>, route: &str, cx: &mut Cx<'_>) {
        let names = &self.providers.names;
        let Some(provider) = self.by_name.get(at.value) else {
            // One that exists and makes no sense has been told of.
            if !names.has(at.value) && !names.incomplete {
                let (route, name) = (route.to_owned(), at.value.to_owned());
                cx.error(at.spot, Fault::UnknownProvider { route, name, nearest: names.nearest(at.value) });
            }
            return;
        };
        if let Some(residency) = raw.residency.get()
            && !residency_met(provider.region.as_deref(), &residency.0)
        {
            let fault = Fault::Residency {
                route: route.to_owned(),
                residency: residency.0.clone(),
                provider: at.value.to_owned(),
                region: provider.region.clone(),
            };
            cx.error(at.spot, fault);
        }
        if let Some(floor) = raw.tls.get()
            && !can_encrypt(&provider.transport)
        {
            let floor = match floor {
                TlsFloor::Require => "require",
                TlsFloor::Verify => "verify",
            };
            cx.error(at.spot, Fault::TlsFloor { route: route.to_owned(), floor, provider: at.value.to_owned() });
        }
    }

    /// The conditions of a `match`, an `owner` or a `not`.
    fn conditions(&self, raw: &At<RawMatch>, key: &'static str, may_be_empty: bool, cx: &mut Cx<'_>) -> Vec<Condition> {
        self.references(&raw.value, cx);
        let mut tests = tests(&raw.value, cx);
        let mut conditions: Vec<Condition> = tests.drain(..).map(|test| Condition { negated: false, test }).collect();
        if let Some(not) = &raw.not.value {
            self.references(not, cx);
            if let Some(spot) = not.not.key {
                cx.error(spot, Fault::NotNot);
            }
            if not.is_empty() {
                cx.error(not.spot(), Fault::NoConditions("not"));
            }
            conditions.extend(tests_apart(not, cx).into_iter().map(|test| Condition { negated: true, test }));
        }
        if raw.is_empty() && !raw.not.is_given() && !may_be_empty {
            cx.error(raw.spot(), Fault::NoConditions(key));
        }
        conditions
    }

    /// Listeners and users that are named outright must exist.
    fn references(&self, raw: &RawMatch, cx: &mut Cx<'_>) {
        for (field, known) in [(&raw.listener, &self.listeners), (&raw.user, &self.users)] {
            for glob in field.get().into_iter().flat_map(|globs| &globs.0).filter(|glob| glob.is_exact()) {
                if !known.has(&glob.to_string()) && !known.first.keys().any(|name| glob.matches(name)) {
                    known.expect(&glob.to_string(), glob.spot, cx);
                }
            }
        }
    }
}

fn values<T: Clone>(many: &OneOrMany<T>) -> Vec<T> {
    many.0.iter().map(|at| at.value.clone()).collect()
}

/// One test a key.
fn tests(raw: &RawMatch, cx: &mut Cx<'_>) -> Vec<Test> {
    let mut tests = Vec::new();
    tests.extend(raw.sender.get().map(|many| Test::Sender(values(many))));
    tests.extend(raw.sender_domain.get().map(|many| Test::SenderDomain(values(many))));
    tests.extend(raw.recipient.get().map(|many| Test::Recipient(values(many))));
    tests.extend(raw.recipient_domain.get().map(|many| Test::RecipientDomain(values(many))));
    tests.extend(raw.listener.get().map(|many| Test::Listener(values(many))));
    tests.extend(raw.client.get().map(|many| Test::Client(values(many))));
    tests.extend(raw.user.get().map(|many| Test::User(values(many))));
    tests.extend(raw.size.get().copied().map(Test::Size));
    if let Some(fields) = raw.header.get() {
        let mut header: Vec<(String, Vec<Glob>)> = Vec::new();
        for (name, globs) in &fields.0 {
            if !is_field_name(&name.value) {
                cx.error(name.spot, Fault::FieldName(name.value.clone()));
            }
            header.push((name.value.clone(), values(&globs.value)));
        }
        tests.push(Test::Header(header));
    }
    tests
}

/// The same, each header field a test of its own: under `not`, none of them may hold.
fn tests_apart(raw: &RawMatch, cx: &mut Cx<'_>) -> Vec<Test> {
    tests(raw, cx)
        .into_iter()
        .flat_map(|test| match test {
            Test::Header(fields) => fields.into_iter().map(|field| Test::Header(vec![field])).collect(),
            other @ (Test::Sender(_)
            | Test::SenderDomain(_)
            | Test::Recipient(_)
            | Test::RecipientDomain(_)
            | Test::Listener(_)
            | Test::Client(_)
            | Test::User(_)
            | Test::Size(_)) => vec![other],
        })
        .collect()
}

/// RFC 5322, 2.2: printable ASCII without the colon.
fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

impl RawMatch {
    /// No key but, perhaps, `not`.
    fn is_empty(&self) -> bool {
        ![
            self.sender.is_given(),
            self.sender_domain.is_given(),
            self.recipient.is_given(),
            self.recipient_domain.is_given(),
            self.listener.is_given(),
            self.client.is_given(),
            self.user.is_given(),
            self.header.is_given(),
            self.size.is_given(),
        ]
        .contains(&true)
    }
}

/// Keys about delivery, for routes that deliver nothing.
fn idle_keys(raw: &RawRoute) -> impl Iterator<Item = (&'static str, Spot)> {
    [
        ("rate", raw.rate.key),
        ("concurrency", raw.concurrency.key),
        ("priority", raw.priority.key),
        ("residency", raw.residency.key),
        ("tls", raw.tls.key),
        ("expire", raw.expire.key),
        ("retry", raw.retry.key),
        ("on_throttle", raw.on_throttle.key),
        ("on_unknown", raw.on_unknown.key),
        ("sticky", raw.sticky.key),
    ]
    .into_iter()
    .filter_map(|(key, spot)| spot.map(|spot| (key, spot)))
}

/// A route's floor raises `opportunistic`; only a provider that was told to use no TLS cannot be raised. A maildir is no
/// wire, and APIs are HTTPS.
fn can_encrypt(transport: &Transport) -> bool {
    match transport {
        Transport::Mx(mx) => mx.tls != MxTls::None,
        Transport::Smtp(smtp) => smtp.tls != SmtpTls::None,
        Transport::Lmtp(lmtp) => lmtp.tls != SmtpTls::None,
        Transport::SendGrid(_) | Transport::Mailgun(_) | Transport::Ses(_) | Transport::Maildir(_) => true,
    }
}

fn reject(raw: &At<RawRejection>, cx: &mut Cx<'_>) -> Rejection {
    let given = raw.status.get().copied();
    let transient = given.is_some_and(|status| status.severity() == Severity::Transient);
    let code = raw.code.get().map_or(if transient { 450 } else { 550 }, |code| code.to_u16());
    // RFC 5321, 4.2.1: the first digit is the verdict, the second runs to 5. 421 would close the connection (3.8).
    if !(matches!(code / 100, 4 | 5) && code / 10 % 10 <= 5 && code != 421) {
        cx.error(raw.code.spot(raw.spot()), Fault::RejectCode(u64::from(code)));
    }
    let severity = if code < 500 { Severity::Transient } else { Severity::Permanent };
    let status = given.unwrap_or(EnhancedStatus::new(severity, 7, 1));
    if status.severity() != severity {
        cx.error(raw.status.spot(raw.spot()), Fault::StatusClass { code, status: status.to_string() });
    }
    let text = raw.text.or("Refused by policy".to_owned());
    // A reply line has 512 octets, codes and CRLF included (RFC 5321, 4.5.3.1.5).
    if text.len() > 400 || !text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        cx.error(raw.text.spot(raw.spot()), Fault::ReplyText);
    }
    Rejection { code, status, text }
}
