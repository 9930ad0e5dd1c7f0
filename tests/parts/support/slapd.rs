//! Debian's OpenLDAP server, with a directory of its own in a temporary folder.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::cert::Certificate;
use super::process::{Process, output, tool};
use super::{BOUND, free_port, loopback, until};

const SUFFIX: &str = "dc=corp,dc=example";
const ADMIN: &str = "cn=admin,dc=corp,dc=example";
const ADMIN_PASSWORD: &str = "directory-secret";

pub struct Slapd {
    process: Option<Process>,
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    pub certificate: Certificate,
}

/// Users and groups, in LDIF.
const ENTRIES: &str = "\
dn: dc=corp,dc=example
objectClass: dcObject
objectClass: organization
o: Corp
dc: corp

dn: ou=people,dc=corp,dc=example
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=corp,dc=example
objectClass: organizationalUnit
ou: groups
";

impl Slapd {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::write(folder.path(), &["localhost"]);
        let config = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             pidfile {0}/slapd.pid\nargsfile {0}/slapd.args\nTLSCertificateFile {1}\nTLSCertificateKeyFile {2}\n\
             database mdb\nsuffix \"{SUFFIX}\"\nrootdn \"{ADMIN}\"\nrootpw {ADMIN_PASSWORD}\ndirectory {0}/data\n\
             access to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n",
            folder.path().display(),
            certificate.certificate.display(),
            certificate.key.display(),
        );
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("slapd.conf"), config).unwrap();
        let mut slapd = Self { process: None, folder, address: loopback(1, free_port()), certificate };
        slapd.restart();
        slapd.add(ENTRIES);
        slapd
    }

    pub fn restart(&mut self) {
        let mut command = Command::new(tool("slapd"));
        command.args(["-d", "0", "-h", &format!("ldap://{}", self.address), "-f"]).arg(self.file("slapd.conf"));
        let mut process = Process::start("slapd", &mut command, &self.file("slapd.log"));
        let log = self.file("slapd.log");
        until("slapd listens", BOUND, || {
            if let Some(status) = process.exited() {
                panic!("slapd ended at once, {status}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).ok()
        });
        self.process = Some(process);
    }

    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("slapd runs");
        process.signal("TERM");
        process.wait(BOUND);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn client(&self, program: &str, ldif: &str) {
        let file = self.file("change.ldif");
        std::fs::write(&file, ldif).unwrap();
        let mut command = Command::new(tool(program));
        command.args(["-x", "-H", &format!("ldap://{}", self.address), "-D", ADMIN, "-w", ADMIN_PASSWORD, "-f"]);
        output(command.arg(file).stdin(Stdio::null()));
    }

    pub fn add(&self, ldif: &str) {
        self.client("ldapadd", ldif);
    }

    /// A person with that password.
    pub fn person(&self, name: &str, password: &str) {
        self.add(&format!(
            "dn: uid={name},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n\
             mail: {name}@corp.example\nuserPassword: {password}\n"
        ));
    }

    pub fn group(&self, name: &str, members: &[&str]) {
        let members: String =
            members.iter().map(|member| format!("member: uid={member},ou=people,{SUFFIX}\n")).collect();
        self.add(&format!("dn: cn={name},ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: {name}\n{members}"));
    }

    pub fn password(&self, name: &str, password: &str) {
        self.client(
            "ldapmodify",
            &format!(
                "dn: uid={name},ou=people,{SUFFIX}\nchangetype: modify\nreplace: userPassword\nuserPassword: {password}\n"
            ),
        );
    }
}
