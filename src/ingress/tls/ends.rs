//! When the certificates end that the relay shows.

use std::path::Path;

use super::pair::{Leaf, certificates};
use super::self_signed::CERTIFICATE;
use crate::config::{ListenerTls, Server, TlsFiles};
use crate::mail::Timestamp;

/// A certificate that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateEnd {
    pub file: String,
    pub names: String,
    pub not_after: Timestamp,
}

/// The files of all certificates that listeners and the admin server show.
pub fn certificate_files(server: &Server) -> Vec<TlsFiles> {
    let listeners = server.listeners.iter().filter(|listener| listener.tls != ListenerTls::None);
    let own = listeners.clone().filter_map(|listener| listener.certificate.as_ref());
    let admin = server.admin.iter().filter_map(|admin| admin.tls.as_ref());
    let given = own.chain(admin).chain(&server.tls).map(|certificate| certificate.files.clone());
    let mut files: Vec<TlsFiles> = Vec::new();
    for one in given {
        if !files.iter().any(|other| other.certificate == one.certificate) {
            files.push(one);
        }
    }
    if server.tls.is_empty() && listeners.clone().any(|listener| listener.certificate.is_none()) {
        let folder = server.queue.path.parent().unwrap_or(Path::new(""));
        files.push(TlsFiles { certificate: folder.join(CERTIFICATE), key: folder.to_owned() });
    }
    files
}

/// What the files say now; those that cannot be read are told elsewhere. Blocking.
pub fn certificate_ends(files: &[TlsFiles]) -> Vec<CertificateEnd> {
    let end = |files: &TlsFiles| {
        let chain = certificates(&files.certificate).ok()?;
        let leaf = Leaf::read(&files.certificate, chain.first()?).ok()?;
        let file = files.certificate.display().to_string();
        Some(CertificateEnd { file, names: leaf.names_shown(), not_after: leaf.dates.not_after })
    };
    files.iter().filter_map(end).collect()
}
