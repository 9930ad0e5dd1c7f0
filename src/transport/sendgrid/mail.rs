//! The body of `POST /v3/mail/send`, field for field as the API has it.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::mail::Mid;

/// One call: one personalization, so that all of its recipients get one and the same message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mail {
    personalizations: [Personalization; 1],
    from: Mailbox,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Mailbox>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reply_to_list: Vec<Mailbox>,
    subject: String,
    content: Vec<Text>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<Attachment>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    tracking_settings: Tracking,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Personalization {
    pub(super) to: Vec<Addressee>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) cc: Vec<Addressee>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) bcc: Vec<Addressee>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_args: Option<CustomArgs>,
}

impl Personalization {
    pub(super) fn new(to: Vec<Addressee>, cc: Vec<Addressee>, bcc: Vec<Addressee>) -> Self {
        Self { to, cc, bcc, custom_args: None }
    }
}

/// Comes back as a key of each event.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct CustomArgs {
    waypost_mid: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Mailbox {
    pub(super) email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
}

/// A mailbox that gets the message, and which recipient of the attempt it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Addressee {
    #[serde(flatten)]
    pub(super) mailbox: Mailbox,
    #[serde(skip)]
    pub(super) number: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Text {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Attachment {
    /// base64.
    pub(super) content: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) filename: String,
    pub(super) disposition: Disposition,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Disposition {
    Attachment,
    Inline,
}

/// All off: the body stays as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Tracking {
    click_tracking: ClickTracking,
    open_tracking: Switch,
    subscription_tracking: Switch,
    ganalytics: Switch,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct ClickTracking {
    enable: bool,
    enable_text: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Switch {
    enable: bool,
}

/// The fields of the header section that have places of their own.
pub(super) struct Head {
    pub(super) from: Mailbox,
    pub(super) reply_to: Vec<Mailbox>,
    pub(super) subject: String,
    pub(super) headers: BTreeMap<String, String>,
}

impl Mail {
    pub(super) fn new(people: Personalization, head: Head, content: Vec<Text>, attachments: Vec<Attachment>) -> Self {
        let mut reply_to_list = head.reply_to;
        // Both at once are refused.
        let reply_to = if reply_to_list.len() == 1 { reply_to_list.pop() } else { None };
        Self {
            personalizations: [people],
            from: head.from,
            reply_to,
            reply_to_list,
            subject: head.subject,
            content,
            attachments,
            headers: head.headers,
            tracking_settings: Tracking::default(),
        }
    }

    /// Names the message for the events that come back.
    pub(super) fn marked(mut self, mid: Mid) -> Self {
        let [people] = &mut self.personalizations;
        people.custom_args = Some(CustomArgs { waypost_mid: mid.to_string() });
        self
    }

    /// Leaves out recipients whose addresses the API refused, in all lists. False: the one who would have to be named in
    /// `to` is gone as well, and the rest cannot be sent.
    pub(super) fn keep_only(&mut self, numbers: &[usize]) -> bool {
        let numbers: HashSet<usize> = numbers.iter().copied().collect();
        let [people] = &mut self.personalizations;
        for list in [&mut people.to, &mut people.cc, &mut people.bcc] {
            list.retain(|addressee| numbers.contains(&addressee.number));
        }
        !people.to.is_empty()
    }

    /// The recipient behind `personalizations[0].LIST[at]`.
    pub(super) fn number(&self, list: &str, at: usize) -> Option<usize> {
        let [people] = &self.personalizations;
        let list = match list {
            "to" => &people.to,
            "cc" => &people.cc,
            "bcc" => &people.bcc,
            _ => return None,
        };
        list.get(at).map(|addressee| addressee.number)
    }
}
