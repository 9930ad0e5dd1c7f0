//! One file's way into the queue.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::endings::{Endings, Utf16};
use super::folder::{self, Claim, NotTaken};
use super::watch::Ready;
use super::{blocking, envelope};
use crate::access::Senders;
use crate::config;
use crate::ingress::Deps;
use crate::ingress::head::{Head, HeadReader};
use crate::ingress::intake::{Intake, of_head, path};
use crate::mail::{BodyKind, Mid, Origin};
use crate::smtp::content::{ChunkReader, Fault};
use crate::smtp::reply::Reply;
use crate::smtp::server::Transaction;

/// What came of a file.
pub(super) enum Done {
    /// Sent, put aside, or gone.
    Over,
    /// Somebody still writes it.
    Unfinished,
    /// The relay is about to end: it stays where it is.
    Stopped,
    /// To be tried again; under which name it lies now, and whether others would fare no better.
    Later { taken: Option<OsString>, why: String, all: bool },
    /// The folder lets nothing be taken.
    Folder(io::Error),
}

/// Why a file that was taken was not sent.
enum NotSent {
    Bad(String),
    Later { why: String, all: bool },
    Stopped,
}

/// Removes a taken file whose message the queue has.
pub(super) async fn drop_queued(deps: &Deps, settings: &config::Pickup, file: &OsStr) -> bool {
    let Some((mid, name)) = folder::taken_parts(file) else { return false };
    // What cannot be told is not taken for queued.
    if !deps.queue.message(mid).await.is_ok_and(|message| message.is_some()) {
        return false;
    }
    info!(file = name, %mid, "a crash left this file of the pickup folder, and the queue has it");
    matches!(remove(settings.path.join(file)).await, Done::Over)
}

pub(super) async fn send(
    deps: &Arc<Deps>,
    settings: &Arc<config::Pickup>,
    senders: Arc<Senders>,
    ready: &Ready,
    token: &CancellationToken,
) -> Done {
    if drop_queued(deps, settings, &ready.name).await {
        return Done::Over;
    }
    let mid = deps.next_mid();
    let claimed = {
        let (settings, ready) = (Arc::clone(settings), ready.clone());
        blocking(move || Ok(folder::claim(&settings.path, &ready, mid))).await
    };
    let claim = match claimed {
        Ok(Ok(claim)) => claim,
        Ok(Err(NotTaken::Gone)) => return Done::Over,
        Ok(Err(NotTaken::Unfinished)) => return Done::Unfinished,
        Ok(Err(NotTaken::Folder(error))) => return Done::Folder(error),
        Ok(Err(NotTaken::Bad(reason))) => {
            let name = folder::plain_name(&ready.name);
            return put_aside(settings, ready.name.clone(), name, reason).await;
        }
        Ok(Err(NotTaken::Unreadable(error))) | Err(error) => {
            let why = format!("it cannot be read: {error}; let the user that the relay runs as read it (chmod, chown)");
            return Done::Later { taken: None, why, all: false };
        }
    };
    let (taken, name) = (claim.taken.clone(), claim.name.clone());
    match hand_in(deps, settings, senders, claim, token).await {
        Ok(()) => remove(settings.path.join(taken)).await,
        Err(NotSent::Bad(reason)) => put_aside(settings, taken, name, reason).await,
        Err(NotSent::Stopped) => Done::Stopped,
        Err(NotSent::Later { why, all }) => Done::Later { taken: Some(taken), why, all },
    }
}

async fn remove(path: PathBuf) -> Done {
    match blocking(move || std::fs::remove_file(path)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Done::Folder(error),
        Ok(()) | Err(_) => Done::Over,
    }
}

