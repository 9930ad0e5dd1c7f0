//! What the SMTP endpoints of the cloud providers mean by their replies. A code alone says "this recipient is dead" where
//! the text says "your account is": the tables decide by text, first row that fits. What no row knows is read as any
//! other server's reply.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::config::Flavor;
use crate::mail::Timestamp;

/// What a reply is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Too fast.
    Throttled,
    /// The provider's own quota is spent.
    Quota,
    Credentials,
    /// The account or its set-up: a person must act.
    Account,
    /// This sender is not set up there.
    Sender,
    /// The provider has trouble of its own.
    Server,
    /// This message or recipient, later.
    Later,
    /// This message can never go this way, another may take it.
    Unsupported,
    /// The message is refused for good.
    Message,
    /// The recipient is refused for good.
    Recipient,
}

/// Code (0: any), part of the text in lower case, class. Order matters.
type Row = (u16, &'static str, Class);

const SENDGRID: &[Row] = &[
    (0, "maximum credits exceeded", Class::Quota),
    (0, "unauthenticated senders not allowed", Class::Credentials),
    (0, "does not match a verified sender identity", Class::Sender),
    (0, "not authorized to send mail", Class::Account),
    (0, "authentication failed", Class::Credentials),
    (0, "authorization grant is invalid", Class::Credentials),
    (0, "authorization required", Class::Credentials),
    (0, "wrong credentials", Class::Credentials),
    (0, "access forbidden", Class::Credentials),
    (0, "temporarily blocked from sending", Class::Server),
    (0, "too many bad requests", Class::Server),
    (0, "too many requests", Class::Throttled),
    (0, "data residency", Class::Account),
    (0, "account suspended", Class::Account),
    (0, "account disabled", Class::Account),
    (0, "content too large", Class::Unsupported),
];

const MAILGUN: &[Row] = &[
    (0, "limit exceeded, try again after", Class::Throttled),
    (0, "is not allowed to send large batches", Class::Throttled),
    (0, "is not allowed to send", Class::Account),
    (0, "can't be used to send the message", Class::Account),
    (0, "domain not found", Class::Account),
    (0, "is not a valid secondary dkim domain", Class::Account),
    (0, "probation", Class::Account),
    (0, "account disabled", Class::Account),
    (0, "account is disabled", Class::Account),
    (0, "domain disabled", Class::Account),
    (0, "domain is disabled", Class::Account),
    (0, "request failed", Class::Account),
    (0, "forbidden", Class::Credentials),
    (0, "cannot parse from address", Class::Message),
    (0, "cannot parse to address", Class::Recipient),
    (0, "to parameter is not a valid address", Class::Recipient),
    (0, "request size exceeds", Class::Unsupported),
    (0, "too many recipients", Class::Unsupported),
];

const SES: &[Row] = &[
    (421, "too many concurrent smtp connections", Class::Throttled),
    (0, "daily message quota exceeded", Class::Quota),
    (0, "maximum sending rate exceeded", Class::Throttled),
    (0, "maximum sigv2 smtp sending rate exceeded", Class::Throttled),
    (0, "throttling failure", Class::Throttled),
    (454, "temporary authentication failure", Class::Server),
    (0, "temporary service failure", Class::Server),
    (451, "timeout waiting for data from client", Class::Later),
    (0, "account not subscribed", Class::Account),
    (530, "authentication required", Class::Credentials),
    (535, "", Class::Credentials),
    (0, "is not authorized to perform", Class::Credentials),
    (0, "access denied", Class::Credentials),
    (0, "email address is not verified", Class::Sender),
    (0, "account is paused", Class::Account),
    (0, "sending paused", Class::Account),
    (0, "sending suspended", Class::Account),
    (0, "configuration set", Class::Account),
    (552, "message is too long", Class::Unsupported),
    (0, "recipient count exceeds", Class::Unsupported),
    (553, "invalid email address", Class::Message),
    (553, "address unknown", Class::Recipient),
    (0, "contains invalid content", Class::Message),
];

/// What a refusal means at this provider; `text` is that of the whole reply. `None`: what it means anywhere.
pub fn classify(flavor: Flavor, code: u16, text: &str) -> Option<Class> {
    let table = match flavor {
        Flavor::SendGrid => SENDGRID,
        Flavor::Mailgun => MAILGUN,
        Flavor::Ses => SES,
    };
    let text = text.to_ascii_lowercase();
    let fits = |row: &&Row| (row.0 == 0 || row.0 == code) && text.contains(row.1);
    table.iter().find(fits).map(|row| row.2)
}

/// When a throttled sender may come back, where the text says it: "try again after 120 seconds", "try again after Mon, 20
/// Dec 2021 20:33:21 UTC".
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    const MARK: &str = "try again after ";
    let at = text.to_ascii_lowercase().find(MARK)?;
    let when = text.get(at + MARK.len()..)?.trim();
    let word = when.split(' ').next()?;
    if let Ok(seconds) = word.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date: String = when.split(' ').take(5).collect::<Vec<_>>().join(" ");
    let until = DateTime::strptime("%a, %d %b %Y %H:%M:%S", date).ok()?;
    let until = TimeZone::UTC.to_timestamp(until).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// The flavor of a provider's own host name.
pub fn of_host(host: &str) -> Option<Flavor> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ses = || {
        let aws = host.strip_suffix(".cn").unwrap_or(&host);
        aws.ends_with(".amazonaws.com") && (aws.starts_with("email-smtp.") || aws.starts_with("email-smtp-fips."))
    };
    match host.as_str() {
        "smtp.sendgrid.net" | "smtp.eu.sendgrid.net" => Some(Flavor::SendGrid),
        "smtp.mailgun.org" | "smtp.eu.mailgun.org" => Some(Flavor::Mailgun),
        _ => ses().then_some(Flavor::Ses),
    }
}

