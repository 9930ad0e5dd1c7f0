//! What the admin server leaves beside the queue, so that verbs of this host find it: its address, and a token where none is
//! configured.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use crate::config::Secret;
use crate::os;

/// Octets of a token that is made: more than anybody can try.
const TOKEN: usize = 32;

/// Where the files of a queue's admin server lie.
#[derive(Debug, Clone)]
pub struct Files {
    pub token: PathBuf,
    pub address: PathBuf,
}

impl Files {
    pub fn beside(queue: &Path) -> Self {
        Self { token: queue.with_file_name("admin.token"), address: queue.with_file_name("admin.address") }
    }

    /// A fresh token.
    pub fn make_token() -> Secret {
        Secret::new(BASE64.encode(rand::random::<[u8; TOKEN]>()))
    }

    /// For the relay's user alone.
    pub fn write_token(&self, token: &Secret) -> io::Result<()> {
        write(&self.token, &format!("{}\n", token.expose()))
    }

    pub fn write_address(&self, address: SocketAddr) -> io::Result<()> {
        write(&self.address, &format!("{address}\n"))
    }

    /// What a relay that ended in order leaves nobody to ask.
    pub fn remove(&self) {
        for file in [&self.token, &self.address] {
            // It may never have been there; a stale one is no more than a wrong address.
            let _ = fs::remove_file(file);
        }
    }
}

/// Whole or not at all.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    os::create_private(&fresh)?.write_all(text.as_bytes())?;
    fs::rename(&fresh, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_token_of_its_own_that_only_the_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::beside(&folder.path().join("queue.redb"));
        let (first, second) = (Files::make_token(), Files::make_token());
        files.write_token(&first).unwrap();
        files.write_token(&second).unwrap();
        assert_ne!(first, second);
        assert_eq!(fs::read_to_string(folder.path().join("admin.token")).unwrap().trim_end(), second.expose());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&files.token).unwrap().permissions().mode() & 0o777, 0o600);
        }
        files.write_address("127.0.0.1:8025".parse().unwrap()).unwrap();
        files.remove();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
