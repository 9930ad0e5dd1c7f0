//! Where a filter finds nothing because it names what is not there. No error: mail may wait for a route that the table
//! had once.

use std::path::Path;

use crate::alerts;
use crate::cli::load;
use crate::config::Config;
use crate::delivery::operate::{Count, Filter};

/// Names that are told of those that there are.
const NAMED: usize = 12;

/// Tells of names in the filter that the configuration does not have; to be called where nothing was found.
pub fn of_names(filter: &Filter, directory: Option<&Path>) {
    if filter.route.is_none() && filter.provider.is_none() {
        return;
    }
    // What was asked is answered; that the configuration cannot be read is no matter of it.
    let Ok(config) = load::to_send(directory) else { return };
    for line in lines(filter, &config) {
        eprintln!("waypost: {line}");
    }
}

/// The same for a count of none.
pub fn of_none(count: &Count, filter: &Filter, directory: Option<&Path>) {
    if count.messages == 0 {
        of_names(filter, directory);
    }
}

fn lines(filter: &Filter, config: &Config) -> Vec<String> {
    let table = alerts::table(config);
    let routes: Vec<&str> = table.routes().map(|route| route.name.as_str()).collect();
    let providers: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    let asked = [("route", &filter.route, routes), ("provider", &filter.provider, providers)];
    asked.iter().filter_map(|(what, name, known)| line(what, name.as_deref()?, known)).collect()
}

fn line(what: &str, name: &str, known: &[&str]) -> Option<String> {
    if known.contains(&name) {
        return None;
    }
    let more = known.len().saturating_sub(NAMED);
    let named = known.get(..NAMED).unwrap_or(known).join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("the configuration has no {what} '{name}'; it has {named}{more}"))
}
