//! What differs between systems: the clock, signals, paths, file modes.

mod clock;

pub use clock::Clock;
