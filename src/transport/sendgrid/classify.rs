//! What SendGrid's answers mean. There is no machine code: the texts decide.

use serde::Deserialize;

use crate::transport::TroubleKind;
use crate::transport::http::Meaning;

#[derive(Deserialize)]
struct Body {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    field: Option<String>,
}

/// An answer's meaning; addresses that it names are given by list and place within `personalizations[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) meaning: Meaning,
    /// Whose addresses were refused: list (`to`, `cc`, `bcc`) and place.
    pub(super) named: Vec<(String, usize)>,
    /// All that was said, on one line.
    pub(super) text: String,
}

/// What one error entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Recipient(Option<(String, usize)>),
    Sender,
    Rest,
}

pub(super) fn classify(status: u16, body: &str) -> Reading {
    let entries = entries(body);
    let text = entries.iter().map(Entry::said).collect::<Vec<_>>().join("; ");
    let meaning = |meaning| Reading { meaning, named: Vec::new(), text: text.clone() };
    if let 200..=299 = status {
        return meaning(Meaning::Accepted);
    }
    let lower = text.to_ascii_lowercase();
    let says = |part: &str| lower.contains(part);
    match status {
        400..=499 if says("maximum credits exceeded") => {
            return meaning(Meaning::Trouble(TroubleKind::Quota { retry_after: None }));
        }
        401 if says("not authorized to send mail") => return meaning(Meaning::Trouble(TroubleKind::Account)),
        // Our own refused requests did it; it passes in minutes.
        403 if says("temporarily blocked") || says("too many bad requests") || says("temporary block") => {
            return meaning(Meaning::Trouble(TroubleKind::Server));
        }
        403 if says("verified sender identity") || entries.iter().any(Entry::is_from) => {
            return meaning(Meaning::Sender);
        }
        400 => {}
        _ => return meaning(Meaning::of_status(status)),
    }
    // Several at once: what concerns the whole message decides before single recipients.
    let about: Vec<About> = entries.iter().map(Entry::about).collect();
    if about.contains(&About::Sender) {
        return meaning(Meaning::Sender);
    }
    if about.is_empty() || about.contains(&About::Rest) {
        return meaning(Meaning::Message);
    }
    let places = about.into_iter().map(|about| match about {
        About::Recipient(place) => place,
        About::Sender | About::Rest => None,
    });
    // One that is not named makes the list of the others useless.
    let named = places.collect::<Option<Vec<_>>>().unwrap_or_default();
    Reading { meaning: Meaning::Address(Vec::new()), named, text }
}

/// Never empty; where it is no JSON of theirs (nginx has pages of its own), the text itself.
fn entries(body: &str) -> Vec<Entry> {
    match serde_json::from_str::<Body>(body) {
        Ok(body) if !body.errors.is_empty() => body.errors,
        _ => vec![Entry { message: Some(body.trim().to_owned()), field: None }],
    }
}

impl Entry {
    fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    fn field(&self) -> &str {
        self.field.as_deref().unwrap_or_default()
    }

    fn said(&self) -> String {
        match self.field() {
            "" => self.message().to_owned(),
            field => format!("{} ({field})", self.message()),
        }
    }

    fn is_from(&self) -> bool {
        let field = self.field();
        field == "from" || field.starts_with("from.")
    }

    fn about(&self) -> About {
        let message = self.message().to_ascii_lowercase();
        if self.is_from() || message.contains("from email") || message.contains("from object") {
            return About::Sender;
        }
        let about_address = message.contains("valid address") || message.contains("valid email address");
        match place(self.field()) {
            Some(place) if about_address => About::Recipient(place),
            _ => About::Rest,
        }
    }
}

