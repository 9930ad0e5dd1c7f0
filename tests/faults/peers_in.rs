//! Clients that misbehave at every step of a session, in every way, and in numbers. What was not acknowledged is not
//! delivered, a well-behaved client beside them is served all the time, and the relay's memory stays bounded.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::beside::{self, Beside};
use crate::support::cert::Certificate;
use crate::support::relay::{Relay, Setup};
use crate::support::sink::Sink;
use crate::support::smtp::Client;
use crate::support::{BOUND, long, mark_in, marked, until_true};
use crate::{MIB, ROOM, assert_well, peak};

/// Up to where a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It has not read the greeting.
    Connected,
    Greeted,
    Hello,
    /// 220 has come, the handshake has not begun.
    StartTls,
    /// The user name is asked for.
    Auth,
    Mail,
    Rcpt,
    /// 354 has come.
    Data,
    /// Amid a line of the content.
    Content,
    /// The final dot is sent, the reply not read.
    Dot,
    /// Amid a BDAT's octets.
    Chunk,
    /// Behind a BDAT that was not the last.
    Between,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Reset,
    Hang,
    HalfClose,
    /// All the rest, an octet at a time: slow, but right.
    Drip,
    Garbage,
    EndlessLine,
    Nuls,
    /// Commands without end, and no reply is read.
    Flood,
}

const STAGES: [Stage; 12] = [
    Stage::Connected,
    Stage::Greeted,
    Stage::Hello,
    Stage::StartTls,
    Stage::Auth,
    Stage::Mail,
    Stage::Rcpt,
    Stage::Data,
    Stage::Content,
    Stage::Dot,
    Stage::Chunk,
    Stage::Between,
];
const WAYS: [Way; 8] =
    [Way::Reset, Way::Hang, Way::HalfClose, Way::Drip, Way::Garbage, Way::EndlessLine, Way::Nuls, Way::Flood];

/// What is without end ends here, where the relay has not ended it before.
const ENDLESS: u64 = 16 * MIB;
/// Of a password that nobody gives.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$QtXWYkJ1AuL9MoPi2YpR0g2Vcm6tiKFFrqwBaa2tIT0";
const ROUTES_TO: &str = "to@customer.example";

struct Guest {
    stream: TcpStream,
    row: u64,
}

impl Guest {
    fn connect(relay: SocketAddr, row: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(relay)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        Ok(Self { stream, row })
    }

    fn content(&self) -> Vec<u8> {
        marked(self.row, "row@sender.example", ROUTES_TO, 600)
    }

    /// What a client says from where it has come to up to the end of its message: a write for each reply.
    fn script(&self) -> Vec<(Stage, Vec<u8>)> {
        let content = self.content();
        let (first, second) = content.split_at(content.len() / 2);
        let chunk =
            |octets: &[u8], last: &str| [format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat();
        vec![
            (Stage::Greeted, b"".to_vec()),
            (Stage::Hello, b"EHLO guest.example\r\n".to_vec()),
            (Stage::StartTls, b"STARTTLS\r\n".to_vec()),
            (Stage::Auth, b"AUTH LOGIN\r\n".to_vec()),
            (Stage::Mail, format!("MAIL FROM:<row{}@sender.example>\r\n", self.row).into_bytes()),
            (Stage::Rcpt, format!("RCPT TO:<{ROUTES_TO}>\r\n").into_bytes()),
            (Stage::Between, chunk(first, "")),
            (Stage::Chunk, chunk(second, " LAST")),
            (Stage::Data, b"DATA\r\n".to_vec()),
            (Stage::Content, first.to_vec()),
            (Stage::Dot, [second, b".\r\n"].concat()),
        ]
    }

    /// The steps that lead to a stage, and those that lead on from it to the acknowledgement of the message.
    fn way(&self, stage: Stage) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        use Stage::{Auth, Between, Chunk, Content, Data, Dot, Greeted, Hello, Mail, Rcpt, StartTls};
        let path: &[Stage] = match stage {
            StartTls => &[Greeted, Hello, StartTls],
            Auth => &[Greeted, Hello, Auth],
            Chunk | Between => &[Greeted, Hello, Mail, Rcpt, Between, Chunk],
            _ => &[Greeted, Hello, Mail, Rcpt, Data, Content, Dot],
        };
        let script: Vec<_> = self.script().into_iter().filter(|(step, _)| path.contains(step)).collect();
        let done = path.iter().position(|step| *step == stage).map_or(0, |at| at + 1);
        let mut steps: Vec<Vec<u8>> = script.into_iter().map(|(_, octets)| octets).collect();
        let mut rest = steps.split_off(done);
        if stage == Chunk {
            // Cut off amid the octets of the chunk.
            let last = steps.pop().unwrap();
            let (sent, unsent) = last.split_at(last.len() - 100);
            steps.push(sent.to_vec());
            rest = vec![unsent.to_vec()];
        }
        (steps, rest)
    }

