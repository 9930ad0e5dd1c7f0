//! A pretend provider: takes mail by SMTP and counts it. Cut, it sends everybody away.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::score::Score;

/// The field that carries a message's number.
pub(super) const NUMBER: &str = "X-Demo-Number";
/// Octets of a line.
const LINE: usize = 64 * 1024;

pub(super) struct StandIn {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    cut: watch::Sender<bool>,
    accepting: tokio::task::AbortHandle,
}

impl StandIn {
    pub(super) async fn start(name: &'static str, score: &Arc<Score>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port on 127.0.0.1 can be had")?;
        let address = listener.local_addr()?;
        let (cut, is_cut) = watch::channel(false);
        let score = Arc::clone(score);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (score, is_cut) = (Arc::clone(&score), is_cut.clone());
                // A connection that breaks is its client's affair.
                tokio::spawn(async move { drop(serve(name, stream, &score, is_cut).await) });
            }
        });
        Ok(Self { name, address, cut, accepting: accepting.abort_handle() })
    }

    pub(super) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    name: &'static str,
    stream: TcpStream,
    score: &Score,
    mut is_cut: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    if *is_cut.borrow_and_update() {
        return say(&mut stream, &format!("421 4.3.2 {name} is out of service (the demo has cut it)")).await;
    }
    say(&mut stream, &format!("220 {name}.example ESMTP")).await?;
    let mut rcpt = false;
    loop {
        // Between two commands alone: a message is taken and answered, or neither.
        let line = tokio::select! {
            line = line(&mut stream) => line?,
            _ = is_cut.wait_for(|cut| *cut) => return Ok(()),
        };
        let Some(line) = line else { return Ok(()) };
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                say(
                    &mut stream,
                    &format!("250-{name}.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES"),
                )
                .await?;
            }
            "MAIL" => say(&mut stream, "250 2.1.0 Ok").await?,
            "RCPT" => {
                rcpt = true;
                say(&mut stream, "250 2.1.5 Ok").await?;
            }
            "DATA" if !rcpt => say(&mut stream, "554 5.5.1 No recipients").await?,
            "DATA" => {
                rcpt = false;
                say(&mut stream, "354 Go ahead").await?;
                let Some(number) = content(&mut stream).await? else { return Ok(()) };
                score.take(name, number);
                say(&mut stream, &format!("250 2.0.0 Ok: {name} has it")).await?;
            }
            "QUIT" => return say(&mut stream, "221 2.0.0 Bye").await,
            "RSET" | "NOOP" | "HELO" => say(&mut stream, "250 2.0.0 Ok").await?,
            _ => say(&mut stream, "502 5.5.2 Not implemented").await?,
        }
    }
}

/// Reads content to its end, and gives the number in it; `None` at the end of the connection.
async fn content(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Option<u64>>> {
    let mut number = None;
    while let Some(line) = line(stream).await? {
        if line == "." {
            return Ok(Some(number));
        }
        if let Some(value) = line.strip_prefix(NUMBER).and_then(|rest| rest.strip_prefix(':')) {
            number = number.or_else(|| value.trim().parse().ok());
        }
    }
    Ok(None)
}

/// Without its end; `None` at the end of the connection.
pub(super) async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if tokio::io::AsyncReadExt::take(&mut *stream, LINE as u64).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()))
}

async fn say(stream: &mut BufReader<TcpStream>, reply: &str) -> io::Result<()> {
    stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await
}
