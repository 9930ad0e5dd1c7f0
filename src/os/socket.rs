//! Socket options that mean different things.

use std::io;
use std::net::TcpListener;

/// A restart takes the port at once, though connections of the former run linger in TIME_WAIT. On Windows that is so
/// without asking, and the option of this name would let another program take a port that is in use.
pub fn reuse_address(socket: &socket2::Socket) -> io::Result<()> {
    if cfg!(windows) { Ok(()) } else { socket.set_reuse_address(true) }
}

/// The sockets that systemd (or another supervisor that speaks its protocol, sd_listen_fds(3)) has opened for this process.
/// To be called before there are threads: the variables that tell of them are taken out of the environment.
pub fn passed_sockets() -> io::Result<Vec<TcpListener>> {
    #[cfg(unix)]
    {
        let mut passed = listenfd::ListenFd::from_env();
        let sockets = (0..passed.len()).map(|n| passed.take_tcp_listener(n));
        sockets.filter_map(Result::transpose).collect()
    }
    #[cfg(not(unix))]
    Ok(Vec::new())
}
