//! Instances of Debian's Postfix, each with its own configuration, queue and log.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cert::Certificate;
use super::maildir::Maildir;
use super::process::{Process, as_root, is_root, output, own_uid, tool};
use super::smtp::Client;
use super::{BOUND, loopback, until};

/// All services unchrooted; the smtpd line comes first.
const SERVICES: &str = "\
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
";

/// What an instance is to be.
pub struct Setup {
    name: String,
    host: u8,
    port: u16,
    main: Vec<String>,
    certificate: bool,
    user: Option<(String, String)>,
}

impl Setup {
    /// Listens on 127.0.0.`host` and puts all mail for anyone into one maildir.
    pub fn new(name: &str, host: u8, port: u16) -> Self {
        let main = vec!["virtual_mailbox_domains = static:all".to_owned()];
        Self { name: name.to_owned(), host, port, main, certificate: false, user: None }
    }

    /// A further line of main.cf.
    pub fn main(mut self, line: &str) -> Self {
        self.main.push(line.to_owned());
        self
    }

    /// Hands all mail on to `next` instead of delivering it.
    pub fn relays_to(mut self, next: std::net::SocketAddr) -> Self {
        self.main =
            vec!["virtual_mailbox_domains =".to_owned(), format!("relayhost = [{}]:{}", next.ip(), next.port())];
        self
    }

    /// Offers STARTTLS with a self-made certificate for the instance's name.
    pub fn starttls(mut self) -> Self {
        self.certificate = true;
        self
    }

    /// Asks for AUTH, and knows this user.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    pub fn start(self) -> Postfix {
        let folder = tempfile::Builder::new().prefix("waypost-postfix").tempdir().unwrap();
        let root = folder.path().to_owned();
        std::fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["etc", "queue", "data", "mail"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        // Mail is delivered as a user that can be read by the test; root is nothing that Postfix delivers as.
        let owner = if is_root() { 65534 } else { own_uid() };
        if is_root() {
            output(Command::new("chown").arg(format!("{owner}:{owner}")).arg(root.join("mail")));
        }
        output(as_root("chown").arg("postfix").arg(root.join("data")));
        let certificate = self.certificate.then(|| Certificate::write(&root.join("tls"), &[&self.name]));
        let main = self.main_cf(&root, owner, certificate.as_ref());
        std::fs::write(root.join("etc/main.cf"), main).unwrap();
        let smtpd = format!("127.0.0.{}:{} inet n - n - - smtpd\n", self.host, self.port);
        std::fs::write(root.join("etc/master.cf"), smtpd + SERVICES).unwrap();
        if let Some((name, password)) = &self.user {
            self.write_password(&root, name, password);
        }
        let etc = root.join("etc");
        output(as_root(&tool("postfix")).arg("-c").arg(&etc).arg("check"));
        let daemons = output(Command::new(tool("postconf")).arg("-c").arg(&etc).args(["-h", "daemon_directory"]));
        let mut master = as_root(&format!("{}/master", daemons.trim()));
        // Without this, Postfix's programs ask the system's configuration; -d keeps it in the foreground.
        master.env("MAIL_CONFIG", &etc).arg("-c").arg(&etc).arg("-d");
        let mut process = Process::start(&self.name, &mut master, &root.join("out"));
        let address = loopback(self.host, self.port);
        let log = root.join("log/mail");
        until(&format!("Postfix {} answers", self.name), BOUND, || {
            let trouble = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(process.exited().is_none(), "Postfix {} ended:\n{}", self.name, trouble());
            Client::connect(address).ok().map(Client::quit)
        });
        Postfix { _process: process, address, certificate: certificate.map(|c| c.certificate), root, _folder: folder }
    }

