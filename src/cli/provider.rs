//! `waypost provider`: a provider taken out by hand, or its outage rehearsed, and brought back.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::remote::Remote;
use super::usage::order_span;
use crate::admin::{OrderBody, OrderStatus};

/// Pause a provider, rehearse its outage, bring it back
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Pass it over for a while: its mail goes to the next of the chain, or waits
    Pause(Order),
    /// Play its outage for a while: attempts fail without being made
    Drill(Order),
    /// End its pause or drill
    Resume(Resume),
}

#[derive(Debug, clap::Args)]
struct Order {
    /// The provider's name
    name: String,
    /// For how long: 30m, 2h, at most 30d; it ends by itself
    #[arg(long = "for", value_name = "SPAN", default_value = "1h", value_parser = order_span)]
    span: String,
    /// Why, for whoever wonders
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Resume {
    /// The provider's name
    name: String,
    /// Why, for whoever wonders
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let (word, name, body, json) = match &args.what {
        What::Pause(Order { name, span, reason, json }) => {
            ("pause", name, OrderBody { span: Some(span.clone()), reason: reason.clone() }, json)
        }
        What::Drill(Order { name, span, reason, json }) => {
            ("drill", name, OrderBody { span: Some(span.clone()), reason: reason.clone() }, json)
        }
        What::Resume(Resume { name, reason, json }) => {
            ("resume", name, OrderBody { span: None, reason: reason.clone() }, json)
        }
    };
    // A name of the configuration stands in a path as it is; another one is none of a provider.
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        anyhow::bail!("'{name}' is no provider's name");
    }
    let order: OrderStatus = Remote::find(directory)?.post(&format!("/providers/{name}/{word}"), &body)?;
    let mut out = super::say::out();
    if *json {
        writeln!(out, "{:#}", serde_json::to_value(&order)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let until = order.until;
    match &args.what {
        What::Pause(_) => {
            writeln!(out, "{name} is paused until {until:.0}; `waypost provider resume {name}` ends that before")?
        }
        What::Drill(_) => writeln!(
            out,
            "{name} is treated as out until {until:.0}; `waypost provider resume {name}` ends that before"
        )?,
        What::Resume(_) => writeln!(out, "the {} of {name} has ended", order.kind)?,
    }
    Ok(ExitCode::SUCCESS)
}
