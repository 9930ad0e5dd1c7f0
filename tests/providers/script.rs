//! An HTTP server that does as it is told, request by request, and keeps what it was sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What is done with one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Reads it and answers: status, header lines, body.
    Answer(u16, &'static str, String),
    /// Answers 200 with this body, and then closes the connection unannounced.
    AnswerAndClose(&'static str),
    /// Answers the status and header, and the body never ends.
    AnswerWithoutEnd(u16),
    /// Reads it and never answers.
    Hang,
    /// Reads it and closes the connection.
    Close,
    /// Closes the connection after the request's head.
    CloseEarly,
    /// Reads the head and nothing more, and keeps the connection.
    Stall,
    /// Answers after the head, and closes.
    AnswerEarly(u16),
}

pub fn answer(status: u16, body: impl Into<String>) -> Act {
    Act::Answer(status, "", body.into())
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub struct Scripted {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// After the last act, requests are answered 599.
    pub async fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let acts = Arc::new(Mutex::new(acts.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, closed) = (seen.clone(), Arc::new(Notify::new()));
        let closing = closed.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, acts.clone(), kept.clone(), closing.clone()));
            }
        });
        Self { url, seen, closed, task }
    }

    /// Waits until `AnswerAndClose` has closed its connection.
    pub async fn closed(&self) {
        self.closed.notified().await;
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: Arc<Notify>,
) {
    let mut octets = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = octets.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut octets).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(octets.drain(..end).collect()).unwrap();
        let mut request = Seen { head, body: Vec::new() };
        let size: usize = request.header("content-length").map_or(0, |size| size.parse().unwrap());
        let act = acts.lock().unwrap().pop_front().unwrap_or(answer(599, ""));
        match act {
            Act::CloseEarly => return,
            Act::Stall => return std::future::pending().await,
            Act::AnswerEarly(status) => {
                let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
                let _ = stream.shutdown().await;
                // Read on, so that no reset overtakes the answer.
                while stream.read_buf(&mut octets).await.unwrap_or(0) > 0 {
                    octets.clear();
                }
                return;
            }
            Act::Answer(..) | Act::AnswerAndClose(_) | Act::AnswerWithoutEnd(_) | Act::Hang | Act::Close => {}
        }
        while octets.len() < size {
            if stream.read_buf(&mut octets).await.unwrap_or(0) == 0 {
                return;
            }
        }
        request.body = octets.drain(..size).collect();
        seen.lock().unwrap().push(request);
        match act {
            Act::Answer(status, header, body) => {
                let answer = format!("HTTP/1.1 {status} X\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::AnswerAndClose(body) => {
                let answer = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                drop(stream);
                closed.notify_one();
                return;
            }
            Act::AnswerWithoutEnd(status) => {
                let _ =
                    stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 9\r\n\r\nabc").as_bytes()).await;
                return std::future::pending().await;
            }
            Act::Hang => return std::future::pending().await,
            Act::Close | Act::CloseEarly | Act::Stall | Act::AnswerEarly(_) => return,
        }
    }
}
