//! The certificate of the listeners: PEM files, read once, with errors that name the file and the remedy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::client_cert;
use crate::config::TlsFiles;

/// Why the listeners can have no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(
        "cannot read {file}: {error}; `tls` in waypost.yaml names it, and the relay's user must be able to read it"
    )]
    Read { file: PathBuf, error: io::Error },
    #[error("{file} is no PEM file: {error}")]
    Pem { file: PathBuf, error: pem::Error },
    #[error("{file} has no certificate: it must hold the server's certificate in PEM form, then those that issued it")]
    NoCertificate { file: PathBuf },
    #[error("{file} has no private key in PEM form; one that is encrypted must be decrypted first (openssl pkey)")]
    NoKey { file: PathBuf },
    #[error("the certificate {certificate} and the key {key} cannot be used: {error}")]
    Unusable { certificate: PathBuf, key: PathBuf, error: rustls::Error },
    #[error(
        "{file} cannot be used as `client_ca`: {error}; it must hold the certificates of those who issue the clients'"
    )]
    ClientCa { file: PathBuf, error: String },
}

/// TLS 1.2 and 1.3 with the files' certificate; `client_ca` has those who issue the clients'. Blocking.
pub fn server_config(files: &TlsFiles, client_ca: Option<&Path>) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = certificates(&files.certificate)?;
    let key = key(&files.key)?;
    let unusable = |error| TlsError::Unusable { certificate: files.certificate.clone(), key: files.key.clone(), error };
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(client_cert::verifier(client_ca)?)
        .with_single_cert(certificates, key)
        .map_err(unusable)?;
    Ok(Arc::new(config))
}

pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| TlsError::Pem { file: file.to_owned(), error })?;
    if found.is_empty() { Err(TlsError::NoCertificate { file: file.to_owned() }) } else { Ok(found) }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { file: file.to_owned() },
        error => TlsError::Pem { file: file.to_owned(), error },
    })
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error| TlsError::Read { file: file.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let cert = write("cert.pem", &made.cert.pem());
        let key = write("key.pem", &made.signing_key.serialize_pem());
        let other = write("other.pem", &other.signing_key.serialize_pem());
        let empty = write("empty.pem", "");
        let none = folder.path().join("none.pem");
        let files =
            |certificate: &PathBuf, key: &PathBuf| TlsFiles { certificate: certificate.clone(), key: key.clone() };

        assert!(server_config(&files(&cert, &key), None).is_ok());
        for (certificate, key, words) in [
            (&none, &key, ["none.pem", "cannot read"]),
            (&cert, &none, ["none.pem", "cannot read"]),
            (&empty, &key, ["empty.pem", "no certificate"]),
            (&key, &key, ["key.pem", "no certificate"]),
            (&cert, &empty, ["empty.pem", "no private key"]),
            (&cert, &cert, ["cert.pem", "no private key"]),
            (&cert, &other, ["other.pem", "cannot be used"]),
        ] {
            let error = server_config(&files(certificate, key), None).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
