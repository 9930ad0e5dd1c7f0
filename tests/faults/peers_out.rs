//! Next hops that misbehave at every step of the dialogue, in every way. For each: the relay lives, the message is neither
//! lost nor bounced, it is sent twice only where the end of its content had left, and mail on another route does not notice.

use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::beside::{self, Beside};
use crate::peer::{Peer, Script, Step, Way};
use crate::support::cert::Certificate;
use crate::support::log::Line;
use crate::support::relay::{Relay, Setup};
use crate::support::sink::Sink;
use crate::support::{loopback, marked, until, until_true};
use crate::{MIB, ROOM, assert_well, peak};

const SENDER: &str = "app@sender.example";
/// The whole table has come to its end by then.
const TABLE: Duration = Duration::from_secs(60);

/// Short, but not so short that a busy machine passes for a host that hangs.
const TIMEOUT: &str = "{connect: 1s, command: 1s, content: 4s}";

/// What a row's provider and route say of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    None,
    Opportunistic,
    /// The route asks for it.
    Floor,
    /// The provider does, and checks the certificate.
    Checked,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    step: Step,
    way: Way,
    tls: Tls,
    pipelining: bool,
    /// The content leaves with the commands.
    chunks: bool,
    /// By MX: a session that is kept for another message takes its leave sooner.
    mx: bool,
}

fn rows() -> Vec<Row> {
    use Way::{Drip, EndlessLine, EndlessLines, Garbage, HalfClose, Hang, Reply, Reset};
    let of = |step: Step| {
        // Out of place: 354 where no content is due, 250 where it is, 150 nowhere, and no code at all.
        let misplaced = if step == Step::Data { "250 Ok" } else { "354 go ahead" };
        let replies = [Reply(misplaced), Reply("150 what"), Reply("999 what")];
        [Reset, Hang, HalfClose, Drip, Garbage, EndlessLines, EndlessLine].into_iter().chain(replies)
    };
    let mut rows = Vec::new();
    for pipelining in [false, true] {
        let steps = [Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Content, Step::Final];
        for step in steps.into_iter().chain([Step::Reset]) {
            let (chunks, mx) = (false, false);
            rows.extend(of(step).map(|way| Row { step, way, tls: Tls::None, pipelining, chunks, mx }));
        }
    }
    let (pipelining, chunks, mx) = (true, true, false);
    for step in [Step::Mail, Step::Rcpt, Step::Final, Step::Reset] {
        rows.extend(of(step).map(|way| Row { step, way, tls: Tls::None, pipelining, chunks, mx }));
    }
    let way = Reply("502 5.5.1 What is BDAT?");
    rows.push(Row { step: Step::Data, way, tls: Tls::None, pipelining, chunks, mx });
    let chunks = false;
    for tls in [Tls::Opportunistic, Tls::Floor] {
        for step in [Step::StartTls, Step::Handshake, Step::SecureHello] {
            rows.extend(of(step).map(|way| Row { step, way, tls, pipelining, chunks, mx }));
        }
    }
    for tls in [Tls::Opportunistic, Tls::Floor, Tls::Checked] {
        for reply in ["454 4.7.0 not now", "554 5.7.0 never"] {
            rows.push(Row { step: Step::StartTls, way: Reply(reply), tls, pipelining, chunks, mx });
        }
    }
    for way in [Reset, Garbage] {
        rows.push(Row { step: Step::Handshake, way, tls: Tls::Checked, pipelining, chunks, mx });
    }
    let mx = true;
    rows.extend(of(Step::Quit).map(|way| Row { step: Step::Quit, way, tls: Tls::None, pipelining, chunks, mx }));
    rows
}

impl Row {
    /// Amid the content, more than fits into the buffers of the connection: its end cannot have left.
    fn size(&self) -> usize {
        if self.step == Step::Content { 5 << 20 } else { 2_000 }
    }

    /// Who did not know BDAT once is not asked for it again.
    fn times(&self) -> usize {
        if self.step == Step::Quit || self.chunks && self.step == Step::Data { 1 } else { 2 }
    }

