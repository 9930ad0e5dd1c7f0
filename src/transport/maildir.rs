//! A Maildir: for trying things out, for journals and for tests.
//!
//! One file a message, whatever the number of recipients, its content octet for octet as it was accepted. Before it stand
//! the fields of final delivery (RFC 5321, 4.4): `Return-Path`, and a `Delivered-To` for each recipient. A file is written
//! in `tmp`, synced, and only then moved to `new`, whose entry is synced as well before the outcome is `delivered`: readers
//! never see half a message, and none that was delivered is lost with power. What a crash or a cut-off attempt leaves in
//! `tmp` is no mail.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::environment::{Environment, TransportError};
use super::http::{permanent, transient};
use super::{Attempt, Lack, Outcome, Progress, ProviderId, Transport, Trouble, TroubleKind};
use crate::config::{MaildirSettings, Provider};
use crate::mail::{Diagnosis, EnhancedStatus, Severity};
use crate::os::{self, Clock};

/// Pieces that may wait for the disk.
const AHEAD: usize = 4;
/// Names are tried again where another process of our number took one.
const NAMES: usize = 8;

/// Tells apart the names of one microsecond, whichever of this process's Maildirs they are for.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// The `maildir` transport.
pub struct MaildirTransport {
    path: PathBuf,
    hostname: String,
    clock: Clock,
}

impl MaildirTransport {
    /// The folders are made when the first message comes.
    pub fn new(
        _provider: &Provider,
        settings: &MaildirSettings,
        environment: &Environment,
    ) -> Result<Self, TransportError> {
        // What no file name, or no Maildir's, may have.
        let hostname = environment.hostname.as_str().replace('/', "\\057").replace(':', "\\072");
        Ok(Self { path: settings.path.clone(), hostname, clock: environment.clock.clone() })
    }

    async fn try_it(&self, attempt: &Attempt) -> Outcome {
        let (pieces, waiting) = mpsc::channel(AHEAD);
        let file = NewFile {
            folder: self.path.clone(),
            stem: self.stem(),
            hostname: self.hostname.clone(),
            fields: fields(attempt),
            progress: attempt.progress.clone(),
        };
        let writing = tokio::task::spawn_blocking(move || file.write(waiting));
        let read = hand_over(attempt, pieces).await;
        let written = writing.await;
        match (read, written) {
            (Err(why), _) => Outcome::Deferred(Diagnosis::local(transient(3, 0), why)),
            (Ok(()), Ok(Ok(name))) => {
                let text = format!("written to {}", self.path.join("new").join(&name).display());
                let diagnosis = Diagnosis::local(EnhancedStatus::new(Severity::Success, 0, 0), text);
                Outcome::Delivered { diagnosis, provider_id: Some(ProviderId(name)), dsn: false }
            }
            (Ok(()), Ok(Err(failed))) => self.failed(&failed),
            (Ok(()), Err(panic)) if attempt.progress.may_have_it() => {
                Outcome::Unknown(Diagnosis::local(transient(3, 0), panic.to_string()))
            }
            (Ok(()), Err(panic)) => Outcome::Deferred(Diagnosis::local(transient(3, 0), panic.to_string())),
        }
    }

    /// Unique on this host over time: the first and the second part of the name.
    fn stem(&self) -> String {
        let now = self.clock.now();
        let (seconds, micros) = (now.as_second(), now.subsec_nanosecond() / 1000);
        format!("{seconds}.M{micros}P{}", std::process::id())
    }

    fn failed(&self, failed: &Failed) -> Outcome {
        let text = format!("the maildir {} cannot take the message: {failed}", self.path.display());
        match failed {
            Failed::Doubtful(_) => Outcome::Unknown(Diagnosis::local(transient(3, 0), text)),
            Failed::Io { error, .. } if error.kind() == ErrorKind::FileTooLarge => {
                Outcome::Unsupported(Lack::Message(Diagnosis::local(permanent(3, 4), text)))
            }
            Failed::Io { error, .. } => {
                let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
                let status = if full { transient(3, 1) } else { transient(3, 0) };
                let diagnosis = Diagnosis::local(status, text);
                Outcome::Unavailable(Trouble { kind: TroubleKind::Server, diagnosis })
            }
            // The reader of the content has said why.
            Failed::CutOff => Outcome::Deferred(Diagnosis::local(transient(3, 0), text)),
        }
    }
}

impl Transport for MaildirTransport {
    fn most_recipients(&self) -> usize {
        1000
    }

