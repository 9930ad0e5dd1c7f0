//! The part for programs: `message/delivery-status` (RFC 3464, section 2), with addresses beyond ASCII in the 7-bit form of
//! RFC 6533, section 3.

use super::lines::field;
use super::{Kind, Told};
use crate::mail::{Diagnosis, EnhancedStatus, Envelope, Recipient, Severity, date};
use crate::smtp::xtext;

/// The part, its own header included.
pub(super) fn part(kind: Kind, envelope: &Envelope, told: &[(&Recipient, &Told<'_>)], hostname: &str) -> String {
    let mut out = String::from("Content-Type: message/delivery-status\r\nContent-Description: Delivery report\r\n\r\n");
    field(&mut out, "Reporting-MTA", &format!("dns; {hostname}"));
    if let Some(envid) = &envelope.dsn.envid {
        // As the client meant it, so decoded; encoded where a field could not hold it.
        let plain = envid.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        field(&mut out, "Original-Envelope-Id", &if plain { envid.clone() } else { xtext::encode(envid) });
    }
    field(&mut out, "Arrival-Date", &date(envelope.accepted_at));
    for (recipient, told) in told {
        out.push_str("\r\n");
        if let Some(orcpt) = &recipient.orcpt {
            field(&mut out, "Original-Recipient", &format!("{}; {}", orcpt.kind, xtext::seven_bit(&orcpt.address)));
        }
        field(&mut out, "Final-Recipient", &typed(&recipient.address.to_string()));
        let (action, severity) = match kind {
            Kind::Failure => ("failed", Severity::Permanent),
            Kind::Delay { .. } => ("delayed", Severity::Transient),
            Kind::Relayed => ("relayed", Severity::Success),
            Kind::Delivered => ("delivered", Severity::Success),
        };
        field(&mut out, "Action", action);
        field(&mut out, "Status", &status(told.diagnosis.status, severity).to_string());
        if let Some(remote) = &told.diagnosis.remote {
            field(&mut out, "Remote-MTA", &format!("dns; {remote}"));
        }
        field(&mut out, "Diagnostic-Code", &diagnostic(told.diagnosis));
        if let Some(at) = told.last_attempt {
            field(&mut out, "Last-Attempt-Date", &date(at));
        }
        if let Kind::Delay { until } = kind {
            field(&mut out, "Will-Retry-Until", &date(until));
        }
    }
    out
}

/// A failure may be a transient one that lasted too long (RFC 3463, section 2); otherwise class and action go together.
fn status(status: EnhancedStatus, severity: Severity) -> EnhancedStatus {
    match (severity, status.severity()) {
        (Severity::Permanent, Severity::Permanent | Severity::Transient)
        | (Severity::Transient, Severity::Transient)
        | (Severity::Success, Severity::Success) => status,
        (Severity::Transient, Severity::Permanent) => EnhancedStatus::new(severity, status.subject(), status.detail()),
        (Severity::Permanent | Severity::Transient, Severity::Success)
        | (Severity::Success, Severity::Permanent | Severity::Transient) => EnhancedStatus::new(severity, 0, 0),
    }
}

fn diagnostic(diagnosis: &Diagnosis) -> String {
    let Diagnosis { code, status, text, remote } = diagnosis;
    match code {
        Some(code) if remote.is_some() && is_smtp(*code, *status) => format!("smtp; {code} {status} {text}"),
        Some(code) => format!("x-waypost; HTTP {code} {text}"),
        None => format!("x-waypost; {text}"),
    }
}

/// SMTP replies carry the class of their status (RFC 2034, 4); HTTP's
/// codes that could be replies come with another class (a 503 of an API is transient).
fn is_smtp(code: u16, status: EnhancedStatus) -> bool {
    let class = match status.severity() {
        Severity::Success => 2,
        Severity::Transient => 4,
        Severity::Permanent => 5,
    };
    code / 100 == class && matches!(code, 211..=299 | 421 | 430..=499 | 500..=599)
}

/// With its address type (RFC 3464, 2.3.2; RFC 6533, section 3).
fn typed(address: &str) -> String {
    let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
    format!("{kind}; {}", xtext::seven_bit(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_beyond_ascii_are_written_in_it() {
        assert_eq!(typed("a+b@c.example"), "rfc822; a+b@c.example");
        assert_eq!(typed("å+ü@c.example"), "utf-8; \\x{E5}\\x{2B}\\x{FC}@c.example");
    }

    #[test]
    fn replies_of_apis_are_not_called_smtp() {
        let permanent = EnhancedStatus::new(Severity::Permanent, 1, 1);
        let transient = EnhancedStatus::new(Severity::Transient, 4, 2);
        for (code, status, smtp) in [
            (550, permanent, true),
            (451, transient, true),
            (421, transient, true),
            (250, EnhancedStatus::new(Severity::Success, 1, 5), true),
            (202, EnhancedStatus::new(Severity::Success, 1, 5), false),
            (400, permanent, false),
            (429, transient, false),
            (401, transient, false),
            (413, permanent, false),
            (503, transient, false),
        ] {
            assert_eq!(is_smtp(code, status), smtp, "{code} {status}");
        }
    }

    #[test]
    fn class_and_action_go_together() {
        let expired = EnhancedStatus::new(Severity::Transient, 4, 7);
        assert_eq!(status(expired, Severity::Permanent), expired);
        assert_eq!(status(expired, Severity::Success).to_string(), "2.0.0");
        let full = EnhancedStatus::new(Severity::Permanent, 2, 2);
        assert_eq!(status(full, Severity::Transient).to_string(), "4.2.2");
    }
}
