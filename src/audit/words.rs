//! Events as people read them: a line each.

use std::fmt;

use super::event::Event;
use super::record::OfTrail;

/// What a person reads of one message: a heading and a line an event.
pub fn timeline(events: &[Event]) -> String {
    let mut out = String::new();
    let mut of: Option<&Option<String>> = None;
    for event in events {
        if of != Some(&event.mid) {
            if of.is_some() {
                out.push('\n');
            }
            of = Some(&event.mid);
            out.push_str(event.mid.as_deref().unwrap_or("no message"));
            out.push('\n');
        }
        out.push_str(&format!("  {event}\n"));
    }
    out
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:<9}", self.at, self.event)?;
        let word = |f: &mut fmt::Formatter<'_>, before: &str, text: &Option<String>| match text {
            Some(text) => write!(f, " {before}{text}"),
            None => Ok(()),
        };
        if let Some(sender) = &self.sender {
            write!(f, " from <{sender}>")?;
        }
        let to = if self.act.is_some() { "" } else { "to " };
        // An operator's act begins with what it is, and what is not about mail names what it was done to.
        word(f, "", &self.act)?;
        match &self.recipients[..] {
            [] => {}
            [one] => write!(f, " {to}<{one}>")?,
            [one, rest @ ..] => write!(f, " {to}<{one}> and {} more", rest.len())?,
        }
        if let (Some(on), true, None) = (&self.to, self.act.is_some(), &self.mid) {
            return write!(f, " ({on}) by {}{}", self.who.as_deref().unwrap_or("?"), reason(&self.reason));
        }
        word(f, "by route ", &self.route)?;
        word(f, "now by ", &self.to)?;
        word(f, if self.event == "moved" { "on from provider " } else { "provider " }, &self.provider)?;
        word(f, "for ", &self.destination)?;
        word(f, "listener ", &self.listener)?;
        word(f, "client ", &self.client)?;
        word(f, "user ", &self.user)?;
        word(f, "by ", &self.protocol)?;
        word(f, "revision ", &self.revision)?;
        if let Some(attempt) = self.attempt {
            write!(f, " round {attempt}")?;
        }
        if self.probe == Some(true) {
            write!(f, " (a probe)")?;
        }
        word(f, "", &self.outcome)?;
        if self.status.is_some() || self.reply.is_some() {
            write!(f, ":")?;
        }
        if let Some(code) = self.code {
            write!(f, " {code}")?;
        }
        word(f, "", &self.status)?;
        word(f, "", &self.reply)?;
        if let Some(remote) = &self.remote {
            write!(f, " ({remote})")?;
        }
        word(f, "id ", &self.provider_id)?;
        word(f, "by ", &self.who)?;
        word(f, "until ", &self.until)?;
        f.write_str(&reason(&self.reason))?;
        if let Some(size) = self.size {
            write!(f, ", {size} octets")?;
        }
        word(f, "Message-ID ", &self.message_id)?;
        word(f, "reports on ", &self.about)?;
        if let Some(ms) = self.duration_ms {
            write!(f, ", {ms} ms")?;
        }
        Ok(())
    }
}

fn reason(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

impl fmt::Display for OfTrail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun { lost: 0 } => write!(f, "the trail begins"),
            Self::Begun { lost } => write!(f, "the trail begins anew: {lost} records before were lost"),
            Self::Cut { records } => {
                write!(f, "the trail is not the one of {records} records that the queue remembers")
            }
            Self::Missed { groups: 0, why } => {
                write!(f, "it may miss what the queue was told before: {}", why.as_str())
            }
            Self::Missed { groups, why } => write!(f, "{groups} groups of the journal were missed: {}", why.as_str()),
            Self::Trimmed { through, .. } => write!(f, "records up to {through} were removed for their age or size"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(mid: Option<&str>, act: &str, to: Option<&str>, recipients: &[&str]) -> Event {
        let owned = str::to_owned;
        Event {
            at: "2026-11-26T02:00:00.000Z".to_owned(),
            mid: mid.map(owned),
            event: "operator".to_owned(),
            act: Some(owned(act)),
            to: to.map(owned),
            who: Some("alice".to_owned()),
            reason: Some("the lawyers have read it".to_owned()),
            recipients: recipients.iter().copied().map(owned).collect(),
            ..Event::default()
        }
    }

    #[test]
    fn an_act_says_what_was_done_to_what_by_whom() {
        for (event, line) in [
            (operator(Some("m"), "release", None, &["a@x.example"]), "release <a@x.example> by alice"),
            (
                operator(Some("m"), "move", Some("route partner"), &["a@x.example", "b@x.example"]),
                "move <a@x.example> and 1 more now by route partner by alice",
            ),
            (
                operator(None, "provider pause", Some("ses: until 03:00"), &[]),
                "provider pause (ses: until 03:00) by alice",
            ),
        ] {
            let whole = format!("2026-11-26T02:00:00.000Z  operator  {line}: the lawyers have read it");
            assert_eq!(event.to_string(), whole);
        }
    }

    #[test]
    fn a_trail_that_followed_another_queue_says_no_number() {
        let missed = |groups| OfTrail::Missed { groups, why: "it followed another queue before".into() }.to_string();
        assert_eq!(missed(0), "it may miss what the queue was told before: it followed another queue before");
        assert_eq!(missed(7), "7 groups of the journal were missed: it followed another queue before");
    }
}
