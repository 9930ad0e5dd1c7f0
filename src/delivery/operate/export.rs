//! A queued message as a file: its content as it is stored, behind the fields by which the pickup folder and `import` know
//! its envelope.
//!
//! ```text
//! X-Sender: <a@b.example> BODY=8BITMIME RET=HDRS ENVID=x     the parameters as MAIL has them
//! X-Receiver: <c@d.example> NOTIFY=NEVER ORCPT=rfc822;c      one for each recipient that still waits
//! X-Waypost-Origin: mid=... listener=apps client=192.0.2.7   where it came from: routes may match on that
//! ```

use super::show::notify;
use super::{OperateError, Operator, select};
use crate::mail::{BodyKind, Envelope, Mid, Ret};
use crate::queue::Content;
use crate::smtp::xtext;

/// The field that tells `import` where the message came from. The pickup folder takes it off and believes nothing of it.
pub const ORIGIN: &str = "X-Waypost-Origin";

impl Operator {
    /// The envelope's fields, and the content behind them.
    pub async fn export(&self, mid: &str) -> Result<(String, Content), OperateError> {
        let mid = select::mid(mid)?;
        let listed = self.desk.queue.message(mid).await?.ok_or(OperateError::NoMessage(mid))?;
        let mut waiting: Vec<u32> =
            listed.legs.iter().flat_map(|(_, leg, _)| &leg.recipients).map(|r| r.index).collect();
        waiting.sort_unstable();
        let content = self.desk.queue.content(mid, &listed.envelope);
        Ok((head(mid, &listed.envelope, &waiting), content))
    }
}

/// `waiting`: the recipients (envelope indices) that are not done with.
pub fn head(mid: Mid, envelope: &Envelope, waiting: &[u32]) -> String {
    let path = envelope.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut head = format!("X-Sender: <{path}>");
    match envelope.body {
        BodyKind::SevenBit => {}
        BodyKind::EightBit => head.push_str(" BODY=8BITMIME"),
    }
    if envelope.smtputf8 {
        head.push_str(" SMTPUTF8");
    }
    match envelope.dsn.ret {
        Some(Ret::Full) => head.push_str(" RET=FULL"),
        Some(Ret::Headers) => head.push_str(" RET=HDRS"),
        None => {}
    }
    if let Some(envid) = &envelope.dsn.envid {
        head.push_str(&format!(" ENVID={}", xtext::encode(envid)));
    }
    head.push_str("\r\n");
    for recipient in waiting.iter().filter_map(|index| envelope.recipients.get(*index as usize)) {
        head.push_str(&format!("X-Receiver: <{}>", recipient.address));
        if let Some(asked) = recipient.notify {
            head.push_str(&format!(" NOTIFY={}", notify(asked)));
        }
        if let Some(orcpt) = &recipient.orcpt {
            let plain = orcpt.kind.eq_ignore_ascii_case("utf-8") && !orcpt.address.is_ascii();
            let address = if plain { orcpt.address.clone() } else { xtext::encode(&orcpt.address) };
            head.push_str(&format!(" ORCPT={};{address}", orcpt.kind));
        }
        head.push_str("\r\n");
    }
    let origin = &envelope.origin;
    head.push_str(&format!("{ORIGIN}: mid={mid} listener={}", xtext::encode(&origin.listener)));
    if let Some(client) = origin.client {
        head.push_str(&format!(" client={client}"));
    }
    for (name, value) in [("helo", &origin.helo), ("user", &origin.user)] {
        if let Some(value) = value {
            head.push_str(&format!(" {name}={}", xtext::encode(value)));
        }
    }
    head.push_str("\r\n");
    head
}
