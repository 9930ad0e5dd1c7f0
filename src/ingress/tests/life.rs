//! Beginning, bounds and end of connections.

use super::*;

#[tokio::test]
async fn a_port_in_use_is_an_error_with_a_remedy() {
    let relay = Relay::start(listener()).await;
    let error = bind(Listener { address: relay.address, ..listener() }, None).unwrap_err().to_string();
    assert!(error.contains("'apps'") && error.contains(&relay.address.to_string()), "{error}");
    assert!(error.contains("another program has the port"), "{error}");
}

#[tokio::test]
async fn one_connection_too_many_hears_so() {
    let relay = Relay::start(Listener { max_connections: 1, ..listener() }).await;
    let mut first = relay.client().await;
    let mut second = Client::new(TcpStream::connect(relay.address).await.unwrap());
    assert!(second.reply().await.starts_with("421 4.7.0 "));
    assert!(second.gone().await);
    assert_eq!(first.codes("NOOP\r\n", 1).await, "250 2.0.0");
}

#[tokio::test]
async fn shutdown_lets_content_in_and_sends_the_others_away() {
    let relay = Relay::start(listener()).await;
    let (mut idle, mut waiting, mut busy) = (relay.client().await, relay.client().await, relay.client().await);
    waiting.codes(ENVELOPE, 3).await;
    busy.codes(format!("{ENVELOPE}DATA\r\n"), 4).await;
    busy.send("A: b\r\n\r\n").await;
    relay.token.cancel();
    for client in [&mut idle, &mut waiting] {
        assert_eq!(client.codes("", 1).await, "421 4.3.2");
        assert!(client.gone().await);
    }
    assert_eq!(busy.codes("more\r\n.\r\n", 2).await, "250 2.0.0, 421 4.3.2");
    drop((idle, waiting, busy));
    relay.tracker.close();
    relay.tracker.wait().await;
    assert!(relay.content().await.ends_with(b"more\r\n"));
}

fn piped(timeouts: ClientTimeouts) -> (Client<tokio::io::DuplexStream>, CancellationToken, tempfile::TempDir) {
    let mut server = server();
    server.clients.timeout = timeouts;
    piped_with(listener(), &server)
}

