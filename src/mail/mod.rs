//! The things of mail that every floor speaks of. Pure: no I/O, no clock.

mod address;
mod author;
mod diagnosis;
mod domain;
mod envelope;
mod header;
mod mailboxes;
mod mid;
mod name;
mod seven_bit;
mod trace;

pub use address::{Address, AddressError};
pub use author::{AuthorFault, authors};
pub use diagnosis::{Diagnosis, EnhancedStatus, Severity};
pub use domain::{Domain, DomainError};
pub use envelope::{BodyKind, DsnRequest, Envelope, Notify, Orcpt, Origin, Recipient, Ret};
pub use header::{Field, HeaderSection};
pub use mailboxes::mailboxes;
pub use mid::{Mid, MidError, MidSource};
pub use name::{ProviderName, RouteName};
pub use seven_bit::{Unfit, seven_bit};
pub use trace::{Protocol, Received, date};

/// Wall time, to the millisecond where it is stored.
pub use jiff::Timestamp;
