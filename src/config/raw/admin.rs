//! `admin` of `waypost.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::RawTlsFiles;
use crate::config::Secret;
use crate::config::read::{either, record, words};
use crate::config::tree::Value;

record! {
    /// The admin server.
    struct RawAdminServer {
        /// IP address and port, loopback unless `tls` is given. Default: 127.0.0.1:8025.
        may "address" address: SocketAddr,
        /// What requests must bring (Authorization: Bearer ...), as ${file:...} or ${env:...}. Default: made at each start, in
        /// admin.token beside the queue.
        may "token" token: Secret,
        /// The certificate of the admin server. Default: no TLS, on loopback alone.
        may "tls" tls: RawTlsFiles,
        /// PEM file with those who issue certificates to operators; one that such a certificate is shown by needs no token.
        may "client_ca" client_ca: PathBuf,
    }
    later []
}

/// `off`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct NoAdmin;

words! {
    NoAdmin {
        "off" => NoAdmin,
    }
    later []
}

either! { RawAdmin { Server(Box<RawAdminServer>) if Value::Map(_), Off(NoAdmin) } }
