//! Two messages out of one: each known way to end content that some server takes and another does not, into the relay by
//! DATA and by BDAT, in whatever packets, and what of it goes out on the wire.

use crate::page;
use crate::support::free_port;
use crate::support::postfix;
use crate::support::relay::{Relay, Setup};
use crate::support::tap::{Tap, Wire};

/// What stands between a message's text and the commands that are to be smuggled.
const ENDS: &[&[u8]] = &[
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\n\r.\n\r",
    b"\n\n.\n\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\r.\r\n",
    b"\r\n\n.\r\n",
    b"\r\n.\n\r\n",
    b"\r\n.\r\n",
    // Dots that are none, or stuffing.
    b"\r\n..\r\n",
    b"\r\n...\r\n",
    b".\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\r\n .\r\n",
    b"\r\n.\x0b\r\n",
    b"\r\n.\x08\r\n",
    b"\r\n.x\r\n",
    // For servers that drop NUL.
    b"\r\n\0.\r\n",
    b"\r\n\0.\0\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\0.\r\n",
    b"\r\n\0\r\n",
    b"\r\n.\r\0\n",
    b"\r\0\n.\r\n",
    // For servers that drop the eighth bit, or take Unicode's line ends for such.
    b"\x8d\x8a.\x8d\x8a",
    b"\r\n\xae\r\n",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
];

/// The same as the first octets of the content.
const STARTS: &[&[u8]] = &[b".\n", b".\r", b"\n.\n", b"\r.\r", b"\0.\r\n", b".\r\r\n"];

const HEAD: &[u8] = b"Subject: x\r\n\r\nbody";
const SMUGGLED: &[u8] =
    b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@y.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Data,
    Bdat,
}

/// How the octets are cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The whole session in one write, 354 or not.
    Pipelined,
    /// The content once it is asked for; in two writes, or in two chunks, cut so far behind the head.
    At(usize),
}

