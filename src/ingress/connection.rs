//! One client's connection: reads while the session wants octets, does what it says, answers what it asks.
//!
//! Thousands of clients may be connected and silent: what a connection needs only at times is boxed, so that it takes no
//! room while it waits for a command, and so does the buffer that it reads into.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::answers::{self, Who};
use super::intake::Intake;
use super::wire::Wire;
use super::{Door, Doorway, refusal};
use crate::config::ListenerTls;
use crate::mail::Origin;
use crate::metrics::Entered;
use crate::smtp::server::{Action, Answer, Input, Overdue, Peer, Question, Session, Transaction};

/// Room for one read: ample for commands and small messages, whose octets stay in it until they are stored.
const READ: usize = 16 * 1024;
/// Between commands, where a client may be silent for long: a command line (RFC 5321, 4.5.3.1.4).
const READ_IDLE: usize = 512;
/// The same while large content comes in.
const READ_CONTENT: usize = 64 * 1024;
/// A read of so many octets is work for a while: others get their turn behind it.
const MUCH: usize = 4096;
/// Replies are sent before this many octets of them have gathered.
const MOST_REPLIES: usize = 64 * 1024;
/// For the last words, behind the grace that content has.
const MARGIN: Duration = Duration::from_secs(5);

struct Connection<S> {
    /// As it was at the last command that asked something.
    door: Arc<Door>,
    doorway: Arc<Doorway>,
    /// The login of the session's user does not hold any more.
    estranged: bool,
    client: IpAddr,
    session: Session,
    wire: Wire<S>,
    /// Read and not yet used.
    octets: BytesMut,
    /// Not yet sent: replies to pipelined commands go out together (RFC 2920, 3.2).
    replies: BytesMut,
    actions: Vec<Action>,
    intake: Option<Box<Intake>>,
    /// Octets of content since it began.
    content: usize,
    /// When the content began.
    begun: Instant,
    /// When the client was last given a reply.
    replied: Instant,
    /// When it connected, or a message of it was taken.
    since: Instant,
    /// Errors that were answered.
    errors: u32,
    /// Counts as one under TLS.
    tls: Option<Entered>,
}

/// What woke a connection.
enum Event {
    Read(io::Result<usize>),
    TimedOut(Overdue),
    Stop,
}

/// Serves one client to its end.
pub(super) async fn serve<S>(
    door: Arc<Door>,
    doorway: Arc<Doorway>,
    stream: S,
    client: IpAddr,
    token: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::Clear(stream);
    if door.networks.denies(client) {
        return Box::pin(denied(&door, wire, client)).await;
    }
    let mut tls = false;
    if door.listener.tls == ListenerTls::Implicit {
        let Some(config) = &door.tls else { return };
        let secured = tokio::select! {
            secured = Box::pin(wire.secured(config.current())) => secured,
            () = token.cancelled() => return,
        };
        match secured {
            Ok(secured) => wire = secured,
            Err(error) => return debug!(listener = door.listener.name, %client, %error, "TLS handshake failed"),
        }
        tls = true;
    }
    let peer = Peer { loopback: client.is_loopback(), tls, must_authenticate: door.must_authenticate(client) };
    let mut actions = Vec::new();
    let mut session = Session::new(Arc::clone(&door.settings), peer, &mut actions);
    session.secured(wire.facts());
    // On the heap once: each future that has it by value would have room for another.
    let connection = Box::new(Connection {
        tls: tls.then(|| door.counts.tls.enter()),
        door,
        doorway,
        estranged: false,
        client,
        session,
        wire,
        octets: BytesMut::new(),
        replies: BytesMut::new(),
        actions,
        intake: None,
        content: 0,
        begun: Instant::now(),
        replied: Instant::now(),
        since: Instant::now(),
        errors: 0,
    });
    let name = connection.door.listener.name.clone();
    debug!(listener = name, %client, tls, "connected");
    // Whatever it waits for, a peer cannot hold up the end for long.
    let grace = connection.door.deps.grace + MARGIN;
    let cut_off = async {
        token.cancelled().await;
        sleep(grace).await;
    };
    tokio::select! {
        ended = connection.run(token.clone()) => match ended {
            Ok(()) => debug!(listener = name, %client, "disconnected"),
            Err(error) => debug!(listener = name, %client, %error, "connection lost"),
        },
        () = cut_off => debug!(listener = name, %client, "cut off at shutdown"),
    }
}

