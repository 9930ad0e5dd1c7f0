//! What is accepted, and what then lies in the queue.

use super::*;

#[tokio::test]
async fn what_the_client_sent_is_stored_to_the_octet() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    let sent = "Subject: x\r\nX-Odd :  two  \r\n\r\n.dot\r\n\r\nlast  \r\n";
    assert_eq!(client.codes(format!("{ENVELOPE}DATA\r\n"), 4).await, "250, 250 2.1.0, 250 2.1.5, 354");
    let reply = client.ask(format!("{}.\r\n", sent.replace("\r\n.", "\r\n..")), 1).await.remove(0);

    let claim = relay.legs().await.remove(0);
    assert_eq!(reply, format!("250 2.0.0 Ok: queued as {}\r\n", claim.mid));
    let content = String::from_utf8(relay.content().await).unwrap();
    let ours = content.strip_suffix(sent).unwrap();
    let fields: Vec<&str> = ours.lines().filter(|line| !line.starts_with('\t')).collect();
    assert!(fields[0].starts_with("Received: from me ([127.0.0.1])"), "{ours}");
    assert!(ours.contains("for <x@y.example>"), "{ours}");
    assert!(fields[1].starts_with("Date: "), "{ours}");
    assert_eq!(fields[2..], [format!("Message-ID: <{}@relay.example>", claim.mid)]);

    let envelope = &claim.envelope;
    assert_eq!(envelope.size, content.len() as u64);
    assert_eq!(envelope.header_size as usize, content.find("\r\n\r\n").unwrap() + 4);
    assert_eq!((envelope.body, envelope.origin.listener.as_str()), (BodyKind::SevenBit, "apps"));
    assert_eq!((&claim.leg.state, claim.leg.lane.route.as_str()), (&LegState::Waiting, "rest"));
    assert_eq!(client.codes("QUIT\r\n", 1).await, "221 2.0.0");
    assert!(client.gone().await);
}

#[tokio::test]
async fn large_content_is_written_ahead() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    let mut body = String::new();
    for n in 0..40_000u32 {
        body.push_str(&format!(".line {n} of a large message\r\n"));
    }
    client.codes(format!("{ENVELOPE}DATA\r\n"), 4).await;
    let stuffed = body.replace("\r\n.", "\r\n..");
    assert_eq!(client.codes(format!("Subject: x\r\n\r\n.{stuffed}.\r\n"), 1).await, "250 2.0.0");
    let content = relay.content().await;
    assert!(content.ends_with(format!("Subject: x\r\n\r\n{body}").as_bytes()));
    assert_eq!(relay.legs().await[0].envelope.size, content.len() as u64);
}

#[tokio::test]
async fn chunks_and_commands_come_pipelined() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    let said = format!("{ENVELOPE}BDAT 14\r\nSubject: x\r\n\r\nBDAT 5 LAST\r\ngr\u{fc}nQUIT\r\n");
    assert_eq!(client.codes(&said, 6).await, "250, 250 2.1.0, 250 2.1.5, 250 2.0.0, 250 2.0.0, 221 2.0.0");
    assert!(relay.content().await.ends_with("Subject: x\r\n\r\ngr\u{fc}n\r\n".as_bytes()));
    assert_eq!(relay.legs().await[0].envelope.body, BodyKind::EightBit);
}

#[tokio::test]
async fn recipients_are_grouped_by_way_and_destination() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    let to = [
        "x@a.example",
        "direct@a.example",
        "y@b.example",
        "direct@b.example",
        "held@a.example",
        "x@a.example",
        "gone@a.example",
        "direct@A.example",
    ];
    let to: String = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
    let codes = client.codes(format!("EHLO me\r\nMAIL FROM:<>\r\n{to}DATA\r\n.\r\n"), 12).await;
    assert!(codes.ends_with("354, 250 2.0.0"), "{codes}");
    let legs = relay.legs().await;
    let mut found: BTreeMap<(String, Option<String>), Vec<u32>> = BTreeMap::new();
    for claim in &legs {
        let lane = &claim.leg.lane;
        let key = (lane.route.to_string(), lane.destination.as_ref().map(ToString::to_string));
        let held = LegState::Held { reason: "review".into() };
        assert_eq!(claim.leg.state == held, lane.route.as_str() == "held");
        found.insert(key, claim.leg.recipients.iter().map(|recipient| recipient.index).collect());
    }
    let way = |route: &str, destination: Option<&str>| (route.to_owned(), destination.map(str::to_owned));
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [
            (way("direct", Some("a.example")), vec![1]),
            (way("direct", Some("b.example")), vec![3]),
            (way("held", None), vec![4]),
            (way("rest", None), vec![0, 2]),
        ]
    );
    // Several recipients: none is told of the others.
    assert!(!String::from_utf8(relay.content().await).unwrap().contains("for <"));
}

#[tokio::test]
async fn discarded_mail_is_accepted_and_gone() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    client.codes(envelope(&["gone"]), 4).await;
    assert_eq!(client.codes("a: b\r\n\r\n.\r\n", 1).await, "250 2.0.0");
    assert!(relay.legs().await.is_empty());
}

#[tokio::test]
async fn a_body_without_header_gets_an_empty_line() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    client.codes(envelope(&["x"]), 4).await;
    assert_eq!(client.codes("Dear all\r\nno header here\r\n.\r\n", 1).await, "250 2.0.0");
    let content = String::from_utf8(relay.content().await).unwrap();
    let (header, body) = content.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        (body, header.lines().last().unwrap().split(':').next()),
        ("Dear all\r\nno header here\r\n", Some("Message-ID"))
    );
    assert_eq!(relay.legs().await[0].envelope.header_size as usize, header.len() + 4);
}