/// A header field of this name steers the provider's service.
pub fn steers(flavor: Flavor, name: &[u8]) -> bool {
    let starts = |with: &str| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()));
    match flavor {
        Flavor::SendGrid => name.eq_ignore_ascii_case(b"X-SMTPAPI"),
        Flavor::Mailgun => starts("X-Mailgun-"),
        Flavor::Ses => starts("X-SES-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_reached() {
        for (flavor, table) in [(Flavor::SendGrid, SENDGRID), (Flavor::Mailgun, MAILGUN), (Flavor::Ses, SES)] {
            for &(code, text, class) in table {
                let code = if code == 0 { 550 } else { code };
                assert_eq!(classify(flavor, code, &text.to_ascii_uppercase()), Some(class), "{flavor:?} {text}");
            }
        }
    }

    #[test]
    fn replies_as_the_providers_give_them() {
        use Flavor::{Mailgun, SendGrid, Ses};
        for (flavor, code, text, class) in [
            (SendGrid, 451, "Authentication failed: Maximum credits exceeded", Some(Class::Quota)),
            (SendGrid, 535, "Authentication failed: Bad username / password", Some(Class::Credentials)),
            (SendGrid, 550, "Unauthenticated senders not allowed", Some(Class::Credentials)),
            (
                SendGrid,
                550,
                "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.",
                Some(Class::Sender),
            ),
            (SendGrid, 550, "No such mailbox", None),
            (
                Mailgun,
                550,
                "Domain mg.example is not allowed to send: account-requests-per-sec limit exceeded, try again after 120 seconds",
                Some(Class::Throttled),
            ),
            (
                Mailgun,
                550,
                "Domain mg.example is not allowed to send: Sandbox subdomains are for test purposes only.",
                Some(Class::Account),
            ),
            (Mailgun, 550, "Domain x is not allowed to send large batches yet", Some(Class::Throttled)),
            (Mailgun, 501, "cannot parse to address", Some(Class::Recipient)),
            (Ses, 421, "Too many concurrent SMTP connections", Some(Class::Throttled)),
            (Ses, 454, "Throttling failure: Maximum sending rate exceeded.", Some(Class::Throttled)),
            (Ses, 454, "Throttling failure: Daily message quota exceeded.", Some(Class::Quota)),
            (Ses, 454, "Throttling failure: something new", Some(Class::Throttled)),
            (Ses, 454, "Temporary authentication failure", Some(Class::Server)),
            (Ses, 451, "Temporary service failure", Some(Class::Server)),
            (Ses, 530, "Authentication required", Some(Class::Credentials)),
            (Ses, 535, "Authentication Credentials Invalid", Some(Class::Credentials)),
            (Ses, 535, "Account not subscribed to SES", Some(Class::Account)),
            (Ses, 552, "Message is too long.", Some(Class::Unsupported)),
            (Ses, 553, "<a> Invalid email address", Some(Class::Message)),
            (Ses, 553, "<a> address unknown", Some(Class::Recipient)),
            (
                Ses,
                554,
                "Access denied: User 'arn:aws:iam::1:user/x' is not authorized to perform 'ses:SendRawEmail' on resource",
                Some(Class::Credentials),
            ),
            (
                Ses,
                554,
                "Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: a@b.example",
                Some(Class::Sender),
            ),
            (Ses, 554, "Transaction failed: Recipient count exceeds 50", Some(Class::Unsupported)),
            (Ses, 550, "user unknown", None),
        ] {
            assert_eq!(classify(flavor, code, text), class, "{flavor:?} {code} {text}");
        }
    }

    #[test]
    fn when_to_come_back() {
        let now = "2021-12-20T20:33:11Z".parse().unwrap();
        for (text, seconds) in [
            ("limit exceeded, try again after 120 seconds", Some(120)),
            ("limit exceeded, Try again after Mon, 20 Dec 2021 20:33:21 UTC", Some(10)),
            ("limit exceeded, try again after Mon, 20 Dec 2021 20:33:01 UTC", Some(0)),
            ("try again after the weekend", None),
            ("try again after ", None),
            ("no", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn hosts_and_fields() {
        for (host, flavor) in [
            ("smtp.sendgrid.net", Some(Flavor::SendGrid)),
            ("SMTP.EU.Mailgun.org.", Some(Flavor::Mailgun)),
            ("email-smtp.eu-west-1.amazonaws.com", Some(Flavor::Ses)),
            ("email-smtp-fips.us-east-1.amazonaws.com", Some(Flavor::Ses)),
            ("email-smtp.cn-north-1.amazonaws.com.cn", Some(Flavor::Ses)),
            ("email-smtp.example.com", None),
            ("smtp.sendgrid.net.example.com", None),
        ] {
            assert_eq!(of_host(host), flavor, "{host}");
        }
        assert!(steers(Flavor::SendGrid, b"x-smtpapi") && !steers(Flavor::SendGrid, b"X-SES-A"));
        assert!(steers(Flavor::Mailgun, b"X-MAILGUN-Tag") && !steers(Flavor::Mailgun, b"X-Mailer"));
        assert!(steers(Flavor::Ses, b"x-ses-configuration-set") && !steers(Flavor::Ses, b"X-S"));
    }
}