    fn reply(&mut self) -> io::Result<String> {
        let mut reply = Vec::new();
        let mut octet = [0];
        loop {
            if self.stream.read(&mut octet)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            reply.push(octet[0]);
            let begins = reply[..reply.len() - 1].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            if octet[0] == b'\n' && reply.get(begins + 3) != Some(&b'-') {
                return Ok(String::from_utf8_lossy(&reply[begins..]).into_owned());
            }
        }
    }

    /// Behaves up to there.
    fn come_to(&mut self, stage: Stage) -> io::Result<()> {
        let (steps, _) = self.way(stage);
        let count = steps.len();
        for (n, octets) in steps.into_iter().enumerate() {
            self.stream.write_all(&octets)?;
            let no_reply_yet = match stage {
                Stage::Content | Stage::Chunk => n + 1 == count,
                Stage::Dot => n + 2 >= count,
                _ => false,
            };
            if !no_reply_yet {
                let reply = self.reply()?;
                assert!(reply.starts_with(['2', '3']), "row {}, step {n}: {reply}", self.row);
            }
        }
        Ok(())
    }

    /// Misbehaves until it has done all it can; gives the acknowledgement, where it waited for one and got it.
    fn misbehave(&mut self, stage: Stage, way: Way) -> io::Result<Option<String>> {
        match way {
            Way::Reset => {
                socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
                self.stream = TcpStream::connect(self.stream.peer_addr()?)?;
                Ok(None)
            }
            Way::Hang => Ok(None),
            Way::HalfClose => {
                self.stream.shutdown(Shutdown::Write)?;
                if stage == Stage::Dot { self.reply().map(Some) } else { self.read_to_the_end().map(|()| None) }
            }
            Way::Drip => self.drip(stage),
            Way::Garbage => {
                let mut state = self.row;
                let mut octets = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                };
                let garbage: Vec<u8> = (0..64 * 1024).map(|_| octets()).collect();
                self.stream.write_all(&garbage)?;
                Ok(None)
            }
            Way::EndlessLine => self.endless(&[b'x'; 16 * 1024]),
            Way::Nuls => self.endless(&[0; 16 * 1024]),
            Way::Flood => self.endless(&b"NOOP\r\n".repeat(1024)),
        }
    }

    fn endless(&mut self, piece: &[u8]) -> io::Result<Option<String>> {
        let mut sent = 0;
        while sent < ENDLESS {
            self.stream.write_all(piece)?;
            sent += piece.len() as u64;
        }
        Ok(None)
    }

    fn drip(&mut self, stage: Stage) -> io::Result<Option<String>> {
        let rest = match stage {
            // The handshake's first octets, and then no more: there is nothing right to say slowly.
            Stage::StartTls => {
                for octet in [22, 3, 1, 2] {
                    self.stream.write_all(&[octet])?;
                }
                return Ok(None);
            }
            // The login fails, and mail follows.
            Stage::Auth => {
                let mail = self.way(Stage::Hello).1;
                [b"dXNlcg==\r\n".to_vec(), b"cGFzcw==\r\n".to_vec()].into_iter().chain(mail).collect()
            }
            _ => self.way(stage).1,
        };
        let mut last = None;
        for octets in rest {
            for octet in &octets {
                self.stream.write_all(&[*octet])?;
                // The pace of the drip, so that each octet is a packet.
                std::thread::sleep(Duration::from_micros(500));
            }
            // No reply comes before the content's end.
            if octets.is_empty() || !self.content().starts_with(&octets) {
                last = Some(self.reply()?);
            }
        }
        if stage == Stage::Dot { self.reply().map(Some) } else { Ok(last) }
    }

    fn read_to_the_end(&mut self) -> io::Result<()> {
        let mut octets = [0; 4096];
        while self.stream.read(&mut octets)? > 0 {}
        Ok(())
    }
}

