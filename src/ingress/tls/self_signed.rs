//! The certificate that the relay makes itself where none is given.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use jiff::civil::Date;
use jiff::tz::Offset;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

use super::TlsError;
use super::pair::Pair;
use crate::config::TlsFiles;
use crate::mail::{Domain, Timestamp};
use crate::os;

pub const CERTIFICATE: &str = "self-signed.cert.pem";
const KEY: &str = "self-signed.key.pem";
/// Clients may have been told to trust it: it stays for as long as the hardware.
const YEARS: i16 = 10;

/// The files of the relay's own certificate in `folder`, and whether they were made just now: what is there already is
/// used again while it is valid and names the host.
pub fn files(folder: &Path, hostname: &Domain, now: Timestamp) -> Result<(TlsFiles, bool), TlsError> {
    let files = TlsFiles { certificate: folder.join(CERTIFICATE), key: folder.join(KEY) };
    match Pair::read(&files) {
        Ok(pair) if pair.leaf.covers(hostname) && pair.leaf.doubt(now).is_none() => Ok((files, false)),
        Ok(_) | Err(_) => {
            make(&files, hostname, now)?;
            Ok((files, true))
        }
    }
}

fn make(files: &TlsFiles, hostname: &Domain, now: Timestamp) -> Result<(), TlsError> {
    let host = hostname.literal().map_or_else(|| hostname.as_str().to_owned(), |address| address.to_string());
    let mut names = vec![host.clone(), "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.dedup();
    let mut params = CertificateParams::new(names).map_err(TlsError::Make)?;
    params.distinguished_name.push(DnType::CommonName, host);
    let today = Offset::UTC.to_datetime(now).date();
    // A clock that is a little behind is no reason to refuse it.
    let from = today.yesterday().unwrap_or(today);
    let until = today.with().year(today.year().saturating_add(YEARS)).day(1).build().unwrap_or(today);
    let date = |day: Date| date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs());
    (params.not_before, params.not_after) = (date(from), date(until));
    let key = KeyPair::generate().map_err(TlsError::Make)?;
    let certificate = params.self_signed(&key).map_err(TlsError::Make)?;
    // The key first: a certificate without one is of no use to anybody.
    write(&files.key, &key.serialize_pem())?;
    write(&files.certificate, &certificate.pem())
}

/// Whole or not at all, and for the owner alone.
fn write(file: &Path, text: &str) -> Result<(), TlsError> {
    let fresh = file.with_extension("new");
    let written = (|| -> io::Result<()> {
        match fs::remove_file(&fresh) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut out = os::create_private(&fresh)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&fresh, file)?;
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or(Ok(()), os::sync_folder)
    })();
    written.map_err(|error| TlsError::Write { file: file.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_made_anew_when_it_is_of_no_use() {
        let folder = tempfile::tempdir().unwrap();
        let host: Domain = "relay.example".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let files = |host: &Domain, now: &str| {
            let (files, made) = super::files(folder.path(), host, at(now)).unwrap();
            let pair = Pair::read(&files).unwrap();
            assert!(pair.leaf.covers(host) && pair.leaf.covers(&"localhost".parse().unwrap()));
            assert_eq!(pair.leaf.doubt(at(now)), None);
            (made, fs::read(files.certificate).unwrap())
        };
        let (made, first) = files(&host, "2028-02-29T12:00:00Z");
        assert!(made);
        assert_eq!(files(&host, "2037-12-01T12:00:00Z"), (false, first.clone()));
        // Another name, the last days, a key that is gone: each makes another one.
        let other: Domain = "[192.0.2.1]".parse().unwrap();
        assert!(files(&other, "2028-02-29T12:00:00Z").0);
        assert!(files(&other, "2038-02-01T12:00:00Z").0);
        fs::remove_file(folder.path().join(KEY)).unwrap();
        assert!(files(&other, "2038-02-01T12:00:00Z").0);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(folder.path().join(KEY)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let missing = super::files(&folder.path().join("none"), &host, at("2028-01-01T00:00:00Z")).unwrap_err();
        assert!(missing.to_string().contains("self-signed.key.pem"), "{missing}");
    }
}
