//! What Amazon SES's errors mean. Nearly all are HTTP 400: the code decides, then the text.

use crate::mail::Address;
use crate::transport::TroubleKind;
use crate::transport::http::Meaning;

/// An error as SES gives it, and whom the call was for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal<'a> {
    /// `None`: the answer had none, as from something that stands before the API.
    pub(super) code: Option<&'a str>,
    pub(super) status: u16,
    pub(super) text: &'a str,
    /// The mailboxes of the header's From.
    pub(super) from: &'a [Address],
    pub(super) recipients: &'a [&'a Address],
}

impl Refusal<'_> {
    pub(super) fn meaning(&self) -> Meaning {
        let text = self.text.to_ascii_lowercase();
        let says = |part: &str| text.contains(part);
        let account = Meaning::Trouble(TroubleKind::Account);
        let quota = Meaning::Trouble(TroubleKind::Quota { retry_after: None });
        let server = Meaning::Trouble(TroubleKind::Server);
        // A namespace may stand before the code and a note behind it (AWS restJson1).
        let code = self.code.unwrap_or_default();
        let code = code.split(':').next().unwrap_or(code);
        let code = code.rsplit('#').next().unwrap_or(code).trim();
        match code.strip_suffix("Exception").unwrap_or(code) {
            "MessageRejected" if says("email address is not verified") => self.unverified(&text),
            "MessageRejected" if says("paused") || says("suspended") => account,
            "MessageRejected" => Meaning::Message,
            "MailFromDomainNotVerified" => Meaning::Sender,
            "AccountSuspended" | "SendingPaused" => account,
            "LimitExceeded" if says("sending rate exceeded") => Meaning::Throttled,
            "LimitExceeded" => quota,
            "TooManyRequests"
            | "Throttling"
            | "Throttled"
            | "RequestThrottled"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "SlowDown"
            | "PriorRequestNotComplete" => {
                if says("daily message quota exceeded") {
                    quota
                } else {
                    Meaning::Throttled
                }
            }
            "NotFound" => account,
            // The second is the code of the API's first version.
            "BadRequest" | "InvalidParameterValue" => self.bad_request(&text),
            "AccessDenied" if says(":identity/") => Meaning::Sender,
            "AccessDenied"
            | "UnrecognizedClient"
            | "InvalidClientTokenId"
            | "InvalidSignature"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "ExpiredToken"
            | "OptInRequired"
            | "NotAuthorized"
            | "InvalidAccessKeyId"
            | "MissingAuthenticationTokenError" => Meaning::Trouble(TroubleKind::Credentials),
            // Our clock is off.
            "RequestExpired" => account,
            "RequestEntityTooLarge" => Meaning::Message,
            "Validation" | "ValidationError" | "Serialization" => Meaning::Message,
            "InternalFailure"
            | "InternalServiceError"
            | "InternalServerError"
            | "InternalServer"
            | "ServiceUnavailable"
            | "RequestTimeout" => server,
            _ => Meaning::of_status(self.status),
        }
    }

    /// Only an account in the sandbox wants its recipients verified: nobody else gets mail from it either.
    fn unverified(&self, text: &str) -> Meaning {
        let is_listed = |address: &Address| names(text, &address.to_string());
        if self.recipients.iter().any(|recipient| is_listed(recipient) && !self.from.contains(recipient)) {
            Meaning::Trouble(TroubleKind::Account)
        } else {
            Meaning::Sender
        }
    }

    fn bad_request(&self, text: &str) -> Meaning {
        if self.from.iter().any(|address| names(text, &address.to_string())) {
            return Meaning::Sender;
        }
        let is_named = |&place: &usize| self.recipients.get(place).is_some_and(|who| names(text, &who.to_string()));
        let named: Vec<usize> = (0..self.recipients.len()).filter(is_named).collect();
        let about_address = [
            "illegal address",
            "invalid address",
            "invalid email address",
            "in the address",
            "missing final '@domain'",
        ];
        match (named.is_empty(), self.recipients.len()) {
            (false, _) => Meaning::Address(named),
            // Not said whose: found out by halves. For a single one it may as well be another field's.
            (true, 2..) if about_address.iter().any(|part| text.contains(part)) => Meaning::Address(named),
            (true, _) => Meaning::Message,
        }
    }
}

