//! A Maildir folder: for trying things out, journals and tests.
//!
//! A message is written in `tmp`, synced, moved to `new`, and the move is synced: a reader never sees half a message, and
//! a delivered one outlives a power loss. Content goes in as it came, CRLF and all, behind the fields that final delivery
//! adds (RFC 5321, 4.4): Return-Path, and a Delivered-To for each recipient.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::task::spawn_blocking;

use super::{Attempt, Environment, Outcome, ProviderId, Transport, TransportError, Trouble, TroubleKind};
use crate::config::{MaildirSettings, Provider};
use crate::mail::{Diagnosis, EnhancedStatus, Severity, Timestamp};
use crate::os::{self, Clock};

pub struct Maildir {
    path: PathBuf,
    /// The last part of file names: the host, without what a file name cannot hold.
    host: String,
    clock: Clock,
    delivered: AtomicU64,
}

impl Maildir {
    pub fn new(_: &Provider, settings: &MaildirSettings, environment: &Environment) -> Result<Self, TransportError> {
        let host = environment.hostname.as_str().replace(['/', ':'], "_");
        Ok(Self { path: settings.path.clone(), host, clock: environment.clock.clone(), delivered: AtomicU64::new(0) })
    }

    async fn deliver(&self, attempt: &Attempt) -> Outcome {
        let now = self.clock.now();
        let nth = self.delivered.fetch_add(1, Ordering::Relaxed);
        let base = unique_name(now, std::process::id(), nth, &self.host);
        let draft = match self.write(attempt, &base).await {
            Ok(draft) => draft,
            Err(fault) => return self.failed(fault),
        };
        attempt.progress.sending_the_last();
        let (folder, name) = (self.path.clone(), format!("{base},S={}", draft.size));
        let (from, target) = (draft.path.clone(), folder.join("new").join(&name));
        let moved = blocking(move || {
            fs::rename(&from, &target)?;
            os::sync_folder(&folder.join("new"))
        });
        match moved.await {
            Ok(()) => Outcome::Delivered {
                diagnosis: Diagnosis::local(EnhancedStatus::new(Severity::Success, 0, 0), "delivered to the folder"),
                provider_id: Some(ProviderId(name)),
            },
            Err(error) => self.failed(Fault::Folder(error)),
        }
    }

    /// Writes the message to `tmp` and syncs it.
    async fn write(&self, attempt: &Attempt, base: &str) -> Result<Draft, Fault> {
        let (folder, path) = (self.path.clone(), self.path.join("tmp").join(base));
        let fields = trace(attempt);
        let opening = path.clone();
        let mut file = blocking(move || {
            make(&folder)?;
            let mut file = os::create_private(&opening)?;
            file.write_all(fields.as_bytes())?;
            Ok((file, fields.len() as u64))
        })
        .await
        .map(|(file, size)| Draft { file: Some(file), path, size })
        .map_err(Fault::Folder)?;
        let mut n = 0;
        while let Some(chunk) = attempt.content.chunk(n).await.map_err(|error| Fault::Queue(error.to_string()))? {
            file.append(chunk).await.map_err(Fault::Folder)?;
            n += 1;
        }
        file.sync().await.map_err(Fault::Folder)?;
        Ok(file)
    }

    fn failed(&self, fault: Fault) -> Outcome {
        match fault {
            // Mailbox full (RFC 3463, X.2.2) is a full disk here, and every other message will meet it too.
            Fault::Folder(error) => {
                let detail = if error.kind() == io::ErrorKind::StorageFull { (2, 2) } else { (3, 0) };
                let status = EnhancedStatus::new(Severity::Transient, detail.0, detail.1);
                let said = format!("the folder {} cannot be written: {error}", self.path.display());
                Outcome::Unavailable(Trouble { kind: TroubleKind::Server, diagnosis: Diagnosis::local(status, said) })
            }
            Fault::Queue(said) => {
                Outcome::Deferred(Diagnosis::local(EnhancedStatus::new(Severity::Transient, 3, 0), said))
            }
        }
    }
}

enum Fault {
    Folder(io::Error),
    /// The content could not be read from the queue.
    Queue(String),
}

/// A file in `tmp`; removed unless it was moved away.
struct Draft {
    file: Option<File>,
    path: PathBuf,
    size: u64,
}

