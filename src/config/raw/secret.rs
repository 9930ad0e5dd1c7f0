//! Values that may come from outside: secrets and what goes with them.

use serde_json::Value as Json;

use super::scalar::{string, text};
use crate::config::fault::Fault;
use crate::config::read::{Cx, Read};
use crate::config::schema::Schemas;
use crate::config::secret::{Origin, Secret, resolve};
use crate::config::tree::{Node, Value};

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
pub(in crate::config) struct PasswordHash(pub Secret);

impl Read for PasswordHash {
    const TEXT: bool = true;
    const SECRET: bool = true;

    fn wanted() -> String {
        "an argon2 hash".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            cx.kind::<Self>(node);
            return None;
        };
        let (value, origin) = cx.ok(node.spot, resolve(text, cx.base, cx.outside))?;
        let sound = argon2::password_hash::PasswordHash::new(&value)
            .is_ok_and(|hash| argon2::Algorithm::try_from(hash.algorithm).is_ok() && hash.hash.is_some());
        // A referred hash cannot be judged where secrets are only assumed.
        let assumed = matches!(origin, Origin::Referred) && cx.outside.assumes();
        if !sound && !assumed {
            cx.error(node.spot, Fault::PasswordHash);
            return None;
        }
        Some(Self(Secret::new(value)))
    }

    fn schema(_: &mut Schemas) -> Json {
        string()
    }
}