    fn attempt<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Vec<Outcome>> {
        async move { attempt.all(self.try_it(attempt).await) }.boxed()
    }
}

/// What goes to the writer. Without `End` the message is not complete: the attempt was dropped.
enum Piece {
    Octets(Bytes),
    End,
}

/// Reads the content for the writer. A writer that is gone has its own reason.
async fn hand_over(attempt: &Attempt, pieces: mpsc::Sender<Piece>) -> Result<(), String> {
    for n in 0.. {
        let Some(octets) = attempt.content.chunk(n).await.map_err(|error| error.to_string())? else { break };
        if pieces.send(Piece::Octets(octets)).await.is_err() {
            return Ok(());
        }
    }
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

/// Addresses hold no line ends, so these are lines.
fn fields(attempt: &Attempt) -> String {
    let mut fields = match &attempt.envelope.reverse_path {
        Some(address) => format!("Return-Path: <{address}>\r\n"),
        None => "Return-Path: <>\r\n".to_owned(),
    };
    for recipient in attempt.recipients() {
        fields.push_str(&format!("Delivered-To: {}\r\n", recipient.address));
    }
    fields
}

/// Why there is no new file, or perhaps one.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    /// It stands in `new` already, may be read, and may be gone after a loss of power.
    #[error("it was written and could not be made durable: {0}")]
    Doubtful(io::Error),
    #[error("its content ended before its time")]
    CutOff,
}

/// A message on its way to the disk.
struct NewFile {
    folder: PathBuf,
    stem: String,
    hostname: String,
    fields: String,
    progress: Progress,
}

impl NewFile {
    /// Blocking. Gives the name in `new`.
    fn write(self, pieces: mpsc::Receiver<Piece>) -> Result<String, Failed> {
        let (path, unique, file) = self.create()?;
        let done = self.fill(&path, &unique, file, pieces);
        if let Err(Failed::Io { .. } | Failed::CutOff) = done {
            // Not in `new`: nothing to be kept.
            let _ = fs::remove_file(&path);
        }
        done
    }

    fn create(&self) -> Result<(PathBuf, String, fs::File), Failed> {
        let tmp = self.folder.join("tmp");
        let mut made = false;
        let mut last = io::Error::from(ErrorKind::AlreadyExists);
        for _ in 0..NAMES {
            let unique = format!("{}_{}.{}", self.stem, SEQUENCE.fetch_add(1, Ordering::Relaxed), self.hostname);
            let path = tmp.join(&unique);
            match os::create_private(&path) {
                Ok(file) => return Ok((path, unique, file)),
                Err(error) if error.kind() == ErrorKind::NotFound && !made => {
                    self.make_folders()?;
                    made = true;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(Failed::Io { path, error }),
            }
        }
        Err(Failed::Io { path: tmp, error: last })
    }

    /// `cur` as well: a folder without it is no Maildir. `tmp` last: where it is, another writer finds the others too.
    fn make_folders(&self) -> Result<(), Failed> {
        for folder in ["cur", "new", "tmp"] {
            let path = self.folder.join(folder);
            os::create_private_folder(&path).map_err(|error| Failed::Io { path, error })?;
        }
        let above = self.folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for folder in [&self.folder, above] {
            os::sync_folder(folder).map_err(|error| Failed::Io { path: folder.to_owned(), error })?;
        }
        Ok(())
    }

    fn fill(
        &self,
        path: &Path,
        unique: &str,
        mut file: fs::File,
        mut pieces: mpsc::Receiver<Piece>,
    ) -> Result<String, Failed> {
        let failed = |error| Failed::Io { path: path.to_owned(), error };
        let mut size = self.fields.len() as u64;
        file.write_all(self.fields.as_bytes()).map_err(failed)?;
        loop {
            match pieces.blocking_recv() {
                Some(Piece::Octets(octets)) => {
                    size += octets.len() as u64;
                    file.write_all(&octets).map_err(failed)?;
                }
                Some(Piece::End) => break,
                None => return Err(Failed::CutOff),
            }
        }
        file.sync_all().map_err(failed)?;
        drop(file);
        // The size in the name spares readers a look at the file (Maildir++).
        let name = format!("{unique},S={size}");
        let folder = self.folder.join("new");
        self.progress.sending_the_last();
        let target = folder.join(&name);
        match fs::rename(path, &target) {
            // Somebody took `new` away.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_folders()?;
                fs::rename(path, &target).map_err(failed)?;
            }
            done => done.map_err(failed)?,
        }
        os::sync_folder(&folder).map_err(Failed::Doubtful)?;
        Ok(name)
    }
}