    /// Attempts that end when all of the content may have left. Who answers nothing of a message gets the next by DATA.
    fn in_doubt(&self) -> RangeInclusive<usize> {
        match self.step {
            Step::Final => 2..=2,
            Step::Rcpt if self.chunks => 2..=2,
            Step::Mail if self.chunks => 1..=2,
            _ => 0..=0,
        }
    }
}

fn server_config(certificate: &Certificate) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&certificate.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.unwrap())
}

fn recipient(row: usize, rows: &[Row]) -> String {
    if rows[row].mx { format!("row{row}@[127.0.0.1]") } else { format!("row{row}@customer.example") }
}

/// A route and a provider for each row, and for mail that has nothing to do with any of them.
fn relay(rows: &[Row], peers: &[Peer], certificate: &Certificate, good: &Sink) -> Relay {
    let mut setup = Setup::new()
        .listener("max_connections: 100")
        .server("shutdown_grace: 1s")
        .route("name: back, match: {recipient_domain: sender.example}, deliver: [bounces]")
        .route(&format!("name: good, match: {{recipient: {}}}, deliver: [good]", beside::RECIPIENT))
        .provider("name: bounces, transport: maildir, path: bounces")
        .provider(&format!("name: good, transport: smtp, {}", good.as_host()));
    for (n, (row, peer)) in rows.iter().zip(peers).enumerate() {
        let floor = if row.tls == Tls::Floor { ", tls: require" } else { "" };
        setup = setup.route(&format!("name: r{n}, match: {{recipient: \"row{n}@*\"}}, deliver: [p{n}]{floor}"));
        let tls = match row.tls {
            Tls::None => "tls: none".to_owned(),
            Tls::Opportunistic | Tls::Floor => "tls: opportunistic".to_owned(),
            Tls::Checked => format!("tls: starttls, ca: \"{}\"", certificate.certificate.display()),
        };
        let host = match (row.mx, row.chunks) {
            (true, _) => "transport: mx",
            (false, false) => "transport: smtp, host: 127.0.0.1",
            (false, true) => "transport: smtp, host: 127.0.0.1, chunking: true",
        };
        setup =
            setup.provider(&format!("name: p{n}, {host}, port: {}, {tls}, timeout: {TIMEOUT}", peer.address.port()));
    }
    setup.start()
}

#[test]
fn next_hops_that_misbehave_at_every_step() {
    let rows = rows();
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::write(folder.path(), &["127.0.0.1"]);
    let config = server_config(&certificate);
    let start = |row: &Row| {
        let tls = (row.tls != Tls::None).then(|| Arc::clone(&config));
        let &Row { step, way, pipelining, chunks, .. } = row;
        Peer::start(Script { step, way, times: row.times(), pipelining, chunks, tls })
    };
    let peers: Vec<Peer> = rows.iter().map(start).collect();
    let good = Sink::start();
    let mut relay = relay(&rows, &peers, &certificate, &good);
    let before = peak(&mut relay);
    let began = Instant::now();
    let beside = Beside::start(relay.address, good);
    let mut client = relay.client();
    for (n, row) in rows.iter().enumerate() {
        let to = recipient(n, &rows);
        let reply = client.mail(SENDER, &[&to], &marked(n as u64, SENDER, &to, row.size())).unwrap();
        assert_eq!(reply.code, 250, "{row:?}: {reply:?}");
    }
    all_arrive(&rows, &peers, began);
    let (beside, slowest) = beside.end();

    // Whoever left badly gets the next message all the same.
    for n in (0..rows.len()).filter(|&n| rows[n].mx) {
        let to = recipient(n, &rows);
        relay.send(SENDER, &[&to], &marked(n as u64, SENDER, &to, 500));
        until_true(&format!("the second message: {:?}", rows[n]), TABLE, || peers[n].seen().taken.len() >= 2);
    }
    let held = peak(&mut relay);
    println!(
        "{} rows in {:?}; beside them {beside} messages, the slowest {slowest:?}; memory {} MiB before, {} MiB at most",
        rows.len(),
        began.elapsed(),
        before / MIB,
        held / MIB
    );
    assert_well(&mut relay);
    relay_told_the_truth(&relay, &rows);
    assert_eq!(relay.maildir("bounces").count(), 0, "something bounced");
    for (n, (row, peer)) in rows.iter().zip(&peers).enumerate() {
        let seen = peer.seen();
        let expected = vec![Some(n as u64); if row.mx { 2 } else { 1 }];
        assert_eq!(seen.taken, expected, "{row:?}: {seen:?}");
        if matches!(row.tls, Tls::Floor | Tls::Checked) {
            assert_eq!(seen.clear_mail, 0, "{row:?}: mail went out in clear");
        }
    }
    // Contents of 5 MiB are among it: what is held of them is bounded too.
    assert!(held < before + ROOM, "{} MiB before, {} MiB at most", before / MIB, held / MIB);
}