/// `personalizations.N.LIST.M.email` is a place; `personalizations.N.LIST` is one that does not say which.
fn place(field: &str) -> Option<Option<(String, usize)>> {
    let mut words = field.split('.');
    let (Some("personalizations"), Some(_), Some(list)) = (words.next(), words.next(), words.next()) else {
        return None;
    };
    if !matches!(list, "to" | "cc" | "bcc") {
        return None;
    }
    Some(words.next().and_then(|at| at.parse().ok()).map(|at| (list.to_owned(), at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(entries: &[(&str, Option<&str>)]) -> String {
        let entries: Vec<_> = entries
            .iter()
            .map(|(message, field)| serde_json::json!({"message": message, "field": field, "help": null}))
            .collect();
        serde_json::json!({"errors": entries, "id": "x"}).to_string()
    }

    #[test]
    fn the_table() {
        use Meaning::{Accepted, Message, Sender, Throttled, Trouble};
        use TroubleKind::{Account, Credentials, Quota, Server};
        let quota = || Trouble(Quota { retry_after: None });
        let cases: &[(u16, &str, Option<&str>, Meaning)] = &[
            (202, "", None, Accepted),
            (200, "", None, Accepted),
            (
                400,
                "Each unique email address in the personalizations array should only be included once.",
                Some("personalizations"),
                Message,
            ),
            (
                400,
                "Each email address in the personalization block should be unique between to, cc, and bcc. We found the first duplicate instance of [a@b.example] in the personalizations.0.cc field.",
                Some("personalizations.0"),
                Message,
            ),
            (400, "The from object must be provided for every email send.", Some("from"), Sender),
            (400, "The from email does not contain a valid address.", Some("from.email"), Sender),
            (
                400,
                "The content value must be a string at least one character in length.",
                Some("content.0.value"),
                Message,
            ),
            (400, "The headers parameter cannot have reserved header \"received\".", Some("headers.received"), Message),
            (
                400,
                "There is a limit of 1000 total recipients (to + cc + bcc) per request.",
                Some("personalizations"),
                Message,
            ),
            (400, "Invalid UTF8 in request.", None, Message),
            (400, "Bad Request", None, Message),
            (401, "The provided authorization grant is invalid, expired, or revoked", None, Trouble(Credentials)),
            (401, "authorization required", None, Trouble(Credentials)),
            (401, "Permission denied, wrong credentials", None, Trouble(Credentials)),
            (401, "Maximum credits exceeded", None, quota()),
            (401, "Authenticated user is not authorized to send mail", None, Trouble(Account)),
            (
                403,
                "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender Identity requirements",
                Some("from"),
                Sender,
            ),
            (403, "access forbidden", None, Trouble(Credentials)),
            (
                403,
                "You are temporarily blocked from sending emails due to repeated bad requests",
                None,
                Trouble(Server),
            ),
            (403, "Too many bad requests. Temporary block", None, Trouble(Server)),
            (404, "not found", None, Trouble(Account)),
            (405, "method not allowed", None, Trouble(Account)),
            (406, "not acceptable", None, Trouble(Account)),
            (415, "unsupported media type", None, Trouble(Account)),
            (413, "content too large", None, Message),
            (429, "too many requests", None, Throttled),
            (451, "data residency restriction", None, Trouble(Account)),
            (500, "internal error", None, Trouble(Server)),
            (502, "bad gateway", None, Trouble(Server)),
            (503, "unavailable", None, Trouble(Server)),
            (504, "timeout", None, Trouble(Server)),
        ];
        for (status, message, field, meaning) in cases {
            assert_eq!(classify(*status, &errors(&[(message, *field)])).meaning, *meaning, "{status} {message}");
            // No JSON parser stands between a status and its meaning.
            let bare = classify(*status, message).meaning;
            let by_field = matches!(message, m if m.starts_with("The from email"));
            if !by_field {
                assert_eq!(bare, *meaning, "{status} {message}");
            }
        }
    }

    #[test]
    fn addresses_are_named() {
        let valid = "Does not contain a valid address.";
        let reading = |entries: &[(&str, Option<&str>)]| classify(400, &errors(entries));
        let at = |list: &str, at| (list.to_owned(), at);
        let one = reading(&[(valid, Some("personalizations.0.to.1.email"))]);
        assert_eq!((one.meaning, one.named), (Meaning::Address(Vec::new()), vec![at("to", 1)]));
        let two = reading(&[
            (valid, Some("personalizations.0.bcc.12.email")),
            (
                "The to array must at least have an 'email' parameter with a valid email address.",
                Some("personalizations.0.to.0.email"),
            ),
        ]);
        assert_eq!(two.named, [at("bcc", 12), at("to", 0)]);
        let vague = reading(&[(valid, Some("personalizations.0.to")), (valid, Some("personalizations.0.cc.0.email"))]);
        assert_eq!((vague.meaning, vague.named), (Meaning::Address(Vec::new()), Vec::new()));
    }

    #[test]
    fn what_concerns_the_message_comes_first() {
        let address = ("Does not contain a valid address.", Some("personalizations.0.to.1.email"));
        let content = ("The content value must be a string", Some("content.0.value"));
        let from = ("Invalid", Some("from.email"));
        assert_eq!(classify(400, &errors(&[address, content])).meaning, Meaning::Message);
        assert_eq!(classify(400, &errors(&[address, content, from])).meaning, Meaning::Sender);
        assert_eq!(
            classify(400, &errors(&[address, content])).text,
            "Does not contain a valid address. (personalizations.0.to.1.email); The content value must be a string (content.0.value)"
        );
    }

    #[test]
    fn pages_that_are_no_json() {
        let page = "<html>\r\n<head><title>413 Request Entity Too Large</title></head></html>";
        assert_eq!(classify(413, page).meaning, Meaning::Message);
        assert_eq!(classify(503, page).meaning, Meaning::Trouble(TroubleKind::Server));
        assert_eq!(classify(400, "{\"errors\":[]}").meaning, Meaning::Message);
        assert_eq!(classify(400, "{\"errors\":[{}]}").meaning, Meaning::Message);
    }
}
