//! `alerts` of `waypost.yaml`.

use jiff::civil::Date;
use serde_json::{Value as Json, json};

use super::scalar::text;
use super::{Count, Name, OrNever, Resolved, Span};
use crate::config::fault::Fault;
use crate::config::read::{Cx, Dict, List, OneOrMany, Read, either, record, words};
use crate::config::schema::Schemas;
use crate::config::tree::{Node, Value};
use crate::config::{Secret, Size};
use crate::mail::Address;

record! {
    /// When something is an alert, and whom it is told beside the log.
    struct RawAlertSettings {
        /// Webhooks and mail addresses. Default: none; `waypost alerts`, the log and the admin page tell it all the same.
        may "to" to: List<RawAlertTarget>,
        /// When something is an alert.
        may "rules" rules: RawAlertRules,
    }
    later []
}

record! {
    /// A webhook, or mail.
    struct RawAlertTarget {
        /// Its name, as logs and `waypost alerts test` have it. Default: the webhook's host, or the first address.
        may "name" name: Name,
        /// The URL that gets a POST with JSON, Slack's and Mattermost's among them; may be ${env:...} or ${file:...}.
        may "webhook" webhook: Resolved,
        /// What the webhook's requests are signed with (HMAC-SHA256), as ${file:...} or ${env:...}. Default: not signed.
        may "secret" secret: Secret,
        /// The addresses that get mail.
        may "mail" mail: OneOrMany<Address>,
        /// The sender of that mail. Default: waypost@ the hostname.
        may "from" from: Address,
        /// The provider that is tried first; then the chain of the route that takes the address, then the others. Default: that
        /// chain.
        may "via" via: String,
    }
    later ["pager", "slack", "teams", "rules"]
}

record! {
    /// When something is an alert; each has a default, and `never` turns it off.
    struct RawAlertRules {
        /// Age of the oldest message that waits in a route; or by route: {bulk: 6h, "*": 1h}. Default: 1h.
        may "oldest" oldest: RawOldest,
        /// So many more messages wait than at the begin of a span. Default: {messages: 1000, within: 10m}.
        may "growth" growth: RawGrowth,
        /// How long a provider's breaker is open. Default: 1m.
        may "breaker" breaker: OrNever,
        /// A provider is paused by hand. Default: true.
        may "paused" paused: bool,
        /// A provider's quota, or what the queue may hold, is used up to here. Default: 80%.
        may "quota" quota: PercentOrNever,
        /// So many recipients bounce, and three times as many as usual. Default: 5%.
        may "bounces" bounces: PercentOrNever,
        /// Disk that is left above `queue.min_free`. Default: 512MiB.
        may "disk" disk: SizeOrNever,
        /// Before the end of a certificate of the relay's own, or of what `ends` names. Default: 14d.
        may "expiry" expiry: OrNever,
        /// What ends on a day that the relay cannot find out, such as an API key: {"the key of sendgrid": "2027-03-01"}.
        may "ends" ends: Dict<Day>,
        /// The last reload of the configuration failed. Default: true.
        may "reload" reload: bool,
        /// The audit trail does not keep up, or cannot be written. Default: true.
        may "trail" trail: bool,
        /// How long it must be over before its end is told; doubles for what comes and goes. Default: 1m.
        may "settle" settle: Span,
        /// Messages to each target in a minute; what is more is summed up in one. Default: 5.
        may "most" most: Count,
    }
    later []
}

record! {
    /// So many more messages wait than at the begin of a span.
    struct RawGrowthOver {
        /// Messages.
        need "messages" messages: Count,
        /// The span. Default: 10m.
        may "within" within: Span,
    }
    later []
}

/// `never`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Never;

words! {
    Never {
        "never" => Never,
    }
    later []
}

/// `off`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct NoAlerts;

words! {
    NoAlerts {
        "off" => NoAlerts,
    }
    later []
}

either! { RawAlerts { Some(Box<RawAlertSettings>) if Value::Map(_), Off(NoAlerts) } }
either! { RawOldest { ByRoute(Dict<OrNever>) if Value::Map(_), Of(OrNever) } }
either! { RawGrowth { Over(RawGrowthOver) if Value::Map(_), Never(Never) } }

fn percent(text: &str) -> Result<u8, Fault> {
    let number = text.strip_suffix('%').and_then(|digits| digits.trim_end().parse::<u8>().ok());
    number.filter(|percent| (1..=100).contains(percent)).ok_or_else(|| Fault::Percent(text.to_owned()))
}

/// A share such as `80%`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Percent(pub u8);

text!(Percent, "a share such as 80%", json!({"type": "string", "pattern": "^[0-9]{1,3} *%$"}), |text, _cx| percent(
    text
)
.map(Self));

/// A share such as `80%`, or `never`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct PercentOrNever(pub Option<u8>);

text!(
    PercentOrNever,
    "a share such as 80%, or never",
    json!({"anyOf": [{"type": "string", "pattern": "^[0-9]{1,3} *%$"}, {"const": "never"}]}),
    |text, _cx| {
        if text == "never" {
            return Ok(Self(None));
        }
        percent(text).map(Some).map(Self)
    }
);

text!(Day, "a day such as \"2027-03-01\"", json!({"type": "string", "format": "date"}), |text, _cx| {
    text.parse().map(Self).map_err(|_| Fault::Day(text.clone()))
});

#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Day(pub Date);

/// A size, or `never`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct SizeOrNever(pub Option<Size>);

impl Read for SizeOrNever {
    fn wanted() -> String {
        "a size such as 512MiB, or never".to_owned()
    }

    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "never" => Some(Self(None)),
            Value::Text(_) | Value::Number(_) => Size::read(node, cx).map(|size| Self(Some(size))),
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                cx.kind::<Self>(node);
                None
            }
        }
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"anyOf": [Size::schema(schemas), {"const": "never"}]})
    }
}
