//! Gentle traffic: two senders who hand in messages of three kinds, one after the other, and keep the numbers of those that got
//! a 250.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::score::Score;
use super::stand_in::{NUMBER, line};

/// From whom and to whom, by turns.
const APP: &[(&str, &str)] =
    &[("app@shop.example", "anna@customer.example"), ("app@shop.example", "team@partner.example")];
const NEWS: &[(&str, &str)] = &[("news@shop.example", "reader@list.example")];

pub(super) struct Traffic {
    token: CancellationToken,
    senders: TaskTracker,
}

impl Traffic {
    /// `rate`: messages a second, of both together.
    pub(super) fn start(relay: SocketAddr, rate: u32, score: &Arc<Score>) -> Self {
        let (token, senders, numbers) = (CancellationToken::new(), TaskTracker::new(), Arc::new(AtomicU64::new(1)));
        for kinds in [APP, NEWS] {
            let (token, score, numbers) = (token.clone(), Arc::clone(score), Arc::clone(&numbers));
            senders.spawn(async move {
                let mut ticks = interval(Duration::from_secs(2) / rate.max(1));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut session = None;
                for kind in kinds.iter().cycle() {
                    tokio::select! {
                        () = token.cancelled() => break,
                        _ = ticks.tick() => {}
                    }
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    // What is begun is carried through: a message is accepted and counted, or neither.
                    match hand_in(&mut session, relay, *kind, number).await {
                        Ok(true) => score.accept(number),
                        Ok(false) => score.refuse(),
                        Err(_) => {
                            session = None;
                            score.refuse();
                        }
                    }
                }
            });
        }
        senders.close();
        Self { token, senders }
    }

    /// Returns when the last message has its answer.
    pub(super) async fn stop(self) {
        self.token.cancel();
        self.senders.wait().await;
    }
}

type Session = Option<BufReader<TcpStream>>;

/// Whether it got a 250.
async fn hand_in(session: &mut Session, relay: SocketAddr, (from, to): (&str, &str), number: u64) -> io::Result<bool> {
    let mut stream = match session.take() {
        Some(stream) => stream,
        None => {
            let mut stream = BufReader::new(TcpStream::connect(relay).await?);
            reply(&mut stream).await?;
            ask(&mut stream, "EHLO sender.example").await?;
            stream
        }
    };
    for (command, wanted) in
        [(format!("MAIL FROM:<{from}>"), 250), (format!("RCPT TO:<{to}>"), 250), ("DATA".to_owned(), 354)]
    {
        if ask(&mut stream, &command).await? != wanted {
            ask(&mut stream, "RSET").await?;
            *session = Some(stream);
            return Ok(false);
        }
    }
    let content = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nSubject: message {number} of the demo\r\n{NUMBER}: {number}\r\n\
         Message-ID: <{number}.demo@shop.example>\r\n\r\nThis is message {number}.\r\n."
    );
    let taken = ask(&mut stream, &content).await? == 250;
    *session = Some(stream);
    Ok(taken)
}

async fn ask(stream: &mut BufReader<TcpStream>, line: &str) -> io::Result<u16> {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await?;
    reply(stream).await
}

async fn reply(stream: &mut BufReader<TcpStream>) -> io::Result<u16> {
    loop {
        let Some(line) = line(stream).await? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        if line.as_bytes().get(3) != Some(&b'-') {
            let code = line.get(..3).and_then(|code| code.parse().ok());
            return code.ok_or_else(|| io::Error::other(format!("no reply: {line}")));
        }
    }
}
