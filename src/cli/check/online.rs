//! `waypost check --online`: comes to the relay's own listeners as a stranger, and must be refused.
//!
//! A stranger is an address of this host that the listener's `allow` does not name: another one of 127.0.0.0/8, or the host's own. It
//! says EHLO, MAIL and RCPT for names that cannot exist (RFC 2606), and leaves before there is any content.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::access::Networks;
use crate::config::{Listener, ListenerProtocol, ListenerTls};
use crate::ingress::RELAYING_DENIED;
use crate::transport;

const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_REPLY: u64 = 64 * 1024;

/// What one listener did with a stranger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    listener: String,
    address: SocketAddr,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
enum Verdict {
    Refused {
        stranger: IpAddr,
        reply: String,
    },
    /// It got past the question who may relay.
    Open {
        stranger: IpAddr,
        reply: String,
    },
    /// Nobody here is a stranger.
    Unproven,
    /// It could not be asked.
    Failed {
        error: String,
    },
}

impl Proof {
    /// A stranger could relay, or nothing is known where something should be.
    pub fn is_bad(&self) -> bool {
        match self.verdict {
            Verdict::Open { .. } | Verdict::Failed { .. } => true,
            Verdict::Refused { .. } | Verdict::Unproven => false,
        }
    }
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "listener '{}' at {}: ", self.listener, self.address)?;
        match &self.verdict {
            Verdict::Refused { stranger, reply } => write!(f, "good: a stranger at {stranger} was refused: {reply}"),
            Verdict::Open { stranger, reply } => write!(
                f,
                "error: a stranger could relay: {stranger}, which 'allow' does not name, heard: {reply}; \
                 is the relay running with this configuration?"
            ),
            Verdict::Unproven => write!(
                f,
                "not proven: every address of this host may relay here; try from another one: \
                 swaks --server {} --from a@stranger.invalid --to b@elsewhere.invalid --quit-after RCPT",
                self.address
            ),
            Verdict::Failed { error } => {
                write!(f, "error: it cannot be asked: {error}; is the relay running with this configuration?")
            }
        }
    }
}

/// Comes to each listener.
pub fn prove(listeners: &[Listener]) -> anyhow::Result<Vec<Proof>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let mut proofs = Vec::new();
        for listener in listeners {
            let verdict = verdict(listener, &own_addresses()).await;
            proofs.push(Proof { listener: listener.name.clone(), address: listener.address, verdict });
        }
        proofs
    }))
}

async fn verdict(listener: &Listener, own: &[IpAddr]) -> Verdict {
    let mut last = None;
    for (stranger, target) in strangers(listener, own) {
        match timeout(PATIENCE, visit(listener, stranger, target)).await {
            Ok(Ok(verdict)) => return verdict,
            // Systems differ in which of their addresses may speak to which.
            Ok(Err(error)) => last = Some(format!("{target} from {stranger}: {error}")),
            Err(_) => last = Some(format!("{target} from {stranger}: no answer within {} s", PATIENCE.as_secs())),
        }
    }
    last.map_or(Verdict::Unproven, |error| Verdict::Failed { error })
}

