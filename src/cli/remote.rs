//! The running relay, as verbs speak to it: found by the configuration and by what it left beside its queue.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::load;
use crate::admin::{ErrorBody, Files, OPERATOR, Readiness};
use crate::config::{Admin, Known, Secret, Server};
use crate::os;

/// The relay answers within half of it, be it that it has no answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the API begins.
const API: &str = "/api/v1";
/// For all of an answer that comes in pieces, each within `PATIENCE`.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// The admin server of the relay that runs with a configuration.
pub struct Remote {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    base: String,
    token: Secret,
    patience: Duration,
    /// The relay that was started last listens at another address than the configuration says by now. Nothing is asked there:
    /// it may be another one's.
    elsewhere: Option<String>,
}

/// The relay answered that it did not do it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    pub status: StatusCode,
    /// One word for programs.
    pub code: String,
    pub message: String,
}

impl Remote {
    /// Finds the relay; that it runs is seen when it is asked.
    pub fn find(directory: Option<&Path>) -> anyhow::Result<Self> {
        let (server, admin) = steered(directory)?;
        let token = match &admin.token {
            Some(token) if token.expose() == Known::UNREADABLE => {
                bail!("the token that `admin.token` of waypost.yaml names cannot be read: run this as the relay's user")
            }
            Some(token) => token.clone(),
            None => Secret::new(read(&Files::beside(&server.queue.path).token, "token")?),
        };
        Self::of(&server, &admin, token, PATIENCE)
    }

    /// Whether the relay that runs takes mail, by `/readyz`: that needs no token.
    pub fn readiness(directory: Option<&Path>, patience: Duration) -> anyhow::Result<Readiness> {
        let (server, admin) = steered(directory)?;
        let remote = Self::of(&server, &admin, Secret::new(String::new()), patience)?;
        let url = format!("{}/readyz", remote.base.trim_end_matches(API));
        let answer = remote.runtime.block_on(async {
            // It is not ready with another status than 200, and says the same things.
            remote.client.get(url).send().await?.bytes().await
        });
        remote.read(&answer.map_err(|error| remote.unreachable(&error))?)
    }

