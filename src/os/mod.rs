//! What differs between systems: the clock, the host's name, signals, paths, file modes.

mod clock;
mod host;

pub use clock::Clock;
pub use host::hostname;
