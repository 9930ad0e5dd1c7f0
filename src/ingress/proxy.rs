//! Clients behind a balancer: it says in a header who they are (the PROXY protocol), and only addresses that the
//! listener's `proxy_protocol` names are believed.
//!
//! - From those the header must come, whole, within `PATIENCE`; where it does not, the connection ends.
//! - Not one octet behind the header is taken: TLS may begin there.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

mod header;

/// A balancer sends the header with its first packet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nobody can be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// It came and went: a check whether the port is open.
    #[error("the connection ended before the header")]
    Nothing,
    #[error("the header did not come within {} s", PATIENCE.as_secs())]
    Late,
    #[error("the header cannot be read: {0}")]
    Lost(#[from] io::Error),
    #[error("this is no PROXY header: {0}")]
    Header(#[from] header::Fault),
}

/// Reads the header and no more. `None`: the balancer speaks for itself.
pub(super) async fn client(stream: &mut TcpStream) -> Result<Option<IpAddr>, Broken> {
    let client = timeout(PATIENCE, read(stream)).await.map_err(|_| Broken::Late)??;
    Ok(client.map(|client| client.to_canonical()))
}

async fn read(stream: &mut TcpStream) -> Result<Option<IpAddr>, Broken> {
    // Both versions are longer than the signature of the second.
    let mut head = [0; header::HEAD];
    let (start, rest) = head.split_at_mut(header::SIGNATURE.len());
    if stream.read(&mut start[..1]).await? == 0 {
        return Err(Broken::Nothing);
    }
    stream.read_exact(&mut start[1..]).await?;
    if *start == header::SIGNATURE {
        stream.read_exact(rest).await?;
        let mut rest = vec![0; header::rest(&head)?];
        stream.read_exact(&mut rest).await?;
        return Ok(header::binary(&head, &rest)?);
    }
    if start.starts_with(header::WORD) {
        let start = start.to_vec();
        return line(stream, start).await;
    }
    Err(header::Fault::None.into())
}

/// The rest of a line. It is looked at before it is taken, so that nothing behind it is.
async fn line(stream: &mut TcpStream, mut line: Vec<u8>) -> Result<Option<IpAddr>, Broken> {
    let mut ahead = [0; header::MOST_LINE];
    while line.len() < header::MOST_LINE {
        let room = header::MOST_LINE - line.len();
        let seen = stream.peek(&mut ahead[..room]).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let end = memchr::memchr(b'\n', &ahead[..seen]);
        let take = end.map_or(seen, |end| end + 1);
        stream.read_exact(&mut ahead[..take]).await?;
        line.extend_from_slice(&ahead[..take]);
        if end.is_some() {
            return Ok(header::line(&line)?);
        }
    }
    Err(header::Fault::TooLong(header::MOST_LINE).into())
}
