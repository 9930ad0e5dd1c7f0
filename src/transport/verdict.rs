//! What a server's replies, and the lack of them, come to (ARCHITECTURE.md, "Outcomes").
//!
//! - No session, or one that ended before the content was complete: `unavailable`. For an exchanger that is the one
//!   destination, for a smart host the whole provider.
//! - The session ended when the final dot may have left: `unknown`.
//! - 4yz: `deferred`; 421 and 451 with 4.7.x are `throttled`, save for greylisting, which wants the same message again and
//!   not fewer of them. A smart host's other 421 is the provider going down: `unavailable`.
//! - 5yz: `rejected`; too big is `unsupported`, for another provider may take it; about login, it is the provider's
//!   credentials.
//! - At the providers' own hosts the texts rule (`flavor`).

use super::connection::NoSession;
use super::flavor::{self, Class};
use super::handover::is_one_too_many;
use super::outcome::{Lack, Outcome, ProviderId, Trouble, TroubleKind};
use crate::config::Flavor;
use crate::mail::{Address, Diagnosis, EnhancedStatus, Recipient, Severity, Timestamp};
use crate::smtp::client::{Break, Failure, Need, Step, Verdict, status_of};
use crate::smtp::reply::Reply;

/// What kind of server it was that spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Exchanger,
    SmartHost(Option<Flavor>),
}

/// Reads verdicts on behalf of one attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) peer: Peer,
    /// The server's name.
    pub(super) remote: &'a str,
    pub(super) sender: Option<&'a Address>,
    pub(super) recipients: &'a [&'a Recipient],
    pub(super) now: Timestamp,
    /// The server offered DSN: what the sender asked for went with the envelope.
    pub(super) dsn: bool,
}

