//! The certificates that a listener chooses from, and their files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, sign::SigningKey};
use tracing::{info, warn};

use super::pair::Pair;
use super::{TlsError, tell};
use crate::config::TlsFiles;
use crate::mail::Timestamp;
use crate::os::{FileStamp, stamp};

/// How the two files were when they were looked at; `None` where one is not there.
type Stamps = [Option<FileStamp>; 2];

#[derive(Debug)]
pub struct Store {
    watched: Mutex<Vec<Watched>>,
    /// Read at each handshake, written when a file has changed.
    chosen: RwLock<Arc<Choice>>,
}

/// A certificate in use, and what its files have come to since.
#[derive(Debug)]
struct Watched {
    files: TlsFiles,
    pair: Pair,
    stamps: Stamps,
    /// Files that were found unusable: a new certificate may be there before its key is, so that is told at the second look.
    failed: Option<(Stamps, bool)>,
    /// When its age was last told.
    aged: Timestamp,
}

/// What a look found at a certificate.
#[derive(Debug)]
pub enum Found {
    Renewed,
    /// The old one stays.
    Kept(TlsError),
}

/// Which certificate a client gets, by the name that it asks for.
#[derive(Debug, Default)]
struct Choice {
    /// All, in the order of the configuration.
    all: Vec<Arc<CertifiedKey>>,
    /// Each name with its certificates, in that order; wildcards by what stands behind `*.`.
    names: HashMap<String, Vec<Arc<CertifiedKey>>>,
    wildcards: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Store {
    /// Reads all of the files.
    pub fn load(files: Vec<TlsFiles>, now: Timestamp) -> Result<Self, TlsError> {
        let mut watched = Vec::with_capacity(files.len());
        for files in files {
            // Before they are read: what changes meanwhile is read again.
            let stamps = stamps(&files);
            let pair = Pair::read(&files)?;
            tell(&files, &pair, now, "loaded");
            watched.push(Watched { files, pair, stamps, failed: None, aged: now });
        }
        let chosen = RwLock::new(Arc::new(Choice::of(&watched)));
        Ok(Self { watched: Mutex::new(watched), chosen })
    }

    /// Reads what has changed. Blocking.
    pub fn look(&self, now: Timestamp) -> Vec<Found> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<Found> = watched.iter_mut().filter_map(|watched| watched.look(now)).collect();
        for found in &found {
            if let Found::Kept(error) = found {
                warn!(%error, "a certificate's files have changed and cannot be used: the old one stays in use");
            }
        }
        if found.iter().any(|found| matches!(found, Found::Renewed)) {
            *self.chosen.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Choice::of(&watched));
        }
        found
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let chosen = Arc::clone(&self.chosen.read().unwrap_or_else(PoisonError::into_inner));
        chosen.choose(name, schemes)
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

impl Watched {
    fn look(&mut self, now: Timestamp) -> Option<Found> {
        const DAY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
        if now.duration_since(self.aged) >= DAY {
            self.aged = now;
            if let Some(doubt) = self.pair.leaf.doubt(now) {
                warn!(certificate = %self.files.certificate.display(), "the certificate {doubt}");
            }
        }
        let stamps = stamps(&self.files);
        if stamps == self.stamps {
            if self.failed.take().is_some_and(|(_, told)| told) {
                info!(certificate = %self.files.certificate.display(), "the certificate's files are as they were");
            }
            return None;
        }
        let failed = match self.failed {
            Some((known, told)) if known == stamps => Some(told),
            Some(_) | None => None,
        };
        if failed == Some(true) {
            return None;
        }
        match Pair::read(&self.files) {
            Ok(pair) => {
                tell(&self.files, &pair, now, "renewed");
                (self.pair, self.stamps, self.failed) = (pair, stamps, None);
                Some(Found::Renewed)
            }
            Err(error) => {
                self.failed = Some((stamps, failed.is_some()));
                failed.map(|_| Found::Kept(error))
            }
        }
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    [stamp(&files.certificate), stamp(&files.key)]
}

impl Choice {
    fn of(watched: &[Watched]) -> Self {
        let mut choice = Self::default();
        for Watched { pair, .. } in watched {
            choice.all.push(Arc::clone(&pair.key));
            for name in &pair.leaf.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut choice.wildcards, parent),
                    None => (&mut choice.names, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(Arc::clone(&pair.key));
            }
        }
        choice
    }

