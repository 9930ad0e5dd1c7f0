//! What differs between systems: the clock, signals, paths, file modes.

mod clock;
mod file;
mod socket;

pub use clock::Clock;
pub use file::{open_private, sync_folder};
pub use socket::reuse_address;