    fn of(server: &Server, admin: &Admin, token: Secret, patience: Duration) -> anyhow::Result<Self> {
        let file = Files::beside(&server.queue.path).address;
        let written =
            |text: &str| text.parse::<SocketAddr>().with_context(|| format!("{} holds no address", file.display()));
        let address = match admin.address.port() {
            0 => written(&read(&file, "address")?)?,
            _ => admin.address,
        };
        let started_at = read(&file, "address").and_then(|text| written(&text)).ok();
        let elsewhere = started_at.filter(|at| *at != address).map(|at| {
            let file = file.display();
            format!(
                "; by {file}, it was started to listen at {at}: a changed `admin.address` holds from the next start on"
            )
        });
        let mut client =
            reqwest::Client::builder().no_proxy().timeout(patience).redirect(reqwest::redirect::Policy::none());
        let mut scheme = "http";
        if let Some(tls) = &admin.tls {
            client = client.tls_backend_preconfigured(pinned(&tls.files.certificate)?);
            scheme = "https";
        }
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            client: client.build()?,
            base: format!("{scheme}://{}{API}", near(address)),
            token,
            patience,
            elsewhere,
        })
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, None::<&()>)
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.ask(Method::POST, path, Some(body))
    }

    /// What is no JSON, as it is.
    pub fn octets(&self, path: &str) -> anyhow::Result<Bytes> {
        self.answer(self.request(Method::GET, path))
    }

    /// Long answers, piece by piece, for as long as more of them comes.
    pub fn stream(&self, path: &str, each: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let request = self.request(Method::GET, path).timeout(FOREVER);
            let begun = timeout(PATIENCE, request.send()).await.map_err(|_| self.silent())?;
            let mut response = begun.map_err(|error| self.unreachable(&error))?;
            if !response.status().is_success() {
                let status = response.status();
                let octets = timeout(PATIENCE, response.bytes()).await.map_err(|_| self.silent())?;
                return Err(self.refused(status, &octets.unwrap_or_default()));
            }
            loop {
                let piece = timeout(PATIENCE, response.chunk()).await.map_err(|_| self.silent())?;
                match piece.with_context(|| format!("the answer from {} broke off", self.base))? {
                    Some(octets) => each(&octets)?,
                    None => return Ok(()),
                }
            }
        })
    }

    /// The same for an answer that may take its time: it begins with white space then, and a fault comes in its place.
    pub fn get_slow<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let mut octets = Vec::new();
        self.stream(path, &mut |piece| {
            octets.extend_from_slice(piece);
            Ok(())
        })?;
        if serde_json::from_slice::<ErrorBody>(&octets).is_ok() {
            return Err(self.refused(StatusCode::SERVICE_UNAVAILABLE, &octets));
        }
        self.read(&octets)
    }

    /// Hands in a message.
    pub fn send<T: DeserializeOwned>(&self, path: &str, content: Bytes) -> anyhow::Result<T> {
        let request = self.request(Method::POST, path).header(CONTENT_TYPE, "message/rfc822").body(content);
        self.read(&self.answer(request)?)
    }

    /// One request and its answer. `path` stands behind `/api/v1`. An answer that is no success is a `Refused`.
    pub fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.read(&self.answer(request)?)
    }

    fn read<T: DeserializeOwned>(&self, octets: &[u8]) -> anyhow::Result<T> {
        serde_json::from_slice(octets).with_context(|| {
            format!("{} answered what this version does not understand: is it another one?", self.base)
        })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(self.token.expose());
        match os::username().and_then(|name| name.parse::<reqwest::header::HeaderValue>().ok()) {
            Some(name) => request.header(OPERATOR, name),
            None => request,
        }
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Bytes> {
        self.runtime.block_on(async {
            let response = request.send().await.map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let octets = response.bytes().await.with_context(|| format!("the answer from {} broke off", self.base))?;
            if status.is_success() {
                return Ok(octets);
            }
            Err(self.refused(status, &octets))
        })
    }

    fn refused(&self, status: StatusCode, octets: &[u8]) -> anyhow::Error {
        if status == StatusCode::UNAUTHORIZED {
            return anyhow!(
                "the relay at {} refused the token: it was started with another configuration, or since this one was written",
                self.base
            );
        }
        match serde_json::from_slice(octets) {
            Ok(ErrorBody { error }) => Refused { status, code: error.code, message: error.message }.into(),
            Err(_) => anyhow!("{} answered {status}: is it a waypost?", self.base),
        }
    }

    fn silent(&self) -> anyhow::Error {
        anyhow!("no answer from {} within {} s", self.base, self.patience.as_secs())
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        if error.is_timeout() {
            return self.silent();
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        anyhow!(
            "no relay answers at {}: {cause}; is it running, with this configuration? (`waypost run`){}",
            self.base,
            self.elsewhere.as_deref().unwrap_or_default()
        )
    }
}

fn steered(directory: Option<&Path>) -> anyhow::Result<(Server, Admin)> {
    let server = load::to_steer(directory)?;
    match server.admin.clone() {
        Some(admin) => Ok((server, admin)),
        None => bail!("the relay has no admin server: waypost.yaml says `admin: off`"),
    }
}

/// One line of a file that the running relay has written.
fn read(path: &Path, what: &str) -> anyhow::Result<String> {
    let shown = path.display();
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => bail!("{shown} is empty: the relay writes its admin server's {what} there when it starts"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "the relay is not running: there is no {shown}, where it writes its admin server's {what} when it starts; \
             if it does run, name its configuration with --config; a changed `queue.path` holds from the next start on"
        ),
        Err(error) => {
            Err(anyhow!("cannot read the admin server's {what}: {shown}: {error}; run this as the relay's user"))
        }
    }
}

/// How this host gets to an address that is listened on.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// Takes a server that shows the very certificate that the configuration names, and no other, whatever names it bears.
fn pinned(file: &PathBuf) -> anyhow::Result<ClientConfig> {
    let unreadable = || format!("cannot read the admin server's certificate {}", file.display());
    let certificate = CertificateDer::from_pem_file(file).with_context(unreadable)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { certificate, provider }))
        .with_no_client_auth())
}

#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