    /// Of those that bear the name, or else of all, the first one that the client can check: an RSA and an ECDSA certificate
    /// may stand beside each other. One that it cannot still tells it what is wrong.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let named = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase()).and_then(|name| {
            let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
            self.names.get(&name).or_else(wildcard)
        });
        let candidates = named.unwrap_or(&self.all);
        let fits = |key: &&Arc<CertifiedKey>| SigningKey::choose_scheme(&*key.key, schemes).is_some();
        candidates.iter().find(fits).or_else(|| candidates.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn write(folder: &Path, name: &str, names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> TlsFiles {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let cert = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let files = TlsFiles {
            certificate: folder.join(format!("{name}.cert.pem")),
            key: folder.join(format!("{name}.key.pem")),
        };
        fs::write(&files.certificate, cert.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    const P256: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
    const ED: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ED25519;
    const ANY: [SignatureScheme; 2] = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

    fn now() -> Timestamp {
        "2026-11-25T00:00:00Z".parse().unwrap()
    }

    /// The first name of the certificate that a client gets.
    fn chosen(store: &Store, name: Option<&str>, schemes: &[SignatureScheme]) -> String {
        let key = store.choose(name, schemes).unwrap();
        let watched = store.watched.lock().unwrap();
        watched.iter().find(|watched| Arc::ptr_eq(&watched.pair.key, &key)).unwrap().pair.leaf.names[0].clone()
    }

    #[test]
    fn the_name_decides_and_the_first_is_for_all_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::load(
            vec![
                write(folder.path(), "a", &["a.example"], P256),
                write(folder.path(), "b", &["mail.b.example", "*.b.example"], P256),
                write(folder.path(), "c", &["c.example", "mail.b.example"], ED),
            ],
            now(),
        )
        .unwrap();
        for (name, got) in [
            (None, "a.example"),
            (Some("a.example"), "a.example"),
            (Some("elsewhere.example"), "a.example"),
            (Some("MAIL.b.example"), "mail.b.example"),
            (Some("mail.b.example."), "mail.b.example"),
            (Some("x.b.example"), "mail.b.example"),
            (Some("x.y.b.example"), "a.example"),
            (Some("b.example"), "a.example"),
            (Some("c.example"), "c.example"),
        ] {
            assert_eq!(chosen(&store, name, &ANY), got, "{name:?}");
        }
        // Who can check but one kind gets that, where there is one.
        let ed = [SignatureScheme::ED25519];
        assert_eq!(chosen(&store, Some("mail.b.example"), &ed), "c.example");
        assert_eq!(chosen(&store, None, &ed), "c.example");
        assert_eq!(chosen(&store, Some("a.example"), &ed), "a.example");
    }

    #[test]
    fn changed_files_take_their_place_and_bad_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), "it", &["old.example"], P256);
        let store = Store::load(vec![files.clone()], now()).unwrap();
        let name = || chosen(&store, None, &ANY);
        assert!(store.look(now()).is_empty());

        // A certificate whose key is not there yet is no word worth; with its key it is in use.
        let next = write(folder.path(), "next", &["new.example"], P256);
        fs::rename(&next.certificate, &files.certificate).unwrap();
        assert!(store.look(now()).is_empty());
        fs::rename(&next.key, &files.key).unwrap();
        assert!(matches!(store.look(now())[..], [Found::Renewed]));
        assert_eq!(name(), "new.example");

        // What cannot be used is told once, and the old one stays.
        for bad in [&b""[..], b"no PEM", b"-----BEGIN CERTIFICATE-----\n"] {
            let good = fs::read(&files.certificate).unwrap();
            fs::write(&files.certificate, bad).unwrap();
            assert!(store.look(now()).is_empty());
            assert!(
                matches!(&store.look(now())[..], [Found::Kept(error)] if error.to_string().contains("it.cert.pem"))
            );
            assert!(store.look(now()).is_empty());
            assert_eq!(name(), "new.example");
            fs::write(&files.certificate, good).unwrap();
            assert!(matches!(store.look(now())[..], [Found::Renewed]));
        }
        fs::remove_file(&files.key).unwrap();
        assert!(store.look(now()).is_empty());
        assert!(matches!(&store.look(now())[..], [Found::Kept(error)] if error.to_string().contains("it.key.pem")));
        assert_eq!(name(), "new.example");
    }

    /// As Kubernetes mounts a secret, and as certbot names the live certificate.
    #[cfg(unix)]
    #[test]
    fn symbolic_links_are_seen_to_change() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for (release, name) in [("..1", "one.example"), ("..2", "two.example")] {
            fs::create_dir(path.join(release)).unwrap();
            write(&path.join(release), "tls", &[name], P256);
        }
        symlink("..1", path.join("..data")).unwrap();
        symlink("..data/tls.cert.pem", path.join("cert.pem")).unwrap();
        symlink("..data/tls.key.pem", path.join("key.pem")).unwrap();
        let files = TlsFiles { certificate: path.join("cert.pem"), key: path.join("key.pem") };
        let store = Store::load(vec![files], now()).unwrap();
        assert_eq!(chosen(&store, None, &ANY), "one.example");
        symlink("..2", path.join("..data_tmp")).unwrap();
        fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
        assert!(matches!(store.look(now())[..], [Found::Renewed]));
        assert_eq!(chosen(&store, None, &ANY), "two.example");
        // One link after the other.
        fs::remove_file(path.join("cert.pem")).unwrap();
        symlink("..1/tls.cert.pem", path.join("cert.pem")).unwrap();
        assert!(store.look(now()).is_empty());
        fs::remove_file(path.join("key.pem")).unwrap();
        symlink("..1/tls.key.pem", path.join("key.pem")).unwrap();
        assert!(matches!(store.look(now())[..], [Found::Renewed]));
        assert_eq!(chosen(&store, None, &ANY), "one.example");
    }
}