impl Judge<'_> {
    pub(super) fn outcome(&self, verdict: &Verdict) -> Outcome {
        match verdict {
            Verdict::Replied(..) if is_one_too_many(verdict) => {
                let Verdict::Replied(step, reply) = verdict else { return self.no_answer("no verdict") };
                Outcome::Deferred(self.said(*step, reply))
            }
            Verdict::Replied(step, reply) => self.reply(*step, reply),
            Verdict::Lost(failure) => self.failure(failure),
            Verdict::Unanswered(failure) => self.no_answer(&format!("all was sent, and then: {failure}")),
            Verdict::NotOffered(Need::Smtputf8) => self.lack(6, 7, "the server does not offer SMTPUTF8".to_owned()),
            Verdict::NotOffered(Need::Size(most)) => {
                self.lack(3, 4, format!("the message is larger than the {most} octets that the server takes"))
            }
            // RFC 3463, 3.7: conversion required but not supported.
            Verdict::NotOffered(Need::EightBit(unfit)) => self.lack(
                6,
                3,
                format!("the server does not offer 8BITMIME, and the content cannot be converted: {unfit}"),
            ),
        }
    }

    pub(super) fn no_session(&self, why: &NoSession) -> Outcome {
        match why {
            NoSession::Connect { timed_out, detail } => {
                let kind = if *timed_out { TroubleKind::Timeout } else { TroubleKind::Connection };
                self.trouble(kind, (4, 1), detail)
            }
            NoSession::Session(failure) => self.failure(failure),
        }
    }

    /// The session failed with nothing handed over.
    fn failure(&self, failure: &Failure) -> Outcome {
        let text = failure.to_string();
        match failure {
            Failure::Refused(step, reply) => self.reply(*step, reply),
            Failure::NoStartTls => self.trouble(TroubleKind::Tls, (7, 10), &text),
            Failure::NoAuth => self.trouble(TroubleKind::Credentials, (7, 4), &text),
            Failure::ClearPassword => self.trouble(TroubleKind::Credentials, (7, 11), &text),
            Failure::Garbage { .. } => self.trouble(TroubleKind::Server, (5, 0), &text),
            Failure::Broken { how: Break::TimedOut, .. } => self.trouble(TroubleKind::Timeout, (4, 2), &text),
            Failure::Broken { how: Break::Closed | Break::Io(_), .. } => {
                self.trouble(TroubleKind::Connection, (4, 2), &text)
            }
            Failure::Broken { how: Break::Tls(_), .. } => self.trouble(TroubleKind::Tls, (7, 5), &text),
            // The queue's fault, not the provider's.
            Failure::Broken { how: Break::Content(_), .. } => {
                Outcome::Deferred(Diagnosis::local(EnhancedStatus::new(Severity::Transient, 3, 0), text))
            }
        }
    }

    fn reply(&self, step: Step, reply: &Reply) -> Outcome {
        let said = self.said(step, reply);
        // Nothing but the reply to the content is an acceptance of the message (RFC 5321, 4.2.5).
        if step == Step::Content && reply.is_positive() {
            let provider_id = provider_id(reply);
            return Outcome::Delivered { diagnosis: said, provider_id, dsn: self.dsn };
        }
        if let Peer::SmartHost(Some(flavor)) = self.peer
            && let Some(class) = flavor::classify(flavor, reply.code, &reply.text())
        {
            return self.class(class, flavor, said);
        }
        match step {
            Step::Greeting | Step::Hello | Step::SecureHello if is_throttling(reply) => throttled(said),
            Step::Greeting | Step::Hello | Step::SecureHello | Step::Reset | Step::Quit => {
                unavailable(TroubleKind::Server, said)
            }
            Step::StartTls => unavailable(TroubleKind::Tls, said),
            // 432 wants a new password (RFC 4954, section 6); other 4yz are the server's own trouble.
            Step::Auth if reply.is_permanent() || reply.code == 432 => unavailable(TroubleKind::Credentials, said),
            Step::Auth => unavailable(TroubleKind::Server, said),
            Step::Mail | Step::Rcpt | Step::Data | Step::Content if reply.is_permanent() => {
                self.permanent(step, reply, said)
            }
            Step::Mail | Step::Rcpt | Step::Data | Step::Content => match self.peer {
                _ if is_throttling(reply) => throttled(said),
                Peer::SmartHost(_) if reply.code == 421 => unavailable(TroubleKind::Server, said),
                Peer::SmartHost(_) | Peer::Exchanger => Outcome::Deferred(said),
            },
        }
    }

    fn permanent(&self, step: Step, reply: &Reply, said: Diagnosis) -> Outcome {
        let login = matches!(reply.code, 530 | 534 | 535 | 538);
        let size = (said.status.subject(), said.status.detail()) == (3, 4);
        match self.peer {
            Peer::SmartHost(_) if login => unavailable(TroubleKind::Credentials, said),
            // RFC 3207, section 4: this exchanger takes nothing without STARTTLS.
            Peer::Exchanger if reply.code == 530 && said.text.to_ascii_uppercase().contains("STARTTLS") => {
                unavailable(TroubleKind::Tls, said)
            }
            Peer::SmartHost(_) | Peer::Exchanger if size && step != Step::Rcpt => {
                Outcome::Unsupported(Lack::Message(said))
            }
            Peer::SmartHost(_) | Peer::Exchanger if size && reply.status.is_some() => {
                Outcome::Unsupported(Lack::Message(said))
            }
            Peer::SmartHost(_) | Peer::Exchanger => Outcome::Rejected(said),
        }
    }

    fn class(&self, class: Class, flavor: Flavor, said: Diagnosis) -> Outcome {
        match class {
            Class::Throttled => {
                Outcome::Throttled { retry_after: flavor::retry_after(&said.text, self.now), diagnosis: said }
            }
            Class::Quota => unavailable(TroubleKind::Quota { retry_after: None }, said),
            Class::Credentials => unavailable(TroubleKind::Credentials, said),
            Class::Account => unavailable(TroubleKind::Account, said),
            Class::Server => unavailable(TroubleKind::Server, said),
            // Where it is a recipient that must be verified, the account is still in the sandbox: nobody gets mail.
            Class::Sender if flavor == Flavor::Ses && self.names_a_recipient(&said.text) => {
                unavailable(TroubleKind::Account, said)
            }
            Class::Sender => Outcome::Unsupported(Lack::Sender(said)),
            Class::Later => Outcome::Deferred(said),
            Class::Unsupported => Outcome::Unsupported(Lack::Message(said)),
            Class::Message | Class::Recipient => Outcome::Rejected(said),
        }
    }

    fn names_a_recipient(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let named = |address: &Address| text.contains(&address.to_string().to_lowercase());
        let recipients = self.recipients.iter().map(|recipient| &recipient.address);
        !self.sender.is_some_and(named) && recipients.into_iter().any(named)
    }

    fn said(&self, step: Step, reply: &Reply) -> Diagnosis {
        Diagnosis::remote(self.remote, reply.code, status_of(step, reply), reply.text())
    }

    fn trouble(&self, kind: TroubleKind, (subject, detail): (u16, u16), text: &str) -> Outcome {
        let status = EnhancedStatus::new(Severity::Transient, subject, detail);
        unavailable(kind, Diagnosis::about(self.remote, status, text))
    }

    fn lack(&self, subject: u16, detail: u16, text: String) -> Outcome {
        let status = EnhancedStatus::new(Severity::Permanent, subject, detail);
        Outcome::Unsupported(Lack::Message(Diagnosis::about(self.remote, status, text)))
    }

    fn no_answer(&self, text: &str) -> Outcome {
        Outcome::Unknown(Diagnosis::about(self.remote, EnhancedStatus::new(Severity::Transient, 4, 2), text))
    }
}

