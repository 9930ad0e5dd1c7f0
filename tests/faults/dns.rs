//! Name servers that do not answer, answer wrongly, or answer with what leads nowhere. What could not be found out is put
//! off, what is not there bounces, the rest arrives; the hosts that are looked up for it are bounded, and nothing hangs.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use crate::assert_well;
use crate::support::relay::{Relay, Setup};
use crate::support::sink::Sink;
use crate::support::{free_port, loopback, marked, until};

const SENDER: &str = "app@sender.example";
/// What the worst row may take: three lookups, each with the relay's own bound of 20 s.
const SETTLED: Duration = Duration::from_secs(65);
/// Octets of an answer over UDP at most, as the resolver asks for.
const MOST_UDP: usize = 1232;

/// What is to become of mail for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered,
    /// The attempt is over, and another one will follow.
    PutOff,
    /// With this status.
    Bounced(&'static str),
}

const ROWS: [(&str, Fate); 25] = [
    ("good.example", Fate::Delivered),
    ("silent.example", Fate::PutOff),
    ("servfail.example", Fate::PutOff),
    ("refused.example", Fate::PutOff),
    ("notimp.example", Fate::PutOff),
    ("garbage.example", Fate::PutOff),
    ("empty.example", Fate::PutOff),
    // A whole answer to the question, but for its second half.
    ("cut.example", Fate::PutOff),
    // Answers that are somebody else's.
    ("wrongid.example", Fate::PutOff),
    ("othername.example", Fate::PutOff),
    // Truncated over UDP; over TCP no answer, half of one, all of it.
    ("tcpcloses.example", Fate::PutOff),
    ("tcphalf.example", Fate::PutOff),
    ("tcpgood.example", Fate::Delivered),
    ("loop.example", Fate::PutOff),
    ("hostloop.example", Fate::PutOff),
    // 500 hosts: the fourth is there; none is; none can be looked up; none has an address.
    ("many.example", Fate::Delivered),
    ("dead.example", Fate::PutOff),
    ("mute.example", Fate::PutOff),
    ("nowhere.example", Fate::PutOff),
    // The first host cannot be looked up, the second is there.
    ("half.example", Fate::Delivered),
    ("noaddress.example", Fate::Bounced("5.4.4")),
    ("nohost.example", Fate::Bounced("5.4.4")),
    ("literal.example", Fate::Bounced("5.4.4")),
    ("null.example", Fate::Bounced("5.1.10")),
    ("gone.example", Fate::Bounced("5.1.2")),
];

