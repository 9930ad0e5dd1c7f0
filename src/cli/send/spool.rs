//! A message that the relay cannot take now waits in its pickup folder.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{Envelope, SendError};
use crate::os;

/// Puts the message there as a whole or not at all, durably; gives its file.
pub fn spool(folder: &Path, envelope: &Envelope<'_>, content: &[u8]) -> Result<PathBuf, SendError> {
    let name = format!("send-{:016x}", rand::random::<u64>());
    let (temporary, file) = (format!(".{name}.tmp"), folder.join(format!("{name}.eml")));
    let written =
        write(folder, &temporary, envelope, content).and_then(|()| fs::rename(folder.join(&temporary), &file));
    match written {
        Ok(()) => {
            // Who may put files there need not be able to read the folder: then its entry is durable a moment later.
            let _ = os::sync_folder(folder);
            Ok(file)
        }
        Err(error) => {
            let _ = fs::remove_file(folder.join(&temporary));
            let folder = folder.display();
            Err(SendError::TryAgain(match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("the pickup folder {folder} is not there: start the relay once, it makes the folder")
                }
                io::ErrorKind::PermissionDenied => format!(
                    "you may not put files into the pickup folder {folder}; its owner can let a group of yours do so: \
                     chgrp GROUP {folder} && chmod 3730 {folder}"
                ),
                _ => format!("the pickup folder {folder} does not take it: {error}"),
            }))
        }
    }
}

fn write(folder: &Path, name: &str, envelope: &Envelope<'_>, content: &[u8]) -> io::Result<()> {
    let mut file = os::create_in(folder, name)?;
    let mut front = format!("X-Sender: <{}>{}\r\n", envelope.from(), envelope.mail_parameters());
    for recipient in envelope.recipients {
        front.push_str(&format!("X-Receiver: <{recipient}>{}\r\n", envelope.rcpt_parameters()));
    }
    file.write_all(front.as_bytes())?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::mail::{Notify, Ret};

    #[test]
    fn the_envelope_stands_at_the_top_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let recipients = ["b@c.example".parse().unwrap(), "d@e.example".parse().unwrap()];
        let sender = "a@b.example".parse().unwrap();
        let envelope = Envelope {
            sender: Some(&sender),
            recipients: &recipients,
            notify: Some(Notify::default()),
            ret: Some(Ret::Headers),
            envid: Some("a b"),
        };
        for (folder_mode, mode) in [(0o700, 0o600), (0o3730, 0o640)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(folder_mode)).unwrap();
            let file = spool(folder.path(), &envelope, b"Subject: x\r\n\r\n").unwrap();
            assert_eq!(
                fs::read_to_string(&file).unwrap(),
                "X-Sender: <a@b.example> RET=HDRS ENVID=a+20b\r\nX-Receiver: <b@c.example> NOTIFY=NEVER\r\n\
                 X-Receiver: <d@e.example> NOTIFY=NEVER\r\nSubject: x\r\n\r\n"
            );
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, mode);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_with_the_remedy() {
        let envelope = Envelope { sender: None, recipients: &[], notify: None, ret: None, envid: None };
        let error = spool(Path::new("/nonexistent/pickup"), &envelope, b"").unwrap_err().to_string();
        assert!(error.contains("start the relay once"), "{error}");
    }
}
