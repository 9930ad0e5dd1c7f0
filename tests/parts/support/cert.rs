//! Certificates made for a test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A self-made certificate and its key, in PEM files; the certificate is its own authority.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    pub fn write(folder: &Path, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::create_dir_all(folder).unwrap();
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        Self { certificate, key }
    }

    /// `{certificate: …, key: …}` of waypost.yaml.
    pub fn as_tls(&self) -> String {
        format!("{{certificate: \"{}\", key: \"{}\"}}", self.certificate.display(), self.key.display())
    }
}
