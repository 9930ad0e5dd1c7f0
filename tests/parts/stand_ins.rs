//! The stand-ins and the starters of real parts, without the relay: what stands on a broken one would prove nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::api::{Api, Mode};
use crate::support::dns::Dns;
use crate::support::load::{Load, Stream};
use crate::support::moto::Moto;
use crate::support::postfix::{self, delivered_to};
use crate::support::sink::{AfterDot, Sink};
use crate::support::smtp::Client;
use crate::support::{free_port, mark_in, marked};

#[test]
fn the_load_arrives_at_the_sink_octet_for_octet() {
    let sink = Sink::start();
    let acknowledged = Load::start(Stream {
        to: sink.address,
        from: "a@x.example".to_owned(),
        recipient: "b@y.example".to_owned(),
        rate: Some(500),
        sessions: 4,
        size: 2_000,
        first: 100,
        most: Some(100),
    })
    .finish();
    let mut marks: Vec<_> = acknowledged.marks().collect();
    marks.sort_unstable();
    assert_eq!(marks, (100..200).collect::<Vec<_>>());
    assert!(acknowledged.rate() < 600.0, "{} a second", acknowledged.rate());
    for mail in sink.wait_for(100) {
        assert_eq!(mail.content, marked(mail.mark().unwrap(), "a@x.example", "b@y.example", 2_000));
        assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("<a@x.example>", &["<b@y.example>".to_owned()][..]));
    }
}

#[test]
fn the_sink_misbehaves_on_order() {
    let sink = Sink::start();
    let send = || Client::connect(sink.address)?.mail("a@x.example", &["b@y.example"], b"Subject: x\r\n\r\nx\r\n");
    sink.behave(|manners| manners.rcpt = Some("550 5.1.1 no"));
    assert_eq!(send().unwrap().code, 550);
    sink.behave(|manners| (manners.rcpt, manners.after_dot) = (None, AfterDot::Reply("451 4.3.0 later")));
    assert_eq!(send().unwrap().code, 451);
    assert_eq!(sink.count(), 0);
    sink.behave(|manners| manners.after_dot = AfterDot::Close);
    assert!(send().is_err());
    assert_eq!(sink.count(), 1);
}

#[test]
fn the_api_breaks_on_order() {
    let api = Api::start();
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(api.address)?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        write!(stream, "POST /x HTTP/1.1\r\nContent-Length: 14\r\n\r\n{{\"mark-00042-")?;
        write!(stream, "x")?;
        let mut answer = [0; 200];
        let n = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..n]).into_owned())
    };
    assert!(ask().unwrap().starts_with("HTTP/1.1 202 "));
    assert_eq!(api.taken().get(&42), Some(&1));
    api.set(Mode::Answer(429, "Retry-After: 1\r\n", "{}"));
    let answer = ask().unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.ends_with("Retry-After: 1\r\nContent-Length: 2\r\n\r\n{}"));
    api.set(Mode::Hang);
    assert!(ask().is_err(), "a hanging provider answered");
    assert_eq!(api.unanswered().get(&42), Some(&1));
    api.set(Mode::Refuse);
    crate::support::until_true("it refuses", crate::support::BOUND, || TcpStream::connect(api.address).is_err());
    api.set(Mode::Take);
    crate::support::until_true("it is back", crate::support::BOUND, || ask().is_ok());
    assert_eq!(api.taken().get(&42), Some(&2));
}

#[test]
#[ignore = "needs postfix and sasl2-bin"]
fn postfix_receives_and_sends() {
    let receiver = postfix::Setup::new("mx.example", 2, free_port()).starttls().start();
    let sender = postfix::Setup::new("sender.example", 3, free_port()).relays_to(receiver.address).start();
    let content = b"Subject: mark-000009-\n\n.x\n";
    sender.sendmail("a@sender.example", &["one@a.example", "two@b.example"], content);
    let messages = receiver.wait_for(2);
    let mut to: Vec<_> = messages.iter().flat_map(|message| delivered_to(message)).collect();
    to.sort();
    assert_eq!(to, ["one@a.example", "two@b.example"]);
    assert!(messages.iter().all(|message| mark_in(message) == Some(9)));
    let asks = postfix::Setup::new("smart.example", 3, free_port()).user("relay", "hunter2").start();
    let mut client = Client::connect(asks.address).unwrap();
    assert!(client.extensions.text.contains("AUTH "), "{:?}", client.extensions);
    assert_eq!(client.say("AUTH PLAIN AHJlbGF5AGh1bnRlcjI=").unwrap().code, 235, "{}", asks.log());
}

#[test]
#[ignore = "needs moto"]
fn moto_is_up() {
    assert_eq!(Moto::start("x.example").taken().len(), 0);
}

#[test]
#[ignore = "needs knotd"]
fn knot_answers() {
    let dns = Dns::start("a.example. MX 10 mx.a.example.\nmx.a.example. A 127.0.0.2\nnull.example. MX 0 .");
    assert!(dns.as_nameserver().contains("127.0.0.1:"));
}
