//! The SDK on the relay's own HTTP: one TLS, one resolver, one set of time-outs for all APIs, and the knowledge whether a
//! request without an answer was sent in full, which the SDK's own client does not tell.

use std::time::Duration;

use aws_sdk_sesv2::config::http::{HttpRequest, HttpResponse};
use aws_sdk_sesv2::config::{HttpClient, RuntimeComponents};
use aws_sdk_sesv2::error::ConnectorError;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::config::Timeouts;
use crate::transport::http::{Answer, Body, Failure, Http, Request};
use crate::transport::{Progress, TroubleKind};

/// Carries the SDK's requests. One is made for each attempt, so that it tells the attempt's progress; the connections are
/// shared.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    http: Http,
    progress: Progress,
}

impl Connector {
    pub(super) fn new(http: Http, progress: Progress) -> Self {
        Self { http, progress }
    }
}

impl HttpClient for Connector {
    /// Time-outs that the SDK asks for go before ours: its look-ups of credentials are to fail soon where there are none.
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let ours = self.http.timeouts();
        let asked = |asked: Option<Duration>, ours: Duration| asked.unwrap_or(ours);
        let timeouts = Timeouts {
            connect: asked(settings.connect_timeout(), ours.connect),
            command: asked(settings.read_timeout(), ours.command),
            content: asked(settings.read_timeout(), ours.content),
        };
        SharedHttpConnector::new(Self { http: self.http.within(timeouts), progress: self.progress.clone() })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { http, progress } = self.clone();
        HttpConnectorFuture::new(async move {
            let request = outgoing(&request).map_err(|why| ConnectorError::user(why.into()))?;
            match http.call(request, &progress).await {
                Ok(answer) => response(answer).map_err(|why| ConnectorError::other(why.into(), None)),
                Err(failure) => Err(error(failure)),
            }
        })
    }
}

fn outgoing(request: &HttpRequest) -> Result<Request, String> {
    let body = request.body().bytes().ok_or("a request whose body is a stream")?;
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers().iter() {
        let name: HeaderName = name.parse().map_err(|_| format!("the header name '{name}'"))?;
        let mut header: HeaderValue = value.parse().map_err(|_| format!("the value of the header {name}"))?;
        header.set_sensitive(name == AUTHORIZATION || name.as_str().contains("token"));
        headers.append(name, header);
    }
    // It is written with the body.
    headers.remove(CONTENT_LENGTH);
    Ok(Request {
        method: Method::from_bytes(request.method().as_bytes()).map_err(|error| error.to_string())?,
        url: Url::parse(request.uri()).map_err(|error| error.to_string())?,
        headers,
        body: (!body.is_empty()).then(|| Body::whole(Bytes::copy_from_slice(body))),
    })
}

fn response(answer: Answer) -> Result<HttpResponse, String> {
    let status = answer.status.try_into().map_err(|_| format!("the status {}", answer.status))?;
    let mut response = HttpResponse::new(status, answer.body.into());
    for (name, value) in &answer.headers {
        // A header that is no text is nothing that the SDK reads.
        if let Ok(value) = value.to_str() {
            let _ = response.headers_mut().try_append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(response)
}

fn error(failure: Failure) -> ConnectorError {
    match &failure {
        Failure::Unsent { kind: TroubleKind::Timeout, .. } => ConnectorError::timeout(failure.into()),
        Failure::Unsent { .. } | Failure::NoAnswer(_) => ConnectorError::io(failure.into()),
        Failure::Content(_) => ConnectorError::user(failure.into()),
    }
}

/// What became of the request, where it was this connector that failed.
pub(super) fn failure(error: &ConnectorError) -> Option<&Failure> {
    std::error::Error::source(error)?.downcast_ref()
}
