//! TLS at the listeners: which certificates there are, and what a handshake is made of.
//!
//! Promises:
//! - a certificate that cannot be used is an error before anything is served, with file and remedy; one that takes its place
//!   later and cannot be used is told and leaves the old one where it was;
//! - a listener with TLS always has a certificate: where none is given, one that the relay has made itself.

mod ends;
mod handshakes;
mod judge;
mod pair;
mod self_signed;
mod store;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem;
use rustls::server::ResolvesServerCert;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{Admin, Listener, ListenerTls, Server, TlsFiles};
use crate::mail::Timestamp;
use crate::os::Clock;

pub use ends::{CertificateEnd, certificate_ends, certificate_files};
pub use handshakes::Handshakes;
pub use judge::problems;
use pair::Pair;
pub(super) use pair::certificates;
use store::Store;

/// How often the files are looked at. A look is two `stat` for each certificate.
const LOOK: Duration = Duration::from_secs(5);

/// Why the listeners can have no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {file}: {error}; waypost.yaml names it, and the relay's user must be able to read it")]
    Read { file: PathBuf, error: io::Error },
    #[error("{file} is empty: it must hold {what} in PEM form")]
    Empty { file: PathBuf, what: &'static str },
    #[error("{file} is no PEM file: {error}")]
    Pem { file: PathBuf, error: pem::Error },
    #[error("{file} has no certificate: it must hold the server's certificate in PEM form, then those that issued it")]
    NoCertificate { file: PathBuf },
    #[error("the first certificate in {file} cannot be read: {error}")]
    Unreadable { file: PathBuf, error: String },
    #[error("{file} has no private key in PEM form; one that is encrypted must be decrypted first (openssl pkey)")]
    NoKey { file: PathBuf },
    #[error(
        "the key {key} is not that of the certificate {certificate}: give both of one pair, the server's own certificate first"
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("the certificate {certificate} and the key {key} cannot be used: {error}")]
    Unusable { certificate: PathBuf, key: PathBuf, error: rustls::Error },
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
    #[error("a self-signed certificate cannot be made: {0}")]
    Make(rcgen::Error),
    #[error(
        "{file} cannot be used as `client_ca`: {error}; it must hold the certificates of those who issue the clients'"
    )]
    ClientCa { file: PathBuf, error: String },
    #[error(
        "cannot write the self-signed certificate {file}: {error}; give `tls: {{certificate, key}}` in waypost.yaml, or make room there"
    )]
    Write { file: PathBuf, error: io::Error },
}

impl TlsError {
    /// The key is at fault, not the certificate.
    fn is_of_key(&self, key: &Path) -> bool {
        match self {
            Self::NoKey { .. } | Self::Mismatch { .. } => true,
            Self::Read { file, .. } | Self::Empty { file, .. } | Self::Pem { file, .. } => file == key,
            Self::NoCertificate { .. } | Self::Unreadable { .. } | Self::Unusable { .. } => false,
            Self::Setup(_) | Self::Make(_) | Self::ClientCa { .. } | Self::Write { .. } => false,
        }
    }
}

/// The certificates of all listeners.
#[derive(Debug, Default)]
pub struct Certificates {
    /// Of those that have none of their own.
    common: Option<Arc<Store>>,
    /// By the listener's name.
    own: HashMap<String, Arc<Store>>,
    /// Of each listener with TLS, by its name.
    handshakes: HashMap<String, Arc<Handshakes>>,
    /// Of the admin server.
    admin: Option<Arc<Store>>,
}

impl Certificates {
    /// Reads all files. Blocking.
    pub fn load(server: &Server, now: Timestamp) -> Result<Self, TlsError> {
        let admin = server.admin.as_ref().and_then(|admin| admin.tls.as_ref());
        let admin = admin.map(|certificate| Store::load(vec![certificate.files.clone()], now)).transpose()?;
        Self::of_listeners(server, admin.map(Arc::new), now)
    }

    /// Those of a changed configuration, all read anew. The admin server, which stays as it is, keeps its own. Blocking.
    pub fn renewed(&self, server: &Server, now: Timestamp) -> Result<Self, TlsError> {
        Self::of_listeners(server, self.admin.clone(), now)
    }

