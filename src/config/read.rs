//! From tree to records: every key is read on its own, so that all that is wrong is found in one run, each at its
//! place. The same records give the JSON Schema (`schema.rs`), so schema and reader are one truth.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::fault::{Fault, nearest};
use super::model::Place;
use super::problem::{Problem, Severity};
use super::schema::Schemas;
use super::secret::Outside;
use super::tree::{Key, Node, Spot, Value};

/// Where reading is, and what it has found.
pub(super) struct Cx<'a> {
    pub file: Arc<str>,
    pub base: &'a Path,
    pub outside: &'a dyn Outside,
    pub problems: Vec<Problem>,
}

impl Cx<'_> {
    pub fn place(&self, spot: Spot) -> Place {
        Place { file: self.file.clone(), line: spot.line, column: spot.column }
    }

    pub fn error(&mut self, spot: Spot, fault: impl Into<Fault>) {
        self.problems.push(Problem::at(self.place(spot), Severity::Error, fault.into().to_string()));
    }

    pub fn warning(&mut self, spot: Spot, fault: impl Into<Fault>) {
        self.problems.push(Problem::at(self.place(spot), Severity::Warning, fault.into().to_string()));
    }

    /// `None` with the fault told, or the value.
    pub fn ok<T>(&mut self, spot: Spot, result: Result<T, impl Into<Fault>>) -> Option<T> {
        result.map_err(|fault| self.error(spot, fault)).ok()
    }

    /// A value of the wrong kind.
    pub fn kind<T: Read>(&mut self, node: &Node) {
        let hint = match (T::TEXT, &node.value) {
            (true, Value::Number(_) | Value::Bool(_)) => "; put it in quotes",
            (true, Value::Map(_)) => "; a text that begins with '{' needs quotes",
            (false, Value::Text(_)) if T::wanted().contains("number") => "; write it without quotes",
            (true | false, _) => "",
        };
        self.error(node.spot, Fault::Kind { wanted: T::wanted(), found: node.what(), hint });
    }
}

/// What can be read from a node.
pub(super) trait Read: Sized {
    /// Written as a YAML string.
    const TEXT: bool = false;
    /// Faults are shown at the key where the value must not be seen.
    const SECRET: bool = false;

    /// What a message says is wanted: `a number`, `text`.
    fn wanted() -> String;

    /// `None`: what is wrong has been told.
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self>;

    /// What a key without a value means; by default, a mistake.
    fn read_nothing() -> Option<Self> {
        None
    }

    fn schema(schemas: &mut Schemas) -> Json;
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub spot: Spot,
    pub value: T,
}

impl<T> Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Read> Read for At<T> {
    const TEXT: bool = T::TEXT;
    const SECRET: bool = T::SECRET;

    fn wanted() -> String {
        T::wanted()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        T::read(node, cx).map(|value| Self { spot: node.spot, value })
    }

    fn schema(schemas: &mut Schemas) -> Json {
        T::schema(schemas)
    }
}

/// A key of a record: absent, given, or given with a fault that has been told.
#[derive(Debug, Clone)]
pub(super) struct Field<T> {
    /// Where the key stands; of a missing key that is needed, where its record stands.
    pub key: Option<Spot>,
    pub value: Option<At<T>>,
}

impl<T> Field<T> {
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref().map(|at| &at.value)
    }

    /// The key stands in the file, be its value good or not.
    pub fn is_given(&self) -> bool {
        self.key.is_some()
    }

    /// Where to point to: the value, else the key, else `other`.
    pub fn spot(&self, other: Spot) -> Spot {
        self.value.as_ref().map(|at| at.spot).or(self.key).unwrap_or(other)
    }
}

impl<T: Clone> Field<T> {
    pub fn or(&self, default: T) -> T {
        self.get().cloned().unwrap_or(default)
    }
}

/// A mapping with fixed keys.
pub(super) trait Record {
    const KEYS: &'static [&'static str];
    /// Where it begins.
    fn spot(&self) -> Spot;
}

/// A mapping as it stands in the tree.
pub(super) type Entries = Vec<(Key, Node)>;