/// Each peer has misbehaved as often as it was to, and then taken its message.
fn all_arrive(rows: &[Row], peers: &[Peer], began: Instant) {
    let is_done = |n: usize| {
        let seen = peers[n].seen();
        // An opportunity for TLS that fails is passed over at once: whether it comes again is chance.
        let times = if rows[n].tls == Tls::Opportunistic { 1 } else { rows[n].times() };
        !seen.taken.is_empty() && seen.misbehaved >= times
    };
    let mut left: Vec<usize> = (0..rows.len()).collect();
    while !left.is_empty() && began.elapsed() < TABLE {
        left.retain(|&n| !is_done(n));
        std::thread::sleep(Duration::from_millis(20));
    }
    let missing: Vec<_> = left.iter().map(|&n| format!("row {n}, {:?}: {:?}", rows[n], peers[n].seen())).collect();
    assert!(missing.is_empty(), "not within {TABLE:?}:\n{}", missing.join("\n"));
}

/// Before the end of the content nothing is in doubt; behind it all is.
fn relay_told_the_truth(relay: &Relay, rows: &[Row]) {
    let attempts = relay.log().attempts();
    let mut wrong = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let outcomes: Vec<String> =
            attempts.iter().filter(|a| a.is("provider", &format!("p{n}"))).filter_map(outcome).collect();
        let unknown = outcomes.iter().filter(|outcome| *outcome == "unknown").count();
        let allowed = ["delivered", "deferred", "unavailable", "unknown"];
        if !row.in_doubt().contains(&unknown) || !outcomes.iter().all(|outcome| allowed.contains(&outcome.as_str())) {
            wrong.push(format!("row {n}, {row:?}: {outcomes:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn outcome(attempt: &Line) -> Option<String> {
    attempt.text("outcome")
}

#[test]
fn a_host_that_is_not_there_and_one_that_does_not_accept() {
    // Refused: nobody listens. Hanging: the queue of connections to be accepted is full, so that the next is not answered.
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&loopback(1, 0).into()).unwrap();
    socket.listen(0).unwrap();
    let full = TcpListener::from(socket);
    let hanging = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&hanging, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < 10, "the queue does not fill up");
    }
    let good = Sink::start();
    let relay = Setup::new()
        .route("name: good, match: {recipient: \"good@*\"}, deliver: [good]")
        .route("name: refused, match: {recipient: \"refused@*\"}, deliver: [refused]")
        .route("name: hanging, deliver: [hanging]")
        .provider(&format!("name: good, transport: smtp, {}", good.as_host()))
        .provider(&format!(
            "name: refused, transport: smtp, host: 127.0.0.1, port: {}, tls: none, timeout: 1s",
            refused.port()
        ))
        .provider(&format!(
            "name: hanging, transport: smtp, host: 127.0.0.1, port: {}, tls: none, timeout: 1s",
            hanging.port()
        ))
        .start();
    for (mark, to) in [(1, "refused@customer.example"), (2, "hanging@customer.example"), (3, "good@customer.example")] {
        relay.send(SENDER, &[to], &marked(mark, SENDER, to, 500));
    }
    good.wait_for(1);
    for provider in ["refused", "hanging"] {
        let attempt = until(&format!("the attempt at {provider}"), TABLE, || {
            relay.log().attempts().into_iter().find(|attempt| attempt.is("provider", provider))
        });
        assert!(attempt.is("outcome", "unavailable"), "{attempt:?}");
    }
    // Both come to life.
    let first = Sink::at(refused);
    drop((full, waiting));
    let second = Sink::at(hanging);
    assert_eq!(first.wait_for(1)[0].mark(), Some(1));
    assert_eq!(second.wait_for(1)[0].mark(), Some(2));
}
