//! A cloud API that breaks on order: HTTP/1.1, one answer for every request, of the kind that is set.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{free_port, loopback, mark_in};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Takes every request: 202 and an id.
    Take,
    /// Nobody listens; open connections are closed.
    Refuse,
    /// Reads the request, keeps the message, and never answers.
    Hang,
    /// Takes requests with this key; to others 401.
    Key(&'static str),
    /// Answers with this status, these header lines and this body.
    Answer(u16, &'static str, &'static str),
}

struct State {
    mode: Mode,
    stop: bool,
    /// Requests answered with 202, by mark.
    taken: HashMap<u64, usize>,
    /// When each of them was taken.
    times: Vec<Instant>,
    /// Requests read whole and never answered, by mark: the provider may have sent these.
    unanswered: HashMap<u64, usize>,
    /// All requests.
    requests: usize,
}

pub struct Api {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Api {
    pub fn start() -> Self {
        let address = loopback(1, free_port());
        let state = Arc::new(Mutex::new(State {
            mode: Mode::Take,
            stop: false,
            taken: HashMap::new(),
            times: Vec::new(),
            unanswered: HashMap::new(),
            requests: 0,
        }));
        let for_thread = Arc::clone(&state);
        let first = listen(address).unwrap();
        std::thread::spawn(move || accept(address, first, &for_thread));
        Self { address, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn set(&self, mode: Mode) {
        self.state().mode = mode;
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn taken(&self) -> HashMap<u64, usize> {
        self.state().taken.clone()
    }

    pub fn taken_since(&self, since: Instant) -> usize {
        self.state().times.iter().filter(|at| **at >= since).count()
    }

    pub fn unanswered(&self) -> HashMap<u64, usize> {
        self.state().unanswered.clone()
    }

    pub fn requests(&self) -> usize {
        self.state().requests
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.state().stop = true;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn accept(address: SocketAddr, first: TcpListener, state: &Arc<Mutex<State>>) {
    let mut listener = Some(first);
    loop {
        let mode = {
            let state = state.lock().unwrap();
            if state.stop {
                return;
            }
            state.mode
        };
        if mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = listen(address).ok();
        }
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((stream, _))) => {
                let state = Arc::clone(state);
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = Vec::new();
    loop {
        let Some(request) = request(&mut stream, &mut buffer, state)? else { return Ok(()) };
        let mark = mark_in(&request);
        let answer = {
            let mut state = state.lock().unwrap();
            state.requests += 1;
            match (state.mode, mark) {
                (Mode::Key(key), _) if memchr::memmem::find(&request, key.as_bytes()).is_none() => {
                    "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned()
                }
                (Mode::Take | Mode::Key(_), mark) => {
                    if let Some(mark) = mark {
                        *state.taken.entry(mark).or_default() += 1;
                    }
                    state.times.push(Instant::now());
                    format!("HTTP/1.1 202 Accepted\r\nX-Message-Id: id{}\r\nContent-Length: 0\r\n\r\n", state.requests)
                }
                (Mode::Answer(status, header, body), _) => {
                    format!("HTTP/1.1 {status} Scripted\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len())
                }
                (Mode::Refuse, _) => return Ok(()),
                (Mode::Hang, mark) => {
                    if let Some(mark) = mark {
                        *state.unanswered.entry(mark).or_default() += 1;
                    }
                    drop(state);
                    // Until the other side gives up.
                    while request_octets(&mut stream, &mut buffer)? != Some(0) {
                        buffer.clear();
                    }
                    return Ok(());
                }
            }
        };
        stream.write_all(answer.as_bytes())?;
    }
}

/// Reads once; `None` where nothing came within the stream's time-out, `Some(0)` at its end.
fn request_octets(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut piece = [0; 16 * 1024];
    match stream.read(&mut piece) {
        Ok(n) => {
            buffer.extend_from_slice(&piece[..n]);
            Ok(Some(n))
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The next whole request, header and body; `None` at the end of the connection, or when all are to be closed.
fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>, state: &Mutex<State>) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(size) = size_of_request(buffer) {
            return Ok(Some(buffer.drain(..size).collect()));
        }
        match request_octets(stream, buffer)? {
            Some(0) => return Ok(None),
            Some(_) => {}
            None => {
                let state = state.lock().unwrap();
                if state.stop || state.mode == Mode::Refuse {
                    return Ok(None);
                }
            }
        }
    }
}

fn size_of_request(buffer: &[u8]) -> Option<usize> {
    let header = memchr::memmem::find(buffer, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..header]).to_ascii_lowercase();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    if value("transfer-encoding") == Some("chunked") {
        return Some(header + memchr::memmem::find(&buffer[header..], b"0\r\n\r\n")? + 5);
    }
    let size = header + value("content-length").map_or(Some(0), |length| length.parse::<usize>().ok())?;
    (buffer.len() >= size).then_some(size)
}
