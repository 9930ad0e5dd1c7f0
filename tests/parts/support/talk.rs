//! An SMTP client that chooses its source address, speaks TLS, shows a certificate, and keeps every reply as it came.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

enum Wire {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Gone,
}

pub struct Talk {
    wire: Wire,
}

/// A certificate chain and key, in one PEM file each.
pub struct Identity<'a> {
    pub certificate: &'a Path,
    pub key: &'a Path,
}

impl Talk {
    /// Connects from that address; the greeting is the first reply.
    pub fn connect(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&to.into(), Duration::from_secs(10))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        Ok(Self { wire: Wire::Clear(stream) })
    }

    /// A whole reply, its lines joined by ` / `; empty at the end of the connection.
    pub fn reply(&mut self) -> io::Result<String> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let line = self.line()?;
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !more {
                return Ok(lines.join(" / "));
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut octet = [0];
        while !line.ends_with(b"\r\n") {
            let read = match &mut self.wire {
                Wire::Clear(stream) => stream.read(&mut octet)?,
                Wire::Tls(stream) => stream.read(&mut octet)?,
                Wire::Gone => 0,
            };
            if read == 0 {
                break;
            }
            line.push(octet[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Clear(stream) => stream.write_all(octets),
            Wire::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()),
            Wire::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub fn say(&mut self, line: &str) -> io::Result<String> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// STARTTLS and the handshake; `root` is whom the server's certificate must be from.
    pub fn start_tls(&mut self, root: &Path, identity: Option<&Identity<'_>>) -> io::Result<()> {
        let reply = self.say("STARTTLS")?;
        if !reply.starts_with("220") {
            return Err(io::Error::other(reply));
        }
        let Wire::Clear(mut stream) = std::mem::replace(&mut self.wire, Wire::Gone) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_file(identity.certificate).unwrap()],
                    PrivateKeyDer::from_pem_file(identity.key).unwrap(),
                )
                .unwrap(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        self.wire = Wire::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(())
    }
}