/// What the relay says behind the content, up to the farewell.
fn hand_in(relay: &Relay, from: &str, by: By, head: &[u8], end: &[u8], cut: Cut) -> String {
    let content = [head, end, SMUGGLED].concat();
    let envelope = format!("MAIL FROM:<{from}> BODY=8BITMIME\r\nRCPT TO:<one@a.example>\r\n");
    let mut client = relay.client();
    let before = match by {
        By::Data => 3,
        By::Bdat => 2,
    };
    let chunk = |octets: &[u8], last: &str| [format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat();
    let mut writes = vec![envelope.into_bytes()];
    match (by, cut) {
        (By::Data, Cut::Pipelined) => {
            writes = vec![[&writes[0], &b"DATA\r\n"[..], &content, b".\r\nQUIT\r\n"].concat()]
        }
        (By::Bdat, Cut::Pipelined) => {
            writes = vec![[writes.concat(), chunk(&content, " LAST"), b"QUIT\r\n".to_vec()].concat()]
        }
        (By::Data, Cut::At(at)) => {
            writes[0].extend_from_slice(b"DATA\r\n");
            let (first, second) = content.split_at(head.len() + at);
            writes.extend([first.to_vec(), [second, b".\r\nQUIT\r\n"].concat()]);
        }
        (By::Bdat, Cut::At(at)) => {
            let (first, second) = content.split_at(head.len() + at);
            writes.extend([chunk(first, ""), [chunk(second, " LAST"), b"QUIT\r\n".to_vec()].concat()]);
        }
    }
    let mut replies = Vec::new();
    for (n, write) in writes.iter().enumerate() {
        client.write(write).unwrap();
        if n == 0 {
            replies.extend((0..before).map(|_| client.reply().unwrap()));
        }
    }
    while let Ok(reply) = client.reply() {
        replies.push(reply);
    }
    let good = replies[..before].iter().all(|reply| matches!(reply.code, 250 | 354));
    let farewell = replies.pop().unwrap();
    assert!(good && farewell.code == 221, "{end:?} {cut:?}: {replies:?} {farewell:?}");
    let codes: Vec<String> = replies[before..]
        .iter()
        .map(|reply| match reply.text.split_once(' ') {
            Some((status, _)) if reply.code != 354 => format!("{} {status}", reply.code),
            Some(_) | None => reply.code.to_string(),
        })
        .collect();
    // The first chunk's own reply says nothing of the message, but where it is refused already.
    match (by, cut, codes.split_first()) {
        (By::Bdat, Cut::At(_), Some((first, rest))) if first == "250 2.0.0" => rest.join(", "),
        (By::Bdat, Cut::At(_), Some((first, rest))) => {
            assert_eq!(rest, ["503 5.5.1"], "{end:?} {cut:?}: a chunk behind one that was refused");
            first.clone()
        }
        (By::Bdat | By::Data, Cut::Pipelined | Cut::At(_), _) => codes.join(", "),
    }
}

/// The replies to one way to write it, always the same however it is cut, and how often it was handed in.
fn told(relay: &Relay, from: &str, by: By, head: &[u8], end: &[u8]) -> (String, usize) {
    let cuts: Vec<Cut> = std::iter::once(Cut::Pipelined).chain((0..=end.len()).map(Cut::At)).collect();
    let told: Vec<String> = cuts.iter().map(|cut| hand_in(relay, from, by, head, end, *cut)).collect();
    assert!(told.iter().all(|one| *one == told[0]), "{by:?} {end:?}: {told:?}");
    (told[0].clone(), cuts.len())
}

/// One row of the table.
struct Row {
    end: &'static [u8],
    at_start: bool,
    by: By,
    from: String,
    told: String,
    times: usize,
}

fn rows(relay: &Relay) -> Vec<Row> {
    let mut rows = Vec::new();
    let ends = ENDS.iter().map(|end| (*end, false)).chain(STARTS.iter().map(|end| (*end, true)));
    for (n, (end, at_start)) in ends.enumerate() {
        for by in [By::Data, By::Bdat] {
            let from = format!("row{n}-{by:?}@sender.example").to_lowercase();
            let (told, times) = told(relay, &from, by, if at_start { b"" } else { HEAD }, end);
            rows.push(Row { end, at_start, by, from, told, times });
        }
    }
    rows
}

impl Row {
    fn refused(&self) -> bool {
        self.told.starts_with('5')
    }

    /// The one end that there is: the rest was said as commands.
    fn is_the_end(&self) -> bool {
        self.by == By::Data && self.end == b"\r\n.\r\n"
    }

    fn tells(&self, wire: &[Wire]) -> [String; 2] {
        if self.refused() {
            return [self.told.clone(), String::new()];
        }
        let raw = &wire.iter().find(|wire| wire.is_from(&self.from)).unwrap().raw;
        let start = memchr::memmem::find(raw, HEAD).unwrap() + HEAD.len();
        let end = memchr::memmem::find(raw, b"MAIL FROM:").unwrap_or(raw.len());
        let what = if self.is_the_end() { "the end" } else { "one message" };
        [what.to_owned(), page::cell(&raw[start..end])]
    }
}

impl Wire {
    fn is_from(&self, from: &str) -> bool {
        self.envelope[0].contains(&format!("<{from}>"))
    }

    /// What the most careless of servers makes of it: NUL dropped, CR and LF alike.
    fn ends_for_the_careless(&self) -> usize {
        let lines = [b"\n", &self.raw[..]].concat();
        let lines: Vec<u8> = lines.iter().filter(|octet| **octet != 0).copied().collect();
        let text = String::from_utf8_lossy(&lines).replace("\r\n", "\n").replace('\r', "\n");
        text.matches("\n.\n").count()
    }
}

#[test]
fn no_end_but_one_makes_two_messages() {
    let tap = Tap::start();
    let relay = Setup::new()
        .route("name: all, deliver: [next]")
        .provider(&format!("name: next, transport: smtp, host: 127.0.0.1, port: {}, tls: none", tap.address.port()))
        .start();
    let rows = rows(&relay);
    let one_each: usize = rows.iter().filter(|row| !row.refused()).map(|row| row.times).sum();
    let end = rows.iter().find(|row| row.is_the_end()).unwrap();
    let wire = tap.wait_for(one_each + end.times);

    assert_eq!(end.told, "250 2.0.0, 250 2.1.0, 250 2.1.5, 354, 250 2.0.0");
    for row in &rows {
        let arrived = wire.iter().filter(|wire| wire.is_from(&row.from)).count();
        let told = if row.is_the_end() {
            end.told.as_str()
        } else if row.refused() {
            "550 5.6.0"
        } else {
            "250 2.0.0"
        };
        assert_eq!((row.told.as_str(), arrived), (told, if row.refused() { 0 } else { row.times }), "{:?}", row.end);
    }
    // Whoever is to be the sender of a smuggled message sent none, but by the one end that there is.
    assert_eq!(wire.iter().filter(|wire| wire.is_from("evil@x.example")).count(), end.times);
    assert_eq!(wire.len(), one_each + end.times);
    for wire in &wire {
        assert!(wire.raw.ends_with(b"\r\n.\r\n") && wire.ends_for_the_careless() == 1, "{:?}", page::cell(&wire.raw));
    }

    let mut table = "| between the text and the next line | by DATA | to the next hop | by BDAT | to the next hop |\n|---|---|---|---|---|\n".to_owned();
    for pair in rows.chunks(2) {
        let start = if pair[0].at_start { "at the start: " } else { "" };
        let [data, data_out] = pair[0].tells(&wire);
        let [bdat, bdat_out] = pair[1].tells(&wire);
        table
            .push_str(&format!("| {start}{} | {data} | {data_out} | {bdat} | {bdat_out} |\n", page::cell(pair[0].end)));
    }
    page::shows("docs/smtp.md", "smuggling", &table);
}

/// The same, with Postfix as the next hop.
#[test]
#[ignore = "needs postfix"]
fn postfix_gets_one_message_for_each() {
    let host = postfix::Setup::new("smart.example", 3, free_port()).start();
    let relay = Setup::new()
        .route("name: all, deliver: [next]")
        .provider(&format!("name: next, transport: smtp, host: 127.0.0.3, port: {}, tls: none", host.address.port()))
        .start();
    let mut expected = 0;
    for end in ENDS {
        for by in [By::Data, By::Bdat] {
            let told = hand_in(&relay, "app@sender.example", by, HEAD, end, Cut::Pipelined);
            expected += told.matches("250 2.0.0").count();
        }
    }
    let messages = host.wait_for(expected);
    assert_eq!(messages.len(), expected);
    let smuggled = |message: &&Vec<u8>| String::from_utf8_lossy(message).contains("Return-Path: <evil@x.example>");
    // What stands behind the one end was sent as commands.
    assert_eq!(messages.iter().filter(smuggled).count(), 1);
}