/// RFC 5321, 3.1: 554 in the greeting's place. Where TLS would have to come first, no more is spent on it.
async fn denied<S>(door: &Door, mut wire: Wire<S>, client: IpAddr)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    info!(listener = door.listener.name, %client, "connection denied");
    if door.listener.tls != ListenerTls::Implicit {
        let mut reply = BytesMut::new();
        let _ = write!(reply, "{}", refusal(554, 7, 1, format!("Access denied: no mail is taken from {client}")));
        if wire.write(&mut reply).await.is_err() {
            return;
        }
    }
    wire.close().await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(mut self: Box<Self>, token: CancellationToken) -> io::Result<()> {
        let mut stop_by: Option<Instant> = None;
        loop {
            self = self.act().await?;
            if let Some(delay) = self.delay() {
                Box::pin(sleep(delay)).await;
            }
            self.send().await?;
            if self.session.is_closed() {
                if self.session.spoke_tls() {
                    self.tell_tls();
                }
                Box::pin(self.wire.close()).await;
                return Ok(());
            }
            self.make_room();
            let (deadline, overdue) = self.deadline(stop_by);
            let event = tokio::select! {
                biased;
                // A peer that never pauses must not outrun the clock.
                () = std::future::ready(()), if Instant::now() >= deadline => Event::TimedOut(overdue),
                () = token.cancelled(), if stop_by.is_none() => Event::Stop,
                read = self.wire.read(&mut self.octets) => Event::Read(read),
                () = sleep_until(deadline) => Event::TimedOut(overdue),
            };
            match event {
                Event::Read(read) => {
                    let count = read?;
                    if count == 0 {
                        return Ok(());
                    }
                    if count >= MUCH {
                        // The runtime would let hundreds of reads pass before it took the turn away.
                        yield_now().await;
                    }
                    self.session.step(Input::Octets(&mut self.octets), &mut self.actions);
                }
                Event::TimedOut(overdue) => self.session.step(Input::TimedOut(overdue), &mut self.actions),
                Event::Stop => {
                    stop_by = Some(Instant::now() + self.door.deps.grace);
                    self.session.step(Input::Shutdown, &mut self.actions);
                }
            }
        }
    }

    fn tell_tls(&self) {
        let (listener, client) = (&self.door.listener.name, self.client);
        match self.door.listener.tls {
            ListenerTls::None => info!(
                listener, %client,
                "a client began TLS, and this listener has none: give it `tls: implicit`, or set the client to another port"
            ),
            ListenerTls::StartTls | ListenerTls::Implicit => info!(
                listener, %client,
                "a client began TLS, and this listener speaks in clear first: set the client to STARTTLS, or give it a listener \
                 with `tls: implicit`"
            ),
        }
    }

    /// For the next read. Between commands a large buffer is given back.
    fn make_room(&mut self) {
        let room = match self.session.in_content() {
            true if self.content > READ_CONTENT => READ_CONTENT,
            true => READ,
            false if !self.octets.is_empty() => READ,
            false => {
                self.octets = BytesMut::new();
                READ_IDLE
            }
        };
        self.octets.reserve(room);
    }

    /// RFC 5321, 4.5.3.2.7. A command is waited for since the last reply, so that single octets win no time; content since
    /// the last read, and no longer than a message may take.
    fn deadline(&self, stop_by: Option<Instant>) -> (Instant, Overdue) {
        let timeouts = &self.door.deps.limits.settings().timeout;
        let (silence, end) = if self.session.in_content() {
            (Instant::now() + timeouts.content, (self.begun + timeouts.message, Overdue::Message))
        } else {
            (self.replied + timeouts.command, (self.since + timeouts.session, Overdue::Session))
        };
        let silence = (stop_by.map_or(silence, |by| by.min(silence)), Overdue::Silence);
        if end.0 < silence.0 { end } else { silence }
    }

    /// How long the answer to errors waits: a client that makes one after the other makes them slowly.
    fn delay(&mut self) -> Option<Duration> {
        let errors = self.session.errors();
        let new = errors > std::mem::replace(&mut self.errors, errors);
        let delay = patience(errors);
        (new && !delay.is_zero() && !self.door.is_exempt(self.client)).then_some(delay)
    }

    /// Does what the session says, until it wants octets or has ended.
    async fn act(mut self: Box<Self>) -> io::Result<Box<Self>> {
        while !self.actions.is_empty() {
            let mut answer = None;
            let mut secure = false;
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::Reply(reply) => {
                        // Writing to memory cannot fail.
                        let _ = write!(self.replies, "{reply}");
                        if self.replies.len() >= MOST_REPLIES {
                            self.send().await?;
                        }
                    }
                    Action::Ask(question) => answer = Some(Box::pin(self.answer(question)).await),
                    Action::Begin(transaction) => self.begin(*transaction),
                    Action::Content(octets) => {
                        self.content += octets.len();
                        if let Some(intake) = &mut self.intake {
                            Box::pin(intake.write(&self.door.deps, octets)).await;
                        }
                    }
                    Action::Abort => self.intake = None,
                    Action::StartTls => secure = true,
                    Action::Close => {}
                }
            }
            if secure {
                self = Box::pin(self.secured()).await?;
            }
            if let Some(answer) = answer {
                self.session.step(Input::Answer(answer), &mut self.actions);
            }
            self.session.step(Input::Octets(&mut self.octets), &mut self.actions);
        }
        Ok(self)
    }

    async fn send(&mut self) -> io::Result<()> {
        if !self.replies.is_empty() {
            self.wire.write(&mut self.replies).await?;
            self.replied = Instant::now();
        }
        Ok(())
    }

    async fn secured(mut self: Box<Self>) -> io::Result<Box<Self>> {
        self.send().await?;
        let config = self.door.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?.current();
        self.wire = self.wire.secured(config).await?;
        self.tls = Some(self.door.counts.tls.enter());
        self.octets.clear();
        self.replied = Instant::now();
        self.session.step(Input::TlsUp, &mut self.actions);
        self.session.secured(self.wire.facts());
        Ok(self)
    }

    fn begin(&mut self, transaction: Transaction) {
        let origin = Origin {
            listener: self.door.listener.name.clone(),
            client: Some(self.client),
            helo: Some(transaction.helo.clone()),
            user: transaction.user.clone(),
        };
        self.content = 0;
        self.begun = Instant::now();
        let held = answers::header_senders(&self.door, self.client, origin.user.as_deref()).cloned();
        self.intake = Some(Box::new(Intake::new(&self.door.deps, transaction, origin).held_to(held)));
    }

    /// Another door may stand there by now.
    fn renew(&mut self) {
        let door = self.doorway.door();
        if Arc::ptr_eq(&door, &self.door) {
            return;
        }
        let before = std::mem::replace(&mut self.door, door);
        if let Some(user) = self.session.signed_in() {
            self.estranged |= !self.door.deps.access.keeps_login(&before.deps.access, user);
        }
    }

    async fn answer(&mut self, question: Question) -> Answer {
        self.renew();
        let who =
            Who { client: self.client, user: self.session.user(), reverse_path: self.session.reverse_path().flatten() };
        match question {
            // Not within a transaction: what was taken so far is still sent.
            Question::Mail { .. } if self.estranged => answers::estranged(&self.door, who),
            Question::Mail { size, .. } => answers::mail(&self.door, who, size),
            Question::Rcpt(recipient) => answers::rcpt(&self.door, who, &recipient),
            Question::Authenticate { user, password } => {
                answers::authenticate(&self.door, self.client, user, password).await
            }
            Question::Verifier { user } => answers::verifier(&self.door, self.client, user),
            Question::Proven { user, proven } => answers::proven(&self.door, self.client, user, proven).await,
            Question::Store { body } => {
                let stored = match self.intake.take() {
                    Some(intake) => intake.finish(&self.door.deps, body).await,
                    None => Err(refusal(451, 3, 0, "Local error, try again later")),
                };
                self.content = 0;
                if stored.is_ok() {
                    self.since = Instant::now();
                }
                stored.map_or_else(Answer::Refuse, Answer::Stored)
            }
        }
    }
}

/// The first errors are anybody's, then each waits twice as long as the one before.
fn patience(errors: u32) -> Duration {
    const FREE: u32 = 3;
    const LONGEST: Duration = Duration::from_secs(5);
    match errors.checked_sub(FREE + 1) {
        Some(doublings) => Duration::from_millis(100).saturating_mul(1 << doublings.min(16)).min(LONGEST),
        None => Duration::ZERO,
    }
}