/// All mail is delivered: that of `Beside` at the first sink, all other at the second.
fn relay(certificate: &Certificate, listener: &str, good: &Sink, other: &Sink) -> Relay {
    Setup::new()
        .listener(&format!("tls: starttls, authentication: optional, {listener}"))
        .server(&format!(
            "tls: {{certificate: \"{}\", key: \"{}\"}}\nshutdown_grace: 1s\nmax_connections: 15000\nusers: [{{name: somebody, password: \"{HASH}\"}}]",
            certificate.certificate.display(),
            certificate.key.display()
        ))
        .route(&format!("name: good, match: {{recipient: {}}}, deliver: [good]", beside::RECIPIENT))
        .route("name: nowhere, match: {recipient: \"nowhere@*\"}, discard: true")
        .route("name: other, deliver: [other]")
        .provider(&format!("name: good, transport: smtp, {}", good.as_host()))
        .provider(&format!("name: other, transport: smtp, {}", other.as_host()))
        .start()
}

struct House {
    relay: Relay,
    other: Sink,
    beside: Beside,
    _folder: tempfile::TempDir,
}

fn house(listener: &str) -> House {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), &["relay.example"]);
    let (good, other) = (Sink::start(), Sink::start());
    let relay = relay(&certificate, listener, &good, &other);
    let beside = Beside::start(relay.address, good);
    House { relay, other, beside, _folder: folder }
}

#[test]
fn clients_that_misbehave_at_every_step() {
    let House { mut relay, other, beside, _folder } = house("max_connections: 500, max_message_size: 8MiB");
    let before = peak(&mut relay);
    let began = Instant::now();
    let rows: Vec<(Stage, Way)> = STAGES.iter().flat_map(|stage| WAYS.map(|way| (*stage, way))).collect();
    let address = relay.address;
    let guests: Vec<JoinHandle<_>> = rows
        .iter()
        .enumerate()
        .map(|(n, &(stage, way))| {
            std::thread::spawn(move || {
                let mut guest = Guest::connect(address, n as u64).unwrap();
                guest.come_to(stage).unwrap_or_else(|e| panic!("row {n}, {stage:?}, {way:?}: {e}"));
                // How it ends for the guest is the relay's choice: it may be cut off.
                let acknowledged = guest.misbehave(stage, way);
                (guest, acknowledged)
            })
        })
        .collect();
    let guests: Vec<(Guest, io::Result<Option<String>>)> = guests.into_iter().map(|g| g.join().unwrap()).collect();
    let took = began.elapsed();

    // Slow is not wrong, and neither is a client that has no more to say.
    let acknowledged = |n: usize| matches!(&guests[n].1, Ok(Some(reply)) if reply.starts_with("250 2.0.0 Ok: queued"));
    for (n, &(stage, way)) in rows.iter().enumerate() {
        let right = way == Way::Drip && stage != Stage::StartTls || (stage, way) == (Stage::Dot, Way::HalfClose);
        assert_eq!(acknowledged(n), right, "{stage:?}, {way:?}: {:?}", guests[n].1);
    }
    let due: Vec<u64> = (0..rows.len()).filter(|&n| acknowledged(n)).map(|n| n as u64).collect();
    until_true("what was acknowledged arrives", BOUND, || {
        let marks: Vec<_> = other.mails().iter().filter_map(|mail| mail.mark()).collect();
        due.iter().all(|mark| marks.contains(mark))
    });
    assert_well(&mut relay);
    let held = peak(&mut relay);
    let (count, slowest) = beside.end();
    println!(
        "{} rows in {took:?}; beside them {count} messages, the slowest {slowest:?}; memory {} MiB before, {} MiB at most",
        rows.len(),
        before / MIB,
        held / MIB
    );
    assert!(held < before + ROOM, "{} MiB before, {} MiB at most", before / MIB, held / MIB);

    // Those that hang do not hold up the end: one second of grace, and five for last words.
    let stopping = Instant::now();
    assert!(relay.stop(Duration::from_secs(10)).success());
    println!("stopped in {:?} with clients that hang", stopping.elapsed());
    drop(guests.iter().map(|(guest, _)| &guest.stream).collect::<Vec<_>>());
    let mut arrived: HashMap<u64, usize> = HashMap::new();
    for mail in other.mails() {
        *arrived.entry(mark_in(&mail.content).unwrap()).or_default() += 1;
    }
    for (n, (stage, way)) in rows.iter().enumerate() {
        let count = arrived.get(&(n as u64)).copied().unwrap_or(0);
        // Behind the final dot the message is the relay's, whether its client hears so or not.
        // A chunk is complete with its last octet, whatever octet that is.
        let cut_off = matches!(way, Way::Reset | Way::Hang | Way::HalfClose);
        let complete = *stage == Stage::Dot || *stage == Stage::Chunk && !cut_off;
        let allowed = if acknowledged(n) { 1..=1 } else { 0..=usize::from(complete) };
        assert!(allowed.contains(&count), "{stage:?}, {way:?}: delivered {count} times");
    }
}

