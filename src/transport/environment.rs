//! What transports are built from beside their settings, and why one could not be built.

use std::path::PathBuf;
use std::sync::Arc;

use super::dns::Resolve;
use crate::mail::Domain;
use crate::os::Clock;

/// What all transports share.
#[derive(Clone)]
pub struct Environment {
    /// What the relay calls itself in EHLO.
    pub hostname: Domain,
    pub resolver: Arc<dyn Resolve>,
    pub clock: Clock,
}

/// Why a transport cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the certificates in {path} cannot be read: {detail}")]
    Ca { path: PathBuf, detail: String },
    #[error("certificates cannot be checked: {0}")]
    Roots(String),
    #[error("the HTTP client cannot be built: {0}")]
    Http(String),
    #[error("the endpoint '{endpoint}' is no URL of an API: {detail}")]
    Endpoint { endpoint: String, detail: String },
    #[error("the {0} has characters that no HTTP header can carry")]
    Key(&'static str),
    #[error("this system has no Unix sockets, such as {0}: give `host` instead")]
    NoUnixSockets(PathBuf),
    /// Only in builds without the feature `aws-chain`.
    #[error("this build finds no AWS credentials by itself: give access_key_id and secret_access_key")]
    NoChain,
}
