//! `waypost top`: how the running relay stands, second by second: what moves, what is out, what waits.
//!
//! One thread asks the relay, one reads keys, one waits for signals, and this one draws: a relay that hangs holds up no key.

mod keys;
mod rates;
mod screen;
mod table;
mod view;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;

use self::keys::{Key, keys};
use self::rates::Rates;
use self::screen::Screen;
use self::table::plain;
use self::view::View;
use super::remote::Remote;
use crate::admin::Status;
use crate::config::{self, ShowDuration};
use crate::os::{Clock, StopRequests};

/// How long nothing is drawn where nothing comes: ages and the screen's size are looked at so often.
const LOOK: Duration = Duration::from_millis(250);
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// Columns where there is no screen.
const WIDTH: usize = 80;

/// Watch the running relay: what moves a second, providers, routes, listeners and the queue
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask the relay so often
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = pause)]
    every: Duration,
    /// Print one frame as text and end, as also where standard output is no terminal; what moves is measured for one span
    #[arg(long)]
    once: bool,
    /// Print the frame as one JSON object
    #[arg(long, requires = "once")]
    json: bool,
}

fn pause(text: &str) -> Result<Duration, String> {
    let span = config::parse_duration(text).map_err(|error| error.to_string())?;
    if PAUSES.contains(&span) { Ok(span) } else { Err("a span from 100ms to 1h is wanted".to_owned()) }
}

/// The stable form of `--json`.
#[derive(Serialize)]
struct Frame<'a> {
    /// null: the relay was started anew while it was watched.
    rates: Option<&'a Rates>,
    status: &'a Status,
}

pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    if args.once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        once(args, directory)?;
    } else {
        watch(args, directory)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn once(args: &Args, directory: Option<&Path>) -> anyhow::Result<()> {
    let remote = Remote::find(directory)?;
    let mut view = View::new(String::new());
    view.answered(remote.get("/status")?);
    std::thread::sleep(args.every);
    view.answered(remote.get("/status")?);
    let mut out = crate::cli::say::out();
    if let (true, Some(status)) = (args.json, view.status()) {
        let frame = Frame { rates: view.rates(), status };
        writeln!(out, "{:#}", serde_json::to_value(&frame)?)?;
        return Ok(());
    }
    for line in view.page(WIDTH, Clock::system().wall()) {
        writeln!(out, "{}", plain(&line))?;
    }
    Ok(())
}

/// What the other threads tell.
enum Told {
    Answer(Result<Box<Status>, String>),
    Keys(Vec<Key>),
    Stop,
}

fn watch(args: &Args, directory: Option<&Path>) -> anyhow::Result<()> {
    let clock = Clock::system();
    let (tell, told) = sync_channel(8);
    let ask = asking(directory.map(Path::to_owned), tell.clone())?;
    stopping(tell.clone())?;
    let mut view = View::new(format!("every {}", ShowDuration(args.every)));
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen::take(colours)?;
    reading(tell)?;
    let (mut due, mut asked) = (Instant::now(), false);
    loop {
        if !asked && !view.paused && Instant::now() >= due {
            // The thread that asks waits for it: there is room.
            asked = ask.try_send(()).is_ok();
            due = Instant::now() + args.every;
        }
        let (wide, height) = Screen::size();
        screen.show((wide, height), &view.screen(wide, height, clock.wall()))?;
        let wait = if asked || view.paused { LOOK } else { LOOK.min(due.saturating_duration_since(Instant::now())) };
        match told.recv_timeout(wait) {
            Ok(Told::Stop) => return Ok(()),
            Ok(Told::Keys(keys)) => {
                for key in keys {
                    if !view.pressed(key, height) {
                        return Ok(());
                    }
                }
            }
            Ok(Told::Answer(answer)) => {
                asked = false;
                match answer {
                    Ok(status) => view.answered(*status),
                    Err(why) => view.not_answered(clock.wall(), why),
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the threads that ask and read have ended"),
        }
    }
}

/// Reads keys; its end is that of the terminal.
fn reading(tell: SyncSender<Told>) -> io::Result<()> {
    std::thread::Builder::new().name("reading".to_owned()).spawn(move || {
        let mut octets = [0; 256];
        loop {
            match io::stdin().read(&mut octets) {
                Ok(0) => break,
                Ok(read) => {
                    if tell.send(Told::Keys(keys(octets.get(..read).unwrap_or_default()))).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = tell.send(Told::Stop);
    })?;
    Ok(())
}

/// Asks the relay whenever it is told to, and tells the answer. Ends with the process: nobody waits for a relay that hangs.
fn asking(directory: Option<PathBuf>, tell: SyncSender<Told>) -> io::Result<SyncSender<()>> {
    let (ask, asked): (_, Receiver<()>) = sync_channel(1);
    std::thread::Builder::new().name("asking".to_owned()).spawn(move || {
        let mut remote = None;
        for () in asked {
            let answer = status(&mut remote, directory.as_deref());
            if answer.is_err() {
                // It may come back at another port, with another token.
                remote = None;
            }
            if tell.send(Told::Answer(answer.map(Box::new).map_err(|error| format!("{error:#}")))).is_err() {
                return;
            }
        }
    })?;
    Ok(ask)
}

fn status(remote: &mut Option<Remote>, directory: Option<&Path>) -> anyhow::Result<Status> {
    let remote = match remote {
        Some(found) => found,
        None => remote.insert(Remote::find(directory)?),
    };
    remote.get("/status")
}

/// SIGTERM and SIGINT give the terminal back too.
fn stopping(tell: SyncSender<Told>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut requests = {
        let _within = runtime.enter();
        StopRequests::listen()?
    };
    std::thread::Builder::new().name("stopping".to_owned()).spawn(move || {
        runtime.block_on(requests.next());
        let _ = tell.send(Told::Stop);
    })?;
    Ok(())
}
