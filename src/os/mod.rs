//! What differs between systems: the clock, the host's name, signals, sockets, file modes.

mod clock;
mod file;
mod host;
mod signal;
mod socket;

pub use clock::Clock;
pub use file::{
    create_private, create_private_folder, open_existing, open_files, open_private, punch, read_at, sync_folder,
};
pub use host::hostname;
pub use signal::StopRequests;
pub use socket::{passed_sockets, reuse_address};
