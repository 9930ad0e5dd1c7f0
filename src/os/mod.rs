//! What differs between systems: the clock, signals, paths, file modes.

mod clock;
mod socket;

pub use clock::Clock;
pub use socket::reuse_address;
