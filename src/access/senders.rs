//! What somebody may send as.

use crate::config::{AddressPattern, Allowed, Directory, Pickup, User};
use crate::mail::Address;

/// The senders of a user or of a network.
#[derive(Debug)]
pub struct Senders {
    who: String,
    /// Empty: anything.
    patterns: Vec<AddressPattern>,
    header_too: bool,
}

impl Senders {
    pub(super) fn of_user(user: &User) -> Self {
        Self { who: format!("User {}", user.name), patterns: user.senders.clone(), header_too: user.check_from_header }
    }

    pub(super) fn of_network(allowed: &Allowed) -> Self {
        Self { who: format!("Network {}", allowed.network), patterns: allowed.senders.clone(), header_too: false }
    }

    pub(super) fn of_directory(directory: &Directory) -> Self {
        Self {
            who: "A user of the directory".to_owned(),
            patterns: directory.senders.clone(),
            header_too: directory.check_from_header,
        }
    }

    /// What files of the pickup folder may be sent as.
    pub fn of_pickup(pickup: &Pickup) -> Self {
        Self {
            who: "The pickup folder".to_owned(),
            patterns: pickup.senders.clone(),
            header_too: pickup.check_from_header,
        }
    }

    /// `User billing`, `Network 10.1.0.0/16`.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Whether this reverse-path may be given; the null one may always, for notices of an application need it.
    pub fn take(&self, reverse_path: Option<&Address>) -> bool {
        self.patterns.is_empty() || reverse_path.is_none() || self.name(reverse_path)
    }

    /// Whether an author of the header may stand there.
    pub fn take_author(&self, author: &Address) -> bool {
        self.patterns.is_empty() || self.name(Some(author))
    }

    /// There is something to hold a header's From to; `always`: whoever it is.
    pub fn bind_the_header(&self, always: bool) -> bool {
        (self.header_too || always) && !self.patterns.is_empty()
    }

    fn name(&self, address: Option<&Address>) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(address))
    }
}
