//! Clients behind a balancer.

use super::*;

fn behind() -> Listener {
    Listener {
        proxy_protocol: vec!["127.0.0.1/32".parse().unwrap()],
        allow: vec![allowed("192.0.2.0/24"), allowed("2001:db8::/32")],
        ..listener()
    }
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

fn v4(source: [u8; 4]) -> Vec<u8> {
    [&source[..], &[10, 0, 0, 5, 0xdc, 4, 0, 25]].concat()
}

fn v6(source: &str) -> Vec<u8> {
    let source: std::net::Ipv6Addr = source.parse().unwrap();
    [&source.octets()[..], &source.octets()[..], &[0xdc, 4, 0, 25]].concat()
}

#[tokio::test]
async fn rules_and_trace_fields_have_the_real_client() {
    let taken = "220, 250, 250 2.1.0, 250 2.1.5, 354";
    let denied = "220, 250, 250 2.1.0, 550 5.7.1, 554 5.5.1";
    for (header, replies, client) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.5 56324 25\r\n".to_vec(), taken, "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 25\r\n".to_vec(), taken, "2001:db8::7"),
        (b"PROXY TCP4 198.51.100.7 10.0.0.5 56324 25\r\n".to_vec(), denied, ""),
        (binary(0x21, 0x11, &v4([192, 0, 2, 8])), taken, "192.0.2.8"),
        (binary(0x21, 0x11, &[v4([192, 0, 2, 9]), vec![4, 0, 2, 7, 7]].concat()), taken, "192.0.2.9"),
        (binary(0x21, 0x11, &v4([198, 51, 100, 8])), denied, ""),
        (binary(0x21, 0x21, &v6("2001:db8::8")), taken, "2001:db8::8"),
        (binary(0x21, 0x21, &v6("::ffff:192.0.2.10")), taken, "192.0.2.10"),
        // The balancer's own: it may not relay here.
        (binary(0x20, 0x00, &[]), denied, ""),
        (binary(0x21, 0x00, &[]), denied, ""),
        (b"PROXY UNKNOWN\r\n".to_vec(), denied, ""),
    ] {
        let relay = Relay::start(behind()).await;
        let mut client_side = Client::new(TcpStream::connect(relay.address).await.unwrap());
        // With and without a pause: nothing behind the header is lost with it.
        let said = [&header[..], envelope(&["x"]).as_bytes()].concat();
        assert_eq!(client_side.codes(&said, 5).await, replies, "{header:?}");
        if !client.is_empty() {
            client_side.codes(".\r\n", 1).await;
            assert_eq!(relay.legs().await[0].envelope.origin.client, Some(client.parse().unwrap()));
            let content = String::from_utf8(relay.content().await).unwrap();
            let known = if client.contains(':') { format!("[IPv6:{client}]") } else { format!("[{client}]") };
            assert!(content.contains(&known) && !content.contains("127.0.0.1"), "{content}");
        }
    }
}

#[tokio::test]
async fn a_header_in_single_octets_is_one() {
    for header in [b"PROXY TCP4 192.0.2.7 10.0.0.5 56324 25\r\n".to_vec(), binary(0x21, 0x11, &v4([192, 0, 2, 8]))] {
        let relay = Relay::start(behind()).await;
        let mut client = Client::new(TcpStream::connect(relay.address).await.unwrap());
        client.0.get_mut().set_nodelay(true).unwrap();
        for octet in header {
            client.send([octet]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.codes(ENVELOPE, 4).await, "220, 250, 250 2.1.0, 250 2.1.5");
    }
}

/// `PROXY` is believed of balancers alone; from others it is a bad command.
#[tokio::test]
async fn nobody_else_is_believed() {
    let relay = Relay::start(Listener { proxy_protocol: vec!["10.0.0.5/32".parse().unwrap()], ..behind() }).await;
    let mut client = relay.client().await;
    assert_eq!(client.codes("PROXY TCP4 192.0.2.7 10.0.0.5 56324 25\r\n", 1).await, "500 5.5.1");
    assert_eq!(client.codes(ENVELOPE, 3).await, "250, 250 2.1.0, 550 5.7.1");
    let mut client = relay.client().await;
    assert!(client.codes(binary(0x21, 0x11, &v4([192, 0, 2, 8])), 1).await.starts_with("500 5.5."));
}

#[tokio::test]
async fn what_is_no_header_ends_the_connection() {
    let relay = Relay::start(behind()).await;
    for said in [
        b"EHLO me.example\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7\r\n".to_vec(),
        [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
        binary(0x21, 0x12, &v4([192, 0, 2, 8])),
        [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
    ] {
        let mut client = Client::new(TcpStream::connect(relay.address).await.unwrap());
        client.send(&said).await;
        assert!(client.gone().await, "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_is_waited_for_five_seconds() {
    let relay = Relay::start(behind()).await;
    for said in [&b""[..], b"PROXY ", SIGNATURE] {
        let before = tokio::time::Instant::now();
        let mut client = Client::new(TcpStream::connect(relay.address).await.unwrap());
        client.send(said).await;
        assert!(client.gone().await);
        assert_eq!(before.elapsed().as_secs(), 5, "{said:?}");
    }
}

/// Clients are counted by their own addresses, and not by the balancer's.
#[tokio::test]
async fn limits_are_of_the_real_client() {
    let mut server = server();
    server.clients.max_connections_per_client = 1;
    let relay = Relay::with(Listener { allow: Vec::new(), ..behind() }, &server).await;
    let connect = async |source: u8| {
        let mut client = Client::new(TcpStream::connect(relay.address).await.unwrap());
        let replies = client.codes(binary(0x21, 0x11, &v4([192, 0, 2, source])), 1).await;
        (replies, client)
    };
    let (one, two, again) = (connect(1).await, connect(2).await, connect(1).await);
    assert_eq!((&*one.0, &*two.0, &*again.0), ("220", "220", "421 4.7.0"));
}
