//! The demo's folder: the relay's configuration and queue, gone with the value.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::os;

pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make() -> anyhow::Result<Self> {
        let name = format!("waypost-demo-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        os::create_private_folder(&path)
            .with_context(|| format!("cannot make the demo's folder {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.0.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("waypost: the demo's folder {} cannot be removed: {error}", self.0.display());
        }
    }
}
