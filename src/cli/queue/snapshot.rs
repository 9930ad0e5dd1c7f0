//! All that is queued as one file, and a queue made of it again.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::ask::Ask;
use super::beside::{self, Beside};
use super::{at, text};
use crate::cli::{load, log};
use crate::os;
use crate::queue::{self, Beginning, Checker, End};

#[derive(Debug, clap::Args)]
pub struct Snapshot {
    /// The file; `-` is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file where there is one
    #[arg(long)]
    force: bool,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Restore {
    /// A file of `waypost queue snapshot`; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder for the queue's files, instead of the configured place
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Check the file, and make nothing
    #[arg(long, conflicts_with = "into")]
    dry_run: bool,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    file: String,
    /// The queue that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// When the snapshot was begun, and by which version.
    taken: &'a str,
    version: &'a str,
    messages: u64,
    /// Parts of messages that wait or are held by themselves.
    parts: u64,
    /// Of content.
    octets: u64,
}

pub fn take(args: &Snapshot, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let to_stdout = args.file.as_os_str() == "-";
    if to_stdout && (args.json || io::stdout().is_terminal()) {
        eprintln!("waypost: standard output takes the snapshot itself: send it to a file or a program, without --json");
        return Ok(ExitCode::from(2));
    }
    match args.file.symlink_metadata() {
        Ok(found) if !to_stdout && !found.is_file() => {
            bail!("{} is there already, and no plain file: name another one", at(&args.file))
        }
        Ok(_) if !to_stdout && !args.force => {
            bail!("{} is there already: name another file, or say --force to replace it", at(&args.file))
        }
        _ => {}
    }
    let ask = Ask::find(directory, false)?;
    let (beginning, end) = if to_stdout {
        let mut out = io::stdout().lock();
        let taken = copy(&ask, &mut out)?;
        out.flush()?;
        taken
    } else {
        into_file(&ask, &args.file, args.force)?
    };
    ask.end();
    let file = if to_stdout { "standard output".to_owned() } else { at(&args.file) };
    if args.json {
        print(&Answer::new(file, None, &beginning, &end))?;
    } else if to_stdout {
        eprintln!("waypost: {}", counted(&end));
    } else {
        say!("{file}: {}", counted(&end));
    }
    Ok(ExitCode::SUCCESS)
}

fn into_file(ask: &Ask, path: &Path, replace: bool) -> anyhow::Result<(Beginning, End)> {
    beside::put(path, replace, |beside| {
        beside.forsake_when_stopped()?;
        copy(ask, &mut beside.file)
    })
}

/// Checks it on its way, so that what is kept is known to be good.
fn copy(ask: &Ask, out: &mut dyn io::Write) -> anyhow::Result<(Beginning, End)> {
    let mut checker = Checker::default();
    let bar = bar("{bar:40} {human_pos} of {human_len} messages, {eta} to go");
    let done = ask.snapshot(&mut |octets| {
        checker.push(octets).context("the relay gave no snapshot")?;
        let (messages, of) = checker.progress();
        bar.set_length(of.max(messages));
        bar.set_position(messages);
        out.write_all(octets).context("the snapshot cannot be written")
    });
    bar.finish_and_clear();
    done?;
    checker.finish().context("the relay gave no whole snapshot")
}

pub fn restore(args: &Restore, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let from_stdin = args.file.as_os_str() == "-";
    if from_stdin && io::stdin().is_terminal() {
        eprintln!("waypost: standard input is a terminal: send a snapshot there, or name its file");
        return Ok(ExitCode::from(2));
    }
    if from_stdin && args.dry_run {
        let mut checker = Checker::default();
        from_input(|octets| checker.push(octets).context("the snapshot on standard input cannot be used"))?;
        let (beginning, end) = checker.finish().context("the snapshot on standard input cannot be used")?;
        return answer(args, None, &beginning, &end);
    }
    let size = match from_stdin {
        true => 0,
        false => File::open(&args.file).and_then(|file| file.metadata()).with_context(|| at(&args.file))?.len(),
    };
    let bar = bar("{bar:40} {percent}%, {eta} to go");
    let mut told = |octets| bar.inc(octets);
    if args.dry_run {
        bar.set_length(size);
        let (beginning, end) = queue::check_snapshot(&args.file, &mut told)?;
        bar.finish_and_clear();
        return answer(args, None, &beginning, &end);
    }
    let server = load::to_steer(directory)?;
    let index = match &args.into {
        Some(folder) => folder.join("queue.redb"),
        None => server.queue.path.clone(),
    };
    let folder = index.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Some(owner) = os::other_owner(folder) {
        bail!(
            "{} belongs to {owner}: run this as that user (sudo -u {owner} waypost queue restore ...), or the relay could \
             not read its queue",
            at(folder)
        );
    }
    let _log = log::install(&server.log)?;
    // It is read twice, and kept where there must be room for as much anyway.
    let spooled = match from_stdin {
        true => Some(spooled(folder)?),
        false => None,
    };
    let (file, size) = match &spooled {
        Some((beside, size)) => (beside.path.as_path(), *size),
        None => (args.file.as_path(), size),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // It is checked first.
    bar.set_length(2 * size);
    let (beginning, end) = runtime.block_on(queue::restore(file, &index, &mut told))?;
    bar.finish_and_clear();
    answer(args, Some(&index), &beginning, &end)
}

/// Standard input as a file, with its size.
fn spooled(folder: &Path) -> anyhow::Result<(Beside, u64)> {
    os::create_private_folder(folder).with_context(|| at(folder))?;
    let mut beside = Beside::make(folder, "snapshot")?;
    beside.forsake_when_stopped()?;
    let mut size = 0;
    from_input(|octets| {
        size += octets.len() as u64;
        beside.file.write_all(octets).with_context(|| format!("standard input cannot be kept in {}", at(folder)))
    })?;
    Ok((beside, size))
}

/// Standard input, piece by piece.
fn from_input(mut take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (mut input, mut octets) = (io::stdin().lock(), vec![0; 1 << 16]);
    loop {
        match input.read(&mut octets) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&octets[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("standard input cannot be read"),
        }
    }
}

fn answer(args: &Restore, made: Option<&Path>, beginning: &Beginning, end: &End) -> anyhow::Result<ExitCode> {
    let file = if args.file.as_os_str() == "-" { "standard input".to_owned() } else { at(&args.file) };
    if args.json {
        print(&Answer::new(file, made.map(at), beginning, end))?;
        return Ok(ExitCode::SUCCESS);
    }
    let of = format!("a snapshot of {} by waypost {}", beginning.taken, beginning.version);
    match made {
        None => say!("{file} is whole: {of}: {}", counted(end)),
        Some(index) => {
            say!("{} was made of {of}: {}", at(index), counted(end));
            say!("what was delivered since then is sent again when a relay is started on it");
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl<'a> Answer<'a> {
    fn new(file: String, queue: Option<String>, beginning: &'a Beginning, end: &End) -> Self {
        let (messages, parts, octets) = (end.messages, end.legs, end.octets);
        Self { file, queue, taken: &beginning.taken, version: &beginning.version, messages, parts, octets }
    }
}

fn print(answer: &Answer<'_>) -> anyhow::Result<()> {
    say!("{:#}", serde_json::to_value(answer)?);
    Ok(())
}

fn counted(end: &End) -> String {
    format!("{}, {} of content", text::plural(end.messages, "message"), text::octets(end.octets))
}

/// Shown on a terminal alone.
fn bar(template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