/// The entries of a record, its keys checked.
pub(super) fn entries<'n, T: Read + Record>(node: &'n Node, later: &[&str], cx: &mut Cx<'_>) -> Option<&'n Entries> {
    let known = T::KEYS;
    let Value::Map(entries) = &node.value else {
        cx.kind::<T>(node);
        return None;
    };
    let mut seen = HashMap::with_capacity(entries.len());
    for (key, _) in entries {
        let name = key.name.as_str();
        if let Some(first) = seen.insert(name, key.spot.line) {
            cx.error(key.spot, Fault::DuplicateKey { key: name.to_owned(), first });
        } else if later.contains(&name) {
            cx.error(key.spot, Fault::LaterKey(name.to_owned()));
        } else if !known.contains(&name) {
            let nearest = nearest(name, known.iter().copied());
            cx.error(key.spot, Fault::UnknownKey { key: name.to_owned(), nearest, known });
        }
    }
    Some(entries)
}

/// One key of a record.
pub(super) fn field<T: Read>(
    record: Spot,
    entries: &Entries,
    name: &'static str,
    needed: bool,
    cx: &mut Cx<'_>,
) -> Field<T> {
    let Some((key, node)) = entries.iter().find(|(key, _)| key.name == name) else {
        if needed {
            cx.error(record, Fault::MissingKey(name));
        }
        return Field { key: needed.then_some(record), value: None };
    };
    let masked;
    let node = if T::SECRET && !is_reference(node) {
        masked = Node { spot: key.spot, value: node.value.clone() };
        &masked
    } else {
        node
    };
    let value = if matches!(node.value, Value::Null) {
        let nothing = T::read_nothing();
        if nothing.is_none() {
            cx.error(key.spot, Fault::NoValue { key: name.to_owned(), wanted: T::wanted() });
        }
        nothing
    } else {
        T::read(node, cx)
    };
    Field { key: Some(key.spot), value: value.map(|value| At { spot: node.spot, value }) }
}

/// `${...}` and nothing else: its text is no secret.
fn is_reference(node: &Node) -> bool {
    matches!(&node.value, Value::Text(text) if text.starts_with("${") && text.find('}') == Some(text.len() - 1))
}

/// Defines a mapping with fixed keys: its fields, its reader, its schema. `need` keys must be there, `may` keys can.
/// `later` names keys that are planned: they get a plain answer instead of a misleading suggestion.
macro_rules! record {
    (
        #[doc = $about:literal]
        struct $name:ident { $( $(#[doc = $doc:literal])+ $kind:ident $key:literal $field:ident: $ty:ty, )* }
        later [$($later:literal),*]
    ) => {
        #[doc = $about]
        #[derive(Debug, Clone)]
        pub(in crate::config) struct $name {
            spot: $crate::config::tree::Spot,
            $( $(#[doc = $doc])+ pub $field: $crate::config::read::Field<$ty>, )*
        }

        impl $crate::config::read::Record for $name {
            const KEYS: &'static [&'static str] = &[$($key),*];

            fn spot(&self) -> $crate::config::tree::Spot {
                self.spot
            }
        }

        impl $crate::config::read::Read for $name {
            fn wanted() -> String {
                use $crate::config::read::Record;
                format!("a mapping with {}", Self::KEYS.join(", "))
            }

            fn read(node: &$crate::config::tree::Node, cx: &mut $crate::config::read::Cx<'_>) -> Option<Self> {
                let entries = $crate::config::read::entries::<Self>(node, &[$($later),*], cx)?;
                Some(Self {
                    spot: node.spot,
                    $( $field: $crate::config::read::field(
                        node.spot, entries, $key, stringify!($kind) == "need", cx), )*
                })
            }

            fn schema(schemas: &mut $crate::config::schema::Schemas) -> serde_json::Value {
                schemas.record(stringify!($name), $about, |schemas, properties| {
                    $( properties.add($key, stringify!($kind) == "need", concat!($($doc, "\n"),+),
                        <$ty as $crate::config::read::Read>::schema(schemas)); )*
                })
            }
        }
    };
}
pub(super) use record;

/// Makes an enum readable from its words. `later` as for records.
macro_rules! words {
    ($ty:ty { $($word:literal => $value:expr,)+ } later [$($later:literal),*]) => {
        impl $crate::config::read::Read for $ty {
            const TEXT: bool = true;

            fn wanted() -> String {
                concat!("one of ", words!(@join $($word),+)).to_owned()
            }

            fn read(node: &$crate::config::tree::Node, cx: &mut $crate::config::read::Cx<'_>) -> Option<Self> {
                let $crate::config::tree::Value::Text(word) = &node.value else {
                    cx.kind::<Self>(node);
                    return None;
                };
                match word.as_str() {
                    $($word => Some($value),)+
                    $($later => {
                        cx.error(node.spot, $crate::config::fault::Fault::LaterWord(word.clone()));
                        None
                    })*
                    _ => {
                        let known = vec![$($word),+];
                        let nearest = $crate::config::fault::nearest(word, known.iter().copied());
                        let fault = $crate::config::fault::Fault::UnknownWord { word: word.clone(), nearest, known };
                        cx.error(node.spot, fault);
                        None
                    }
                }
            }

            fn schema(_: &mut $crate::config::schema::Schemas) -> serde_json::Value {
                serde_json::json!({"enum": [$($word),+]})
            }
        }
    };
    (@join $first:literal $(, $more:literal)*) => { concat!($first $(, ", ", $more)*) };
}
pub(super) use words;

/// A list; nothing is an empty one.
pub(super) type List<T> = Vec<At<T>>;

impl<T: Read> Read for List<T> {
    fn wanted() -> String {
        "a list".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            cx.kind::<Self>(node);
            return None;
        };
        Some(items.iter().filter_map(|item| At::<T>::read(item, cx)).collect())
    }

    fn read_nothing() -> Option<Self> {
        Some(Vec::new())
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"type": "array", "items": T::schema(schemas)})
    }
}

/// One value, or a list of at least one.
#[derive(Debug, Clone)]
pub(super) struct OneOrMany<T>(pub Vec<At<T>>);

impl<T: Read> Read for OneOrMany<T> {
    const TEXT: bool = T::TEXT;

    fn wanted() -> String {
        format!("{}, or a list", T::wanted())
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            return At::<T>::read(node, cx).map(|one| Self(vec![one]));
        };
        if items.is_empty() {
            cx.error(node.spot, Fault::EmptyList);
            return None;
        }
        // One bad element hides no other, but what is left must not pass for the whole.
        let read: Vec<At<T>> = items.iter().filter_map(|item| At::<T>::read(item, cx)).collect();
        (read.len() == items.len()).then_some(Self(read))
    }

    fn schema(schemas: &mut Schemas) -> Json {
        let one = T::schema(schemas);
        json!({"anyOf": [one.clone(), {"type": "array", "items": one, "minItems": 1}]})
    }
}

