//! A certificate and its key, read from PEM files.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::Offset;
use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::TlsError;
use crate::config::TlsFiles;
use crate::mail::{Domain, Timestamp};

/// With less time than this left, renewing it has failed, or nobody does it.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

#[derive(Debug)]
pub struct Pair {
    pub key: Arc<CertifiedKey>,
    pub leaf: Leaf,
}

/// What the server's own certificate says.
#[derive(Debug)]
pub struct Leaf {
    /// DNS names of its subjectAltName in lower case, wildcards included.
    pub names: Vec<String>,
    addresses: Vec<IpAddr>,
    pub dates: Dates,
}

/// From when to when a certificate is valid.
#[derive(Debug)]
pub struct Dates {
    not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Pair {
    /// Blocking.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates(&files.certificate)?;
        let key = key(&files.key)?;
        let leaf = match chain.first() {
            Some(first) => Leaf::read(&files.certificate, first)?,
            None => return Err(TlsError::NoCertificate { file: files.certificate.clone() }),
        };
        match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
            Ok(key) => Ok(Self { key: Arc::new(key), leaf }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() })
            }
            Err(error) => {
                Err(TlsError::Unusable { certificate: files.certificate.clone(), key: files.key.clone(), error })
            }
        }
    }
}

impl Leaf {
    pub fn read(file: &Path, der: &[u8]) -> Result<Self, TlsError> {
        let unreadable = |error: String| TlsError::Unreadable { file: file.to_owned(), error };
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        let alternatives = certificate.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
        for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(octets) => addresses.extend(address(octets)),
                _ => {}
            }
        }
        Ok(Self { names, addresses, dates: Dates::of(&certificate) })
    }

    /// A client that looks for this host finds its name (RFC 6125, 6.4).
    pub fn covers(&self, host: &Domain) -> bool {
        match host.literal() {
            Some(address) => self.addresses.contains(&address),
            None => self.names.iter().any(|name| stands_for(name, host.as_str())),
        }
    }

    pub fn names_shown(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let names: Vec<String> = self.names.iter().cloned().chain(addresses).collect();
        if names.is_empty() { "no names".to_owned() } else { names.join(", ") }
    }

    /// What is doubtful about its dates, behind "the certificate".
    pub fn doubt(&self, now: Timestamp) -> Option<String> {
        self.dates.doubt(now, "clients that check it refuse it")
    }
}

impl Dates {
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self {
            not_before: Timestamp::from_second(validity.not_before.timestamp()).unwrap_or(Timestamp::MIN),
            not_after: Timestamp::from_second(validity.not_after.timestamp()).unwrap_or(Timestamp::MAX),
        }
    }

    /// What is doubtful about them, behind what they are of; `then` says what comes of a certificate that is not valid.
    pub fn doubt(&self, now: Timestamp, then: &str) -> Option<String> {
        let day = |at: Timestamp| Offset::UTC.to_datetime(at).date();
        if now < self.not_before {
            return Some(format!("is not valid before {}: {then} until then", day(self.not_before)));
        }
        let left = self.not_after.duration_since(now);
        let days = |span: SignedDuration| match span.as_hours() / 24 {
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        if left.is_negative() {
            let (on, ago) = (day(self.not_after), days(left.abs()));
            Some(format!("has expired on {on}, {ago} ago: {then}; renew it"))
        } else if left < SOON {
            Some(format!("expires on {}, in {}: renew it", day(self.not_after), days(left)))
        } else {
            None
        }
    }
}

/// `*.b.example` stands for every name that is one label longer than `b.example`.
pub fn stands_for(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file, "certificates")?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| TlsError::Pem { file: file.to_owned(), error })?;
    if found.is_empty() { Err(TlsError::NoCertificate { file: file.to_owned() }) } else { Ok(found) }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file, "the private key")?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { file: file.to_owned() },
        error => TlsError::Pem { file: file.to_owned(), error },
    })
}

fn read(file: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    let octets = fs::read(file).map_err(|error| TlsError::Read { file: file.to_owned(), error })?;
    if octets.trim_ascii().is_empty() { Err(TlsError::Empty { file: file.to_owned(), what }) } else { Ok(octets) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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
        let empty = write("empty.pem", "\n");
        let odd = write("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let none = folder.path().join("none.pem");
        let files =
            |certificate: &PathBuf, key: &PathBuf| TlsFiles { certificate: certificate.clone(), key: key.clone() };

        assert!(Pair::read(&files(&cert, &key)).is_ok());
        for (certificate, key, words, of_key) in [
            (&none, &key, ["none.pem", "cannot read"], false),
            (&cert, &none, ["none.pem", "cannot read"], true),
            (&empty, &key, ["empty.pem", "is empty"], false),
            (&key, &key, ["key.pem", "no certificate"], false),
            (&odd, &key, ["odd.pem", "cannot be read"], false),
            (&cert, &empty, ["empty.pem", "is empty"], true),
            (&cert, &cert, ["cert.pem", "no private key"], true),
            (&cert, &other, ["other.pem", "not that of the certificate"], true),
        ] {
            let error = Pair::read(&files(certificate, key)).unwrap_err();
            assert_eq!(error.is_of_key(key), of_key, "{error}");
            let error = error.to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn names_and_dates_are_read() {
        let mut params =
            rcgen::CertificateParams::new(["Mail.b.example", "*.c.example", "192.0.2.1"].map(str::to_owned)).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = Leaf::read(Path::new("x"), params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(leaf.names_shown(), "mail.b.example, *.c.example, 192.0.2.1");
        for (host, covered) in [
            ("mail.b.example", true),
            ("b.example", false),
            ("a.c.example", true),
            ("c.example", false),
            ("a.b.c.example", false),
            ("[192.0.2.1]", true),
            ("[192.0.2.2]", false),
        ] {
            assert_eq!(leaf.covers(&host.parse().unwrap()), covered, "{host}");
        }
        for (now, doubt) in [
            (
                "2025-12-31T00:00:00Z",
                Some("is not valid before 2026-01-01: clients that check it refuse it until then"),
            ),
            ("2026-01-02T00:00:00Z", None),
            ("2026-02-15T00:00:00Z", None),
            ("2026-02-15T00:00:01Z", Some("expires on 2026-03-01, in 13 days: renew it")),
            (
                "2026-03-03T12:00:00Z",
                Some("has expired on 2026-03-01, 2 days ago: clients that check it refuse it; renew it"),
            ),
        ] {
            assert_eq!(leaf.doubt(now.parse().unwrap()).as_deref(), doubt, "{now}");
        }
    }
}
