//! TLS towards servers: with the certificate checked against the system's roots and those of the `ca` file, or unchecked
//! for encryption that asks nobody's name (RFC 7435).

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::environment::TransportError;

/// Whether the server has to prove its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Unchecked,
    Certificate,
}

/// The TLS of one provider.
pub(super) struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    /// Made when first needed: reading the system's roots takes a while, and opportunistic TLS never needs them.
    checked: OnceLock<Result<Arc<ClientConfig>, String>>,
    unchecked: Arc<ClientConfig>,
}

impl Tls {
    /// `ca`: a PEM file with roots to be trusted beside the system's.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, TransportError> {
        let extra_roots = ca.map(read_roots).transpose()?.unwrap_or_default();
        let unchecked = client_config(Arc::new(Unchecked(provider()))).map_err(TransportError::Roots)?;
        Ok(Self { extra_roots, checked: OnceLock::new(), unchecked })
    }

    /// For providers that always check: an error now rather than at each attempt.
    pub(super) fn must_check(&self) -> Result<(), TransportError> {
        self.checked().map(drop).map_err(TransportError::Roots)
    }

    fn checked(&self) -> Result<Arc<ClientConfig>, String> {
        let made = self.checked.get_or_init(|| {
            let verifier = Verifier::new_with_extra_roots(self.extra_roots.iter().cloned(), provider())
                .map_err(|error| error.to_string())?;
            client_config(Arc::new(verifier))
        });
        made.clone()
    }

    /// The handshake; `name` is what the certificate has to be for. Fails with words for people.
    pub(super) async fn handshake<S>(&self, stream: S, name: &str, check: Check) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match check {
            Check::Certificate => self.checked()?,
            Check::Unchecked => self.unchecked.clone(),
        };
        let name = match ServerName::try_from(name.to_owned()) {
            Ok(name) => name,
            // Nobody's name is checked; some name must be given.
            Err(_) if check == Check::Unchecked => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
            Err(_) => return Err(format!("'{name}' is no name that a certificate could have")),
        };
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| words(&error))
    }
}

/// Why there is no TLS, for people: rustls prints some of its errors as the names that they have in its code.
fn words(error: &std::io::Error) -> String {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let word = match of_tls {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::UnknownIssuer => {
                "its certificate comes from an issuer that is not trusted here: `ca` may name a file with that issuer's certificate"
            }
            CertificateError::BadSignature => "its certificate has a wrong signature",
            CertificateError::Revoked => "its certificate is revoked",
            // Of the verifier's library, which this one hides.
            CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
                "its certificate is one of an issuer (CA:TRUE), which no server may show"
            }
            _ => return error.to_string(),
        },
        Some(rustls::Error::InvalidMessage(_)) => "what it answers is no TLS",
        _ => return error.to_string(),
    };
    word.to_owned()
}

/// TLS with whomever it may be, for a look at one's own listeners.
pub async fn unchecked_tls<S>(stream: S, name: &str) -> Result<TlsStream<S>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let tls = Tls::new(None).map_err(|error| error.to_string())?;
    tls.handshake(stream, name, Check::Unchecked).await
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn client_config(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let wrong = |detail: String| TransportError::Ca { path: PathBuf::from(path), detail };
    let roots: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| wrong(error.to_string()))?;
    if roots.is_empty() { Err(wrong("it holds no PEM certificate".to_owned())) } else { Ok(roots) }
}

/// Takes any certificate: an attacker in the way could show any, and encryption still keeps out those who only listen.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