    fn main_cf(&self, root: &Path, owner: u32, certificate: Option<&Certificate>) -> String {
        let path = root.display();
        std::fs::create_dir_all(root.join("log")).unwrap();
        let mut lines = vec![
            "compatibility_level = 3.6".to_owned(),
            format!("queue_directory = {path}/queue"),
            format!("data_directory = {path}/data"),
            format!("maillog_file = {path}/log/mail"),
            format!("maillog_file_prefixes = {path}/log"),
            format!("myhostname = {}", self.name),
            "mynetworks = 127.0.0.0/8".to_owned(),
            "inet_interfaces = 127.0.0.1".to_owned(),
            "inet_protocols = ipv4".to_owned(),
            "mydestination =".to_owned(),
            "alias_maps =".to_owned(),
            "local_recipient_maps =".to_owned(),
            "disable_dns_lookups = yes".to_owned(),
            "smtpd_peername_lookup = no".to_owned(),
            "smtputf8_enable = yes".to_owned(),
            format!("virtual_mailbox_base = {path}/mail"),
            "virtual_mailbox_maps = static:all/".to_owned(),
            "virtual_minimum_uid = 1".to_owned(),
            format!("virtual_uid_maps = static:{owner}"),
            format!("virtual_gid_maps = static:{owner}"),
            "minimal_backoff_time = 1s".to_owned(),
            "queue_run_delay = 1s".to_owned(),
        ];
        if let Some(certificate) = certificate {
            lines.push(format!("smtpd_tls_cert_file = {}", certificate.certificate.display()));
            lines.push(format!("smtpd_tls_key_file = {}", certificate.key.display()));
            lines.push("smtpd_tls_security_level = may".to_owned());
            lines.push("smtpd_tls_received_header = yes".to_owned());
            lines.push("smtpd_tls_loglevel = 1".to_owned());
        }
        if self.user.is_some() {
            lines.push("smtpd_sasl_auth_enable = yes".to_owned());
            lines.push("smtpd_sasl_local_domain = $myhostname".to_owned());
            lines.push("smtpd_relay_restrictions = permit_sasl_authenticated, reject".to_owned());
            lines.push("smtpd_recipient_restrictions = permit_sasl_authenticated, reject".to_owned());
        }
        lines.extend(self.main.iter().cloned());
        lines.join("\n") + "\n"
    }

    /// The user in Cyrus SASL's own database. Debian's Postfix looks for SASL's settings in its configuration directory.
    fn write_password(&self, root: &Path, name: &str, password: &str) {
        let sasl = root.join("etc/sasl");
        std::fs::create_dir(&sasl).unwrap();
        let database = sasl.join("sasldb2");
        let settings = format!(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\nmech_list: PLAIN LOGIN\n",
            database.display()
        );
        std::fs::write(sasl.join("smtpd.conf"), settings).unwrap();
        let mut command = Command::new(tool("saslpasswd2"));
        command.args(["-p", "-c", "-u", &self.name, "-f"]).arg(&database).arg(name);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        output(as_root("chown").arg("postfix").arg(&database));
    }
}

pub struct Postfix {
    _process: Process,
    pub address: std::net::SocketAddr,
    /// The certificate's file, for clients that check it.
    pub certificate: Option<PathBuf>,
    root: PathBuf,
    _folder: tempfile::TempDir,
}

impl Postfix {
    /// How many messages were delivered.
    pub fn count(&self) -> usize {
        self.maildir().count()
    }

    /// Waits for so many deliveries, and gives them as they came: Postfix stores lines with Unix ends.
    pub fn wait_for(&self, count: usize) -> Vec<Vec<u8>> {
        let messages = self.maildir().wait_for(count);
        messages.iter().map(|message| String::from_utf8_lossy(message).replace('\n', "\r\n").into_bytes()).collect()
    }

    fn maildir(&self) -> Maildir {
        Maildir::at(self.root.join("mail/all"))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log/mail")).unwrap_or_default()
    }

    /// Hands in a message by Postfix's `sendmail`.
    pub fn sendmail(&self, from: &str, to: &[&str], content: &[u8]) {
        self.sendmail_with(&[], from, to, content);
    }

    /// The same, with further options.
    pub fn sendmail_with(&self, options: &[&str], from: &str, to: &[&str], content: &[u8]) {
        let mut command = as_root(&tool("sendmail"));
        command.arg("-C").arg(self.root.join("etc")).args(["-i", "-f", from]).args(options).arg("--").args(to);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), content).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// The addresses that Postfix notes it delivered a message for.
pub fn delivered_to(message: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(message);
    text.lines().filter_map(|line| line.strip_prefix("Delivered-To: ")).map(|to| to.trim().to_owned()).collect()
}
