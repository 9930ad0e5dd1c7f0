//! `admin` of `waypost.yaml`: never open by accident.

use super::Files;
use super::server::{certificate, readable};
use crate::config::admin::Admin;
use crate::config::fault::Fault;
use crate::config::model::Listener;
use crate::config::raw::RawAdmin;
use crate::config::read::{Cx, Record};

/// On unless it is turned off: without it, whoever is paged could only guess.
pub(super) fn check(files: &Files, listeners: &[Listener], cx: &mut Cx<'_>) -> Option<Admin> {
    let raw = match files.server.as_ref().and_then(|(_, file)| file.admin.get()) {
        Some(RawAdmin::Off(_)) => return None,
        Some(RawAdmin::Server(raw)) => raw,
        None => return Some(Admin::default()),
    };
    let usual = Admin::default();
    let address = raw.address.or(usual.address);
    let tls = raw.tls.get();
    let admin = Admin {
        address,
        token: raw.token.get().cloned(),
        tls: tls.and_then(|tls| certificate(&tls.certificate, &tls.key, cx)),
        client_ca: readable(&raw.client_ca, cx),
    };
    if !admin.is_loopback() && !raw.tls.is_given() {
        let fault = Fault::AdminInClear { address: address.to_string() };
        cx.error(raw.address.spot(raw.spot()), fault);
    }
    if raw.client_ca.is_given() && !raw.tls.is_given() {
        cx.error(raw.client_ca.spot(raw.spot()), Fault::AdminClientCa);
    }
    if address.port() != 0
        && let Some(other) = listeners.iter().find(|other| other.address == address)
    {
        let (address, other) = (address.to_string(), other.name.clone());
        cx.error(raw.address.spot(raw.spot()), Fault::AdminAddressTaken { address, other });
    }
    Some(admin)
}