enum Say {
    Nothing,
    Octets(Vec<u8>),
    Code(ResponseCode),
    /// None: the name is there, and has no such record.
    Records(Vec<RData>),
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn mx(hosts: impl IntoIterator<Item = (u16, String)>) -> Say {
    Say::Records(hosts.into_iter().map(|(preference, host)| RData::MX(MX::new(preference, name(&host)))).collect())
}

fn one(host: &str) -> Say {
    mx([(10, host.to_owned())])
}

fn answer(asked: &str, kind: RecordType) -> Say {
    let many = |domain: &str| mx((0..500).map(|n| (n, format!("h{n}.{domain}"))));
    let address = |last: u8| match kind {
        RecordType::A => Say::Records(vec![RData::A(A::new(127, 0, 0, last))]),
        _ => Say::Records(Vec::new()),
    };
    let host = asked.split_once('.').filter(|(first, _)| first.starts_with('h')).map(|(_, domain)| domain);
    match (asked, kind) {
        ("good.example" | "tcpgood.example" | "cut.example" | "wrongid.example", RecordType::MX) => {
            one("mx.good.example")
        }
        ("othername.example" | "tcpcloses.example" | "tcphalf.example", RecordType::MX) => one("mx.good.example"),
        ("mx.good.example", _) => address(4),
        ("silent.example" | "mx.silent.example", _) => Say::Nothing,
        ("servfail.example", _) => Say::Code(ResponseCode::ServFail),
        ("refused.example", _) => Say::Code(ResponseCode::Refused),
        ("notimp.example", _) => Say::Code(ResponseCode::NotImp),
        ("garbage.example", _) => Say::Octets((0..200u8).map(|n| n.wrapping_mul(151)).collect()),
        ("empty.example", _) => Say::Octets(Vec::new()),
        ("loop.example", _) => Say::Records(vec![RData::CNAME(CNAME(name("other.loop.example")))]),
        ("other.loop.example", _) => Say::Records(vec![RData::CNAME(CNAME(name("loop.example")))]),
        ("hostloop.example", RecordType::MX) => one("loop.example"),
        ("many.example" | "dead.example" | "mute.example" | "nowhere.example", RecordType::MX) => many(asked),
        ("half.example", RecordType::MX) => mx([(10, "mx.silent.example".into()), (20, "mx.good.example".into())]),
        ("noaddress.example", RecordType::MX) => one("mx.noaddress.example"),
        ("mx.noaddress.example" | "noaddress.example", _) => Say::Records(Vec::new()),
        ("nohost.example", RecordType::MX) => one("mx.nohost.example"),
        ("literal.example", RecordType::MX) => one("127.0.0.4"),
        ("null.example", RecordType::MX) => Say::Records(vec![RData::MX(MX::new(0, Name::root()))]),
        ("h3.many.example", _) => address(4),
        _ if host == Some("many.example") || host == Some("dead.example") => address(9),
        _ if host == Some("mute.example") => Say::Nothing,
        _ => Say::Code(ResponseCode::NXDomain),
    }
}

/// The octets of the answer to a query, if there is to be one.
fn octets(query: &Message, tcp: bool) -> Option<Vec<u8>> {
    let asked = query.queries.first()?.clone();
    let text = asked.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let mut id = query.metadata.id;
    if text == "wrongid.example" {
        id = id.wrapping_add(1);
    }
    let mut message = Message::response(id, OpCode::Query);
    let mut question = asked.clone();
    if text == "othername.example" {
        question.set_name(name("another.example"));
    }
    let owner = question.name().clone();
    message.add_query(question);
    match answer(&text, asked.query_type()) {
        Say::Nothing => return None,
        // Whoever answers knows the question's id.
        Say::Octets(octets) => return Some([id.to_be_bytes().to_vec(), octets].concat()),
        Say::Code(code) => message.metadata.response_code = code,
        Say::Records(records) => {
            message.add_answers(records.into_iter().map(|data| Record::from_rdata(owner.clone(), 60, data)));
        }
    }
    let whole = message.to_vec().unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    match (text.as_str(), tcp) {
        ("cut.example", _) | ("tcphalf.example", true) => Some(half),
        ("tcpcloses.example", true) => None,
        _ if !tcp && (whole.len() > MOST_UDP || text.starts_with("tcp")) => {
            let mut truncated = Message::response(id, OpCode::Query);
            truncated.add_query(asked);
            truncated.metadata.truncation = true;
            Some(truncated.to_vec().unwrap())
        }
        _ => Some(whole),
    }
}

fn note(asked: &Mutex<BTreeSet<String>>, query: &Message) {
    if let Some(asked_for) = query.queries.first().filter(|query| query.query_type() != RecordType::MX) {
        asked.lock().unwrap().insert(asked_for.name().to_ascii().to_ascii_lowercase());
    }
}

/// A name server that follows `answer`.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// All names that addresses were asked for.
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Server {
    fn start() -> Self {
        let address = loopback(1, free_port());
        let (udp, tcp) = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
        let server = Self { address, stop: Arc::default(), asked: Arc::default() };
        // So that the thread notices the end of the test.
        udp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let (stop, asked) = (Arc::clone(&server.stop), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stop.load(Ordering::SeqCst) {
                let Ok((size, client)) = udp.recv_from(&mut buffer) else { continue };
                let Ok(query) = Message::from_vec(&buffer[..size]) else { continue };
                note(&asked, &query);
                if let Some(octets) = octets(&query, false) {
                    let _ = udp.send_to(&octets, client);
                }
            }
        });
        let (stop, asked) = (Arc::clone(&server.stop), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let asked = Arc::clone(&asked);
                std::thread::spawn(move || {
                    let mut size = [0; 2];
                    while stream.read_exact(&mut size).is_ok() {
                        let mut query = vec![0; usize::from(u16::from_be_bytes(size))];
                        stream.read_exact(&mut query).ok()?;
                        let query = Message::from_vec(&query).ok()?;
                        note(&asked, &query);
                        let octets = octets(&query, true)?;
                        let size = u16::try_from(octets.len()).ok()?.to_be_bytes();
                        stream.write_all(&[&size, &octets[..]].concat()).ok()?;
                    }
                    Some(())
                });
            }
        });
        server
    }

    /// How many hosts of a domain were looked up.
    fn hosts(&self, domain: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|name| name.ends_with(&format!(".{domain}."))).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(self.address);
    }
}

