//! Users of a directory, by LDAP bind (RFC 4513, 5.1): OpenLDAP, Active Directory and their like.
//!
//! Promises:
//! - a directory that cannot be asked accepts nobody, and says so;
//! - no bind without a password: servers take such a one for anonymous, and it succeeds (RFC 4513, 5.1.2);
//! - a name cannot become a part of the DN or filter that it stands in (RFC 4514, RFC 4515);
//! - the spelling of a name, which directories do not care for, makes no other user of it: names are ASCII, in lower case.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, dn_escape, ldap_escape};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::timeout;
use tracing::warn;

use super::Login;
use super::line::{Line, Turn};
use crate::config::{self, Lookup, Secret};

/// Logins that ask the directory at one time, and that wait for it.
const AT_ONCE: usize = 8;
const WAITING: usize = 128;

/// Result codes of RFC 4511, appendix A.
const SUCCESS: u32 = 0;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_DN: u32 = 34;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;

pub(super) struct Directory {
    settings: config::Directory,
    tls: Option<Arc<ClientConfig>>,
    line: Line,
}

/// Why there can be no directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("users: ldap: cannot use {file} as `ca`: {detail}")]
    Ca { file: PathBuf, detail: String },
    #[error("users: ldap: TLS cannot be set up: {0}")]
    Tls(String),
}

/// What kept the directory from answering.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Ldap(#[from] LdapError),
    #[error("no answer within {}", config::ShowDuration(*.0))]
    TimedOut(Duration),
    #[error("{what}: result code {code} {text}")]
    Refused { what: &'static str, code: u32, text: String },
    #[error("{0} entries match the filter: it must name one user")]
    Several(usize),
}

impl Directory {
    /// Blocking: reads the `ca` file and the system's roots.
    pub fn new(settings: config::Directory) -> Result<Self, DirectoryError> {
        let secure = settings.starttls || settings.url.starts_with("ldaps:");
        let tls = if secure { Some(client_config(&settings)?) } else { None };
        Ok(Self { settings, tls, line: Line::new(AT_ONCE, WAITING) })
    }

    /// The name that a user is known by here, however it is spelt; `None`: no user of a directory is called so.
    pub fn name(user: &str) -> Option<String> {
        let plain = user.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        let spaced = user.starts_with(' ') || user.ends_with(' ') || user.contains("  ");
        (plain && !spaced && !user.is_empty()).then(|| user.to_ascii_lowercase())
    }

    /// A place among those who ask it; `None`: too many wait.
    pub async fn turn(&self) -> Option<Turn> {
        self.line.turn().await
    }

    /// Whether the user can bind with that password, and is a member of the group.
    pub async fn sign_in(&self, user: &str, password: &Secret) -> Login {
        let Some(name) = Self::name(user) else { return Login::Wrong };
        if password.expose().is_empty() {
            return Login::Wrong;
        }
        let span = self.settings.timeout;
        let asked = timeout(span, self.ask(&name, password)).await.unwrap_or(Err(Trouble::TimedOut(span)));
        asked.unwrap_or_else(|trouble| {
            warn!(user, url = self.settings.url, error = %trouble, "the directory cannot be asked");
            Login::Unavailable
        })
    }

    /// One connection for each login, which ends with it.
    async fn ask(&self, user: &str, password: &Secret) -> Result<Login, Trouble> {
        let mut settings =
            LdapConnSettings::new().set_conn_timeout(self.settings.timeout).set_starttls(self.settings.starttls);
        if let Some(tls) = &self.tls {
            settings = settings.set_config(Arc::clone(tls));
        }
        let (connection, mut ldap) = LdapConnAsync::with_settings(settings, &self.settings.url).await?;
        let talk = async {
            let answer = self.bind(&mut ldap, user, password).await;
            let _ = ldap.unbind().await;
            answer
        };
        // The connection moves only while it is driven.
        let driven = async {
            let _ = connection.drive().await;
            std::future::pending::<Result<Login, Trouble>>().await
        };
        tokio::select! {
            biased;
            answer = talk => answer,
            never = driven => never,
        }
    }