impl Draft {
    async fn append(&mut self, octets: Bytes) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        self.size += octets.len() as u64;
        self.file = Some(blocking(move || file.write_all(&octets).map(|()| file)).await?);
        Ok(())
    }

    async fn sync(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        blocking(move || file.sync_all()).await
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already where it was delivered.
        let _ = fs::remove_file(&self.path);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// `tmp`, `new` and `cur`, where they are not there yet. Made anew when somebody emptied the folder.
fn make(path: &Path) -> io::Result<()> {
    for part in ["tmp", "new", "cur"] {
        os::create_private_folder(&path.join(part))?;
    }
    Ok(())
}

/// A name that no other delivery has: time, process, count, host (the Maildir convention).
fn unique_name(now: Timestamp, process: u32, nth: u64, host: &str) -> String {
    format!("{}.M{:06}P{process}Q{nth}.{host}", now.as_second(), now.subsec_microsecond())
}

/// The fields of final delivery.
fn trace(attempt: &Attempt) -> String {
    let mut fields = match &attempt.envelope.reverse_path {
        Some(address) => format!("Return-Path: <{address}>\r\n"),
        None => "Return-Path: <>\r\n".to_owned(),
    };
    for recipient in attempt.recipients() {
        fields.push_str(&format!("Delivered-To: {}\r\n", recipient.address));
    }
    fields
}

impl Transport for Maildir {
    fn most_recipients(&self) -> usize {
        1000
    }

    fn attempt<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move { attempt.all(self.deliver(attempt).await) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mail::{BodyKind, DsnRequest, Envelope, Mid, Origin, Recipient};
    use crate::queue::Content;
    use crate::transport::Progress;

    fn attempt(content: &'static str) -> Attempt {
        let origin = Origin { listener: "apps".to_owned(), client: None, helo: None, user: None };
        let recipients = ["b@example.com", "c@example.com"].map(|to| Recipient::new(to.parse().unwrap()));
        let envelope = Envelope {
            reverse_path: Some("a@example.com".parse().unwrap()),
            recipients: recipients.to_vec(),
            dsn: DsnRequest::default(),
            body: BodyKind::SevenBit,
            smtputf8: false,
            origin,
            accepted_at: Timestamp::UNIX_EPOCH,
            header_size: 6,
            size: content.len() as u64,
        };
        Attempt {
            mid: Mid::from_bits(7),
            envelope: Arc::new(envelope),
            recipients: vec![0, 1],
            destination: None,
            content: Content::memory(Bytes::from_static(content.as_bytes()), 6),
            tls: None,
            progress: Progress::default(),
        }
    }

    fn maildir(path: &Path) -> Maildir {
        let clock = Clock::system();
        Maildir { path: path.to_owned(), host: "relay.example".to_owned(), clock, delivered: AtomicU64::new(0) }
    }

    #[tokio::test]
    async fn a_message_is_one_file_in_new_behind_the_fields_of_final_delivery() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("outbox");
        let outcomes = maildir(&path).attempt(&attempt("A: 1\r\n\r\nbody\r\n")).await;
        assert!(outcomes.len() == 2 && outcomes.iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{outcomes:?}");
        let files: Vec<_> = fs::read_dir(path.join("new")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(
            fs::read_to_string(&files[0]).unwrap(),
            "Return-Path: <a@example.com>\r\nDelivered-To: b@example.com\r\nDelivered-To: c@example.com\r\nA: 1\r\n\r\nbody\r\n"
        );
        assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
        assert!(path.join("cur").is_dir());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "in the way").unwrap();
        let outcomes = maildir(&path).attempt(&attempt("A: 1\r\n\r\n")).await;
        let Outcome::Unavailable(trouble) = &outcomes[0] else { panic!("{outcomes:?}") };
        assert!(trouble.diagnosis.text.contains(path.to_str().unwrap()), "{trouble:?}");
    }

    #[test]
    fn names_differ_within_a_microsecond() {
        let now = Timestamp::from_microsecond(1_700_000_000_000_042).unwrap();
        assert_eq!(unique_name(now, 9, 1, "h"), "1700000000.M000042P9Q1.h");
        assert_ne!(unique_name(now, 9, 1, "h"), unique_name(now, 9, 2, "h"));
    }
}