/// A host that closes each connection at once, and counts them.
fn slammer(address: SocketAddr) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(address).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let for_thread = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            for_thread.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    count
}

/// What has become of mail for a domain so far.
fn fate(relay: &Relay, sink: &Sink, domain: &str) -> Option<Fate> {
    let recipient = format!("to@{domain}");
    if sink.mails().iter().any(|mail| mail.to.contains(&format!("<{recipient}>"))) {
        return Some(Fate::Delivered);
    }
    let attempt = relay.log().attempts().into_iter().find(|attempt| attempt.is("destination", domain))?;
    match attempt.text("outcome")?.as_str() {
        "unavailable" | "deferred" => Some(Fate::PutOff),
        "rejected" => {
            let dsn = relay.maildir("bounces").messages().into_iter().find(|dsn| {
                let dsn = String::from_utf8_lossy(dsn);
                dsn.contains(&recipient) && dsn.contains("Action: failed")
            })?;
            let dsn = String::from_utf8(dsn).unwrap();
            let status = dsn.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or_default();
            let known = ["5.4.4", "5.1.10", "5.1.2"].into_iter().find(|known| *known == status);
            Some(Fate::Bounced(known.unwrap_or_else(|| panic!("{dsn}"))))
        }
        // It may not have come to the sink's list yet.
        "delivered" => None,
        other => panic!("{domain}: {other}"),
    }
}

#[test]
fn each_answer_ends_in_the_right_thing() {
    let port = free_port();
    let server = Server::start();
    let sink = Sink::at(loopback(4, port));
    let slammed = slammer(loopback(9, port));
    let mut relay = Setup::new()
        // One attempt each: what it looks up and connects to is counted.
        .queue("retry: [1h]")
        .server(&format!("dns: {{nameservers: [\"{}\"]}}", server.address))
        .route("name: back, match: {recipient_domain: sender.example}, deliver: [bounces]")
        .route("name: out, deliver: [mx]")
        .provider(&format!("name: mx, transport: mx, port: {port}, tls: none, timeout: 1s"))
        .provider("name: bounces, transport: maildir, path: bounces")
        .start();
    let began = Instant::now();
    // The good one is the last to come, behind all those that wait for an answer.
    for (mark, (domain, _)) in ROWS.iter().enumerate().rev() {
        let to = format!("to@{domain}");
        relay.send(SENDER, &[&to], &marked(mark as u64, SENDER, &to, 500));
    }
    let handed_in = Instant::now();
    until("mail to a good domain does not wait for the others", Duration::from_secs(5), || {
        fate(&relay, &sink, "good.example")
    });
    println!("beside {} others, a good domain had its mail after {:?}", ROWS.len() - 1, handed_in.elapsed());

    let mut fates: HashMap<&str, (Fate, Duration)> = HashMap::new();
    while fates.len() < ROWS.len() && began.elapsed() < SETTLED {
        for (domain, _) in ROWS {
            if !fates.contains_key(domain)
                && let Some(fate) = fate(&relay, &sink, domain)
            {
                fates.insert(domain, (fate, began.elapsed()));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_well(&mut relay);
    let wrong: Vec<_> = ROWS
        .iter()
        .filter(|(domain, fate)| fates.get(domain).is_none_or(|(found, _)| found != fate))
        .map(|(domain, fate)| format!("{domain}: {:?}, not {fate:?}", fates.get(domain)))
        .collect();
    assert!(wrong.is_empty(), "after {:?}:\n{}", began.elapsed(), wrong.join("\n"));
    let slowest = fates.iter().max_by_key(|(_, (_, took))| *took);
    let hosts = ["many", "dead", "mute", "nowhere"].map(|name| server.hosts(&format!("{name}.example")));
    println!(
        "{} rows in {:?}, the slowest {slowest:?}; hosts looked up of 500: many, dead, mute, nowhere {hosts:?}; {} connections \
         that were closed at once",
        ROWS.len(),
        began.elapsed(),
        slammed.load(Ordering::SeqCst)
    );
    assert_eq!(hosts[0], 4, "one by one, up to the one that is there");
    assert!(hosts.iter().all(|count| *count <= 20), "of 500 hosts, looked up: {hosts:?}");
    assert!(slammed.load(Ordering::SeqCst) <= 3 + 10, "{slammed:?} connections");
}
