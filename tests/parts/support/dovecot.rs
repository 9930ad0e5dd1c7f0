//! An instance of Debian's Dovecot that takes LMTP and delivers into Maildirs: its own configuration, in a folder of its
//! own, without a privilege.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::maildir::Maildir;
use super::process::{Process, is_root, output, tool};
use super::{BOUND, free_port, loopback, until};

pub struct Dovecot {
    /// Ends before the folder goes.
    _process: Process,
    folder: tempfile::TempDir,
    pub address: SocketAddr,
}

impl Dovecot {
    /// `users`: address and quota of each.
    pub fn start(users: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, port) = (folder.path().display().to_string(), free_port());
        let id = |what: &str| output(Command::new("id").arg(what)).trim().to_owned();
        let (user, group) = if is_root() { ("nobody".into(), "nogroup".into()) } else { (id("-un"), id("-gn")) };
        let config = format!(
            "base_dir = {path}/run\nstate_dir = {path}/state\nlog_path = {path}/log\nprotocols = lmtp\nlisten = 127.0.0.1\n\
             ssl = no\ndefault_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}\n\
             mail_uid = {user}\nmail_gid = {group}\nfirst_valid_uid = 1\nmail_location = maildir:{path}/mail/%u\n\
             mail_plugins = quota\nplugin {{\n  quota = maildir:User quota\n}}\n\
             passdb {{\n  driver = passwd-file\n  args = {path}/users\n}}\n\
             userdb {{\n  driver = passwd-file\n  args = {path}/users\n}}\n\
             service anvil {{\n  chroot =\n}}\nservice stats {{\n  chroot =\n}}\n\
             service lmtp {{\n  user = {user}\n  inet_listener lmtp {{\n    address = 127.0.0.1\n    port = {port}\n  }}\n  \
             unix_listener lmtp {{\n    mode = 0666\n  }}\n}}\n\
             protocol lmtp {{\n  postmaster_address = postmaster@d.example\n}}\n"
        );
        let users: String = users
            .iter()
            .map(|(name, quota)| {
                format!("{name}:{{PLAIN}}x::::{path}/home/{name}::userdb_quota_rule=*:storage={quota}\n")
            })
            .collect();
        std::fs::write(folder.path().join("dovecot.conf"), config).unwrap();
        std::fs::write(folder.path().join("users"), users).unwrap();
        let mut command = if is_root() {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            output(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(folder.path()));
            let mut command = Command::new(tool("setpriv"));
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(tool("dovecot"));
            command
        } else {
            Command::new(tool("dovecot"))
        };
        command.arg("-F").arg("-c").arg(folder.path().join("dovecot.conf"));
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut process = Process::start("dovecot", &mut command, log.path());
        let address = loopback(1, port);
        until("Dovecot listens", BOUND, || {
            if let Some(status) = process.exited() {
                let own = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                panic!("Dovecot ended, {status}: {}\n{own}", std::fs::read_to_string(log.path()).unwrap());
            }
            TcpStream::connect(address).ok()
        });
        Self { _process: process, folder, address }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/lmtp")
    }

    pub fn mail(&self, user: &str) -> Maildir {
        Maildir::at(self.folder.path().join("mail").join(user))
    }
}
