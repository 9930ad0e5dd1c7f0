//! TLS, and what must not come through it.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// A handshake that checks the certificate.
async fn secured(relay: &Relay, stream: TcpStream) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(relay.certificate.clone().unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("relay.example").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn starttls_secures_the_session_and_forgets_the_rest() {
    let relay = Relay::start(Listener {
        tls: ListenerTls::StartTls,
        authentication: Authentication::Optional,
        old_auth: true,
        allow: Vec::new(),
        ..listener()
    })
    .await;
    let mut client = relay.client().await;
    assert!(client.ask("EHLO me\r\n", 1).await[0].contains("\r\n250-STARTTLS\r\n"));
    // A man in the middle puts a command behind STARTTLS, before the handshake: it is dropped.
    assert_eq!(client.codes("STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@b.example>\r\n", 1).await, "220 2.0.0");
    let mut client = Client::new(secured(&relay, client.0.into_inner()).await);
    assert_eq!(client.codes("MAIL FROM:<a@b.example>\r\n", 1).await, "503 5.5.1");
    let extensions = client.ask("EHLO me\r\n", 1).await.remove(0);
    assert!(
        !extensions.contains("STARTTLS") && extensions.contains("250-AUTH PLAIN LOGIN\r\n250 AUTH=PLAIN LOGIN\r\n"),
        "{extensions}"
    );
    let said =
        format!("{LOGIN}MAIL FROM:<a@billing.example>\r\nRCPT TO:<x@y.example>\r\nDATA\r\nA: b\r\n\r\n.\r\nQUIT\r\n");
    assert_eq!(client.codes(said, 6).await, "235 2.7.0, 250 2.1.0, 250 2.1.5, 354, 250 2.0.0, 221 2.0.0");
    assert!(String::from_utf8(relay.content().await).unwrap().contains(" with ESMTPSA\r\n"));
}

#[tokio::test]
async fn tls_from_the_start() {
    let relay = Relay::start(Listener { tls: ListenerTls::Implicit, ..listener() }).await;
    let stream = TcpStream::connect(relay.address).await.unwrap();
    let mut client = Client::new(secured(&relay, stream).await);
    assert_eq!(client.reply().await, "220 relay.example ESMTP waypost\r\n");
    assert!(!client.ask("EHLO me\r\n", 1).await[0].contains("STARTTLS"));
    let said = format!("{ENVELOPE}DATA\r\n.\r\nSTARTTLS\r\n");
    assert_eq!(client.codes(said, 6).await, "250, 250 2.1.0, 250 2.1.5, 354, 250 2.0.0, 503 5.5.1");
}

#[tokio::test]
async fn what_is_no_handshake_ends_the_connection() {
    let relay = Relay::start(Listener { tls: ListenerTls::StartTls, ..listener() }).await;
    let mut client = relay.client().await;
    client.codes("EHLO me\r\nSTARTTLS\r\n", 2).await;
    client.send("MAIL FROM:<a@b.example>\r\n").await;
    let mut rest = Vec::new();
    let _ = client.0.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"2") && !rest.starts_with(b"5"), "{rest:?}");
}

/// It always has one; were it not so, nothing that is to be under TLS goes in clear.
#[tokio::test]
async fn without_a_certificate_nothing_is_offered_and_nobody_taken() {
    for (tls, greeting) in [(ListenerTls::StartTls, "220 relay.example ESMTP waypost\r\n"), (ListenerTls::Implicit, "")]
    {
        let folder = tempfile::tempdir().unwrap();
        let bound = bind(Listener { tls, ..listener() }, None).unwrap();
        let (address, token) = (bound.address().unwrap(), CancellationToken::new());
        let served =
            tokio::spawn(bound.serve(Arc::new(deps(folder.path(), &server())), token.clone(), TaskTracker::new()));
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        assert_eq!(client.reply().await, greeting);
        if !greeting.is_empty() {
            assert!(!client.ask("EHLO me\r\n", 1).await[0].contains("STARTTLS"));
        }
        token.cancel();
        served.await.unwrap();
    }
}

#[tokio::test]
async fn tls_from_the_start_behind_a_balancer() {
    let proxy_protocol = vec!["127.0.0.1/32".parse().unwrap()];
    let allow = vec![allowed("192.0.2.0/24")];
    let relay = Relay::start(Listener { tls: ListenerTls::Implicit, proxy_protocol, allow, ..listener() }).await;
    for header in ["PROXY TCP4 192.0.2.7 10.0.0.5 56324 465\r\n", "PROXY TCP4 198.51.100.1 10.0.0.5 5 465\r\n"] {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        stream.write_all(header.as_bytes()).await.unwrap();
        let mut client = Client::new(secured(&relay, stream).await);
        let last = if header.contains("192.0.2.7") { "250 2.1.5" } else { "550 5.7.1" };
        assert_eq!(client.codes(ENVELOPE, 4).await, format!("220, 250, 250 2.1.0, {last}"));
    }
}
