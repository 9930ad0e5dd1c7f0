//! SMTP without I/O (RFC 5321): replies, commands, content, and the session machines of both sides. Pure: octets in,
//! actions out; sockets, clocks and TLS are the drivers' (`ingress/`, `transport/`).

pub mod client;
pub mod command;
pub mod content;
pub mod reply;
pub mod scram;
pub mod server;
pub mod xtext;
