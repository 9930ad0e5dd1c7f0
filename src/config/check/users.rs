//! Who may sign in: the list of `waypost.yaml`, the users' file, the directory.

use std::net::IpAddr;
use std::time::Duration;

use super::server::readable;
use super::{Files, Names, clients};
use crate::config::fault::Fault;
use crate::config::model::{Directory, Lookup, User};
use crate::config::raw::{RawLdap, RawUser, ServerFile};
use crate::config::read::{At, Cx, Record};
use crate::config::{AddressPattern, Secret};

/// The records of all users, with the file of each list.
pub(super) fn given(files: &Files) -> impl Iterator<Item = (&std::sync::Arc<str>, &At<RawUser>)> {
    let list = files.server.iter().flat_map(|(name, file)| {
        file.users.get().and_then(|users| users.list()).into_iter().flatten().map(move |user| (name, user))
    });
    let file = files
        .users
        .iter()
        .flat_map(|(name, file)| file.users.get().into_iter().flatten().map(move |user| (name, user)));
    list.chain(file)
}

/// Somebody could sign in: there is a user, a directory, or a file that is only assumed.
pub(super) fn some(files: &Files) -> bool {
    files.users_broken || given(files).next().is_some() || ldap(files).is_some()
}

fn ldap(files: &Files) -> Option<&RawLdap> {
    files.server.as_ref()?.1.users.get()?.ldap()
}

pub(super) fn check(files: &Files, cx: &mut Cx<'_>) -> Vec<User> {
    let certificates = files.server.as_ref().is_some_and(|(_, file)| {
        file.listeners.get().is_some_and(|listeners| listeners.iter().any(|one| one.client_ca.is_given()))
    });
    if let Some(file) = files.server.as_ref().and_then(|(_, server)| server.users.get()?.file())
        && files.users.is_none()
        && !files.users_broken
    {
        cx.warning(file.spot, Fault::EmptyUsersFile { path: file.value.display().to_string() });
    }
    let elsewhere = certificates || ldap(files).is_some();
    let mut names = Names::new("user", false);
    let mut users = Vec::new();
    for (file, raw) in given(files) {
        cx.file = file.clone();
        let Some(name) = &raw.name.value else { continue };
        if !names.add(&name.value, name.spot, cx) {
            continue;
        }
        if !raw.password.is_given() && !elsewhere {
            cx.error(raw.spot(), Fault::NoPassword { user: name.value.clone() });
        }
        users.push(User {
            name: name.value.clone(),
            password: raw.password.get().map(|hash| hash.0.clone()),
            senders: senders(raw.senders.get()),
            check_from_header: raw.check_from_header.or(false),
            limits: clients::of_user(raw, cx),
        });
    }
    users
}

pub(super) fn directory(file: &ServerFile, cx: &mut Cx<'_>) -> Option<Directory> {
    let raw = file.users.get()?.ldap()?;
    let ca = readable(&raw.ca, cx);
    let lookup = lookup(raw, cx);
    let url = raw.url.get()?;
    let starttls = raw.starttls.or(false);
    if starttls && url.secure {
        cx.error(
            raw.starttls.spot(raw.spot()),
            Fault::Ldap("'starttls' is for ldap://; ldaps:// has TLS from the start"),
        );
    }
    let near = url.host == "localhost" || url.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !url.secure && !starttls && !near {
        cx.error(raw.url.spot(raw.spot()), Fault::LdapClear { host: url.host.clone() });
    }
    let seconds = |n: u64| Duration::from_secs(n);
    Some(Directory {
        url: url.url.clone(),
        starttls,
        ca,
        lookup: lookup?,
        group: raw.group.get().cloned(),
        senders: senders(raw.senders.get()),
        check_from_header: raw.check_from_header.or(false),
        limits: clients::of_directory(raw, cx),
        timeout: raw.timeout.get().map_or(seconds(5), |span| span.0),
        cache: raw.cache.get().map_or(seconds(300), |span| span.0),
    })
}

const USER: &str = "{user}";

fn lookup(raw: &RawLdap, cx: &mut Cx<'_>) -> Option<Lookup> {
    match (raw.bind_dn.get(), raw.search.get()) {
        (Some(template), None) => {
            let spot = raw.bind_dn.spot(raw.spot());
            if !template.contains(USER) {
                cx.error(spot, Fault::Ldap("the template has no {user} in it: everyone would be the same user"));
            }
            if raw.group.is_given() && !template.contains('=') {
                cx.error(
                    spot,
                    Fault::Ldap("'group' asks for a user's DN, which this template is not; write 'search' instead"),
                );
            }
            Some(Lookup::Template(template.clone()))
        }
        (None, Some(search)) => {
            let (base, filter) = (search.base.get()?, search.filter.get()?);
            if !filter.contains(USER) || !filter.starts_with('(') || !filter.ends_with(')') {
                let fault = "a filter stands in parentheses and has {user} in it: (uid={user})";
                cx.error(search.filter.spot(search.spot()), Fault::Ldap(fault));
            }
            if search.bind_dn.is_given() != search.password.is_given() {
                cx.error(
                    search.spot(),
                    Fault::Ldap("'bind_dn' and 'password' of a search go together; give both or neither"),
                );
            }
            let bind: Option<(String, Secret)> = search.bind_dn.get().cloned().zip(search.password.get().cloned());
            Some(Lookup::Search { base: base.clone(), filter: filter.clone(), bind })
        }
        (None, None) if raw.bind_dn.is_given() || raw.search.is_given() => None,
        (_, _) => {
            cx.error(raw.spot(), Fault::Ldap("say how a user's DN is known: one of 'bind_dn' and 'search'"));
            None
        }
    }
}

pub(super) fn senders(raw: Option<&Vec<At<AddressPattern>>>) -> Vec<AddressPattern> {
    raw.into_iter().flatten().map(|sender| sender.value.clone()).collect()
}