impl<T: Read> Read for Box<T> {
    fn wanted() -> String {
        T::wanted()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        T::read(node, cx).map(Self::new)
    }

    fn schema(schemas: &mut Schemas) -> Json {
        T::schema(schemas)
    }
}

/// A mapping whose keys the user names.
#[derive(Debug, Clone)]
pub(super) struct Dict<T>(pub Vec<(At<String>, At<T>)>);

impl<T: Read> Read for Dict<T> {
    fn wanted() -> String {
        "a mapping".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            cx.kind::<Self>(node);
            return None;
        };
        if entries.is_empty() {
            cx.error(node.spot, Fault::EmptyList);
            return None;
        }
        let mut seen = HashMap::with_capacity(entries.len());
        let mut read = Vec::with_capacity(entries.len());
        for (key, item) in entries {
            if let Some(first) = seen.insert(key.name.as_str(), key.spot.line) {
                cx.error(key.spot, Fault::DuplicateKey { key: key.name.clone(), first });
                continue;
            }
            if let Some(value) = At::<T>::read(item, cx) {
                read.push((At { spot: key.spot, value: key.name.clone() }, value));
            }
        }
        (read.len() == entries.len()).then_some(Self(read))
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"type": "object", "minProperties": 1, "additionalProperties": T::schema(schemas)})
    }
}

/// A or B, told apart by `is_first`.
macro_rules! either {
    ($name:ident { $first:ident($a:ty) if $pattern:pat, $second:ident($b:ty) }) => {
        #[derive(Debug, Clone)]
        pub(in crate::config) enum $name {
            $first($a),
            $second($b),
        }

        impl $crate::config::read::Read for $name {
            const TEXT: bool = <$b as $crate::config::read::Read>::TEXT;

            fn wanted() -> String {
                format!("{}, or {}", <$a as $crate::config::read::Read>::wanted(), <$b as $crate::config::read::Read>::wanted())
            }

            fn read(node: &$crate::config::tree::Node, cx: &mut $crate::config::read::Cx<'_>) -> Option<Self> {
                match &node.value {
                    $pattern => <$a as $crate::config::read::Read>::read(node, cx).map(Self::$first),
                    _ => <$b as $crate::config::read::Read>::read(node, cx).map(Self::$second),
                }
            }

            fn schema(schemas: &mut $crate::config::schema::Schemas) -> serde_json::Value {
                let first = <$a as $crate::config::read::Read>::schema(schemas);
                serde_json::json!({"anyOf": [first, <$b as $crate::config::read::Read>::schema(schemas)]})
            }
        }
    };
}
pub(super) use either;
