//! Clients that show a certificate: one that was issued by the listener's `client_ca` signs its client in, as the user
//! whom its subject names.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConnection};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::tls::{TlsError, certificates};

/// Names longer than this are no user's.
const LONGEST: usize = 256;

/// Checks a certificate that a client shows; one that shows none is a stranger. `None`: no certificate is asked for.
pub(super) fn verifier(client_ca: Option<&Path>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(file) = client_ca else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let unusable = |error: String| TlsError::ClientCa { file: file.to_owned(), error };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()))
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// Whom the client's certificate names, where it showed one. It was checked within the handshake: rustls ends that where
/// it does not hold.
pub fn user(connection: &ServerConnection) -> Option<String> {
    subject(connection.peer_certificates()?.first()?)
}

/// The subject's common name; without one, the first e-mail address or DNS name of its alternative names.
fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let common = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = match common {
        Some(name) => name,
        None => certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => names.general_names.iter().find_map(|name| match name {
                GeneralName::RFC822Name(name) | GeneralName::DNSName(name) => Some(*name),
                _ => None,
            }),
            _ => None,
        })?,
    };
    let sound = !name.is_empty() && name.len() <= LONGEST && !name.contains(char::is_control);
    sound.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn named(common: Option<&str>, alternative: Vec<SanType>) -> Option<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params.subject_alt_names = alternative;
        subject(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn whom_a_certificate_names() {
        let dns = || SanType::DnsName("app.corp.example".try_into().unwrap());
        let mail = || SanType::Rfc822Name("app@corp.example".try_into().unwrap());
        let long = "x".repeat(300);
        for (common, alternative, user) in [
            (Some("billing"), vec![], Some("billing")),
            (Some("billing"), vec![dns()], Some("billing")),
            (Some("Bücher"), vec![], Some("Bücher")),
            (None, vec![dns(), mail()], Some("app.corp.example")),
            (None, vec![mail(), dns()], Some("app@corp.example")),
            (None, vec![SanType::IpAddress([127, 0, 0, 1].into())], None),
            (None, vec![], None),
            (Some("a\nb"), vec![dns()], None),
            (Some(long.as_str()), vec![], None),
        ] {
            assert_eq!(named(common, alternative).as_deref(), user, "{common:?}");
        }
        assert_eq!(subject(&CertificateDer::from(vec![0x30, 0x03, 1, 2])), None);
    }
}
