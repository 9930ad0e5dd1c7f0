//! Values that name a host.

use std::net::IpAddr;

use serde_json::{Value as Json, json};

use super::scalar::{string, text};
use crate::config::fault::Fault;
use crate::config::read::{Cx, Read};
use crate::config::schema::Schemas;
use crate::config::tree::{Node, Value};
use crate::mail::Domain;

/// A host: a domain, or an IP address with or without brackets.
#[derive(Debug, Clone)]
pub(in crate::config) struct Host(pub String);

text!(Host, "a host name", string(), |text, _cx| {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match (bare.parse::<IpAddr>(), text.parse::<Domain>()) {
        (Ok(ip), _) => Ok(Self(ip.to_string())),
        (Err(_), Ok(domain)) if domain.literal().is_none() => Ok(Self(domain.as_str().to_owned())),
        (Err(_), Ok(_) | Err(_)) => Err(Fault::Host(text.clone())),
    }
});

/// Scheme and host of an HTTP API.
#[derive(Debug, Clone)]
pub(in crate::config) struct Endpoint(pub String);

text!(
    Endpoint,
    "an endpoint such as https://host",
    json!({"type": "string", "pattern": "^https?://[^/]+/?$"}),
    |text, _cx| endpoint(text).map(Self)
);

/// The host of `host`, `host:port` or `[ip]:port`.
pub(super) fn authority(text: &str) -> Option<String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return None;
    }
    let named = host.parse::<Domain>().is_ok_and(|domain| domain.literal().is_none());
    (named || host.parse::<IpAddr>().is_ok()).then(|| host.to_owned())
}

fn endpoint(text: &str) -> Result<String, Fault> {
    let bad = || Fault::Endpoint(text.to_owned());
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or_else(bad)?;
            (
                host,
                port.strip_prefix(':')
                    .map_or_else(|| port.is_empty().then_some(None), |p| Some(Some(p)))
                    .ok_or_else(bad)?,
            )
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(bad());
    }
    let loopback = match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) if host.parse::<Domain>().is_ok_and(|domain| domain.literal().is_none()) => {
            host.eq_ignore_ascii_case("localhost")
        }
        Err(_) => return Err(bad()),
    };
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok(format!("https://{authority}")),
        "http" if loopback => Ok(format!("http://{authority}")),
        "http" => Err(Fault::EndpointClear),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_https_beyond_loopback() {
        for (text, kept) in [
            ("https://api.example", "https://api.example"),
            ("https://api.example:8443/", "https://api.example:8443"),
            ("HTTPS://api.example", "https://api.example"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://localhost", "http://localhost"),
        ] {
            assert_eq!(endpoint(text), Ok(kept.to_owned()));
        }
        for text in ["http://api.example", "http://10.0.0.1", "http://127.0.0.1.evil.example"] {
            assert_eq!(endpoint(text), Err(Fault::EndpointClear), "{text}");
        }
        for text in [
            "",
            "api.example",
            "https://",
            "https:///x",
            "https://a/v3",
            "ftp://a",
            "https://u@a",
            "https://a:0",
            "https://a:99999",
            "https://a?b",
            "https://[::1",
            "https://[::1]x",
            "https://a b",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }
}
