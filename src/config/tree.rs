//! A YAML file as a tree whose every node knows its place. The only user of the YAML library.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Error, Location, Spanned};

/// Line and column, 1-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Spot {
    pub line: usize,
    pub column: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub spot: Spot,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As it is written: `007` is not `7`.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, duplicate keys included.
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub spot: Spot,
    pub name: String,
}

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub spot: Spot,
    pub why: String,
}

/// A table of some 300,000 routes; far from what could fill the memory.
const MOST_NODES: usize = 8_000_000;
/// What aliases may add to a file: ample for people, little for a bomb.
const MOST_REPLAYED: usize = 100_000;

pub(super) fn parse(text: &str) -> Result<Node, Broken> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_nodes: MOST_NODES,
            max_events: 2 * MOST_NODES,
            max_merge_keys: MOST_REPLAYED,
            max_depth: 32,
            // Thousands of routes may share a few anchors.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MOST_REPLAYED },
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
    };
    let tree: Spanned<Raw> = serde_yaml::from_str_with_options(text, options).map_err(|error| broken(&error, text))?;
    Ok(Node::from_raw(tree, text))
}

fn broken(error: &Error, text: &str) -> Broken {
    let mut inner = error;
    while let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = inner {
        inner = error;
    }
    let spot = error.location().map(Spot::from).unwrap_or(Spot { line: 1, column: 1 });
    let why = match inner {
        Error::MultipleDocuments { .. } => "a second document ('---') begins here; a file has one".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            "the file is too large, too deep, or its aliases (*name) make too much of it".to_owned()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => "an alias (*name) stands within its own anchor".to_owned(),
        other => {
            let text = other.to_string();
            let place = format!(" at line {}, column {}", spot.line, spot.column);
            // The library's own hints name its functions, which help no user.
            text.replace(&place, "").lines().next().unwrap_or_default().to_owned()
        }
    };
    let why = if why.contains("tabs disallowed") {
        "a tab in the indentation; YAML takes spaces only".to_owned()
    } else if why.contains("in this context") {
        format!("{why}; a text with ': ' or '#' in it needs quotes")
    } else if text.lines().nth(spot.line - 1).is_some_and(|line| line.contains("{") && line.contains(" ${")) {
        // Within { }, the } of a plain ${env:NAME} would close the mapping.
        format!("{why}; within {{ }}, write \"${{env:NAME}}\" in quotes")
    } else {
        why
    };
    Broken { spot, why }
}

impl From<Location> for Spot {
    fn from(location: Location) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
        Self { line: number(location.line()), column: number(location.column()) }
    }
}

impl Node {
    /// What stands under that key of a mapping.
    pub fn under(&self, name: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    fn from_raw(raw: Spanned<Raw>, text: &str) -> Self {
        // Where the value itself stands; of an alias, that is behind its anchor.
        let spot = Spot::from(raw.defined);
        let written = || {
            let span = raw.defined.span();
            let start = usize::try_from(span.byte_offset()?).ok()?;
            let length = usize::try_from(span.byte_len()?).ok()?;
            text.get(start..start.checked_add(length)?).map(|slice| slice.trim().to_owned())
        };
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value),
            Raw::Number(shown) => Value::Number(written().unwrap_or(shown)),
            Raw::Text(value) => Value::Text(value),
            Raw::List(items) => Value::List(items.into_iter().map(|item| Self::from_raw(item, text)).collect()),
            Raw::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, item)| {
                        (Key { spot: Spot::from(key.defined), name: key.value }, Self::from_raw(item, text))
                    })
                    .collect(),
            ),
        };
        Self { spot, value }
    }

    /// What it is, for messages. Never its content: it may be a secret.
    pub fn what(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(true) => "'true'",
            Value::Bool(false) => "'false'",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// The tree as the library gives it.
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree on one line: values with their places.
    fn show(node: &Node) -> String {
        let Spot { line, column } = node.spot;
        let value = match &node.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("bool {value}"),
            Value::Number(text) => format!("number {text}"),
            Value::Text(text) => format!("text {text:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let entry = |(key, item): &(Key, Node)| {
                    format!("{}@{}:{} {}", key.name, key.spot.line, key.spot.column, show(item))
                };
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        };
        format!("{value}@{line}:{column}")
    }

    #[test]
    fn every_node_knows_its_place() {
        for (text, tree) in [
            ("a: b", "{a@1:1 text \"b\"@1:4}@1:1"),
            (
                "é: [007, \"7\", 1.50, ~]",
                "{é@1:1 [number 007@1:5, text \"7\"@1:10, number 1.50@1:15, null@1:21]@1:4}@1:1",
            ),
            ("a: no\r\nb: true\r\n", "{a@1:1 text \"no\"@1:4, b@2:1 bool true@2:4}@1:1"),
            ("- &x {a: 1}\n- *x", "[{a@1:7 number 1@1:10}@1:6, {a@1:7 number 1@1:10}@1:6]@1:1"),
            ("a: 1\na: 2", "{a@1:1 number 1@1:4, a@2:1 number 2@2:4}@1:1"),
            ("", "null@1:1"),
        ] {
            assert_eq!(parse(text).map(|node| show(&node)), Ok(tree.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        for (text, line, column, why) in [
            ("a:\n\t- b\n", 2, 2, "a tab in the indentation; YAML takes spaces only"),
            ("a: 1\n---\nb: 2\n", 3, 1, "a second document ('---') begins here; a file has one"),
            ("a: *x", 1, 4, "alias references unknown anchor"),
            (
                "a: b: c",
                1,
                5,
                "mapping values are not allowed in this context; a text with ': ' or '#' in it needs quotes",
            ),
            (
                "a: {b: ${env:X}}",
                1,
                9,
                "while parsing a flow mapping, did not find expected ',' or '}'; within { }, write \"${env:NAME}\" in quotes",
            ),
            ("a: &x [*x]", 1, 8, "an alias (*name) stands within its own anchor"),
        ] {
            let why = why.to_owned();
            assert_eq!(parse(text).unwrap_err(), Broken { spot: Spot { line, column }, why }, "{text}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let of = format!("*a{}", n - 1);
            text += &format!("a{n}: &a{n} [{}]\n", [of.as_str(); 10].join(", "));
        }
        assert!(parse(&text).unwrap_err().why.contains("aliases (*name) make too much of it"));
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("a: {}", "{a: ".repeat(10_000))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "[-a-c0-2:,{}\\[\\]\"'&*!|>#?%@ \t\r\n~é]{0,60}") {
            let _ = parse(&text);
        }
    }
}
