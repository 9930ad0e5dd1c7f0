//! A server that follows a script, for one connection after the other.
//!
//! Each entry of a script is one step: `>EHLO` reads a line that has to start so; `!content` reads up to the final dot;
//! `!chunk N` reads so many octets; `!some` reads some octets; `!tls` is the server's handshake; `!hang` says nothing more, with the clock stopped so that
//! the client's time-out comes at once; `!drip LINE` sends a line octet by octet; `!flood LINE` sends it again and again;
//! `!close` and `!reset` end the connection; anything else is a line to send. At a script's end the server waits for the
//! client to close.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(super) struct Server {
    pub(super) address: SocketAddr,
    task: JoinHandle<Vec<Session>>,
}

/// What came in on one connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) client: Option<IpAddr>,
    pub(super) lines: Vec<String>,
    pub(super) content: Vec<String>,
}

/// A certificate for `names`, with the PEM that makes a client trust it.
pub(super) struct Identity {
    pub(super) pem: String,
    acceptor: TlsAcceptor,
}

impl Identity {
    pub(super) fn of(names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        Self::with(&rcgen::CertificateParams::new(names).unwrap())
    }

    pub(super) fn with(params: &rcgen::CertificateParams) -> Self {
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&signing_key).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        Self { pem: cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Server {
    /// One script a connection.
    pub(super) async fn start(scripts: &[&[&'static str]]) -> Self {
        Self::start_at("127.0.0.1:0", None, scripts).await
    }

    pub(super) async fn start_tls(identity: &Identity, scripts: &[&[&'static str]]) -> Self {
        Self::start_at("127.0.0.1:0", Some(identity), scripts).await
    }

    pub(super) async fn start_at(address: &str, identity: Option<&Identity>, scripts: &[&[&'static str]]) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let scripts: Vec<Vec<&'static str>> = scripts.iter().map(|script| script.to_vec()).collect();
        let acceptor = identity.map(|identity| identity.acceptor.clone());
        let task = tokio::spawn(async move {
            let mut sessions = Vec::new();
            for script in scripts {
                let (stream, client) = listener.accept().await.unwrap();
                let session = play(stream, acceptor.clone(), &script).await;
                sessions.push(Session { client: Some(client.ip()), ..session });
            }
            sessions
        });
        Self { address, task }
    }

    /// What came in, once every script has been played. The transport must be gone by then, or its connections closed.
    pub(super) async fn sessions(self) -> Vec<Session> {
        tokio::time::timeout(Duration::from_secs(300), self.task).await.expect("a script is stuck").unwrap()
    }
}

async fn play(stream: TcpStream, acceptor: Option<TlsAcceptor>, script: &[&'static str]) -> Session {
    let mut session = Session::default();
    let mut io: BufReader<Box<dyn Io>> = BufReader::new(Box::new(stream));
    for &step in script {
        // The client may be gone: what it made of the script so far is what the test looks at.
        let _ = match step.split_at(step.len().min(1)) {
            (">", prefix) => {
                let mut line = String::new();
                let _ = io.read_line(&mut line).await;
                assert!(line.starts_with(prefix), "{prefix} was expected, {line:?} came");
                session.lines.push(line.trim_end().to_owned());
                Ok(())
            }
            ("!", "content") => {
                session.content.push(content(&mut io).await);
                Ok(())
            }
            ("!", chunk) if chunk.starts_with("chunk ") => {
                let mut content = vec![0; chunk[6..].parse().unwrap()];
                io.read_exact(&mut content).await.unwrap();
                session.content.push(String::from_utf8(content).unwrap());
                Ok(())
            }
            ("!", "some") => io.read_exact(&mut [0; 1000]).await.map(drop),
            ("!", "tls") => {
                // Whatever came before the handshake is the handshake's (none of it may lie in the buffer).
                assert!(io.buffer().is_empty(), "octets came before the handshake");
                match acceptor.clone().unwrap().accept(io.into_inner()).await {
                    Ok(stream) => io = BufReader::new(Box::new(stream)),
                    Err(_) => return session,
                }
                Ok(())
            }
            ("!", "hang") => {
                tokio::time::pause();
                let _ = tokio::io::copy(&mut io, &mut tokio::io::sink()).await;
                tokio::time::resume();
                return session;
            }
            ("!", "close") => return session,
            ("!", flood) if flood.starts_with("flood ") => {
                let line = format!("{}\r\n", &flood[6..]);
                while io.write_all(line.as_bytes()).await.is_ok() {}
                Ok(())
            }
            ("!", drip) if drip.starts_with("drip ") => {
                for octet in format!("{}\r\n", &drip[5..]).bytes() {
                    let _ = io.write_all(&[octet]).await;
                    let _ = io.flush().await;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            _ => io.write_all(format!("{step}\r\n").as_bytes()).await,
        };
        let _ = io.flush().await;
    }
    let mut rest = Vec::new();
    let _ = io.read_to_end(&mut rest).await;
    session.lines.extend(String::from_utf8_lossy(&rest).lines().map(str::to_owned));
    session
}

/// What comes before the final dot, as it is on the wire.
async fn content(io: &mut BufReader<Box<dyn Io>>) -> String {
    let mut content = Vec::new();
    loop {
        let start = content.len();
        if io.read_until(b'\n', &mut content).await.unwrap_or(0) == 0 {
            break;
        }
        if &content[start..] == b".\r\n" {
            content.truncate(start);
            break;
        }
    }
    String::from_utf8(content).unwrap()
}