/// A session over a pipe, for tests that rule the clock.
fn piped_with(
    listener: Listener,
    server: &config::Server,
) -> (Client<tokio::io::DuplexStream>, CancellationToken, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let deps = deps(folder.path(), server);
    let door = Arc::new(Door::new(listener, None, Arc::new(deps)));
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let token = CancellationToken::new();
    let stop = token.clone();
    let doorway = Arc::new(Doorway::new(door.clone()));
    let served = connection::serve(door, doorway, theirs, "127.0.0.1".parse().unwrap(), stop);
    tokio::spawn(served);
    (Client::new(ours), token, folder)
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session() {
    let (mut client, _token, _folder) = piped(ClientTimeouts::default());
    let before = tokio::time::Instant::now();
    assert_eq!(client.codes("", 2).await, "220, 421 4.4.2");
    assert_eq!(before.elapsed().as_secs(), 300);

    let (mut client, _token, _folder) = piped(ClientTimeouts::default());
    assert_eq!(
        client.codes(format!("{ENVELOPE}DATA\r\nA: b\r\n"), 6).await,
        "220, 250, 250 2.1.0, 250 2.1.5, 354, 421 4.4.2"
    );
}

#[tokio::test(start_paused = true)]
async fn single_octets_win_no_time() {
    let (mut client, _token, _folder) = piped(ClientTimeouts::default());
    client.reply().await;
    let before = tokio::time::Instant::now();
    for _ in 0..3 {
        client.send("N").await;
        tokio::time::advance(Duration::from_secs(99)).await;
    }
    assert_eq!(client.codes("", 1).await, "421 4.4.2");
    assert_eq!(before.elapsed().as_secs(), 300);
}

/// A byte a second does not hold a place for hours.
#[tokio::test(start_paused = true)]
async fn a_message_that_comes_slowly_and_steadily_ends() {
    let (mut client, _token, _folder) = piped(ClientTimeouts::default());
    client.codes(format!("{ENVELOPE}DATA\r\nA: b\r\n\r\n"), 5).await;
    let before = tokio::time::Instant::now();
    let mut said = String::new();
    while said.is_empty() {
        client.send("x").await;
        tokio::select! {
            reply = client.reply() => said = reply,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    assert_eq!((said.as_str(), before.elapsed().as_secs()), ("421 4.4.2 Timeout: the message took too long\r\n", 1800));
}

#[tokio::test(start_paused = true)]
async fn a_session_without_mail_ends_and_one_with_mail_goes_on() {
    let (mut client, _token, _folder) = piped(ClientTimeouts::default());
    client.codes("EHLO me\r\n", 2).await;
    let mut minutes = 0;
    let said = loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        minutes += 1;
        if minutes == 50 {
            let mail = "MAIL FROM:<a@b.example>\r\nRCPT TO:<gone@y.example>\r\nDATA\r\n.\r\n";
            assert_eq!(client.codes(mail, 4).await, "250 2.1.0, 250 2.1.5, 354, 250 2.0.0");
            // So that its end does not come together with a command.
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        // It may have ended by now: the reply says so.
        let _ = client.0.get_mut().write_all(b"NOOP\r\n").await;
        match client.reply().await {
            reply if reply.starts_with("250 ") => {}
            reply => break reply,
        }
    };
    assert_eq!(
        (said.as_str(), minutes),
        ("421 4.4.2 Timeout: the session went on for too long without a message\r\n", 110)
    );
}

#[tokio::test(start_paused = true)]
async fn errors_are_answered_ever_more_slowly() {
    let mut server = server();
    let mut waits = |exempt: Option<Vec<ipnet::IpNet>>| {
        server.clients.exempt = exempt;
        let server = server.clone();
        async move {
            let (mut client, _token, _folder) = piped_with(listener(), &server);
            client.reply().await;
            let mut waits = Vec::new();
            for _ in 0..20 {
                let before = tokio::time::Instant::now();
                assert_eq!(client.codes("BLAH\r\n", 1).await, "500 5.5.1");
                waits.push(before.elapsed().as_millis());
            }
            assert_eq!(client.codes("", 1).await, "421 4.7.0");
            waits
        }
    };
    let slow = waits(Some(Vec::new())).await;
    assert_eq!(slow[..10], [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000]);
    assert!(slow[10..].iter().all(|wait| *wait == 5000), "{slow:?}");
    assert_eq!(waits(None).await, [0; 20], "an application on this host");
}

#[tokio::test]
async fn a_message_that_is_taken_makes_up_for_errors() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    let errors = "BLAH\r\n".repeat(19);
    for _ in 0..3 {
        client.ask(&errors, 19).await;
        client.codes(envelope(&["gone"]), 4).await;
        assert_eq!(client.codes(".\r\n", 1).await, "250 2.0.0");
    }
    client.ask(&errors, 19).await;
    assert_eq!(client.codes("BLAH\r\n", 2).await, "500 5.5.1, 421 4.7.0");
    assert!(client.gone().await);
}

#[tokio::test(start_paused = true)]
async fn grace_for_content_has_an_end() {
    let (mut client, token, _folder) = piped(ClientTimeouts::default());
    client.codes(format!("{ENVELOPE}DATA\r\nA: b\r\n"), 5).await;
    token.cancel();
    let before = tokio::time::Instant::now();
    assert_eq!(client.codes("", 1).await, "421 4.4.2");
    assert_eq!(before.elapsed().as_secs(), 20);
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_content_leaves_nothing() {
    let relay = Relay::start(listener()).await;
    let mut client = relay.client().await;
    client.codes(format!("{ENVELOPE}DATA\r\n"), 4).await;
    client.send(format!("A: b\r\n\r\n{}", "x\r\n".repeat(200_000))).await;
    drop(client);
    relay.token.cancel();
    relay.tracker.close();
    relay.tracker.wait().await;
    assert!(relay.legs().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_does_not_hold_up_the_end() {
    let (mut client, token, _folder) = piped(ClientTimeouts::default());
    client.reply().await;
    let before = tokio::time::Instant::now();
    // Replies to these are more than the pipe takes; once both sides wait, the paused clock goes on to the shutdown.
    let flood = "HELP\r\n".repeat(100_000);
    let (written, ()) = tokio::join!(client.0.get_mut().write_all(flood.as_bytes()), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        token.cancel();
    });
    assert!(written.is_err());
    assert_eq!(before.elapsed().as_secs(), 1 + 20 + 5);
}
