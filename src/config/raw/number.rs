//! Values that are a number, a size or a duration.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::fault::Fault;
use crate::config::read::{Cx, Read};
use crate::config::schema::Schemas;
use crate::config::tree::{Node, Value};
use crate::config::unit::{Size, UnitError, parse_duration};

impl Read for bool {
    fn wanted() -> String {
        "true or false".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::Bool(value) = node.value else {
            cx.kind::<Self>(node);
            return None;
        };
        Some(value)
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"type": "boolean"})
    }
}

/// A provider's share of a tier.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Weight(pub u32);

impl Read for Weight {
    fn wanted() -> String {
        "a weight, which is a whole number".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if matches!(&node.value, Value::Number(text) if text == "0") {
            cx.error(node.spot, Fault::WeightZero);
            return None;
        }
        if !matches!(node.value, Value::Number(_)) {
            cx.kind::<Self>(node);
            return None;
        }
        Count::read(node, cx).map(|count| Self(count.to_u32()))
    }

    fn schema(schemas: &mut Schemas) -> Json {
        Count::schema(schemas)
    }
}

/// A whole number within bounds.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Int<const LEAST: u64, const MOST: u64>(pub u64);

pub(in crate::config) type Port = Int<1, 65_535>;
/// A count that must be there and need not be larger.
pub(in crate::config) type Count = Int<1, 1_000_000>;

impl<const LEAST: u64, const MOST: u64> Read for Int<LEAST, MOST> {
    fn wanted() -> String {
        "a whole number".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::Number(text) = &node.value else {
            cx.kind::<Self>(node);
            return None;
        };
        match text.parse() {
            Ok(number) if (LEAST..=MOST).contains(&number) => Some(Self(number)),
            Ok(_) | Err(_) => {
                cx.error(node.spot, Fault::Range { found: text.clone(), least: LEAST, most: MOST });
                None
            }
        }
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"type": "integer", "minimum": LEAST, "maximum": MOST})
    }
}

impl<const LEAST: u64, const MOST: u64> Int<LEAST, MOST> {
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    pub fn to_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    pub fn to_u16(self) -> u16 {
        u16::try_from(self.0).unwrap_or(u16::MAX)
    }
}

impl Read for Size {
    fn wanted() -> String {
        "a size such as 35MiB".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let (Value::Text(text) | Value::Number(text)) = &node.value else {
            cx.kind::<Self>(node);
            return None;
        };
        cx.ok(node.spot, text.parse())
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"type": ["string", "integer"], "pattern": "^[0-9]+ *([KMGTkmgt]i?B|B)?$", "minimum": 0})
    }
}

/// A duration; never 0.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Span(pub Duration);

/// A duration that may be 0.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Pause(pub Duration);

/// A duration, or `never`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct OrNever(pub Option<Duration>);

const DURATION: &str = "^([0-9]+(ms|s|m|h|d|w))+$";

/// `30` is a number to YAML and a duration without its unit to people.
fn duration<T: Read>(node: &Node, cx: &mut Cx<'_>) -> Option<Duration> {
    let result = match &node.value {
        Value::Text(text) => parse_duration(text),
        Value::Number(text) => Err(UnitError::NoUnit(text.clone())),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
            cx.kind::<T>(node);
            return None;
        }
    };
    cx.ok(node.spot, result)
}

fn positive<T: Read>(node: &Node, cx: &mut Cx<'_>) -> Option<Duration> {
    let span = duration::<T>(node, cx)?;
    if span.is_zero() {
        cx.error(node.spot, Fault::ZeroDuration);
        return None;
    }
    Some(span)
}

impl Read for Span {
    fn wanted() -> String {
        "a duration such as 30s".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        positive::<Self>(node, cx).map(Self)
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"type": "string", "pattern": DURATION})
    }
}

impl Read for Pause {
    fn wanted() -> String {
        Span::wanted()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        duration::<Self>(node, cx).map(Self)
    }

    fn schema(schemas: &mut Schemas) -> Json {
        Span::schema(schemas)
    }
}

impl Read for OrNever {
    fn wanted() -> String {
        "a duration such as 4h, or never".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "never" => Some(Self(None)),
            _ => positive::<Self>(node, cx).map(|span| Self(Some(span))),
        }
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"anyOf": [Span::schema(schemas), {"const": "never"}]})
    }
}