#[test]
fn a_thousand_connections_a_second() {
    const THREADS: u32 = 4;
    let seconds = long(20, 3);
    let House { mut relay, beside, other: _other, _folder } = house("max_connections: 500");
    let before = peak(&mut relay);
    let address = relay.address;
    let began = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                let (mut greeted, mut turned_away, mut asked) = (0, 0, 0);
                for n in 0..seconds * 1_000 / THREADS {
                    let due = began + Duration::from_secs_f64(f64::from(n * THREADS + thread) / 1_000.0);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let mut guest = Guest::connect(address, 0).unwrap();
                    // In turns: reset at once, closed at once, reset after the greeting, a whole session without mail.
                    if n % 4 >= 2 {
                        asked += 1;
                        match guest.reply().unwrap() {
                            reply if reply.starts_with("220 ") => greeted += 1,
                            reply if reply.starts_with("421 ") => turned_away += 1,
                            reply => panic!("{reply}"),
                        }
                    }
                    if n % 4 == 3 {
                        let _ = guest.stream.write_all(b"QUIT\r\n");
                        let _ = guest.read_to_the_end();
                    }
                    if n % 4 != 1 {
                        let _ = socket2::SockRef::from(&guest.stream).set_linger(Some(Duration::ZERO));
                    }
                }
                (greeted, turned_away, asked)
            })
        })
        .collect();
    let (mut greeted, mut turned_away, mut asked) = (0, 0, 0);
    for thread in threads {
        let counts: (u32, u32, u32) = thread.join().unwrap();
        (greeted, turned_away, asked) = (greeted + counts.0, turned_away + counts.1, asked + counts.2);
    }
    let took = began.elapsed();
    let held = peak(&mut relay);
    let (count, slowest) = beside.end();
    println!(
        "{} connections in {took:?}: {greeted} greeted, {turned_away} turned away; beside them {count} messages, the slowest \
         {slowest:?}; memory {} MiB before, {} MiB at most",
        seconds * 1_000,
        before / MIB,
        held / MIB
    );
    assert_well(&mut relay);
    assert_eq!((greeted, turned_away), (asked, 0));
    assert!(held < before + ROOM, "{} MiB before, {} MiB at most", before / MIB, held / MIB);
}

