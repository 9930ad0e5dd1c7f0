//! What differs between systems: the clock, the host's name, signals, sockets, file modes.

mod clock;
mod file;
mod host;
mod process;
mod signal;
mod socket;
mod stamp;

pub use clock::Clock;
pub use file::{
    create_in, create_private, create_private_folder, is_open_to_all, is_same_file, open_existing, open_files,
    open_plain, open_private, punch, read_at, sync_folder,
};
pub use host::{hostname, username};
pub use process::{end_with_parent, terminate};
pub use signal::StopRequests;
pub use socket::{passed_sockets, reuse_address};
pub use stamp::{FileStamp, mode_for_others, stamp};
