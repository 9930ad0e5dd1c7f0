//! What the session asks, answered: may this client send as this one, to that one, and who is it.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::{info, warn};

use super::limits::{self, MailMeter, TooMuch};
use super::{Door, intake, legs, refusal};
use crate::config::Secret;
use crate::mail::{Address, Recipient};
use crate::routing::Facts;
use crate::smtp::reply::Reply;
use crate::smtp::server::Answer;

/// Who is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub client: IpAddr,
    pub user: Option<&'a str>,
    pub reverse_path: Option<&'a Address>,
}

pub(super) fn mail(door: &Door, who: Who<'_>) -> Answer {
    if let Some(user) = who.user
        && !door.deps.gate.may_send(user, who.reverse_path)
    {
        let from = intake::path(who.reverse_path);
        let reply = refusal(550, 7, 1, format!("User {user} may not send as {from}"));
        return refuse(door, who, None, reply);
    }
    match admits_mail(door, who) {
        Ok(()) => Answer::Accept,
        Err(reply) => refuse(door, who, None, reply),
    }
}

/// Room first, since it costs nobody's share.
fn admits_mail(door: &Door, who: Who<'_>) -> Result<(), Reply> {
    if !door.deps.limits.has_memory() {
        return Err(limits::no_memory());
    }
    door.deps.queue.admits(0).map_err(|error| intake::of_queue(&error))?;
    of_each(door, who, MailMeter::message, MailMeter::message)
}

/// Takes one from the user, the client and the listener.
fn of_each(
    door: &Door,
    who: Who<'_>,
    take: impl Fn(&MailMeter<()>, &()) -> Result<(), TooMuch>,
    of_client: impl Fn(&MailMeter<IpAddr>, &IpAddr) -> Result<(), TooMuch>,
) -> Result<(), Reply> {
    if let Some(user) = who.user
        && let Some(meter) = door.deps.limits.user(user)
    {
        take(meter, &()).map_err(|too_much| too_much.reply(&format!("of user {user}")))?;
    }
    of_client(&door.client_mail, &limits::network(who.client))
        .map_err(|too_much| too_much.reply("from your address"))?;
    take(&door.mail, &()).map_err(|too_much| too_much.reply("at this listener"))
}

pub(super) fn rcpt(door: &Door, who: Who<'_>, recipient: &Recipient) -> Answer {
    let checked = may_relay(door, who).and_then(|()| {
        let facts = Facts {
            sender: who.reverse_path,
            recipient: &recipient.address,
            listener: &door.listener.name,
            client: Some(who.client),
            user: who.user,
            header: None,
            size: None,
        };
        legs::at_rcpt(&door.deps.table, &facts)?;
        of_each(door, who, MailMeter::recipient, MailMeter::recipient)
    });
    match checked {
        Ok(()) => Answer::Accept,
        Err(reply) => refuse(door, who, Some(&recipient.address), reply),
    }
}

/// The relay has no mail of its own: whoever may hand it any may relay, and nobody else has business here.
fn may_relay(door: &Door, who: Who<'_>) -> Result<(), Reply> {
    if who.user.is_some() || door.allows(who.client) {
        Ok(())
    } else if door.settings.authentication {
        Err(refusal(530, 7, 0, "Authentication required"))
    } else {
        Err(refusal(550, 7, 1, "Relaying denied"))
    }
}

fn refuse(door: &Door, who: Who<'_>, to: Option<&Address>, reply: Reply) -> Answer {
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

/// Checking a password costs a CPU tenths of a second, on purpose: it is done beside the runtime, and few at a time.
pub(super) async fn authenticate(door: &Arc<Door>, client: IpAddr, user: String, password: Secret) -> Answer {
    let Ok(_permit) = door.passwords.acquire().await else {
        return Answer::Refuse(refusal(454, 7, 0, "Temporary authentication failure"));
    };
    let gate = Arc::clone(&door.deps.gate);
    let name = user.clone();
    match tokio::task::spawn_blocking(move || gate.authenticate(&name, &password)).await {
        Ok(true) => Answer::Authenticated(user),
        Ok(false) => {
            info!(listener = door.listener.name, %client, user, "authentication failed");
            Answer::Refuse(refusal(535, 7, 8, "Authentication credentials invalid"))
        }
        Err(error) => {
            warn!(listener = door.listener.name, %client, user, %error, "a password could not be checked");
            Answer::Refuse(refusal(454, 7, 0, "Temporary authentication failure"))
        }
    }
}
