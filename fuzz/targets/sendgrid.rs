//! MIME as SendGrid's JSON: either JSON that names exactly the recipients, or the reason why there is none.
#![no_main]

use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use waypost::mail::Address;
use waypost::transport::{Lack, sendgrid};

/// mail-parser asserts these of itself, wrongly, and goes on where debug assertions are off, as in every release.
const NOT_OURS: [&str; 3] = ["Invalid part ID", "Failed to restore parent message", "This should not have happened"];

fn tolerate() {
    let aborting = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let theirs = info.location().is_some_and(|place| place.file().contains("mail-parser"));
        let text = info.payload_as_str().unwrap_or_default();
        if !(theirs && NOT_OURS.iter().any(|start| text.starts_with(start))) {
            aborting(info);
        }
    }));
}

fuzz_target!(init: tolerate(), |content: &[u8]| {
    let recipients: Vec<Address> =
        ["ann@customer.example", "bob@customer.example"].iter().map(|text| text.parse().unwrap()).collect();
    for count in 1..=recipients.len() {
        let asked: Vec<&Address> = recipients.iter().take(count).collect();
        let content = Bytes::copy_from_slice(content);
        let Ok(told) = panic::catch_unwind(AssertUnwindSafe(|| sendgrid::represent(&asked, &content))) else { return };
        let mail = match told {
            Ok(mail) => serde_json::to_value(mail).expect("it has no JSON"),
            Err(Lack::Message(diagnosis)) => {
                assert!(!diagnosis.text.is_empty());
                continue;
            }
            Err(other) => panic!("{other:?}"),
        };
        let people = &mail["personalizations"][0];
        assert!(people["to"].as_array().is_some_and(|to| !to.is_empty()));
        let mut named: Vec<Address> = ["to", "cc", "bcc"]
            .iter()
            .flat_map(|list| people[list].as_array().cloned().unwrap_or_default())
            .map(|mailbox| mailbox["email"].as_str().expect("no address").parse().expect("no address"))
            .collect();
        named.sort_unstable();
        assert_eq!(named.iter().collect::<Vec<_>>(), asked);
        assert!(mail["content"].as_array().is_some_and(|texts| !texts.is_empty()));
        // What goes into a header is one line.
        let one_line = |value: &Value| value.as_str().is_none_or(|text| !text.contains(['\r', '\n', '\0']));
        assert!(one_line(&mail["subject"]), "{mail:#}");
        assert!(one_line(&mail["from"]["name"]) && one_line(&mail["from"]["email"]), "{mail:#}");
        if let Some(headers) = mail["headers"].as_object() {
            assert!(headers.iter().all(|(name, value)| one_line(value) && !name.contains(['\r', '\n'])), "{mail:#}");
        }
        for attachment in mail["attachments"].as_array().into_iter().flatten() {
            assert!(["filename", "type", "content_id"].iter().all(|name| one_line(&attachment[name])), "{mail:#}");
        }
    }
});
