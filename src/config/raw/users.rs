//! Where users come from: a list in `waypost.yaml`, a file of their own, a directory.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::scalar::text;
use super::{Count, RawUser, Span};
use crate::config::fault::Fault;
use crate::config::read::{At, Cx, List, Read, record};
use crate::config::schema::Schemas;
use crate::config::tree::{Node, Value};
use crate::config::{AddressPattern, Rate, Secret};

/// A list of users, or the places that know them.
#[derive(Debug, Clone)]
pub(in crate::config) enum RawUsers {
    List(List<RawUser>),
    Sources(Box<RawUserSources>),
}

impl Read for RawUsers {
    fn wanted() -> String {
        "a list of users, or a mapping with list, file, ldap".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => List::read(node, cx).map(Self::List),
            Value::Map(_) => Box::read(node, cx).map(Self::Sources),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
                cx.kind::<Self>(node);
                None
            }
        }
    }

    fn read_nothing() -> Option<Self> {
        Some(Self::List(Vec::new()))
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"anyOf": [List::<RawUser>::schema(schemas), RawUserSources::schema(schemas)]})
    }
}

impl RawUsers {
    pub fn list(&self) -> Option<&List<RawUser>> {
        match self {
            Self::List(list) => Some(list),
            Self::Sources(sources) => sources.list.get(),
        }
    }

    pub fn file(&self) -> Option<&At<PathBuf>> {
        match self {
            Self::List(_) => None,
            Self::Sources(sources) => sources.file.value.as_ref(),
        }
    }

    pub fn ldap(&self) -> Option<&RawLdap> {
        match self {
            Self::List(_) => None,
            Self::Sources(sources) => sources.ldap.get(),
        }
    }
}

record! {
    /// The places that know users; a name is looked for in this order.
    struct RawUserSources {
        /// Users right here.
        may "list" list: List<RawUser>,
        /// A YAML file of their own, with a list under the key users.
        may "file" file: PathBuf,
        /// An LDAP server: who can bind there may sign in here.
        may "ldap" ldap: RawLdap,
    }
    later ["pam", "oauth2", "sql"]
}

record! {
    /// The file that users: {file: ...} names.
    struct UsersFile {
        /// Who may sign in.
        may "users" users: List<RawUser>,
    }
    later []
}

record! {
    /// An LDAP server: who can bind there may sign in here.
    struct RawLdap {
        /// ldaps://host or ldap://host, with a port where it is not 636 or 389.
        need "url" url: LdapUrl,
        /// STARTTLS on ldap://. Default: false; passwords go in clear to loopback addresses alone.
        may "starttls" starttls: bool,
        /// PEM file with roots that are trusted beside the system's.
        may "ca" ca: PathBuf,
        /// A user's DN, with {user} for the name; of Active Directory, {user}@corp.example.
        may "bind_dn" bind_dn: String,
        /// Looks a user's DN up.
        may "search" search: RawLdapSearch,
        /// The DN of the group that a user must be a member of.
        may "group" group: String,
        /// Addresses that its users may send from, but for those with an entry of their own. Default: any.
        may "senders" senders: List<AddressPattern>,
        /// The header's From must be one of them too. Default: false.
        may "check_from_header" check_from_header: bool,
        /// How many messages each of its users may send, but for those with an entry of their own: 20/s. Default: any number.
        may "rate" rate: Rate,
        /// How many of them may come at once after a rest. Default: as many as the rate names.
        may "burst" burst: Count,
        /// How many recipients each of them may send to.
        may "recipient_rate" recipient_rate: Rate,
        /// For all that one login asks of it. Default: 5s.
        may "timeout" timeout: Span,
        /// How long a good login needs no further bind. Default: 5m.
        may "cache" cache: Span,
    }
    later []
}

record! {
    /// Looks a user's DN up.
    struct RawLdapSearch {
        /// Where users lie.
        need "base" base: String,
        /// The filter that finds one user, with {user} for the name: (uid={user}).
        need "filter" filter: String,
        /// Who may search. Default: anonymous.
        may "bind_dn" bind_dn: String,
        /// The password of bind_dn.
        may "password" password: Secret,
    }
    later []
}

/// Scheme, host and port of an LDAP server.
#[derive(Debug, Clone)]
pub(in crate::config) struct LdapUrl {
    pub url: String,
    pub secure: bool,
    pub host: String,
}

text!(LdapUrl, "an LDAP URL", json!({"type": "string", "pattern": "^ldaps?://[^/]+/?$"}), |text, _cx| {
    let bad = || Fault::LdapUrl(text.clone());
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let secure = match scheme {
        "ldap" => false,
        "ldaps" => true,
        _ => return Err(bad()),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    // The rest of such an address is a host as HTTP has it.
    let checked = super::host::authority(authority).ok_or_else(bad)?;
    Ok(Self { url: format!("{scheme}://{authority}"), secure, host: checked })
});