    fn of_listeners(server: &Server, admin: Option<Arc<Store>>, now: Timestamp) -> Result<Self, TlsError> {
        let mut own = HashMap::new();
        for listener in &server.listeners {
            if let Some(certificate) = &listener.certificate {
                own.insert(listener.name.clone(), Arc::new(Store::load(vec![certificate.files.clone()], now)?));
            }
        }
        let needs_common = |listener: &Listener| listener.tls != ListenerTls::None && listener.certificate.is_none();
        let common = if !server.tls.is_empty() {
            let files = server.tls.iter().map(|certificate| certificate.files.clone()).collect();
            Some(Store::load(files, now)?)
        } else if server.listeners.iter().any(needs_common) {
            Some(Store::load(vec![self_signed(server, now)?], now)?)
        } else {
            None
        };
        let common = common.map(Arc::new);
        let mut handshakes = HashMap::new();
        for listener in server.listeners.iter().filter(|listener| listener.tls != ListenerTls::None) {
            if let Some(store) = own.get(&listener.name).or(common.as_ref()) {
                let certificates: Arc<dyn ResolvesServerCert> = Arc::clone(store) as _;
                let client_ca = listener.client_ca.as_ref().map(|ca| ca.file.clone());
                handshakes.insert(listener.name.clone(), Arc::new(Handshakes::new(certificates, client_ca)?));
            }
        }
        Ok(Self { common, own, handshakes, admin })
    }

    /// What the listener's handshakes are made of; `None` where it has no TLS.
    pub fn of(&self, listener: &Listener) -> Option<Arc<Handshakes>> {
        self.handshakes.get(&listener.name).cloned()
    }

    /// The same for the admin server.
    pub fn of_admin(&self, admin: &Admin) -> Result<Option<Arc<ServerConfig>>, TlsError> {
        let Some(store) = &self.admin else { return Ok(None) };
        let certificates: Arc<dyn ResolvesServerCert> = Arc::clone(store) as _;
        Ok(Some(Handshakes::new(certificates, admin.client_ca.clone())?.current()))
    }

    /// Looks after the files until the token is cancelled: what has changed is read anew.
    pub fn watch(&self, clock: Clock, token: CancellationToken) -> impl Future<Output = ()> + use<> {
        let stores: Vec<_> = self.common.iter().chain(self.own.values()).chain(&self.admin).cloned().collect();
        let handshakes: Vec<_> =
            self.handshakes.values().filter(|handshakes| handshakes.asks_for_certificates()).cloned().collect();
        Self::watch_all(stores, handshakes, clock, token)
    }

    async fn watch_all(
        stores: Vec<Arc<Store>>,
        handshakes: Vec<Arc<Handshakes>>,
        clock: Clock,
        token: CancellationToken,
    ) {
        if stores.is_empty() {
            return;
        }
        let files = Arc::new((stores, handshakes));
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = looks.tick() => {}
            }
            let (files, now) = (Arc::clone(&files), clock.wall());
            let looked = tokio::task::spawn_blocking(move || {
                let (stores, handshakes) = &*files;
                for store in stores {
                    store.look(now);
                }
                for handshakes in handshakes {
                    handshakes.look();
                }
            });
            if let Err(panic) = looked.await {
                error!(%panic, "the certificates could not be looked after");
            }
        }
    }
}

/// The relay's own certificate, beside the queue.
fn self_signed(server: &Server, now: Timestamp) -> Result<TlsFiles, TlsError> {
    let folder = server.queue.path.parent().unwrap_or(Path::new(""));
    let (files, made) = self_signed::files(folder, &server.hostname, now)?;
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let what = if made { "made" } else { "used" };
    warn!(
        %certificate, %key,
        "no certificate is given: a self-signed one is {what}, which clients refuse that check it; give `tls: {{certificate, key}}` in waypost.yaml"
    );
    Ok(files)
}

/// Says that a certificate is in use, and whether it will be for long.
fn tell(files: &TlsFiles, pair: &Pair, now: Timestamp, what: &str) {
    let (certificate, names) = (files.certificate.display(), pair.leaf.names_shown());
    info!(%certificate, names, expires = %pair.leaf.dates.not_after, "certificate {what}");
    if let Some(doubt) = pair.leaf.doubt(now) {
        warn!(%certificate, "the certificate {doubt}");
    }
}

#[cfg(test)]
pub(super) fn of_files(files: TlsFiles) -> Arc<Handshakes> {
    let store = Store::load(vec![files], Timestamp::UNIX_EPOCH).unwrap();
    Arc::new(Handshakes::new(Arc::new(store), None).unwrap())
}
