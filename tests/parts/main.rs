//! The relay from outside: the built binary, its files, its listeners, its log, against real parts (Postfix, Knot, curl,
//! swaks, Python's smtplib) and scripted stand-ins. A test that needs a real part is ignored with the part's name, so
//! that plain `cargo test` says what it left out; `tests/run` installs the parts and runs all.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod backlog;
mod clients;
mod directory;
mod disk_full;
mod failover;
mod first_mail;
mod kill;
mod mx;
mod postfix;
mod rates;
mod relaying;
mod shutdown;
mod stand_ins;
mod support;
mod three_routes;
mod unknown;
mod wrong_configurations;
