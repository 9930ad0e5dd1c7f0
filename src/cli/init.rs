//! `waypost init DIR`: writes the default configuration as a start.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::config;

/// Write the default configuration as a start
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory; made where it is not there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Writes all of the default, or nothing where one of its files is there already.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    for path in write(&args.dir)? {
        say!("wrote {}", path.display());
    }
    say!("next: waypost check --config {0}, then waypost run --config {0}", args.dir.display());
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let files: Vec<(PathBuf, &str)> = config::DEFAULT.iter().map(|(name, text)| (dir.join(name), *text)).collect();
    let there: Vec<String> = files
        .iter()
        .filter(|(path, _)| path.symlink_metadata().is_ok())
        .map(|(path, _)| path.display().to_string())
        .collect();
    if !there.is_empty() {
        bail!("nothing was written: {} would be overwritten", there.join(", "));
    }
    for (path, text) in &files {
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Never over a file that came into being meanwhile.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Assumed, Origin};

    #[test]
    fn what_is_written_checks_clean_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        assert_eq!(write(&dir).unwrap().len(), config::DEFAULT.len());
        let sources = config::read(&Origin::Directory(dir.clone())).unwrap();
        let loaded = config::load(&sources, &Assumed);
        assert_eq!(loaded.problems, []);

        fs::write(dir.join("waypost.yaml"), "# mine").unwrap();
        fs::remove_file(dir.join("routes/50-default.yaml")).unwrap();
        let error = write(&dir).unwrap_err().to_string();
        assert!(error.contains("waypost.yaml") && error.contains("providers/50-default.yaml"), "{error}");
        assert_eq!(fs::read_to_string(dir.join("waypost.yaml")).unwrap(), "# mine");
        assert!(!dir.join("routes/50-default.yaml").exists(), "all or nothing");
    }
}
