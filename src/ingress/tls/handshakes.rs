//! What a listener's handshakes are made of, made anew when the issuers of its clients' certificates change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::ResolvesServerCert;
use tracing::{info, warn};

use super::TlsError;
use crate::ingress::client_cert;
use crate::os::{FileStamp, stamp};

/// TLS 1.2 and 1.3, with the certificates of a store.
#[derive(Debug)]
pub struct Handshakes {
    /// Read at each handshake. A new one resumes no session of the one before: what a client has shown then may hold no more.
    config: RwLock<Arc<ServerConfig>>,
    certificates: Arc<dyn ResolvesServerCert>,
    client_ca: Option<Watched>,
}

/// The file of those who issue clients' certificates.
#[derive(Debug)]
struct Watched {
    file: PathBuf,
    /// How it was when it was last read, and when it was last found unusable.
    seen: Mutex<(Option<FileStamp>, Option<Option<FileStamp>>)>,
}

impl Handshakes {
    /// `client_ca` has those who issue the clients' certificates; without one no client is asked for any. Blocking.
    pub(super) fn new(certificates: Arc<dyn ResolvesServerCert>, client_ca: Option<PathBuf>) -> Result<Self, TlsError> {
        // Before it is read: what changes meanwhile is read again.
        let client_ca = client_ca.map(|file| Watched { seen: Mutex::new((stamp(&file), None)), file });
        let config = RwLock::new(config(&certificates, client_ca.as_ref())?);
        Ok(Self { config, certificates, client_ca })
    }

    /// For a handshake that begins now.
    pub(in crate::ingress) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn asks_for_certificates(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Reads the file anew where it has changed; what cannot be used is told once, and leaves the old issuers in force.
    /// True where new ones are in force. Blocking.
    pub(super) fn look(&self) -> bool {
        let Some(watched) = &self.client_ca else { return false };
        let mut seen = watched.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&watched.file);
        let file = watched.file.display();
        if now == seen.0 {
            if seen.1.take().is_some() {
                info!(%file, "the `client_ca` is as it was");
            }
            return false;
        }
        if seen.1 == Some(now) {
            return false;
        }
        match config(&self.certificates, Some(watched)) {
            Ok(config) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
                *seen = (now, None);
                info!(%file, "the `client_ca` has changed: clients' certificates are held to it");
                true
            }
            Err(error) => {
                seen.1 = Some(now);
                warn!(%error, "the `client_ca` has changed and cannot be used: the old one stays in force");
                false
            }
        }
    }
}

fn config(
    certificates: &Arc<dyn ResolvesServerCert>,
    client_ca: Option<&Watched>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(client_cert::verifier(client_ca.map(|watched| watched.file.as_path()))?)
        .with_cert_resolver(Arc::clone(certificates));
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::server::ResolvesServerCertUsingSni;

    use super::*;

    fn authority(name: &str) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn changed_issuers_are_in_force_and_bad_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let one = authority("one");
        fs::write(&file, &one).unwrap();
        let handshakes = Handshakes::new(Arc::new(ResolvesServerCertUsingSni::new()), Some(file.clone())).unwrap();
        assert!(handshakes.asks_for_certificates());
        let first = handshakes.current();
        assert!(!handshakes.look() && Arc::ptr_eq(&first, &handshakes.current()));

        fs::write(&file, format!("{one}{}", authority("two"))).unwrap();
        assert!(handshakes.look());
        let second = handshakes.current();
        assert!(!Arc::ptr_eq(&first, &second));

        for bad in ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&file, bad).unwrap();
            assert!(!handshakes.look() && !handshakes.look(), "{bad:?}");
            assert!(Arc::ptr_eq(&second, &handshakes.current()), "{bad:?}");
        }
        fs::remove_file(&file).unwrap();
        assert!(!handshakes.look());
        assert!(Arc::ptr_eq(&second, &handshakes.current()));
        fs::write(&file, &one).unwrap();
        assert!(handshakes.look());
        assert!(!Arc::ptr_eq(&second, &handshakes.current()));
    }
}
