//! `transport: lmtp`: a server for internal delivery, by host or by Unix socket.

use super::{Subject, authority, credentials};
use crate::config::fault::Fault;
use crate::config::model::{LmtpSettings, LmtpWay, SmtpTls};
use crate::config::raw::TlsWord;
use crate::config::read::{Cx, Record};

const USUAL_PORT: u16 = 24;

pub(super) fn check(subject: &Subject<'_>, cx: &mut Cx<'_>) -> Option<LmtpSettings> {
    let raw = subject.raw;
    let provider = || subject.name.to_owned();
    let (ca, source, credentials) = (authority(raw, cx), raw.source.get().copied(), credentials(raw));
    if raw.host.is_given() == raw.socket.is_given() {
        let spot = raw.socket.key.unwrap_or(raw.transport.spot(raw.spot()));
        cx.error(spot, Fault::HostOrSocket { provider: provider() });
        return None;
    }
    if raw.socket.is_given() {
        // No network is passed.
        for (key, spot) in
            [("port", raw.port.key), ("tls", raw.tls.key), ("ca", raw.ca.key), ("source", raw.source.key)]
        {
            if let Some(spot) = spot {
                cx.error(spot, Fault::BesideSocket { provider: provider(), key });
            }
        }
        let way = LmtpWay::Socket(raw.socket.get()?.clone());
        return Some(LmtpSettings { way, tls: SmtpTls::None, credentials, ca: None, source: None });
    }
    let known = &["none", "opportunistic", "starttls", "implicit"];
    let usual = if credentials.is_some() { SmtpTls::StartTls } else { SmtpTls::Opportunistic };
    let tls = subject.tls(usual, TlsWord::smtp, known, cx);
    let port = raw.port.get().map_or(USUAL_PORT, |port| port.to_u16());
    if port == 25 {
        cx.error(raw.port.spot(raw.spot()), Fault::LmtpPort { what: format!("provider '{}'", subject.name) });
    }
    let host = raw.host.get()?.0.clone();
    subject.clear_password(credentials.as_ref(), &host, tls, cx);
    Some(LmtpSettings { way: LmtpWay::Host { host, port }, tls, credentials, ca, source })
}
