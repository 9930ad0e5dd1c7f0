//! Conditions and providers in words, for explanations.

use std::fmt::Display;

use super::Facts;
use super::explain::Member;
use crate::config::{Condition, LmtpWay, MxTls, Provider, ShowDuration, SizeOrder, SizeTest, SmtpTls, Test, Transport};
use crate::mail::Address;

/// The key of a condition that does not hold, and why it does not.
pub(super) fn obstacle(condition: &Condition, facts: &Facts<'_>) -> (&'static str, String) {
    let sender = facts.sender.map_or_else(|| "<>".to_owned(), ToString::to_string);
    let domain = facts.sender.map_or_else(|| "<>".to_owned(), |sender| sender.domain().to_string());
    let unknown = |known: Option<String>| known.unwrap_or_else(|| "not known".to_owned());
    let is = match &condition.test {
        Test::Sender(_) => sender,
        Test::SenderDomain(_) => domain,
        Test::Recipient(_) => facts.recipient.to_string(),
        Test::RecipientDomain(_) => Address::domain(facts.recipient).to_string(),
        Test::Listener(_) => facts.listener.to_owned(),
        Test::Client(_) => unknown(facts.client.map(|client| client.to_string())),
        Test::User(_) => facts.user.unwrap_or("nobody").to_owned(),
        Test::Header(fields) => {
            let is = fields.iter().map(|(name, _)| match facts.header {
                None => format!("{name} not known yet"),
                Some(header) => {
                    let values: Vec<String> = header.values(name).collect();
                    if values.is_empty() { format!("{name} absent") } else { format!("{name}: {}", values.join(" | ")) }
                }
            });
            is.collect::<Vec<_>>().join(", ")
        }
        Test::Size(_) => unknown(facts.size.map(|size| format!("{size} octets"))),
    };
    let (key, wants) = wanted(condition);
    (key, format!("is {is}, wants {wants}"))
}

/// A condition's key, and what it wants.
pub(super) fn wanted(condition: &Condition) -> (&'static str, String) {
    let (key, wants) = match &condition.test {
        Test::Sender(patterns) => ("sender", any(patterns)),
        Test::SenderDomain(patterns) => ("sender_domain", any(patterns)),
        Test::Recipient(patterns) => ("recipient", any(patterns)),
        Test::RecipientDomain(patterns) => ("recipient_domain", any(patterns)),
        Test::Listener(globs) => ("listener", any(globs)),
        Test::Client(nets) => ("client", any(nets)),
        Test::User(globs) => ("user", any(globs)),
        Test::Header(fields) => {
            let wants = fields.iter().map(|(name, globs)| format!("{name}: {}", any(globs)));
            ("header", wants.collect::<Vec<_>>().join(" and "))
        }
        Test::Size(test) => ("size", size(*test)),
    };
    let not = if condition.negated { "not " } else { "" };
    (key, format!("{not}{wants}"))
}

fn any<T: Display>(patterns: &[T]) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<String> = patterns.iter().take(MOST).map(ToString::to_string).collect();
    if patterns.len() > MOST {
        shown.push(format!("{} more", patterns.len() - MOST));
    }
    shown.join(" or ")
}

fn size(test: SizeTest) -> String {
    let order = match test.order {
        SizeOrder::Less => "<",
        SizeOrder::LessOrEqual => "<=",
        SizeOrder::Greater => ">",
        SizeOrder::GreaterOrEqual => ">=",
    };
    format!("{order}{}", test.size)
}

fn tls(tls: SmtpTls) -> &'static str {
    match tls {
        SmtpTls::None => "no TLS",
        SmtpTls::Opportunistic => "opportunistic TLS",
        SmtpTls::StartTls => "STARTTLS",
        SmtpTls::Implicit => "implicit TLS",
    }
}

/// A provider as a member of a tier.
pub(super) fn member(provider: &Provider, weight: u32) -> Member {
    let (transport, to) = match &provider.transport {
        Transport::Mx(mx) => {
            let tls = match mx.tls {
                MxTls::None => "no TLS",
                MxTls::Opportunistic => "opportunistic TLS",
                MxTls::Require => "TLS required",
                MxTls::Verify => "TLS verified",
            };
            ("mx", format!("the recipient domain's mail exchangers ({tls})"))
        }
        Transport::Smtp(smtp) => ("smtp", format!("{}:{} ({})", smtp.host, smtp.port, tls(smtp.tls))),
        Transport::Lmtp(lmtp) => match &lmtp.way {
            LmtpWay::Host { host, port } => ("lmtp", format!("{host}:{port} ({})", tls(lmtp.tls))),
            LmtpWay::Socket(path) => ("lmtp", path.display().to_string()),
        },
        Transport::SendGrid(sendgrid) => ("sendgrid", sendgrid.endpoint.clone()),
        Transport::Mailgun(mailgun) => ("mailgun", format!("{} (domain {})", mailgun.endpoint, mailgun.domain)),
        Transport::Ses(ses) => {
            ("ses", ses.endpoint.clone().unwrap_or_else(|| format!("email.{}.amazonaws.com", ses.region)))
        }
        Transport::Maildir(maildir) => ("maildir", maildir.path.display().to_string()),
    };
    Member {
        provider: provider.name.to_string(),
        transport,
        to,
        weight,
        region: provider.region.clone(),
        rate: provider.limit.map(|limit| limit.rate.to_string()),
        burst: provider.limit.map(|limit| limit.burst),
        concurrency: provider.concurrency,
        quota: provider.quota.map(|quota| format!("{}/{}", quota.messages, ShowDuration(quota.span))),
    }
}
