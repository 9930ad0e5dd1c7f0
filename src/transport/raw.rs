//! What the APIs that take a message raw have in common: the header as it may go there, and what no parameter can carry.

use crate::config::Flavor;
use crate::mail::{Diagnosis, EnhancedStatus, Field, HeaderSection};
use crate::transport::http::permanent;
use crate::transport::{Attempt, Lack, flavor};

/// The header section without what would steer the provider's service, and without blind copies: recipients go by
/// parameter.
pub(super) fn kept(header: HeaderSection, provider: Flavor) -> HeaderSection {
    let gone = |field: &Field<'_>| {
        let steers_bounces = provider == Flavor::Ses && field.is("return-path");
        flavor::steers(provider, field.name()) || steers_bounces || field.is("bcc") || field.is("resent-bcc")
    };
    header.without(gone)
}

/// A header section beyond ASCII is a message under SMTPUTF8 (RFC 6531, 3.6), which no API knows.
pub(super) fn smtputf8_lack(attempt: &Attempt, header: &HeaderSection, host: &str) -> Option<Lack> {
    let needed = attempt.envelope.smtputf8 && !header.octets().is_ascii();
    needed.then(|| lack(host, permanent(6, 7), "the API has no SMTPUTF8, and the header section is not ASCII"))
}

pub(super) fn lack(host: &str, status: EnhancedStatus, text: impl Into<String>) -> Lack {
    Lack::Message(Diagnosis::about(host, status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steering_fields_and_blind_copies_stay_behind() {
        let header = || {
            HeaderSection::new(bytes::Bytes::from_static(
                b"Return-Path: <a@b.example>\r\nX-Mailgun-Tag: a\r\nX-SES-Configuration-Set: b\r\nBCC: c@d.example\r\nResent-Bcc: e\r\nSubject: s\r\n\r\n",
            ))
        };
        let mailgun = kept(header(), Flavor::Mailgun);
        assert_eq!(
            &mailgun.octets()[..],
            b"Return-Path: <a@b.example>\r\nX-SES-Configuration-Set: b\r\nSubject: s\r\n\r\n"
        );
        let ses = kept(header(), Flavor::Ses);
        assert_eq!(&ses.octets()[..], b"X-Mailgun-Tag: a\r\nSubject: s\r\n\r\n");
    }
}