fn unavailable(kind: TroubleKind, diagnosis: Diagnosis) -> Outcome {
    Outcome::Unavailable(Trouble { kind, diagnosis })
}

fn throttled(diagnosis: Diagnosis) -> Outcome {
    Outcome::Throttled { retry_after: None, diagnosis }
}

/// 421 or 451 with a 4.7.x of its own.
pub(super) fn is_throttling(reply: &Reply) -> bool {
    let text = reply.text().to_ascii_lowercase();
    matches!(reply.code, 421 | 451)
        && reply.status.is_some_and(|status| status.subject() == 7)
        && !text.contains("greylist")
        && !text.contains("graylist")
}

/// The id that a final reply gives the message: `queued as X` (Postfix, SendGrid), `Ok X` (SES), `OK id=X` (Exim).
fn provider_id(reply: &Reply) -> Option<ProviderId> {
    // The latter is Exim's word, behind the octets of a chunk.
    const MARKS: [&str; 2] = ["queued as ", "ok id="];
    let text = reply.text();
    let lower = text.to_ascii_lowercase();
    let marked = MARKS.iter().find_map(|mark| Some(lower.find(mark)? + mark.len()));
    let rest = match marked {
        Some(at) => text.get(at..)?,
        None => {
            let (ok, rest) = text.split_once(' ')?;
            // Anything but a single word is prose.
            if !ok.eq_ignore_ascii_case("ok") || rest.trim().contains(' ') {
                return None;
            }
            rest
        }
    };
    let word = rest.split_whitespace().next()?;
    let id = word.trim_matches(['<', '>', '.', ',', ';', '"', '\'']);
    (!id.is_empty()).then(|| ProviderId(id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> Reply {
        let (code, rest) = line.split_once(' ').unwrap();
        let (status, text) = match rest.split_once(' ') {
            Some((first, text)) if first.parse::<EnhancedStatus>().is_ok() => (first.parse().ok(), text),
            _ => (None, rest),
        };
        Reply { code: code.parse().unwrap(), status, lines: vec![text.to_owned()] }
    }

    /// The outcome in short: its name, and the kind of trouble.
    fn brief(peer: Peer, step: Step, line: &str) -> String {
        let (sender, to) = ("s@a.example".parse().unwrap(), Recipient::new("r@b.example".parse().unwrap()));
        let recipients = [&to];
        let now = Timestamp::UNIX_EPOCH;
        let judge = Judge { peer, remote: "mx", sender: Some(&sender), recipients: &recipients, now, dsn: false };
        match judge.outcome(&Verdict::Replied(step, reply(line))) {
            Outcome::Unavailable(trouble) => format!("unavailable {:?}", trouble.kind),
            Outcome::Unsupported(Lack::Sender(_)) => "unsupported sender".to_owned(),
            outcome => outcome.name().to_owned(),
        }
    }

    #[test]
    fn replies_of_any_server() {
        for (step, line, mx, smart_host) in [
            (Step::Content, "250 2.0.0 ok", "delivered", "delivered"),
            (Step::Greeting, "421 busy", "unavailable Server", "unavailable Server"),
            (Step::Greeting, "554 no", "unavailable Server", "unavailable Server"),
            (Step::Greeting, "421 4.7.0 too many connections", "throttled", "throttled"),
            (Step::Hello, "550 no", "unavailable Server", "unavailable Server"),
            (Step::StartTls, "454 no", "unavailable Tls", "unavailable Tls"),
            (Step::Auth, "535 5.7.8 no", "unavailable Credentials", "unavailable Credentials"),
            (Step::Auth, "432 4.7.12 new password", "unavailable Credentials", "unavailable Credentials"),
            (Step::Auth, "454 4.7.0 later", "unavailable Server", "unavailable Server"),
            (Step::Mail, "451 later", "deferred", "deferred"),
            (Step::Mail, "421 closing", "deferred", "unavailable Server"),
            (Step::Mail, "421 4.7.28 rate", "throttled", "throttled"),
            (Step::Rcpt, "451 4.7.1 slow down", "throttled", "throttled"),
            (Step::Rcpt, "451 4.7.1 Greylisting in action", "deferred", "deferred"),
            (Step::Rcpt, "450 4.7.1 policy", "deferred", "deferred"),
            (Step::Rcpt, "450 4.2.1 later", "deferred", "deferred"),
            (Step::Rcpt, "550 5.1.1 no such user", "rejected", "rejected"),
            (Step::Rcpt, "552 5.2.2 full", "rejected", "rejected"),
            (Step::Rcpt, "552 too many recipients", "deferred", "deferred"),
            (Step::Rcpt, "452 4.5.3 too many recipients", "deferred", "deferred"),
            (Step::Rcpt, "552 5.3.4 too big for him", "unsupported", "unsupported"),
            (Step::Mail, "552 too big", "unsupported", "unsupported"),
            (Step::Content, "552 5.3.4 too big", "unsupported", "unsupported"),
            (Step::Content, "552 5.2.2 full", "rejected", "rejected"),
            (Step::Content, "554 5.7.1 spam", "rejected", "rejected"),
            (Step::Data, "554 no", "rejected", "rejected"),
            (Step::Content, "452 4.3.1 disk full", "deferred", "deferred"),
            (Step::Mail, "530 5.7.0 Authentication required", "rejected", "unavailable Credentials"),
            (Step::Mail, "530 5.7.0 Must issue a STARTTLS command first", "unavailable Tls", "unavailable Credentials"),
            (Step::Mail, "535 5.7.3 no", "rejected", "unavailable Credentials"),
        ] {
            assert_eq!(brief(Peer::Exchanger, step, line), mx, "{step}: {line}");
            assert_eq!(brief(Peer::SmartHost(None), step, line), smart_host, "{step}: {line}");
        }
    }

    #[test]
    fn replies_of_the_providers() {
        let unverified =
            "Email address is not verified. The following identities failed the check in region EU-WEST-1:";
        for (flavor, step, line, expected) in [
            (
                Flavor::SendGrid,
                Step::Auth,
                "451 Authentication failed: Maximum credits exceeded",
                "unavailable Quota { retry_after: None }",
            ),
            (Flavor::Ses, Step::Content, "454 Throttling failure: Maximum sending rate exceeded.", "throttled"),
            (
                Flavor::Ses,
                Step::Content,
                &format!("554 Message rejected: {unverified} s@a.example"),
                "unsupported sender",
            ),
            (
                Flavor::Ses,
                Step::Content,
                &format!("554 Message rejected: {unverified} R@B.example"),
                "unavailable Account",
            ),
            (
                Flavor::Ses,
                Step::Content,
                &format!("554 Message rejected: {unverified} s@a.example, r@b.example"),
                "unsupported sender",
            ),
            (Flavor::Ses, Step::Rcpt, "550 5.1.1 no such user", "rejected"),
            (Flavor::Ses, Step::Content, "250 Ok 0102", "delivered"),
            (Flavor::Mailgun, Step::Rcpt, "550 cannot parse to address", "rejected"),
        ] {
            assert_eq!(brief(Peer::SmartHost(Some(flavor)), step, line), expected, "{line}");
        }
    }

    #[test]
    fn ids_of_final_replies() {
        for (line, id) in [
            ("250 2.0.0 Ok: queued as 4XyZ", Some("4XyZ")),
            ("250 Ok: queued as <abc-1>", Some("abc-1")),
            ("250 2.6.0 message queued as 01J.", Some("01J")),
            ("250 Ok 0102018f-abc-000000", Some("0102018f-abc-000000")),
            ("250 OK id=1abc-0001-2x", Some("1abc-0001-2x")),
            ("250  325 byte chunk, total 325 OK id=1xWb7H-0000z7-2g", Some("1xWb7H-0000z7-2g")),
            ("250 Ok message accepted", None),
            ("250 2.0.0 fine", None),
            ("250 ok", None),
            ("250 queued as ", None),
        ] {
            assert_eq!(provider_id(&reply(line)).map(|id| id.0).as_deref(), id, "{line}");
        }
    }
}
