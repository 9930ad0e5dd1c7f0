//! A file that is written beside its place, and put there once it is whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::at;
use crate::os::{self, StopRequests};

/// A file of this run alone, which goes with this value, and when the run is asked to stop.
#[derive(Debug)]
pub struct Beside {
    pub file: File,
    pub path: PathBuf,
}

impl Beside {
    /// `.NAME.PID-NUMBER.part` in the folder.
    pub fn make(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let number: u32 = rand::random();
        let path = folder.join(format!(".{name}.{}-{number:08x}.part", std::process::id()));
        let file = os::create_private(&path).with_context(|| at(&path))?;
        Ok(Self { file, path })
    }

    /// From here on, SIGTERM or SIGINT ends the process with status 1, without the file.
    pub fn forsake_when_stopped(&self) -> io::Result<()> {
        let path = self.path.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut requests = {
            let _within = runtime.enter();
            StopRequests::listen()?
        };
        std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
            let signal = runtime.block_on(requests.next());
            let _ = std::fs::remove_file(&path);
            eprintln!("waypost: stopped by {signal}");
            std::process::exit(1)
        })?;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It is gone already where it was put into its place.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What `write` writes, whole or not at all. A file that is there is replaced where `replace` says so, and only then.
pub fn put<T>(path: &Path, replace: bool, write: impl FnOnce(&mut Beside) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name() else { bail!("{} is no file", at(path)) };
    let mut beside = Beside::make(folder, &name.to_string_lossy())?;
    let made = write(&mut beside)?;
    beside.file.sync_all().with_context(|| at(path))?;
    let placed = match replace {
        true => std::fs::rename(&beside.path, path),
        false => os::place(&beside.path, path),
    };
    match placed {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
            "{} has come to be there meanwhile, and was left as it is: name another file, or say --force to replace it",
            at(path)
        ),
        placed => placed.and_then(|()| os::sync_folder(folder)).with_context(|| at(path))?,
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// One within the other, so that both are under way at one time.
    fn two(path: &Path, replace: bool) -> (anyhow::Result<()>, anyhow::Result<()>) {
        let mut inner = Ok(());
        let outer = put(path, replace, |outer| {
            outer.file.write_all(b"out")?;
            inner = put(path, replace, |inner| Ok(inner.file.write_all(b"inner")?));
            Ok(outer.file.write_all(b"er")?)
        });
        (outer, inner)
    }

    #[test]
    fn two_at_one_time_do_not_touch_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        let (outer, inner) = two(&path, false);
        inner.unwrap();
        let refused = outer.unwrap_err().to_string();
        assert!(refused.contains("has come to be there meanwhile"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"inner");
        let (outer, inner) = two(&path, true);
        assert!(outer.is_ok() && inner.is_ok());
        assert_eq!(std::fs::read(&path).unwrap(), b"outer");
        assert_eq!(names(folder.path()), ["snapshot"]);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let failed = put(&folder.path().join("snapshot"), false, |beside| -> anyhow::Result<()> {
            beside.file.write_all(b"half")?;
            bail!("the disk is full")
        });
        assert!(failed.is_err());
        assert!(names(folder.path()).is_empty());
    }
}