async fn put_aside(settings: &Arc<config::Pickup>, at: OsString, name: String, reason: String) -> Done {
    let text = format!(
        "{name} was not sent: {reason}\n\nMend it and move it back into {} to send it.\n",
        settings.path.display()
    );
    let moved = {
        let (settings, at, name) = (Arc::clone(settings), at.clone(), name.clone());
        blocking(move || folder::put_aside(&settings.path.join(at), &name, &settings.badmail, &text)).await
    };
    match moved {
        Ok(to) => {
            warn!(file = name, reason, moved_to = %to.display(), "a file of the pickup folder cannot be sent");
            Done::Over
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Done::Over,
        Err(error) => {
            let badmail = settings.badmail.display();
            let why = format!("{reason}; and it cannot be moved to {badmail}: {error}");
            Done::Later { taken: Some(at), why, all: false }
        }
    }
}

/// Reads the file into the queue.
async fn hand_in(
    deps: &Deps,
    settings: &config::Pickup,
    senders: Arc<Senders>,
    claim: Claim,
    token: &CancellationToken,
) -> Result<(), NotSent> {
    let most = settings.max_message_size.0;
    if claim.stamp.size > most {
        return Err(of_content(Fault::TooLarge, most));
    }
    let mut source = Source { claim: Some(claim), endings: Endings::default(), reader: ChunkReader::new(most), most };
    let mid = source.claim.as_ref().map(|claim| claim.mid);
    let Some(mid) = mid else { return Err(NotSent::Stopped) };
    let mut head = Some(HeadReader::default());
    let mut intake: Option<Intake> = None;
    loop {
        let (pieces, ended) = source.next(token).await?;
        for piece in pieces {
            match (&mut intake, head.take()) {
                (Some(intake), _) => intake.write(deps, piece).await,
                (None, None) => return Err(NotSent::Stopped),
                (None, Some(mut reader)) => match reader.push(piece) {
                    Ok(None) => head = Some(reader),
                    Ok(Some(found)) => intake = Some(begin(deps, &senders, mid, found).await?),
                    Err(fault) => return Err(of_reply(&of_head(fault))),
                },
            }
        }
        if ended {
            break;
        }
    }
    let intake = match (intake, head) {
        (Some(intake), _) => intake,
        (None, Some(reader)) => begin(deps, &senders, mid, reader.end()).await?,
        (None, None) => return Err(NotSent::Stopped),
    };
    if !source.claim.as_ref().is_some_and(Claim::is_unchanged) {
        return Err(NotSent::Later { why: "somebody still writes it".to_owned(), all: false });
    }
    let kind = if source.reader.tally().eight_bit() { BodyKind::EightBit } else { BodyKind::SevenBit };
    match intake.finish(deps, kind).await {
        Ok(_) => Ok(()),
        Err(reply) => Err(of_reply(&reply)),
    }
}

async fn begin(deps: &Deps, senders: &Arc<Senders>, mid: Mid, head: Head) -> Result<Intake, NotSent> {
    let found = envelope::read(&head.section, &deps.hostname).map_err(|fault| NotSent::Bad(fault.to_string()))?;
    if !senders.take(found.reverse_path.as_ref()) {
        let from = path(found.reverse_path.as_ref());
        return Err(NotSent::Bad(format!("{} may not send as {from}", senders.who())));
    }
    let transaction = Transaction::without_session(found.reverse_path, found.recipients, found.dsn);
    let origin = Origin { listener: config::Pickup::LISTENER.to_owned(), client: None, helo: None, user: None };
    let held = Some(Arc::clone(senders)).filter(|senders| senders.bind_the_header(false));
    let mut intake = Intake::with_mid(deps, mid, transaction, origin).held_to(held);
    for piece in [found.section.octets().clone(), head.body] {
        if !piece.is_empty() {
            intake.write(deps, piece).await;
        }
    }
    Ok(intake)
}

/// The file's content, piece by piece, as mail has it.
struct Source {
    /// Elsewhere only while it is being read.
    claim: Option<Claim>,
    endings: Endings,
    reader: ChunkReader,
    most: u64,
}

impl Source {
    /// The next pieces, and whether they are the last.
    async fn next(&mut self, token: &CancellationToken) -> Result<(Vec<Bytes>, bool), NotSent> {
        if token.is_cancelled() {
            return Err(NotSent::Stopped);
        }
        let Some(mut claim) = self.claim.take() else { return Err(NotSent::Stopped) };
        let read = blocking(move || Ok((claim.read(), claim))).await;
        let failed = |error: io::Error| NotSent::Later { why: format!("it cannot be read: {error}"), all: false };
        let (octets, claim) = read.map_err(failed)?;
        self.claim = Some(claim);
        let octets = octets.map_err(failed)?;
        let ended = octets.is_empty();
        let mut pieces = Vec::new();
        if ended {
            self.reader.end(&mut pieces);
        } else {
            let utf16 = |Utf16| NotSent::Bad("it is UTF-16; mail is UTF-8 (PowerShell: -Encoding utf8)".to_owned());
            let converted = self.endings.convert(Bytes::from(octets)).map_err(utf16)?;
            self.reader.read(converted, &mut pieces);
        }
        match self.reader.tally().fault() {
            Some(fault) => Err(of_content(fault, self.most)),
            None => Ok((pieces, ended)),
        }
    }
}

fn of_content(fault: Fault, most: u64) -> NotSent {
    NotSent::Bad(match fault {
        Fault::BareLineEnd => {
            "its lines end in more than one way: all must end with CRLF, or all with LF alone".to_owned()
        }
        Fault::DisguisedEnd => {
            "a line of it is a lone dot once NUL is taken out: some would take it for the end".to_owned()
        }
        Fault::TooLarge => {
            format!("it is larger than the {most} octets of `pickup: {{max_message_size: ...}}`")
        }
    })
}

/// What a client would have heard.
fn of_reply(reply: &Reply) -> NotSent {
    let text = reply.to_string().trim_end().to_owned();
    if !reply.is_transient() {
        return NotSent::Bad(text);
    }
    // 4.3.x is the relay's own state: no room, or shutting down.
    NotSent::Later { why: text, all: reply.status.is_some_and(|status| status.subject() == 3) }
}