#[test]
fn idle_connections_cost_little() {
    const THREADS: u64 = 4;
    let most = 100_000_000;
    let idle: u64 = long(10_000, 5_000);
    let House { mut relay, beside, other: _other, _folder } = house("max_connections: 12000");
    let before = relay.process().resident();
    let address = relay.address;
    let content = marked(0, "app@sender.example", "nowhere@customer.example", 12_000);
    let open = |_: u64| -> Vec<Client> { (0..idle / THREADS).map(|_| Client::connect(address).unwrap()).collect() };
    let mut clients: Vec<Vec<Client>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || open(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let fresh = relay.process().resident();
    // Having sent something once must not cost more for ever.
    std::thread::scope(|scope| {
        for clients in &mut clients {
            scope.spawn(|| {
                for client in clients {
                    let reply = client.mail("app@sender.example", &["nowhere@customer.example"], &content).unwrap();
                    assert_eq!(reply.code, 250, "{reply:?}");
                }
            });
        }
    });
    let used = relay.process().resident();
    let held = peak(&mut relay);
    let (count, slowest) = beside.end();
    println!(
        "{idle} idle connections: {} MiB before, {} MiB with them, {} MiB when each has sent a message, {} MiB at most; beside \
         them {count} messages, the slowest {slowest:?}",
        before / MIB,
        fresh / MIB,
        used / MIB,
        held / MIB
    );
    assert_well(&mut relay);
    assert!(held < most, "{held} octets at most");
    // All of them are still served.
    for client in clients.iter_mut().flatten() {
        assert_eq!(client.say("NOOP").unwrap().code, 250);
    }
}

/// Octets of all files below, as far as they take room.
fn on_disk(folder: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => on_disk(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn more_than_is_taken_costs_nothing() {
    let size: u64 = long(2 << 30, 64 << 20);
    let House { mut relay, beside, other, _folder } = house("max_connections: 100, max_message_size: 4MiB");
    let mut client = relay.client();
    let refused = client.say(&format!("MAIL FROM:<big@sender.example> SIZE={size}")).unwrap();
    assert_eq!(refused.code, 552, "{refused:?}");

    let piece = marked(1, "big@sender.example", ROUTES_TO, 64 * 1024);
    let line_only = [b'x'; 64 * 1024];
    let header = b"X-Field: value\r\n".repeat(4096);
    let dots = b"..:\r\n".repeat(13_000);
    let before = peak(&mut relay);
    let disk = on_disk(&relay.path().join("data"));
    // Text; one line without end; a header section without end; one of lines that all begin with a dot.
    let all = [("text", &piece[..], size), ("a line", &line_only, size), ("a header", &header, size)];
    // These cost time rather than memory.
    for (what, piece, size) in all.into_iter().chain([("dots", &dots[..], 64 << 20)]) {
        let began = Instant::now();
        assert_eq!(client.say("MAIL FROM:<big@sender.example>").unwrap().code, 250);
        assert_eq!(client.say(&format!("RCPT TO:<{ROUTES_TO}>")).unwrap().code, 250);
        assert_eq!(client.say("DATA").unwrap().code, 354);
        let mut sent = 0;
        while sent < size {
            client.write(piece).unwrap();
            sent += piece.len() as u64;
        }
        let reply = client.say("\r\n.").unwrap();
        assert_eq!(reply.code, 552, "{what}: {reply:?}");
        println!("{} MiB of {what}: refused after {:?}", sent / MIB, began.elapsed());
    }
    // A chunk that is announced with its size is read over (RFC 3030, section 2).
    assert_eq!(client.say("MAIL FROM:<big@sender.example>").unwrap().code, 250);
    assert_eq!(client.say(&format!("RCPT TO:<{ROUTES_TO}>")).unwrap().code, 250);
    client.write(format!("BDAT {size} LAST\r\n").as_bytes()).unwrap();
    for _ in 0..size / line_only.len() as u64 {
        client.write(&line_only).unwrap();
    }
    let reply = client.reply().unwrap();
    assert_eq!(reply.code, 552, "{reply:?}");

    let (count, slowest) = beside.end();
    let held = peak(&mut relay);
    println!(
        "beside them {count} messages, the slowest {slowest:?}; memory {} MiB before, {} MiB at most",
        before / MIB,
        held / MIB
    );
    assert_well(&mut relay);
    assert!(held < before + ROOM, "{} MiB before, {} MiB at most", before / MIB, held / MIB);
    // The mail beside is on the disk too, and of what was refused nothing.
    until_true("nothing of it is left on the disk", BOUND, || {
        on_disk(&relay.path().join("data")) < disk + 4 * MIB + count as u64 * 4096
    });
    assert_eq!(other.count(), 0);
}

/// A header section that comes in many small pieces costs time in proportion to its size, not to its square: one client
/// must not keep a processor busy.
#[test]
fn a_header_section_in_small_pieces_is_read_in_time() {
    let House { mut relay, beside, other, _folder } = house("max_connections: 100");
    // Each line's dot is taken out, so that each of them is a piece of its own.
    let header = [b"Subject: mark-000007-\r\n".to_vec(), b"..:\r\n".repeat(200_000), b"\r\nbody\r\n".to_vec()].concat();
    let mut client = relay.client();
    assert_eq!(client.say("MAIL FROM:<dots@sender.example>").unwrap().code, 250);
    assert_eq!(client.say(&format!("RCPT TO:<{ROUTES_TO}>")).unwrap().code, 250);
    assert_eq!(client.say("DATA").unwrap().code, 354);
    let began = Instant::now();
    client.write(&header).unwrap();
    let reply = client.say(".").unwrap();
    let took = began.elapsed();
    println!("a header section of {} octets in 200000 pieces: {took:?}", header.len());
    assert_eq!(reply.code, 250, "{reply:?}");
    other.wait_for(1);
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    beside.end();
    assert_well(&mut relay);
}
