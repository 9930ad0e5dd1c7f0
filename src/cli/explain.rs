//! `waypost explain`: the route that takes a mail, its chain and limits, and why each earlier route did not.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;

use super::load;
use super::remote::Remote;
use super::usage::OrUsage as _;
use crate::admin::Explained;
use crate::config::{Config, Pickup, Size};
use crate::mail::{Address, HeaderSection, Mid};
use crate::routing::{Explanation, Facts, Table};

/// Explain the route of a mail: who takes it, through which chain, and why no earlier route does
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "waypost explain [OPTIONS] --from <ADDRESS> --to <ADDRESS>...\n       waypost explain [--json] <MID>"
)]
pub struct Args {
    /// A message that the relay has or had: how it was routed, and what it waits for
    #[arg(value_name = "MID", conflicts_with_all = ["from", "to", "user", "client", "listener", "header", "size"])]
    mid: Option<String>,
    /// The reverse-path; `<>` is the null one
    #[arg(long, value_name = "ADDRESS", required_unless_present = "mid")]
    from: Option<String>,
    /// A recipient; may be given several times
    #[arg(long, value_name = "ADDRESS", required_unless_present = "mid")]
    to: Vec<String>,
    /// The authenticated user
    #[arg(long)]
    user: Option<String>,
    /// The client's address [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// The listener's name [default: the first one's]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// A header field; may be given several times
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The size of the message, such as 10MiB [default: 1KiB]
    #[arg(long)]
    size: Option<String>,
    /// Print JSON: an array with an object for each recipient; for a message, an object
    #[arg(long)]
    json: bool,
}

/// Exit status 1: some recipient has no route.
pub fn run(args: &Args, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    if let Some(mid) = &args.mid {
        return explain_message(mid, args.json, directory);
    }
    let config = &load::to_ask(directory)?;
    let explanations = explain(args, config).or_usage()?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&explanations)?);
    } else {
        for explanation in &explanations {
            crate::cli::say::text(format_args!("{explanation}"));
        }
    }
    let routed = explanations.iter().all(|explanation| explanation.route.is_some());
    Ok(if routed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn explain_message(mid: &str, json: bool, directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mid: Mid = mid.parse().or_usage()?;
    let explained: Explained = Remote::find(directory)?.get(&format!("/explain/{mid}"))?;
    if json {
        say!("{:#}", serde_json::to_value(&explained)?);
    } else {
        crate::cli::say::text(format_args!("{}", explained.text));
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(args: &Args, config: &Config) -> anyhow::Result<Vec<Explanation>> {
    let sender = match args.from.as_deref().unwrap_or_default().trim_matches(['<', '>']) {
        "" => None,
        from => Some(from.parse::<Address>().with_context(|| format!("--from {from}"))?),
    };
    let size = args.size.as_deref().map(str::parse::<Size>).transpose().context("--size")?;
    let mut section = String::new();
    for field in &args.header {
        let (name, value) = field.split_once(':').with_context(|| format!("--header '{field}' is no NAME: VALUE"))?;
        section.push_str(&format!("{}: {}\r\n", name.trim(), value.trim()));
    }
    section.push_str("\r\n");
    let header = HeaderSection::new(Bytes::from(section));
    let known = |name: &str| name == Pickup::LISTENER || config.server.listeners.iter().any(|known| known.name == name);
    if let Some(name) = args.listener.as_deref().filter(|name| !known(name)) {
        anyhow::bail!("--listener {name}: there is none of that name");
    }
    if let Some(name) = args.user.as_deref().filter(|name| !may_be_user(name, config)) {
        eprintln!("waypost: --user {name}: the configuration has no such user, and asks nobody else for users");
    }
    let first = config.server.listeners.first().map_or("", |listener| listener.name.as_str());
    let table = Table::of(config);
    args.to
        .iter()
        .map(|to| {
            let recipient: Address = to.trim_matches(['<', '>']).parse().with_context(|| format!("--to {to}"))?;
            Ok(table.explain(&Facts {
                sender: sender.as_ref(),
                recipient: &recipient,
                listener: args.listener.as_deref().unwrap_or(first),
                client: Some(args.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))),
                user: args.user.as_deref(),
                header: Some(&header),
                size: Some(size.map_or(1024, |size| size.0)),
            }))
        })
        .collect()
}

/// Whoever signs in by a directory or a certificate is known there alone.
fn may_be_user(name: &str, config: &Config) -> bool {
    let server = &config.server;
    let elsewhere = server.directory.is_some() || server.listeners.iter().any(|listener| listener.client_ca.is_some());
    elsewhere || server.users.iter().any(|user| user.name == name)
}
