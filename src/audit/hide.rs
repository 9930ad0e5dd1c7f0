//! `audit: {addresses: hashed}`: no local part stands in the trail; who knows the address and has the key still finds it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::hmac;

use super::record::{Message, Record, Text, What};
use crate::os;

/// Octets of the key, and of a hash that are written.
const KEY: usize = 32;
const SHOWN: usize = 10;

/// Hashes addresses with the key of a trail.
#[derive(Debug, Clone)]
pub struct Hider(Arc<hmac::Key>);

impl Hider {
    /// The key beside a trail, made where there is none, for the relay's user alone.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(there) = Self::find(path)? {
            return Ok(there);
        }
        let mut octets = [0; KEY];
        aws_lc_rs::rand::fill(&mut octets).map_err(|_| std::io::Error::other("no random octets are to be had"))?;
        let file = os::create_private(path)?;
        std::io::Write::write_all(&mut &file, &octets)?;
        file.sync_all()?;
        os::sync_folder(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        Ok(Self::new(&octets))
    }

    /// The key beside a trail; `None` where there is none.
    pub fn find(path: &Path) -> std::io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(octets) if octets.len() == KEY => Ok(Some(Self::new(&octets))),
            Ok(octets) => {
                let size = octets.len();
                Err(std::io::Error::other(format!(
                    "it has {size} octets where a key has {KEY}: put the right one back"
                )))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn new(octets: &[u8]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, octets)))
    }

    /// `bob@example.org` as `#5c1f…@example.org`: the domain stays, so that one sees where mail went.
    pub fn address(&self, address: &str) -> String {
        let tag = hmac::sign(&self.0, address.to_lowercase().as_bytes());
        let mut hidden = String::with_capacity(2 * SHOWN + address.len());
        hidden.push('#');
        tag.as_ref().iter().take(SHOWN).for_each(|octet| hidden.push_str(&format!("{octet:02x}")));
        if let Some((_, domain)) = address.rsplit_once('@') {
            hidden.push('@');
            hidden.push_str(&domain.to_lowercase());
        }
        hidden
    }

    /// A text with each address in it hashed: remotes like to repeat them in their replies.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !text.contains('@') {
            return Cow::Borrowed(text);
        }
        let mut hidden = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(is_edge).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            let bare = word.trim_end_matches('.');
            match bare.split_once('@') {
                Some((local, domain)) if !local.is_empty() && !domain.is_empty() => {
                    hidden.push_str(&self.address(bare));
                    hidden.push_str(&word[bare.len()..]);
                }
                _ => hidden.push_str(word),
            }
            let edge = behind.chars().next().map_or(0, char::len_utf8);
            hidden.push_str(&behind[..edge]);
            rest = &behind[edge..];
        }
        Cow::Owned(hidden)
    }

    /// Hashes what is an address, or may have one in it.
    pub fn record(&self, record: &mut Record<'_>) {
        match &mut record.what {
            What::Accepted(accepted) => self.message(&mut accepted.message),
            What::Discarded(discarded) => self.message(&mut discarded.message),
            What::Refused(refused) => {
                self.message(&mut refused.message);
                self.inside(&mut refused.reply);
            }
            What::Settled(settled) => {
                for fate in &mut settled.fates {
                    fate.recipients.iter_mut().for_each(|address| self.whole(address));
                    if let Some(said) = &mut fate.said {
                        self.inside(&mut said.text);
                    }
                    if let super::record::Then::Bounced { why: Some(why) } = &mut fate.then {
                        self.inside(why);
                    }
                }
            }
            What::Act(act) => {
                self.inside(&mut act.why);
                act.recipients.iter_mut().for_each(|address| self.whole(address));
            }
            What::Trail(_) => {}
            What::Skipped(skips) => skips.providers.iter_mut().for_each(|skip| self.inside(&mut skip.why)),
        }
    }

    fn message(&self, message: &mut Message<'_>) {
        message.sender.iter_mut().chain(&mut message.recipients).for_each(|address| self.whole(address));
        if let Some(user) = message.user.as_mut().filter(|user| user.as_str().contains('@')) {
            self.whole(user);
        }
    }

    fn whole(&self, address: &mut Text<'_>) {
        *address = Text::from(self.address(address.as_str()));
    }

    fn inside(&self, text: &mut Text<'_>) {
        if let Cow::Owned(hidden) = self.text(text.as_str()) {
            *text = Text::from(hidden);
        }
    }
}

/// Whether that is what `address` makes. An address in clear could look so, and none does.
pub fn is_hashed(text: &str) -> bool {
    let Some(tag) = text.strip_prefix('#').and_then(|text| text.as_bytes().get(..2 * SHOWN)) else { return false };
    let ends = matches!(text.as_bytes().get(1 + 2 * SHOWN), None | Some(b'@'));
    ends && tag.iter().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where a word ends that may be an address, also within `<>`, quotes, `=` of VERP left out.
fn is_edge(c: char) -> bool {
    c.is_whitespace() || "<>()[]{},;:\"'`".contains(c)
}

/// Where the key of a trail lies.
pub fn key_path(trail: &Path) -> PathBuf {
    trail.with_extension("key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_local_part_is_left_and_the_same_address_has_one_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = key_path(&folder.path().join("audit.redb"));
        let hider = Hider::open(&path).unwrap();
        let bob = hider.address("Bob@Example.org");
        assert_eq!(bob, hider.address("bob@example.org"));
        assert!(bob.starts_with('#') && bob.ends_with("@example.org") && !bob.contains("ob@"), "{bob}");
        assert_ne!(bob, hider.address("bop@example.org"));
        assert!(is_hashed(&bob) && is_hashed(&hider.address("bob")), "{bob}");
        for clear in
            ["bob@example.org", "#bob@example.org", "#", "", &bob[..15], &bob[1..], &format!("#0{}", &bob[1..])]
        {
            assert!(!is_hashed(clear), "{clear}");
        }
        let said = hider.text("<bob@example.org>: Recipient address rejected: bob@example.org. User unknown @ here");
        assert_eq!(said, format!("<{bob}>: Recipient address rejected: {bob}. User unknown @ here"));
        assert_eq!(Hider::open(&path).unwrap().address("bob@example.org"), bob, "the key is kept");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, b"short").unwrap();
        assert!(Hider::open(&path).unwrap_err().to_string().contains("put the right one back"));
    }
}