    async fn bind(&self, ldap: &mut Ldap, user: &str, password: &Secret) -> Result<Login, Trouble> {
        match &self.settings.lookup {
            Lookup::Template(template) => {
                let Some(dn) = filled(template, user) else { return Ok(Login::Wrong) };
                if !binds(ldap, &dn, password).await? {
                    return Ok(Login::Wrong);
                }
                Ok(if self.is_member(ldap, &dn, user).await? { Login::Good } else { Login::Wrong })
            }
            Lookup::Search { base, filter, bind } => {
                if let Some((dn, password)) = bind {
                    let result = ldap.simple_bind(dn, password.expose()).await?;
                    if result.rc != SUCCESS {
                        let (code, text) = (result.rc, result.text);
                        return Err(Trouble::Refused { what: "the search's own bind", code, text });
                    }
                }
                let filter = filter.replace("{user}", &ldap_escape(user));
                let result = ldap.search(base, Scope::Subtree, &filter, vec!["1.1"]).await?;
                if result.1.rc != SUCCESS {
                    return Err(Trouble::Refused { what: "the search", code: result.1.rc, text: result.1.text });
                }
                // Referrals to other servers are no entries.
                let mut found: Vec<String> = result
                    .0
                    .into_iter()
                    .filter(|entry| !entry.is_ref() && !entry.is_intermediate())
                    .map(|entry| SearchEntry::construct(entry).dn)
                    .collect();
                let Some(dn) = found.pop() else { return Ok(Login::Wrong) };
                if !found.is_empty() {
                    return Err(Trouble::Several(found.len() + 1));
                }
                // As the searcher, who may read groups; users often may not.
                let member = self.is_member(ldap, &dn, user).await?;
                Ok(if binds(ldap, &dn, password).await? && member { Login::Good } else { Login::Wrong })
            }
        }
    }

    /// Group entries name their members in one of three ways (RFC 4519, RFC 2307).
    async fn is_member(&self, ldap: &mut Ldap, dn: &str, user: &str) -> Result<bool, Trouble> {
        let Some(group) = &self.settings.group else { return Ok(true) };
        let (dn, user) = (ldap_escape(dn), ldap_escape(user));
        let filter = format!("(|(member={dn})(uniqueMember={dn})(memberUid={user}))");
        let result = ldap.search(group, Scope::Base, &filter, vec!["1.1"]).await?;
        match result.1.rc {
            SUCCESS => Ok(result.0.iter().any(|entry| !entry.is_ref() && !entry.is_intermediate())),
            code => Err(Trouble::Refused { what: "the search in the group", code, text: result.1.text }),
        }
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Directory").field(&self.settings.url).finish()
    }
}

/// Whether the password is that of the DN.
async fn binds(ldap: &mut Ldap, dn: &str, password: &Secret) -> Result<bool, Trouble> {
    let result = ldap.simple_bind(dn, password.expose()).await?;
    match result.rc {
        SUCCESS => Ok(true),
        INVALID_CREDENTIALS | NO_SUCH_OBJECT | INVALID_DN | INAPPROPRIATE_AUTHENTICATION => Ok(false),
        code => Err(Trouble::Refused { what: "the bind", code, text: result.text }),
    }
}

/// The template with the name in it. One that is no DN (`{user}@corp.example`, `CORP\{user}`) has no way to escape: there, a
/// name that could be taken for a DN is none.
fn filled(template: &str, user: &str) -> Option<String> {
    if template.contains('=') {
        return Some(template.replace("{user}", &dn_escape(user)));
    }
    (!user.contains(['=', ',', ';', '+', '<', '>', '"', '#', '\\'])).then(|| template.replace("{user}", user))
}

fn client_config(settings: &config::Directory) -> Result<Arc<ClientConfig>, DirectoryError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = match &settings.ca {
        None => Vec::new(),
        Some(file) => {
            let wrong = |detail: String| DirectoryError::Ca { file: file.clone(), detail };
            let roots: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect)
                .map_err(|error| wrong(error.to_string()))?;
            if roots.is_empty() {
                return Err(wrong("it holds no PEM certificate".to_owned()));
            }
            roots
        }
    };
    let failed = |error: rustls::Error| DirectoryError::Tls(error.to_string());
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(roots, Arc::clone(&provider)).map_err(failed)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_more_than_a_name() {
        for (template, user, dn) in [
            ("uid={user},dc=x", "app", Some("uid=app,dc=x")),
            ("uid={user},dc=x", "a,cn=admin", Some("uid=a\\2ccn\\3dadmin,dc=x")),
            ("uid={user},dc=x", "#a+b", Some("uid=\\23a\\2bb,dc=x")),
            ("uid={user},dc=x", "a\\", Some("uid=a\\5c,dc=x")),
            ("{user}@corp.example", "app", Some("app@corp.example")),
            ("CORP\\{user}", "app", Some("CORP\\app")),
            ("{user}", "cn=admin,dc=x", None),
            ("CORP\\{user}", "OTHER\\app", None),
        ] {
            assert_eq!(filled(template, user).as_deref(), dn, "{template} {user}");
        }
        assert_eq!(ldap_escape("*)(uid=a\\\0"), "\\2a\\29\\28uid=a\\5c\\00");
    }

    #[test]
    fn spelling_makes_no_other_user() {
        for (spelt, name) in [
            ("billing", Some("billing")),
            ("BILLING", Some("billing")),
            ("Bill Ing", Some("bill ing")),
            ("billing ", None),
            (" billing", None),
            ("bill  ing", None),
            ("bïlling", None),
            ("billing\t", None),
            ("", None),
        ] {
            assert_eq!(Directory::name(spelt).as_deref(), name, "{spelt:?}");
        }
    }
}
