//! Socket options that mean different things.

use std::io;

/// A restart takes the port at once, though connections of the former run linger in TIME_WAIT. On Windows that is so
/// without asking, and the option of this name would let another program take a port that is in use.
pub fn reuse_address(socket: &socket2::Socket) -> io::Result<()> {
    if cfg!(windows) { Ok(()) } else { socket.set_reuse_address(true) }
}
