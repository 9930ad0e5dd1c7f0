//! Values that are written as text.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use crate::config::fault::{Fault, nearest};
use crate::config::read::{Cx, Read};
use crate::config::schema::Schemas;
use crate::config::tree::{Node, Value};
use crate::config::unit::per_span;
use crate::config::{AddressPattern, DomainPattern, Glob, Quota, Rate, SizeOrder, SizeTest};
use crate::mail::{Address, Domain, EnhancedStatus};

/// Makes a type readable from text.
macro_rules! text {
    ($ty:ty, $wanted:literal, $schema:expr, |$text:ident, $cx:ident| $body:expr) => {
        impl Read for $ty {
            const TEXT: bool = true;

            fn wanted() -> String {
                $wanted.to_owned()
            }

            fn read(node: &Node, $cx: &mut Cx<'_>) -> Option<Self> {
                let Value::Text(text) = &node.value else {
                    $cx.kind::<Self>(node);
                    return None;
                };
                let parse = |$text: &String, $cx: &Cx<'_>| -> Result<Self, Fault> { $body };
                let result = parse(text, $cx);
                $cx.ok(node.spot, result)
            }

            fn schema(_: &mut Schemas) -> Json {
                $schema
            }
        }
    };
}

pub(super) use text;

pub(super) fn string() -> Json {
    json!({"type": "string", "minLength": 1})
}

fn some_text(text: &str) -> Result<String, Fault> {
    if text.trim().is_empty() { Err(Fault::EmptyText) } else { Ok(text.to_owned()) }
}

text!(String, "text", string(), |text, _cx| some_text(text));

/// A name that stands in logs, metrics and command lines.
#[derive(Debug, Clone)]
pub(in crate::config) struct Name(pub String);

const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

text!(Name, "a name", json!({"type": "string", "pattern": NAME}), |text, _cx| {
    let good = (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if good { Ok(Self(text.clone())) } else { Err(Fault::BadName(text.clone())) }
});

text!(Glob, "a pattern", string(), |text, _cx| Ok(Glob::parse(text)?));
text!(DomainPattern, "a domain pattern", string(), |text, _cx| Ok(DomainPattern::parse(text)?));
text!(AddressPattern, "an address pattern", string(), |text, _cx| Ok(AddressPattern::parse(text)?));
text!(Domain, "a domain", string(), |text, _cx| Ok(text.parse()?));
text!(IpAddr, "an IP address", string(), |text, _cx| text.parse().map_err(|_| Fault::Ip(text.clone())));

text!(IpNet, "a network", string(), |text, _cx| {
    let net: IpNet = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| Fault::Network { text: text.clone() })?;
    // 10.1.2.3/8 is one host to some and 16 million to others: the user has to say.
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(Fault::HostBits { text: text.clone(), meant: net.trunc().to_string() })
    }
});

text!(SocketAddr, "an address and port", string(), |text, _cx| {
    text.parse().map_err(|_| Fault::Socket(text.clone()))
});

/// The address of a name server; port 53 where it says none.
#[derive(Debug, Clone)]
pub(in crate::config) struct NameServer(pub SocketAddr);

text!(NameServer, "an IP address", string(), |text, _cx| {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map(Self)
        .map_err(|_| Fault::Socket(text.clone()))
});

/// A mailbox, or `<>`.
#[derive(Debug, Clone)]
pub(in crate::config) struct ReversePath(pub Option<Address>);

text!(ReversePath, "an address or '<>'", string(), |text, _cx| {
    if text == "<>" { Ok(Self(None)) } else { Ok(Self(Some(text.parse()?))) }
});

text!(Address, "an address", string(), |text, _cx| Ok(text.parse()?));

text!(
    EnhancedStatus,
    "an enhanced status code",
    json!({"type": "string", "pattern": "^[45]\\.[0-9]{1,3}\\.[0-9]{1,3}$"}),
    |text, _cx| text.parse().map_err(|()| Fault::Status(text.clone()))
);

const RATE: &str = "^ *[0-9]+ */ *[smhd] *$";

text!(Rate, "a rate such as 100/s", json!({"type": "string", "pattern": RATE}), |text, _cx| Ok(text.parse()?));

text!(Quota, "a quota such as 100000/d", json!({"type": "string", "pattern": RATE}), |text, _cx| {
    let (messages, span) = per_span(text)?;
    Ok(Self { messages, span })
});

text!(
    SizeTest,
    "a size test such as '>10MiB'",
    json!({"type": "string", "pattern": "^(<|<=|>|>=) *[0-9]+ *([KMGT]i?B|B)?$"}),
    |text, _cx| {
        let bad = || Fault::SizeTest(text.clone());
        let orders = [
            ("<=", SizeOrder::LessOrEqual),
            (">=", SizeOrder::GreaterOrEqual),
            ("<", SizeOrder::Less),
            (">", SizeOrder::Greater),
        ];
        orders
            .iter()
            .find_map(|(sign, order)| text.trim().strip_prefix(sign).map(|rest| (*order, rest)))
            .ok_or_else(bad)
            .and_then(|(order, rest)| Ok(Self { order, size: rest.parse().map_err(|_| bad())? }))
    }
);

/// A path; relative ones are relative to the configuration directory.
impl Read for PathBuf {
    const TEXT: bool = true;

    fn wanted() -> String {
        "a path".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        String::read(node, cx).map(|text| cx.base.join(text))
    }

    fn schema(_: &mut Schemas) -> Json {
        string()
    }
}

/// What the log shows: a level, or `target=level` pairs.
#[derive(Debug, Clone)]
pub(in crate::config) struct LogLevel(pub String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

text!(LogLevel, "a log level such as info", string(), |text, _cx| {
    let wrong = text.split(',').map(str::trim).find_map(|directive| {
        let (target, level) = directive.rsplit_once('=').map_or((None, directive), |(t, l)| (Some(t), l));
        let known = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
        let target_good = target.is_none_or(|t| !t.trim().is_empty() && !t.contains(char::is_whitespace));
        if known && target_good { None } else { Some(level) }
    });
    match wrong {
        None => Ok(Self(text.clone())),
        Some(level) => Err(Fault::LogLevel { text: text.clone(), nearest: nearest(level, LEVELS) }),
    }
});
