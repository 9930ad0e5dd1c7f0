//! What differs between systems: the clock, signals, paths, file modes.

mod clock;
pub mod file;
mod signal;

pub use clock::Clock;
pub use signal::StopRequests;
