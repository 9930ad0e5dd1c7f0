//! What differs between systems: the clock, the host's name, signals, sockets, file modes.

mod clock;
mod file;
mod host;
mod process;
mod service;
mod signal;
mod socket;
mod stamp;
mod terminal;

pub use clock::Clock;
pub use file::{
    allocate, create_in, create_private, create_private_folder, is_open_to_all, is_same_file, open_existing,
    open_files, open_plain, open_private, place, punch, read_at, sync_folder,
};
pub use host::{hostname, other_owner, username};
pub use process::{end_with_parent, forgo_huge_pages, terminate};
pub use service::{Condition, is_supervised, logs_to_journal, tell, watchdog};
pub use signal::{ReloadRequests, StopRequests};
pub use socket::{passed_sockets, reuse_address};
pub use stamp::{FileStamp, mode_for_others, stamp};
pub use terminal::{cook_terminal, raw_terminal, terminal_size};
