//! What differs between systems: the clock, signals, paths, file modes.

mod clock;
mod file;

pub use clock::Clock;
pub use file::{open_private, sync_folder};
