//! What the session asks, answered: may this client send as this one, to that one, and who is it.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::info;

use super::counts::{Refusal, Why};
use super::limits::{self, Counted};
use super::{Door, author, intake, legs, refusal};
use crate::access::{Login, Senders};
use crate::config::Secret;
use crate::mail::{Address, Recipient};
use crate::routing::Facts;
use crate::smtp::reply::Reply;
use crate::smtp::server::Answer;

/// What a stranger hears where nobody could sign in.
pub const RELAYING_DENIED: &str = "Relaying denied";

/// Who is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub client: IpAddr,
    pub user: Option<&'a str>,
    pub reverse_path: Option<&'a Address>,
}

/// The user was taken away, or has another password now.
pub(super) fn estranged(door: &Door, who: Who<'_>) -> Answer {
    let reply = refusal(421, 7, 0, "Your login has changed here: connect anew and sign in");
    refuse(door, who, None, (Why::Relaying, reply))
}

/// `size`: the octets of content that the client announces (RFC 1870).
pub(super) fn mail(door: &Door, who: Who<'_>, size: Option<u64>) -> Answer {
    // Since it came, it may have been denied.
    if door.networks.denies(who.client) {
        let reply = refusal(421, 7, 1, "Access denied: no mail is taken from your address any more");
        return refuse(door, who, None, (Why::Relaying, reply));
    }
    if let Some(senders) = senders(door, who.client, who.user)
        && !senders.take(who.reverse_path)
    {
        let from = author::ascii(intake::path(who.reverse_path));
        let reply = refusal(550, 7, 1, format!("{} may not send as {from}", author::ascii(senders.who())));
        return refuse(door, who, None, (Why::Sender, reply));
    }
    match admits_mail(door, who, size) {
        Ok(()) => Answer::Accept,
        Err(refusal) => refuse(door, who, None, refusal),
    }
}

/// Room first, since it costs nobody's share.
fn admits_mail(door: &Door, who: Who<'_>, size: Option<u64>) -> Result<(), Refusal> {
    if !door.deps.limits.has_memory() {
        return Err((Why::Room, limits::no_memory()));
    }
    door.deps.queue.admits(size.unwrap_or(0)).map_err(|error| (Why::Room, intake::of_queue(&error)))?;
    of_each(door, who, Counted::Message).map_err(|reply| (Why::Rate, reply))
}

/// Takes one from the user, the client and the listener.
fn of_each(door: &Door, who: Who<'_>, what: Counted) -> Result<(), Reply> {
    if let Some(user) = who.user {
        let taken = door.deps.limits.user(user, what);
        taken.map_err(|too_much| too_much.reply(&format!("of user {user}")))?;
    }
    let client = door.client_mail.take(what, &limits::network(who.client));
    client.map_err(|too_much| too_much.reply("from your address"))?;
    door.mail.take(what, &()).map_err(|too_much| too_much.reply("at this listener"))
}

/// What binds a client's senders: its user's, else its network's.
fn senders<'d>(door: &'d Door, client: IpAddr, user: Option<&str>) -> Option<&'d Arc<Senders>> {
    match user {
        Some(user) => door.deps.access.senders(user),
        None => door.networks.allows(client),
    }
}

/// What the header's From is held to.
pub(super) fn header_senders<'d>(door: &'d Door, client: IpAddr, user: Option<&str>) -> Option<&'d Arc<Senders>> {
    senders(door, client, user).filter(|senders| senders.bind_the_header(door.listener.check_from_header))
}

pub(super) fn rcpt(door: &Door, who: Who<'_>, recipient: &Recipient) -> Answer {
    let checked = may_relay(door, who).map_err(|reply| (Why::Relaying, reply)).and_then(|()| {
        let facts = Facts {
            sender: who.reverse_path,
            recipient: &recipient.address,
            listener: &door.listener.name,
            client: Some(who.client),
            user: who.user,
            header: None,
            size: None,
        };
        legs::at_rcpt(&door.deps.table, &facts).map_err(|reply| (Why::Route, reply))?;
        of_each(door, who, Counted::Recipient).map_err(|reply| (Why::Rate, reply))
    });
    match checked {
        Ok(()) => Answer::Accept,
        Err(refusal) => refuse(door, who, Some(&recipient.address), refusal),
    }
}

/// The relay has no mail of its own: whoever may hand it any may relay, and nobody else has business here.
fn may_relay(door: &Door, who: Who<'_>) -> Result<(), Reply> {
    if who.user.is_some() || door.networks.allows(who.client).is_some() {
        Ok(())
    } else if door.settings.authentication {
        Err(refusal(530, 7, 0, "Authentication required"))
    } else {
        Err(refusal(550, 7, 1, RELAYING_DENIED))
    }
}

fn refuse(door: &Door, who: Who<'_>, to: Option<&Address>, (why, reply): Refusal) -> Answer {
    door.counts.refused_for(why);
    info!(
        listener = door.listener.name,
        client = %who.client,
        user = who.user,
        from = intake::path(who.reverse_path),
        to = to.map(tracing::field::display),
        reply = %reply.to_string().trim_end(),
        "envelope refused"
    );
    Answer::Refuse(reply)
}

/// Whether the password is the user's.
pub(super) async fn authenticate(door: &Door, client: IpAddr, user: String, password: Secret) -> Answer {
    let user = door.deps.access.name(user);
    let login = door.deps.access.sign_in(client, &user, password).await;
    signed_in(door, client, user, login)
}

/// What the user is to be checked against by SCRAM.
pub(super) fn verifier(door: &Door, client: IpAddr, user: String) -> Answer {
    match door.deps.access.challenge(client, &user) {
        Ok(challenge) => Answer::Challenge(challenge),
        Err(login) => signed_in(door, client, user, login),
    }
}

/// The proof by SCRAM was checked by the session.
pub(super) async fn proven(door: &Door, client: IpAddr, user: String, proven: bool) -> Answer {
    let login = door.deps.access.proven(client, &user, proven).await;
    signed_in(door, client, user, login)
}

fn signed_in(door: &Door, client: IpAddr, user: String, login: Login) -> Answer {
    let reply = match login {
        Login::Good => {
            door.counts.logins.add(1);
            return Answer::Authenticated(user);
        }
        Login::Wrong => refusal(535, 7, 8, "Authentication credentials invalid"),
        Login::Refused => refusal(454, 7, 0, "Too many failed logins, try again later"),
        Login::Busy => refusal(454, 7, 0, "Too many logins at once, try again later"),
        Login::Unavailable => refusal(454, 7, 0, "Temporary authentication failure"),
    };
    door.counts.failed_logins.add(1);
    info!(listener = door.listener.name, %client, user, reply = %reply.to_string().trim_end(), "authentication failed");
    Answer::Refuse(reply)
}
