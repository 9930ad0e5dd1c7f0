//! Queued messages as files, and files as messages.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;

use super::ask::Ask;
use super::{PART, Which, at};

#[derive(Debug, clap::Args)]
pub struct Export {
    /// Message ids
    #[arg(value_name = "MID")]
    mids: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// All queued mail
    #[arg(long, conflicts_with = "mids")]
    all: bool,
    /// Write MID.eml files into this folder; without it, one message goes to standard output
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The content alone, without the fields of the envelope that `import` reads
    #[arg(long)]
    content_only: bool,
}

#[derive(Debug, clap::Args)]
pub struct Import {
    /// Files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Hold them until they are released
    #[arg(long)]
    hold: bool,
    /// Why: it is recorded with your name
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print JSON: an array with an object for each file
    #[arg(long)]
    json: bool,
}

pub fn export(args: &Export, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let filter = args.which.filter();
    if args.mids.is_empty() && filter.is_empty() && !args.all {
        eprintln!("waypost: say which mail: message ids, a filter (see --help), or --all");
        return Ok(ExitCode::from(2));
    }
    let ask = Ask::find(directory, false)?;
    let Some(folder) = &args.to else {
        let [mid] = &args.mids[..] else {
            eprintln!("waypost: more than one message may be meant: say --to DIR");
            return Ok(ExitCode::from(2));
        };
        ask.export(mid, args.content_only, &mut io::stdout().lock())?;
        ask.end();
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(folder).with_context(|| at(folder))?;
    let mut written = 0u64;
    let mut gone = 0u64;
    for mid in &args.mids {
        match write(&ask, folder, mid, args.content_only)? {
            true => written += 1,
            false => gone += 1,
        }
    }
    if args.mids.is_empty() {
        let (mut after, mut last) = (None, String::new());
        loop {
            let page = ask.list(&filter, after.as_deref(), PART)?;
            for entry in page.entries {
                // One message may have several lines.
                if entry.mid != last {
                    // What left meanwhile is no fault.
                    written += u64::from(write(&ask, folder, &entry.mid, args.content_only)?);
                    last = entry.mid;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    say!("exported to {}: {}", folder.display(), super::text::plural(written, "message"));
    ask.end();
    Ok(if gone == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// False where the message is not in the queue. A file of that name is never replaced.
fn write(ask: &Ask, folder: &Path, mid: &str, content_only: bool) -> anyhow::Result<bool> {
    let path = folder.join(format!("{mid}.eml"));
    let file = crate::os::create_private(&path).with_context(|| at(&path))?;
    let mut out = BufWriter::new(file);
    let done = ask.export(mid, content_only, &mut out);
    if let Err(error) = done {
        drop(out);
        // Nothing of it is of use.
        let _ = std::fs::remove_file(&path);
        eprintln!("waypost: {mid}: {error:#}");
        return Ok(false);
    }
    let file: File = out.into_inner().map_err(io::IntoInnerError::into_error).with_context(|| at(&path))?;
    file.sync_all().with_context(|| at(&path))?;
    Ok(true)
}

pub fn import(args: &Import, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let ask = Ask::find(directory, true)?;
    let mut answers = Vec::new();
    let mut failed = false;
    for file in &args.files {
        let shown = if file.as_os_str() == "-" { "standard input".to_owned() } else { at(file) };
        let read = read(file).with_context(|| shown.clone());
        let done = read
            .and_then(|octets| ask.import(octets, args.hold, args.reason.as_deref()).with_context(|| shown.clone()));
        let answer = match &done {
            Ok(answer) => {
                serde_json::json!({"file": shown, "mid": answer.mid, "recipients": answer.recipients, "error": null})
            }
            Err(error) => {
                failed = true;
                eprintln!("waypost: {error:#}");
                serde_json::json!({"file": shown, "mid": null, "recipients": 0, "error": format!("{error:#}")})
            }
        };
        answers.push(answer);
        if let (Ok(answer), false) = (done, args.json) {
            let recipients = super::text::plural(answer.recipients, "recipient");
            match answer.mid {
                Some(mid) => say!("{shown}: queued as {mid}, {recipients}"),
                None => say!("{shown}: the routing table discards it"),
            }
        }
    }
    if args.json {
        say!("{:#}", serde_json::Value::Array(answers));
    }
    ask.end();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(file: &Path) -> anyhow::Result<Bytes> {
    if file.as_os_str() != "-" {
        return Ok(Bytes::from(std::fs::read(file)?));
    }
    if io::stdin().is_terminal() {
        eprintln!("the message, and Ctrl-D behind it:");
    }
    let mut octets = Vec::new();
    io::Read::read_to_end(&mut io::stdin().lock(), &mut octets)?;
    Ok(Bytes::from(octets))
}
