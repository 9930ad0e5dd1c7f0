//! Where log lines go: standard error, as text on a terminal and as JSON elsewhere; under systemd the journal, with its
//! fields.
//!
//! Lines leave in a thread of their own, those that gathered meanwhile in one write: nobody who logs waits for whoever
//! reads the log, and thousands of lines a second cost hundreds of system calls. Where the reader stops reading, what
//! exceeds `LINES` is left out and counted: mail goes on.

#[cfg(unix)]
mod journal;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};
use crate::os;

/// Lines that wait to be written, at most: some 30 MiB of them.
const LINES: usize = 64 * 1024;
/// Octets of one write.
const OCTETS: usize = 64 * 1024;
/// Writes keep this distance.
const PACE: Duration = Duration::from_millis(5);

/// The lines that wait are written when this is dropped.
pub struct Log {
    lost: ErrorCounter,
    #[expect(dead_code, reason = "held for its drop")]
    guard: WorkerGuard,
}

impl Log {
    /// Counts lines that found no room.
    pub fn lost_lines(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let lost = self.lost.clone();
        Arc::new(move || lost.dropped_lines() as u64)
    }
}

/// Installs the log for the whole process.
pub fn install(settings: &LogSettings) -> anyhow::Result<Log> {
    let filter = EnvFilter::try_new(&settings.level)
        .with_context(|| format!("log.level '{}' is no level or filter; try info", settings.level))?;
    let terminal = io::stderr().is_terminal();
    let format = settings.format.unwrap_or_else(|| match (terminal, os::logs_to_journal()) {
        (true, _) => LogFormat::Text,
        (false, true) => LogFormat::Journald,
        (false, false) => LogFormat::Json,
    });
    let lost = Arc::new(OnceLock::new());
    if format == LogFormat::Journald {
        return to_journal(filter, lost);
    }
    let gathered = Gathered::new(io::stderr(), lost.clone(), format, PACE);
    let (lines, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES).thread_name("log").finish(gathered);
    // Set once, here.
    let _ = lost.set(lines.error_counter());
    let counter = lines.error_counter();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    let installed = match format {
        LogFormat::Text => log.with_ansi(terminal).with_target(false).try_init(),
        LogFormat::Json | LogFormat::Journald => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
    installed.map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))?;
    Ok(Log { lost: counter, guard })
}

#[cfg(unix)]
fn to_journal(filter: EnvFilter, lost: Arc<OnceLock<ErrorCounter>>) -> anyhow::Result<Log> {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let socket = journal::Socket::open(lost.clone())?;
    let (entries, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES).thread_name("log").finish(socket);
    // Set once, here.
    let _ = lost.set(entries.error_counter());
    let counter = entries.error_counter();
    let installed = tracing_subscriber::registry().with(filter).with(journal::Journal::new(entries)).try_init();
    installed.map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))?;
    Ok(Log { lost: counter, guard })
}

#[cfg(not(unix))]
fn to_journal(_: EnvFilter, _: Arc<OnceLock<ErrorCounter>>) -> anyhow::Result<Log> {
    anyhow::bail!("there is no journald here: set `log: {{format: json}}`")
}

const LOST: &str = "lines of the log are missing here: whoever reads it was too slow";

/// Lines that wait for their write. The thread behind it calls `flush` when no more wait in line.
struct Gathered<W> {
    out: W,
    octets: Vec<u8>,
    /// Lines that found no room, as far as they were counted and told.
    lost: Arc<OnceLock<ErrorCounter>>,
    told: usize,
    format: LogFormat,
    pace: Duration,
}

impl<W: Write> Gathered<W> {
    fn new(out: W, lost: Arc<OnceLock<ErrorCounter>>, format: LogFormat, pace: Duration) -> Self {
        Self { out, octets: Vec::with_capacity(OCTETS), lost, told: 0, format, pace }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.octets);
        // What cannot be written is gone: there is no other place to say it.
        self.octets.clear();
        written
    }

    fn tell_lost(&mut self) {
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        if lost > self.told {
            self.octets.extend(notice(self.format, lost - self.told).bytes());
            self.told = lost;
        }
    }
}

/// Not by `tracing`: it would wait in the same line.
fn notice(format: LogFormat, lines: usize) -> String {
    let text = LOST;
    match format {
        LogFormat::Text => format!(" WARN {text} lines={lines}\n"),
        LogFormat::Json | LogFormat::Journald => {
            format!("{{\"level\":\"WARN\",\"message\":\"{text}\",\"lines\":{lines}}}\n")
        }
    }
}

impl<W: Write> Write for Gathered<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.octets.len() + line.len() > OCTETS {
            self.write_out()?;
        }
        self.octets.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tell_lost();
        if !self.octets.is_empty() {
            self.write_out()?;
            std::thread::sleep(self.pace);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// Keeps each write for itself.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>);

    impl Write for Writes {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(octets.to_vec()).unwrap());
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_gathered_leave_in_one_write() {
        let writes = Writes::default();
        let mut log = Gathered::new(writes.clone(), Arc::default(), LogFormat::Json, Duration::ZERO);
        for line in ["one\n", "two\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert!(writes.0.lock().unwrap().is_empty());
        log.flush().unwrap();
        log.flush().unwrap();
        assert_eq!(*writes.0.lock().unwrap(), ["one\ntwo\n"]);
        let long = "x".repeat(OCTETS - 1) + "\n";
        log.write_all(b"three\n").unwrap();
        log.write_all(long.as_bytes()).unwrap();
        assert_eq!(writes.0.lock().unwrap()[1..], ["three\n"], "a write is bounded");
    }

    /// Its first write takes until it is let go.
    struct Stuck(Receiver<()>, Writes);

    impl Write for Stuck {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_is_told_how_many() {
        let (go_on, stuck) = sync_channel(1);
        let (writes, lost) = (Writes::default(), Arc::new(OnceLock::new()));
        let out = Stuck(stuck, writes.clone());
        let gathered = Gathered::new(out, lost.clone(), LogFormat::Json, Duration::ZERO);
        let (mut lines, guard) = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(2).finish(gathered);
        let _ = lost.set(lines.error_counter());
        // Nobody reads: at some point no more find room, and this returns all the same.
        let mut sent = 0;
        while lines.error_counter().dropped_lines() < 3 {
            lines.write_all(b"line\n").unwrap();
            sent += 1;
        }
        drop(go_on);
        drop(guard);
        let written = writes.0.lock().unwrap().concat();
        let missing: usize = written
            .lines()
            .filter_map(|line| line.split("\"lines\":").nth(1)?.trim_end_matches('}').parse::<usize>().ok())
            .sum();
        assert_eq!(written.matches("line\n").count() + missing, sent, "{written}");
        assert!(missing >= 3);
    }
}
