//! Reads Maildirs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{BOUND, mark_in, until};

pub struct Maildir(PathBuf);

impl Maildir {
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self(path.as_ref().to_owned())
    }

    /// The files of `new` and `cur`, in the order of their names.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = ["new", "cur"]
            .iter()
            .filter_map(|part| std::fs::read_dir(self.0.join(part)).ok())
            .flat_map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())))
            .collect();
        files.sort();
        files
    }

    pub fn count(&self) -> usize {
        self.files().len()
    }

    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.files().iter().filter_map(|file| std::fs::read(file).ok()).collect()
    }

    /// Waits until there are `count`.
    pub fn wait_for(&self, count: usize) -> Vec<Vec<u8>> {
        let what = format!("{count} messages in {}", self.0.display());
        until(&what, BOUND, || (self.count() >= count).then(|| self.messages()))
    }

    /// How often each mark arrived.
    pub fn marks(&self) -> HashMap<u64, usize> {
        let mut marks = HashMap::new();
        for mark in self.messages().iter().filter_map(|message| mark_in(message)) {
            *marks.entry(mark).or_default() += 1;
        }
        marks
    }
}
