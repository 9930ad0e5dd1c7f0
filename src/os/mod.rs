//! What differs between systems: the clock, signals, paths, file modes.

mod clock;
mod signal;

pub use clock::Clock;
pub use signal::StopRequests;