/// The address stands in the text, and not as the end or the beginning of another.
fn names(text: &str, address: &str) -> bool {
    let address = address.to_ascii_lowercase();
    let part = |c: char| c.is_alphanumeric() || "-_+=%&*/^~{|}!#$?`@".contains(c);
    text.match_indices(&address).any(|(at, found)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let mut behind = text.get(at + found.len()..).unwrap_or_default().chars();
        let next = behind.next();
        let goes_on = next.is_some_and(part) || (next == Some('.') && behind.next().is_some_and(part));
        !before.is_some_and(|c| part(c) || c == '.') && !goes_on
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(code: &str, status: u16, text: &str, recipients: &[&str]) -> Meaning {
        let from = ["s@corp.example".parse().unwrap()];
        let recipients: Vec<Address> = recipients.iter().map(|text| text.parse().unwrap()).collect();
        let recipients: Vec<&Address> = recipients.iter().collect();
        let code = (!code.is_empty()).then_some(code);
        Refusal { code, status, text, from: &from, recipients: &recipients }.meaning()
    }

    #[test]
    fn the_table() {
        use Meaning::{Address, Message, Sender, Throttled, Trouble};
        use TroubleKind::{Account, Credentials, Quota, Server};
        let quota = || Trouble(Quota { retry_after: None });
        let failed = "Email address is not verified. The following identities failed the check in region EU-WEST-1: ";
        let cases: &[(&str, u16, String, Meaning)] = &[
            ("MessageRejected", 400, format!("{failed}s@corp.example"), Sender),
            ("MessageRejected", 400, format!("{failed}corp.example"), Sender),
            ("MessageRejected", 400, format!("{failed}u@customer.example"), Trouble(Account)),
            ("MessageRejected", 400, format!("{failed}s@corp.example, u@customer.example"), Trouble(Account)),
            ("MessageRejected", 400, "The message can't be sent because it contains invalid content.".into(), Message),
            ("MessageRejected", 400, "Recipient count exceeds 50.".into(), Message),
            ("MailFromDomainNotVerifiedException", 400, "".into(), Sender),
            ("AccountSuspendedException", 400, "".into(), Trouble(Account)),
            ("SendingPausedException", 400, "Account is paused".into(), Trouble(Account)),
            ("MessageRejected", 400, "Sending paused for this account.".into(), Trouble(Account)),
            ("LimitExceededException", 400, "There are too many instances of the specified resource type.".into(), quota()),
            ("TooManyRequestsException", 429, "Maximum sending rate exceeded.".into(), Throttled),
            ("ThrottlingException", 400, "Maximum sending rate exceeded.".into(), Throttled),
            ("Throttling", 400, "Maximum SigV2 SMTP sending rate exceeded.".into(), Throttled),
            ("LimitExceededException", 400, "Maximum sending rate exceeded.".into(), Throttled),
            ("TooManyRequestsException", 429, "Daily message quota exceeded.".into(), quota()),
            ("ThrottlingException", 400, "Daily message quota exceeded.".into(), quota()),
            ("Throttling", 400, "Daily message quota exceeded.".into(), quota()),
            ("LimitExceededException", 400, "Daily message quota exceeded.".into(), quota()),
            ("ThrottlingException", 400, "Rate exceeded".into(), Throttled),
            ("NotFoundException", 404, "Configuration set <x> does not exist.".into(), Trouble(Account)),
            ("BadRequestException", 400, "no recipients specified".into(), Message),
            ("BadRequestException", 400, "Missing header".into(), Message),
            ("BadRequestException", 400, "Tag name contains invalid characters".into(), Message),
            ("BadRequestException", 400, "Illegal address <u@customer.example>".into(), Address(vec![0])),
            ("BadRequestException", 400, "Illegal address".into(), Message),
            ("BadRequestException", 400, "Illegal address s@corp.example".into(), Sender),
            ("AccessDeniedException", 403, "User: arn:aws:iam::1:user/x is not authorized to perform: ses:SendEmail".into(), Trouble(Credentials)),
            ("AccessDeniedException", 403, "User `arn:aws:iam::1:user/x' is not authorized to perform `ses:SendRawEmail' on resource `arn:aws:ses:eu-west-1:1:identity/corp.example'".into(), Sender),
            ("UnrecognizedClientException", 403, "".into(), Trouble(Credentials)),
            ("InvalidClientTokenId", 403, "".into(), Trouble(Credentials)),
            ("InvalidSignatureException", 403, "".into(), Trouble(Credentials)),
            ("SignatureDoesNotMatch", 403, "".into(), Trouble(Credentials)),
            ("IncompleteSignature", 400, "".into(), Trouble(Credentials)),
            ("MissingAuthenticationToken", 403, "".into(), Trouble(Credentials)),
            ("MissingAuthenticationTokenException", 403, "".into(), Trouble(Credentials)),
            ("ExpiredToken", 403, "".into(), Trouble(Credentials)),
            ("ExpiredTokenException", 403, "".into(), Trouble(Credentials)),
            ("OptInRequired", 403, "".into(), Trouble(Credentials)),
            ("NotAuthorized", 400, "".into(), Trouble(Credentials)),
            ("RequestExpired", 400, "".into(), Trouble(Account)),
            ("RequestEntityTooLarge", 413, "".into(), Message),
            ("RequestEntityTooLargeException", 413, "".into(), Message),
            ("ValidationException", 400, "".into(), Message),
            ("ValidationError", 400, "".into(), Message),
            ("SerializationException", 400, "".into(), Message),
            ("InternalFailure", 500, "".into(), Trouble(Server)),
            ("InternalServiceError", 500, "".into(), Trouble(Server)),
            ("ServiceUnavailable", 503, "".into(), Trouble(Server)),
            ("ServiceUnavailableException", 503, "".into(), Trouble(Server)),
            ("RequestTimeout", 400, "".into(), Trouble(Server)),
            ("RequestTimeoutException", 408, "".into(), Trouble(Server)),
            ("com.amazonaws.ses#TooManyRequestsException:http://x", 429, "".into(), Throttled),
            ("", 503, "<html>".into(), Trouble(Server)),
            ("", 403, "".into(), Trouble(Credentials)),
            ("Unheard", 400, "".into(), Message),
            ("Unheard", 500, "".into(), Trouble(Server)),
        ];
        for (code, status, text, expected) in cases {
            assert_eq!(meaning(code, *status, text, &["u@customer.example"]), *expected, "{code} {text}");
        }
    }

    #[test]
    fn of_many_recipients_the_named_ones_are_meant() {
        let many = ["a@x.example", "aa@x.example", "b@x.example"];
        for (text, expected) in [
            ("Illegal address 'aa@x.example'", Meaning::Address(vec![1])),
            ("Illegal address: a@x.example, b@x.example.", Meaning::Address(vec![0, 2])),
            ("Illegal address a@x.example.org", Meaning::Address(Vec::new())),
            ("Local part contains non-ASCII characters in the address", Meaning::Address(Vec::new())),
            ("no recipients specified", Meaning::Message),
        ] {
            assert_eq!(meaning("BadRequestException", 400, text, &many), expected, "{text}");
        }
    }

    #[test]
    fn mail_to_oneself_is_about_the_sender() {
        let text = "Email address is not verified. The following identities failed the check: s@corp.example";
        assert_eq!(meaning("MessageRejected", 400, text, &["s@corp.example"]), Meaning::Sender);
    }
}
