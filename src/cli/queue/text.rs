//! The queue in words.

use std::io::{self, Write};
use std::time::Duration;

use crate::config::ShowDuration;
use crate::delivery::operate::{Count, Entry, LegShown, Message, State};
use crate::mail::Timestamp;

/// Of a reason, so much stands in a line of the list.
const SHORT: usize = 120;

pub fn plural(n: u64, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

pub fn messages(messages: u64, recipients: u64) -> String {
    format!("{}, {}", plural(messages, "message"), plural(recipients, "recipient"))
}

pub fn count(count: &Count) -> String {
    format!("{}, {}", messages(count.messages, count.recipients), octets(count.octets))
}

pub fn octets(n: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| n >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", n as f64 / *size as f64),
        None => plural(n, "octet"),
    }
}

/// In one or two units: nobody reads more of an age.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().unsigned_abs();
    let cut = match seconds {
        0..60 => 1,
        60..3600 => 60,
        3600..86_400 => 60,
        _ => 3600,
    };
    match seconds / cut * cut {
        0 => "0s".to_owned(),
        seconds => ShowDuration(Duration::from_secs(seconds)).to_string(),
    }
}

pub fn line(out: &mut impl Write, entry: &Entry, now: Timestamp) -> io::Result<()> {
    let from = entry.from.as_deref().unwrap_or("<>");
    let to = entry.to.first().map_or("", String::as_str);
    let more = match entry.recipients.saturating_sub(1) {
        0 => String::new(),
        more => format!(" (+{more})"),
    };
    let by = entry.provider.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
    let state = match (entry.state, entry.in_hand) {
        (State::Held, _) => "held".to_owned(),
        (State::Waiting, true) => "in hand".to_owned(),
        (State::Waiting, false) if entry.due > now => format!("due in {}", span(now, entry.due)),
        (State::Waiting, false) => "due".to_owned(),
    };
    write!(out, "{} {:>6} {from} > {to}{more} {}{by} {state}", entry.mid, span(entry.accepted, now), entry.route)?;
    if let Some(waits) = &entry.waits {
        write!(out, ", waits {waits}")?;
    }
    if let Some(reason) = &entry.reason {
        let cut = reason.floor_char_boundary(SHORT);
        write!(out, ": {}{}", plain(&reason[..cut]), if cut < reason.len() { "..." } else { "" })?;
    }
    writeln!(out)
}

pub fn message(out: &mut impl Write, message: &Message, now: Timestamp) -> io::Result<()> {
    let Message { mid, from, accepted, size, listener, client, helo, user, ret, envid, header, .. } = message;
    writeln!(
        out,
        "{mid}, accepted {} ({} ago), {}",
        accepted.strftime("%F %T UTC"),
        span(*accepted, now),
        octets(*size)
    )?;
    write!(out, "from {}", from.as_deref().unwrap_or("<>"))?;
    let via = if listener == "-" { "the relay itself" } else { listener.as_str() };
    write!(out, ", by {via}")?;
    for (name, value) in [("client", client), ("helo", helo), ("user", user), ("RET", ret), ("ENVID", envid)] {
        if let Some(value) = value {
            write!(out, ", {name} {}", plain(value))?;
        }
    }
    writeln!(out)?;
    if message.settled > 0 {
        writeln!(out, "{} done with", plural(message.settled, "recipient"))?;
    }
    for leg in &message.legs {
        leg_shown(out, leg, now)?;
    }
    match header {
        Some(header) => write!(out, "\n{}", plain_lines(header.trim_end()))?,
        None => write!(out, "\nthe header section cannot be read")?,
    }
    writeln!(out)
}

fn leg_shown(out: &mut impl Write, leg: &LegShown, now: Timestamp) -> io::Result<()> {
    let to = leg.destination.as_ref().map(|domain| format!(" to {domain}")).unwrap_or_default();
    writeln!(out, "\nroute {}{to}: waits {}", leg.route, plain(&leg.waits))?;
    if leg.state == State::Waiting {
        let due = leg.until.filter(|_| leg.due <= now).unwrap_or(leg.due);
        let when = if due > now { format!("in {}", span(now, due)) } else { "now".to_owned() };
        writeln!(out, "  due {when} ({}), {} so far", due.strftime("%F %T UTC"), plural(leg.attempts.into(), "round"))?;
    }
    if let Some(expires) = leg.expires {
        writeln!(out, "  given up {} (in {})", expires.strftime("%F %T UTC"), span(now, expires))?;
    }
    if let (Some(provider), Some(at)) = (&leg.last_provider, leg.last_attempt) {
        writeln!(out, "  last tried by {provider} {} ago", span(at, now))?;
    }
    for passed in &leg.passed {
        let until = if passed.for_good { "it cannot carry the message" } else { "until the next round" };
        writeln!(out, "  passes over {}: {until}", passed.provider)?;
    }
    if leg.moved_to_route {
        writeln!(out, "  moved to this route by a person")?;
    }
    if let Some(provider) = &leg.moved_to_provider {
        writeln!(out, "  moved to provider {provider} by a person")?;
    }
    if !leg.released_from.is_empty() {
        writeln!(out, "  released from {}", leg.released_from.join(", "))?;
    }
    for recipient in &leg.recipients {
        write!(out, "  to {}", recipient.address)?;
        if let Some(notify) = &recipient.notify {
            write!(out, " NOTIFY={notify}")?;
        }
        match &recipient.last {
            Some(last) => writeln!(out, ": {}", plain(last))?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

/// Nothing of a message may steer a terminal.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

fn plain_lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace(|c: char| c.is_control() && c != '\n' && c != '\t', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_octets_are_short() {
        let at = |seconds: i64| Timestamp::from_second(1_700_000_000 + seconds).unwrap();
        for (seconds, text) in [(0, "0s"), (59, "59s"), (61, "1m"), (3_725, "1h2m"), (90_061, "1d1h")] {
            assert_eq!(span(at(0), at(seconds)), text);
        }
        for (n, text) in [(1, "1 octet"), (1023, "1023 octets"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(octets(n), text);
        }
    }

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(plain_lines("A: b\r\n\u{1b}[31mc"), "A: b\n [31mc");
    }
}
