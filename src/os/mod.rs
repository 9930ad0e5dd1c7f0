//! What differs between systems: the clock, signals, sockets, file modes.

mod clock;
mod file;
mod signal;
mod socket;

pub use clock::Clock;
pub use file::{open_private, sync_folder};
pub use signal::StopRequests;
pub use socket::reuse_address;
