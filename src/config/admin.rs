//! The admin server, as the rest of the relay reads it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::{Secret, ServerCertificate};

/// Where the relay is looked at and steered.
#[derive(Debug, Clone)]
pub struct Admin {
    pub address: SocketAddr,
    /// `None`: `run` makes one at each start.
    pub token: Option<Secret>,
    pub tls: Option<ServerCertificate>,
    /// PEM file with those who issue certificates to operators; one of them needs no token.
    pub client_ca: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8025)), token: None, tls: None, client_ca: None }
    }
}

impl Admin {
    /// Nobody else than this host comes there.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}
