//! The request's body, `multipart/form-data` (RFC 7578), around content that is never held whole.

use std::fmt::Write as _;

use crate::mail::{Address, Mid};
use crate::transport::http::{Body, Source};

/// A form that ends with the message as a file. `token` is random: its boundary stands in no message.
pub(super) struct Form {
    boundary: String,
    fields: String,
}

impl Form {
    pub(super) fn new(token: u128) -> Self {
        Self { boundary: format!("waypost-{token:032x}"), fields: String::new() }
    }

    pub(super) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// `name` and `value` have neither quotes nor line ends of others' making.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        let _ = write!(
            self.fields,
            "--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n",
            self.boundary
        );
    }

    /// The envelope, one field a recipient. An address holds no line ends, and cannot end the field.
    pub(super) fn recipients<'a>(&mut self, recipients: impl IntoIterator<Item = &'a Address>) {
        for recipient in recipients {
            self.field("to", &recipient.to_string());
        }
    }

    /// The message goes last, as a file with a name: that is what Mailgun asks for.
    pub(super) fn with_message(mut self, mid: Mid, message: Source) -> Body {
        let _ = write!(
            self.fields,
            "--{}\r\nContent-Disposition: form-data; name=\"message\"; filename=\"{mid}.eml\"\r\nContent-Type: message/rfc822\r\n\r\n",
            self.boundary
        );
        Body::around(self.fields, message, format!("\r\n--{}--\r\n", self.boundary))
    }
}
