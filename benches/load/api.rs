//! A sink that speaks the providers' APIs over TLS: takes everything at once.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio_rustls::TlsAcceptor;

use crate::sink::Arrivals;

/// Serves on a thread of its own; writes the certificate to trust into `certificate`.
pub fn run(listen: SocketAddr, certificate: &Path, arrivals: Arc<Arrivals>) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(certificate, made.cert.pem()).expect("the certificate's file");
    let key = made.signing_key.serialize_der();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.try_into().expect("a key"))
        .expect("a certificate that fits");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(listen).unwrap_or_else(|error| panic!("{listen}: {error}"));
    listener.set_nonblocking(true).expect("a socket that does not block");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, arrivals) = (acceptor.clone(), arrivals.clone());
                tokio::task::spawn_local(async move {
                    let _ = stream.set_nodelay(true);
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(move |request| answer(request, arrivals.clone()));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    });
}

async fn answer(request: Request<Incoming>, arrivals: Arc<Arrivals>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let Ok(body) = request.into_body().collect().await.map(http_body_util::Collected::to_bytes) else {
        return Ok(reply(400, ""));
    };
    let number = if path.starts_with("/v2/email") { number(&raw_of_ses(&body)) } else { number(&body) };
    let Some(number) = number else { return Ok(reply(400, r#"{"message":"no number in it"}"#)) };
    arrivals.came(number, 1);
    Ok(match &path[..] {
        "/v3/mail/send" => {
            let mut reply = reply(202, "");
            reply.headers_mut().insert("x-message-id", hyper::header::HeaderValue::from_static("load"));
            reply
        }
        "/v2/email/outbound-emails" => reply(200, r#"{"MessageId":"load"}"#),
        _ => reply(200, r#"{"id":"<load@load.example>","message":"Queued. Thank you."}"#),
    })
}

/// The digits behind the header's name, in MIME or in JSON.
fn number(octets: &[u8]) -> Option<u32> {
    let at = memmem::find(octets, b"X-Load")?;
    let digits: Vec<u8> = octets[at..].iter().take(40).copied().filter(u8::is_ascii_digit).take(10).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

fn raw_of_ses(json: &[u8]) -> Vec<u8> {
    let Some(at) = memmem::find(json, b"\"Data\":\"") else { return Vec::new() };
    let octets = &json[at + 8..];
    STANDARD.decode(&octets[..octets.len().min(2048)]).unwrap_or_default()
}

fn reply(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *reply.status_mut() = hyper::StatusCode::from_u16(status).expect("a status");
    reply
}
