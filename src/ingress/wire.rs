//! A client's connection, in clear or under TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client_cert;
use crate::smtp::server::Secured;

/// How long a peer may take to read what it is sent, and to go once it was told to.
const WRITE: Duration = Duration::from_secs(300);
const HANDSHAKE: Duration = Duration::from_secs(60);
const LINGER: Duration = Duration::from_secs(2);
const MOST_LINGERING: usize = 1024 * 1024;

pub(super) enum Wire<S> {
    Clear(S),
    Tls(Box<TlsStream<S>>),
}

/// RFC 9266, section 2. With TLS 1.2 it is sound only together with an extension of the handshake: it is not used there.
fn exporter(connection: &ServerConnection) -> Option<[u8; 32]> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok()
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// The handshake. What was read before it is not part of it.
    pub async fn secured(self, config: Arc<ServerConfig>) -> io::Result<Self> {
        match self {
            Self::Clear(stream) => {
                let handshake = TlsAcceptor::from(config).accept(stream);
                let stream = timeout(HANDSHAKE, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
                Ok(Self::Tls(Box::new(stream)))
            }
            Self::Tls(_) => Ok(self),
        }
    }

    /// What the handshake came to; nothing, where there was none.
    pub fn facts(&self) -> Secured {
        match self {
            Self::Clear(_) => Secured::default(),
            Self::Tls(stream) => {
                let (_, connection) = stream.get_ref();
                Secured { exporter: exporter(connection), user: client_cert::user(connection) }
            }
        }
    }

    /// Appends what comes; 0 is the end. Loses nothing when dropped.
    pub async fn read(&mut self, octets: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read_buf(octets).await,
            Self::Tls(stream) => stream.read_buf(octets).await,
        }
    }

    pub async fn write(&mut self, octets: &mut BytesMut) -> io::Result<()> {
        if octets.is_empty() {
            return Ok(());
        }
        let written = async {
            match self {
                Self::Clear(stream) => {
                    stream.write_all(octets).await?;
                    stream.flush().await
                }
                Self::Tls(stream) => {
                    stream.write_all(octets).await?;
                    stream.flush().await
                }
            }
        };
        timeout(WRITE, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
        octets.clear();
        Ok(())
    }

    /// Ends the connection so that the peer can still read the last reply: a socket that is closed with octets unread
    /// resets the connection, and the reply is lost on the way.
    pub async fn close(mut self) {
        let _ = timeout(LINGER, async {
            match &mut self {
                Self::Clear(stream) => stream.shutdown().await?,
                Self::Tls(stream) => stream.shutdown().await?,
            }
            let mut rest = BytesMut::with_capacity(4096);
            let mut seen = 0;
            while seen < MOST_LINGERING {
                match self.read(&mut rest).await? {
                    0 => break,
                    n => seen += n,
                }
                rest.clear();
            }
            io::Result::Ok(())
        })
        .await;
    }
}
