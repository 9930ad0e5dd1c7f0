//! Log lines as journald takes them, each field by itself (systemd's Journal Native Protocol): `journalctl WAYPOST_MID=…`.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking};
use tracing_subscriber::layer::{Context, Layer};

/// Octets of one field's text: an entry must fit into a datagram.
const MOST: usize = 16 * 1024;

/// Makes an entry of each event, and leaves it to the log's thread.
pub(super) struct Journal {
    entries: NonBlocking,
}

impl Journal {
    pub fn new(entries: NonBlocking) -> Self {
        Self { entries }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        // It never fails: what finds no room is counted.
        let _ = self.entries.clone().write_all(&entry.finish(*event.metadata().level()));
    }
}

/// An entry in the making.
#[derive(Default)]
struct Entry {
    message: String,
    /// ` key=value`, for those who read the message alone.
    shown: String,
    fields: Vec<u8>,
}

impl Entry {
    fn finish(self, level: Level) -> Vec<u8> {
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut entry = self.fields;
        push(&mut entry, "PRIORITY", priority);
        push(&mut entry, "SYSLOG_IDENTIFIER", "waypost");
        push(&mut entry, "MESSAGE", &(self.message + &self.shown));
        entry
    }

    fn take(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let value = cut(value.to_string());
        if field.name() == "message" {
            self.message = value;
            return;
        }
        // Writing to a String cannot fail.
        let _ = write!(self.shown, " {}={value}", field.name());
        let name: String = field
            .name()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        push(&mut self.fields, &format!("WAYPOST_{name}"), &value);
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format_args!("{value:?}"));
    }
}

fn cut(mut text: String) -> String {
    let end = (0..=MOST.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}

/// `KEY=value`; with a line end in it, the length and then the octets.
fn push(entry: &mut Vec<u8>, key: &str, value: &str) {
    entry.extend_from_slice(key.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// Sends entries, in the log's thread.
#[cfg(unix)]
pub(super) struct Socket {
    socket: std::os::unix::net::UnixDatagram,
    path: &'static str,
    /// Entries that found no room, as far as they were counted and told.
    lost: Arc<OnceLock<ErrorCounter>>,
    told: usize,
}

#[cfg(unix)]
impl Socket {
    pub fn open(lost: Arc<OnceLock<ErrorCounter>>) -> anyhow::Result<Self> {
        Self::at("/run/systemd/journal/socket", lost)
    }

    fn at(path: &'static str, lost: Arc<OnceLock<ErrorCounter>>) -> anyhow::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        socket.connect(path).with_context(|| {
            format!("the journal cannot be reached at {path}: set `log: {{format: json}}`, or run where journald does")
        })?;
        Ok(Self { socket, path, lost, told: 0 })
    }
}

#[cfg(unix)]
impl Write for Socket {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        if self.socket.send(entry).is_err() {
            // journald was started anew. What still cannot be sent is gone: there is no other place to say it.
            let _ = self.socket.connect(self.path).and_then(|()| self.socket.send(entry));
        }
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        if lost > self.told {
            let (lines, text) = (lost - self.told, super::LOST);
            self.told = lost;
            let mut entry = Entry { message: text.to_owned(), shown: format!(" lines={lines}"), ..Entry::default() };
            push(&mut entry.fields, "WAYPOST_LINES", &lines.to_string());
            self.write_all(&entry.finish(Level::WARN))?;
        }
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use tracing_appender::non_blocking::NonBlockingBuilder;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn each_field_is_one_of_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path: &'static str = folder.path().join("socket").to_str().unwrap().to_owned().leak();
        let journal = UnixDatagram::bind(path).unwrap();
        journal.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (entries, guard) = NonBlockingBuilder::default().finish(Socket::at(path, Arc::default()).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Journal::new(entries)), || {
            tracing::info!(mid = %"01ABC", size = 7, from = "a@b.example", "message accepted");
            tracing::warn!(error = "one\ntwo", "it failed");
            tracing::error!(text = "x".repeat(MOST + 5), "long");
        });
        let next = || {
            let mut octets = vec![0; 65536];
            let size = journal.recv(&mut octets).unwrap();
            octets[..size].to_vec()
        };
        assert_eq!(
            String::from_utf8(next()).unwrap(),
            "WAYPOST_MID=01ABC\nWAYPOST_SIZE=7\nWAYPOST_FROM=a@b.example\nPRIORITY=6\nSYSLOG_IDENTIFIER=waypost\n\
             MESSAGE=message accepted mid=01ABC size=7 from=a@b.example\n"
        );
        let second = next();
        assert!(second.starts_with(b"WAYPOST_ERROR\n\x07\0\0\0\0\0\0\0one\ntwo\nPRIORITY=4\n"), "{second:?}");
        let third = String::from_utf8(next()).unwrap();
        assert_eq!(third.lines().next().unwrap().len(), "WAYPOST_TEXT=".len() + MOST);
        assert!(third.contains("\nPRIORITY=3\n"));
        drop(guard);
    }

    #[test]
    fn a_journal_that_is_not_there_is_told_with_the_remedy() {
        let error = Socket::at("/nonexistent/socket", Arc::default()).err().unwrap();
        assert!(format!("{error:#}").contains("log: {format: json}"), "{error:#}");
    }
}
