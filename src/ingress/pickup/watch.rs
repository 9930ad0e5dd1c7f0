//! When a file is whole: decided from what is seen of it, time being an argument. Pure.
//!
//! - A file is taken when its size and its time of change have stayed the same for `SETTLE`. One whose last octet ends no
//!   line may be half a message, and is given `UNFINISHED`.
//! - One that could not be sent is left alone for a while, longer each time.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::folder::Found;

/// Longer than two polls: it was seen unchanged by three of them.
pub(super) const SETTLE: Duration = Duration::from_secs(2);
pub(super) const UNFINISHED: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// By what a file's growing is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub size: u64,
    pub modified: Option<SystemTime>,
}

/// A file that can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ready {
    pub name: OsString,
    pub stamp: Stamp,
    /// It has been unchanged for long: it is whole, however it ends.
    pub old: bool,
}

/// What lay in the folder when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Watch {
    files: HashMap<OsString, Seen>,
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    since: Instant,
    not_before: Option<Instant>,
    tries: u32,
}

impl Watch {
    /// What lies there now; gives what can be taken, the oldest first. Files for which `settled` holds were whole when they
    /// were taken before.
    pub fn look(&mut self, now: Instant, found: Found, settled: impl Fn(&OsString) -> bool) -> Vec<Ready> {
        let mut before = std::mem::take(&mut self.files);
        let mut ready = Vec::new();
        for (name, stamp) in found {
            let seen = match before.remove(&name) {
                Some(seen) if seen.stamp == stamp => seen,
                Some(_) | None => Seen { stamp, since: now, not_before: None, tries: 0 },
            };
            let unchanged = now.saturating_duration_since(seen.since);
            if seen.not_before.is_none_or(|at| at <= now) && (settled(&name) || unchanged >= SETTLE) {
                ready.push(Ready { name: name.clone(), stamp, old: unchanged >= UNFINISHED });
            }
            self.files.insert(name, seen);
        }
        ready.sort_by(|a, b| (a.stamp.modified, &a.name).cmp(&(b.stamp.modified, &b.name)));
        ready
    }

    /// It could not be sent now; true where that is news.
    pub fn later(&mut self, now: Instant, ready: Ready, new_name: OsString) -> bool {
        let mut seen = self.files.remove(&ready.name).unwrap_or(Seen {
            stamp: ready.stamp,
            since: now,
            not_before: None,
            tries: 0,
        });
        seen.not_before = Some(now + (FIRST_PAUSE * 2_u32.saturating_pow(seen.tries.min(8))).min(LONGEST_PAUSE));
        seen.tries += 1;
        let news = seen.tries == 1;
        self.files.insert(new_name, seen);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp { size, modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(size)) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_taken_once_it_has_stayed_the_same() {
        let start = Instant::now();
        let mut watch = Watch::default();
        let mut look = |ms: u64, size: u64| {
            let ready = watch.look(start + Duration::from_millis(ms), vec![("a.eml".into(), stamp(size))], |_| false);
            ready.first().map(|ready| ready.old)
        };
        assert_eq!(look(0, 10), None);
        assert_eq!(look(1000, 10), None);
        assert_eq!(look(1999, 20), None, "it grew");
        assert_eq!(look(3998, 20), None);
        assert_eq!(look(3999, 20), Some(false));
        assert_eq!(look(16_999, 20), Some(true), "whole, however it ends");
        assert_eq!(look(17_000, 21), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_left_alone_for_longer_each_time() {
        let start = Instant::now();
        let mut watch = Watch::default();
        let mut now = start;
        let mut name: OsString = "1".into();
        let mut pauses = Vec::new();
        for n in 2..9 {
            let tried = now;
            let ready = loop {
                let found = vec![(name.clone(), stamp(1))];
                match watch.look(now, found, |_| true).pop() {
                    Some(ready) => break ready,
                    None => now += Duration::from_secs(1),
                }
            };
            pauses.push((now - tried).as_secs());
            name = n.to_string().into();
            assert_eq!(watch.later(now, ready, name.clone()), n == 2);
        }
        assert_eq!(pauses, [0, 5, 10, 20, 40, 60, 60]);
        // Gone and back again: a new file.
        assert!(watch.look(now, Vec::new(), |_| true).is_empty());
        assert_eq!(watch.look(now, vec![(name, stamp(1))], |_| true).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_comes_first() {
        let found = vec![("b".into(), stamp(2)), ("c".into(), stamp(1)), ("a".into(), stamp(2))];
        let order: Vec<_> =
            Watch::default().look(Instant::now(), found, |_| true).into_iter().map(|ready| ready.name).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }
}
