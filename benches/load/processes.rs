//! What a relay costs: processor time and memory of a process and of those that came from it.

use std::fs;

/// Seconds of a process, its children, and theirs, also of those that have ended.
pub fn cpu(root: u32) -> f64 {
    // Linux counts in hundredths of a second for every program (USER_HZ).
    tree(root).iter().map(|fields| ticks(fields)).sum::<f64>() / 100.0
}

/// MiB in memory; what processes share is counted in each.
pub fn resident(root: u32) -> f64 {
    // Field 24 counts pages; they have 4 KiB where this runs.
    tree(root).iter().filter_map(|fields| fields.get(21)?.parse::<f64>().ok()).sum::<f64>() * 4.0 / 1024.0
}

fn ticks(fields: &[String]) -> f64 {
    fields[11..15].iter().filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// The fields of `/proc/PID/stat` behind the name, of the process and all below it.
fn tree(root: u32) -> Vec<Vec<String>> {
    let pids = fs::read_dir("/proc")
        .expect("/proc is there")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let all: Vec<(u32, Vec<String>)> = pids.filter_map(|pid: u32| Some((pid, stat(pid)?))).collect();
    let mut wanted = vec![root];
    let mut found = Vec::new();
    while let Some(pid) = wanted.pop() {
        found.extend(all.iter().filter(|(one, _)| *one == pid).map(|(_, fields)| fields.clone()));
        wanted.extend(all.iter().filter(|(_, fields)| fields[1].parse() == Ok(pid)).map(|(one, _)| *one));
    }
    found
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    (fields.len() > 22).then_some(fields)
}
