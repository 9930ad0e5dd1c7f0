//! Values that may come from outside: secrets and what goes with them.

use serde_json::Value as Json;

use super::scalar::{string, text};
use crate::config::fault::Fault;
use crate::config::read::{Cx, Read};
use crate::config::schema::Schemas;
use crate::config::secret::{Origin, Secret, resolve};
use crate::config::tree::{Node, Value};
use crate::config::verifier::Verifier;

/// Text that may be a reference, and is no secret: a user name.
#[derive(Debug, Clone)]
pub(in crate::config) struct Resolved(pub String);

text!(Resolved, "text", string(), |text, cx| Ok(Self(resolve(text, cx.base, cx.outside)?.0)));

impl Read for Secret {
    const TEXT: bool = true;
    const SECRET: bool = true;

    fn wanted() -> String {
        "a secret as ${env:NAME} or ${file:PATH}".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            cx.kind::<Self>(node);
            return None;
        };
        let (value, origin) = cx.ok(node.spot, resolve(text, cx.base, cx.outside))?;
        match origin {
            Origin::Clear => cx.warning(node.spot, Fault::ClearSecret),
            Origin::Referred => {}
        }
        Some(Self::new(value))
    }

    fn schema(_: &mut Schemas) -> Json {
        string()
    }
}

/// The hash of a user's password.
#[derive(Debug, Clone)]
pub(in crate::config) struct PasswordHash(pub Verifier);

impl Read for PasswordHash {
    const TEXT: bool = true;
    const SECRET: bool = true;

    fn wanted() -> String {
        "an argon2 hash or a SCRAM verifier".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            cx.kind::<Self>(node);
            return None;
        };
        let (value, origin) = cx.ok(node.spot, resolve(text, cx.base, cx.outside))?;
        // A referred hash cannot be judged where secrets are only assumed.
        let assumed = matches!(origin, Origin::Referred) && cx.outside.assumes();
        match Verifier::parse(&value) {
            Some(verifier) => Some(Self(verifier)),
            None if assumed => Some(Self(Verifier::Argon2(Secret::new(value)))),
            None => {
                cx.error(node.spot, Fault::PasswordHash);
                None
            }
        }
    }

    fn schema(_: &mut Schemas) -> Json {
        string()
    }
}
