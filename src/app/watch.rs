//! When a changed set of files is whole: when two looks, one after the other, found it the same. Whoever writes several
//! files, or one in several steps, is not caught in the middle of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{self, Origin};
use crate::os::{FileStamp, stamp};

/// Between two looks. One is a `stat` for each file.
pub const LOOK: Duration = Duration::from_secs(2);

/// Files in the order of their paths, and how each was when it was looked at; `None` where one is not there.
pub type Stamps = Vec<(PathBuf, Option<FileStamp>)>;

/// The files of a configuration and those that it refers to: users, secrets, certificates of others.
#[derive(Debug, Default)]
pub struct Watched {
    beside: Vec<PathBuf>,
    /// As it was loaded, or refused.
    known: Stamps,
    /// At the last look, where that is not the same.
    seen: Option<Stamps>,
}

/// Blocking.
pub fn stamps(files: Vec<PathBuf>) -> Stamps {
    let look = |file: PathBuf| {
        let stamp = stamp(&file);
        (file, stamp)
    };
    files.into_iter().map(look).collect()
}

fn in_order(mut stamps: Stamps) -> Stamps {
    stamps.sort_by(|(a, _), (b, _)| a.cmp(b));
    stamps.dedup_by(|(a, _), (b, _)| a == b);
    stamps
}

impl Watched {
    /// The configuration's own files, and others, as they were found. Of a file that is in both, what was found first counts.
    pub fn new(own: Stamps, beside: Stamps) -> Self {
        let files = in_order(beside.clone()).into_iter().map(|(file, _)| file).collect();
        let all = own.into_iter().chain(beside).collect();
        Self { beside: files, known: in_order(all), seen: None }
    }

    /// The files besides the configuration's own.
    pub fn beside(&self) -> Vec<PathBuf> {
        self.beside.clone()
    }

    /// How all of them are now. Blocking.
    pub fn look(origin: &Origin, beside: Vec<PathBuf>) -> Stamps {
        in_order(stamps(config::files(origin).into_iter().chain(beside).collect()))
    }

    /// Whether the set has changed and is whole. Pure.
    pub fn is_due(&mut self, now: Stamps) -> bool {
        if now == self.known {
            self.seen = None;
            return false;
        }
        let still = self.seen.as_ref() == Some(&now);
        self.seen = Some(now);
        still
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_set_is_taken_once_it_has_stayed_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["routes", "providers"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        write("routes/a.yaml", "1");
        let origin = Origin::Directory(folder.path().to_owned());
        let secret = folder.path().join("secret");
        let begin = || Watched::new(stamps(config::files(&origin)), stamps(vec![secret.clone()]));
        let mut watched = begin();
        let mut look = || {
            let due = watched.is_due(Watched::look(&origin, watched.beside()));
            if due {
                watched = begin();
            }
            due
        };
        assert!(!look(), "nothing has changed");
        write("routes/a.yaml", "22");
        assert!(!look(), "it may be half of it");
        write("providers/b.yaml", "1");
        assert!(!look(), "it was half of it");
        assert!(look());
        assert!(!look(), "once");
        // A file that the configuration names, and that is no part of it.
        write("secret", "hunter2");
        assert!(!look() && look() && !look());
        fs::remove_file(folder.path().join("routes/a.yaml")).unwrap();
        assert!(!look() && look() && !look());
        // There and back again is no change.
        let before = fs::metadata(&secret).unwrap().modified().unwrap();
        write("secret", "hunter22");
        assert!(!look());
        write("secret", "hunter2");
        fs::File::options().write(true).open(&secret).unwrap().set_modified(before).unwrap();
        assert!(!look() && !look());
        // No part of a configuration.
        write("routes/README.md", "x");
        write("routes/.hidden.yaml", "x");
        assert!(!look() && !look());
    }
}
