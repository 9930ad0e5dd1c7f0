//! The enhanced status of replies that have none (RFC 3463; the pairs are those of RFC 5248, section 2.4, where it has
//! one), so that DSNs always say what kind of trouble it was.

use super::Step;
use crate::mail::{EnhancedStatus, Severity};
use crate::smtp::reply::Reply;

/// The reply's own enhanced status, or what its code and the command that it answers say.
pub fn status_of(step: Step, reply: &Reply) -> EnhancedStatus {
    if let Some(status) = reply.status {
        return status;
    }
    let severity = match reply.code / 100 {
        2 | 3 => Severity::Success,
        4 => Severity::Transient,
        _ => Severity::Permanent,
    };
    let (subject, detail) = match (reply.code, step) {
        (250 | 251, Step::Rcpt) => (1, 5),
        (421, _) => (3, 2),
        (450, Step::Rcpt) => (2, 0),
        (451, _) => (3, 0),
        (452, _) => (3, 1),
        (454, _) => (7, 0),
        (500, _) => (5, 2),
        (502 | 503, _) => (5, 1),
        (455 | 501 | 504 | 555, _) => (5, 4),
        (521, _) => (3, 2),
        (530, _) => (7, 0),
        (534, _) => (7, 9),
        (535, _) => (7, 8),
        (538, _) => (7, 11),
        (550, Step::Rcpt) => (1, 0),
        (551, Step::Rcpt) => (1, 6),
        (552, Step::Rcpt) => (2, 2),
        (552, _) => (3, 4),
        (553, Step::Rcpt) => (1, 3),
        (553, Step::Mail) => (1, 7),
        (556, _) => (1, 10),
        _ => (0, 0),
    };
    EnhancedStatus::new(severity, subject, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_fits_code_and_command() {
        for (step, code, status) in [
            (Step::Rcpt, 550, "5.1.0"),
            (Step::Content, 550, "5.0.0"),
            (Step::Rcpt, 552, "5.2.2"),
            (Step::Content, 552, "5.3.4"),
            (Step::Mail, 452, "4.3.1"),
            (Step::Auth, 535, "5.7.8"),
            (Step::Content, 250, "2.0.0"),
            (Step::Rcpt, 499, "4.0.0"),
            (Step::Data, 354, "2.0.0"),
        ] {
            assert_eq!(status_of(step, &Reply::plain(code, "")).to_string(), status, "{step} {code}");
        }
        let own = Reply::new(550, "5.7.26".parse().unwrap(), "");
        assert_eq!(status_of(Step::Rcpt, &own).to_string(), "5.7.26");
    }
}
