//! A listener whose connections are each served in a thread of their own, until the value goes.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub struct Door {
    pub address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Door {
    /// `serve` is told by its second argument that the test is over, for what waits long.
    pub fn open<S>(address: SocketAddr, serve: S) -> Self
    where
        S: Fn(TcpStream, &AtomicBool) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let closed = Arc::new(AtomicBool::new(false));
        let (ends, serve) = (closed.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let (ends, serve) = (ends.clone(), serve.clone());
                if let Ok(stream) = stream {
                    // What a client does to its connection is its own affair.
                    std::thread::spawn(move || drop(serve(stream, &ends)));
                }
            }
        });
        Self { address, closed }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then closes the port.
        let _ = TcpStream::connect(self.address);
    }
}
