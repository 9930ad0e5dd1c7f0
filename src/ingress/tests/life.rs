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

/// A session over a pipe, for tests that rule the clock.
fn piped(timeouts: ClientTimeouts) -> (Client<tokio::io::DuplexStream>, CancellationToken, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let deps = Deps { timeouts, ..deps(folder.path(), Size(0)) };
    let door = Arc::new(Door::new(listener(), None, Arc::new(deps)));
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let token = CancellationToken::new();
    let stop = token.clone();
    let served = connection::serve(door, theirs, "127.0.0.1".parse().unwrap(), stop);
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