/// Whence to come, and where to: addresses of this host that the listener has no word for.
fn strangers(listener: &Listener, own: &[IpAddr]) -> Vec<(IpAddr, SocketAddr)> {
    let (ip, port) = (listener.address.ip(), listener.address.port());
    let near: Vec<IpAddr> = match ip {
        IpAddr::V4(_) => [1, 66, 254].map(|n| IpAddr::V4(Ipv4Addr::new(127, n, n, 1))).to_vec(),
        IpAddr::V6(_) => vec![IpAddr::V6(Ipv6Addr::LOCALHOST)],
    };
    let networks = Networks::new(listener);
    let mut seen = HashSet::new();
    // A balancer would have to say first whom it brings.
    let is_balancer = |from: &IpAddr| listener.proxy_protocol.iter().any(|net| net.contains(from));
    near.iter()
        .chain(own)
        .filter(|from| !is_balancer(from))
        .filter(|from| from.is_ipv4() == ip.is_ipv4())
        .filter(|from| networks.allows(**from).is_none() && !networks.denies(**from) && seen.insert(**from))
        .map(|from| {
            let target = match (ip.is_unspecified(), from.is_loopback(), ip) {
                (false, _, _) => ip,
                (true, false, _) => *from,
                (true, true, IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                (true, true, IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            (*from, SocketAddr::new(target, port))
        })
        .collect()
}

/// The addresses from which this host would speak to the internet. Nothing is sent.
fn own_addresses() -> Vec<IpAddr> {
    let elsewhere = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let own = elsewhere.iter().filter_map(|(any, far)| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(far).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    own.filter(|ip| !ip.is_unspecified()).collect()
}

async fn visit(listener: &Listener, stranger: IpAddr, target: SocketAddr) -> io::Result<Verdict> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(stranger, 0))?;
    let stream: TcpStream = socket.connect(target).await?;
    match listener.tls {
        ListenerTls::Implicit => {
            let stream = transport::unchecked_tls(stream, &target.ip().to_string()).await.map_err(io::Error::other)?;
            talk(stream, listener, stranger).await
        }
        // In clear nobody gets further than with TLS.
        ListenerTls::None | ListenerTls::StartTls => talk(stream, listener, stranger).await,
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    listener: &Listener,
    stranger: IpAddr,
) -> io::Result<Verdict> {
    let mut stream = BufReader::new(stream);
    let said = [
        "",
        match listener.protocol {
            ListenerProtocol::Smtp => "EHLO stranger.invalid\r\n",
            ListenerProtocol::Lmtp => "LHLO stranger.invalid\r\n",
        },
        "MAIL FROM:<probe@stranger.invalid>\r\n",
        "RCPT TO:<probe@elsewhere.invalid>\r\n",
    ];
    let mut heard = String::new();
    for line in said {
        stream.get_mut().write_all(line.as_bytes()).await?;
        stream.get_mut().flush().await?;
        heard = reply(&mut stream).await?;
        if !heard.starts_with('2') {
            break;
        }
    }
    // Whatever it says to that.
    let _ = stream.get_mut().write_all(b"QUIT\r\n").await;
    let verdict = match heard.as_bytes().first() {
        Some(b'5') if is_about_relaying(&heard) => Verdict::Refused { stranger, reply: heard },
        // Accepted; or refused by the table, which takes others from anyone.
        Some(b'2' | b'5') => Verdict::Open { stranger, reply: heard },
        _ => Verdict::Failed { error: format!("it says: {heard}") },
    };
    Ok(verdict)
}

/// RFC 5321, 3.1 (554 for a greeting); RFC 4954, 6 (530).
fn is_about_relaying(reply: &str) -> bool {
    reply.starts_with("554 5.7.1") || reply.starts_with("530 ") || reply.contains(RELAYING_DENIED)
}

/// The last line of the next reply.
async fn reply<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<String> {
    let mut bounded = stream.take(LONGEST_REPLY);
    loop {
        let mut line = String::new();
        if bounded.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line.trim_end().chars().filter(|c| !c.is_control()).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Assumed, Sources};

    fn listener(keys: &str) -> Listener {
        let sources = Sources::new("")
            .with("waypost.yaml", format!("listeners: [{{name: a, {keys}}}]"))
            .with("routes/a.yaml", "routes: [{name: all, deliver: out}]")
            .with("providers/a.yaml", "providers: [{name: out, transport: maildir, path: out}]");
        config::load(&sources, &Assumed).config.unwrap().server.listeners.remove(0)
    }

    #[test]
    fn strangers_are_those_whom_nobody_named() {
        let own = ["192.168.7.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        for (keys, visits) in [
            // By default all of loopback may relay.
            ("address: \"127.0.0.1:25\"", "192.168.7.7 to 127.0.0.1:25"),
            ("address: \"0.0.0.0:25\", allow: [127.0.0.0/8, 192.168.0.0/16]", ""),
            ("address: \"0.0.0.0:25\", allow: [127.0.0.0/8]", "192.168.7.7 to 192.168.7.7:25"),
            (
                "address: \"0.0.0.0:25\", allow: [127.66.0.0/16, 192.168.0.0/16], deny: [127.254.0.0/16]",
                "127.1.1.1 to 127.0.0.1:25",
            ),
            ("address: \"127.0.0.1:25\", allow: [], proxy_protocol: [127.0.0.0/8]", "192.168.7.7 to 127.0.0.1:25"),
            ("address: \"192.168.7.7:25\", allow: [127.0.0.0/8]", "192.168.7.7 to 192.168.7.7:25"),
            ("address: \"[::]:25\", allow: [\"::1\"]", "2001:db8::7 to [2001:db8::7]:25"),
            ("address: \"[::1]:25\", allow: []", "::1 to [::1]:25, 2001:db8::7 to [::1]:25"),
        ] {
            let found: Vec<String> =
                strangers(&listener(keys), &own).iter().map(|(from, to)| format!("{from} to {to}")).collect();
            assert_eq!(found.join(", "), visits, "{keys}");
        }
    }

    #[tokio::test]
    async fn verdicts_by_what_was_said() {
        for (replies, verdict) in [
            ("554 5.7.1 Access denied\r\n", "refused"),
            ("220 a\r\n250-a\r\n250 b\r\n530 5.7.0 Authentication required\r\n", "refused"),
            ("220 a\r\n250 b\r\n250 2.1.0 Ok\r\n550 5.7.1 Relaying denied\r\n", "refused"),
            ("220 a\r\n250 b\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n", "open"),
            ("220 a\r\n250 b\r\n250 2.1.0 Ok\r\n550 5.7.1 No route takes mail for <x@y>\r\n", "open"),
            ("421 4.7.0 Too many connections\r\n", "failed"),
            ("220 a\r\n250 b\r\n451 4.3.0 Local error\r\n", "failed"),
        ] {
            let stream = tokio::io::join(replies.as_bytes(), tokio::io::sink());
            let verdict_of =
                talk(stream, &listener("address: \"127.0.0.1:25\""), "127.1.1.1".parse().unwrap()).await.unwrap();
            assert_eq!(serde_json::to_value(&verdict_of).unwrap()["verdict"], verdict, "{replies}");
        }
    }
}
