//! What is wrong or doubtful with the certificates that a configuration names.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::pair::{Dates, Pair, certificates};
use crate::config::{ClientCa, Problem, Server, ServerCertificate, Severity};
use crate::ingress::client_cert;
use crate::mail::Timestamp;
use crate::os;

/// Reads all certificates and keys. Blocking.
pub fn problems(server: &Server, now: Timestamp) -> Vec<Problem> {
    let mut problems = Vec::new();
    covering(&server.tls, server, now, &mut problems);
    for listener in &server.listeners {
        covering(listener.certificate.as_slice(), server, now, &mut problems);
        if let Some(client_ca) = &listener.client_ca {
            issuers(client_ca, now, &mut problems);
        }
    }
    if let Some(certificate) = server.admin.as_ref().and_then(|admin| admin.tls.as_ref()) {
        judge(certificate, now, &mut problems);
    }
    problems
}

/// Certificates of which one is to bear the relay's name.
fn covering(certificates: &[ServerCertificate], server: &Server, now: Timestamp, problems: &mut Vec<Problem>) {
    let mut pairs = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        pairs.extend(judge(certificate, now, problems));
    }
    // Where one could not be read, it may be that one.
    if let Some(first) = certificates.first()
        && pairs.len() == certificates.len()
        && !pairs.iter().any(|pair| pair.leaf.covers(&server.hostname))
    {
        let names: Vec<String> = pairs.iter().map(|pair| pair.leaf.names_shown()).collect();
        let (host, names) = (&server.hostname, names.join(", "));
        let text = format!(
            "no certificate is for the hostname '{host}', but for {names}: clients that connect to that name and check it refuse it"
        );
        problems.push(Problem::at(first.certificate_place.clone(), Severity::Warning, text));
    }
}

/// Those who issue clients' certificates. One that has expired is still trusted (RFC 5280, 6.1.1, has no dates of a trust
/// anchor), and most likely forgotten.
fn issuers(client_ca: &ClientCa, now: Timestamp, problems: &mut Vec<Problem>) {
    let mut say = |severity, text| problems.push(Problem::at(client_ca.place.clone(), severity, text));
    if let Err(error) = client_cert::verifier(Some(&client_ca.file)) {
        return say(Severity::Error, error.to_string());
    }
    for certificate in certificates(&client_ca.file).into_iter().flatten() {
        let Ok((_, certificate)) = X509Certificate::from_der(&certificate) else { continue };
        if let Some(doubt) = Dates::of(&certificate).doubt(now, "the certificates that it has issued are valid no more")
        {
            let (file, subject) = (client_ca.file.display(), certificate.subject());
            say(Severity::Warning, format!("the issuer '{subject}' in {file} {doubt}"));
        }
    }
}

fn judge(certificate: &ServerCertificate, now: Timestamp, problems: &mut Vec<Problem>) -> Option<Pair> {
    let ServerCertificate { files, certificate_place, key_place } = certificate;
    if let Some(mode) = os::mode_for_others(&files.key) {
        let key = files.key.display();
        let text = format!("the key {key} can be read by others than its owner (mode {mode:04o}): chmod 600 {key}");
        problems.push(Problem::at(key_place.clone(), Severity::Warning, text));
    }
    match Pair::read(files) {
        Ok(pair) => {
            if let Some(doubt) = pair.leaf.doubt(now) {
                let text = format!("the certificate {} {doubt}", files.certificate.display());
                problems.push(Problem::at(certificate_place.clone(), Severity::Warning, text));
            }
            Some(pair)
        }
        Err(error) => {
            let place = if error.is_of_key(&files.key) { key_place } else { certificate_place };
            problems.push(Problem::at(place.clone(), Severity::Error, error.to_string()));
            None
        }
    }
}
