//! The relay from outside: the built binary, its files, its listeners, its log, against real parts (Postfix, Knot, curl,
//! swaks, msmtp, OpenSSL, Python's smtplib, nodemailer) and scripted stand-ins. A test that needs a real part is ignored with the part's name, so
//! that plain `cargo test` says what it left out; `tests/run` installs the parts and runs all.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../support/page.rs"]
mod page;

mod activation;
mod admin;
mod alerts;
mod backlog;
mod balancer;
mod clients;
mod demo;
mod directory;
mod disk_full;
mod every_client;
mod failover;
mod first_mail;
mod kill;
mod lmtp;
mod monitoring;
mod mx;
mod pages;
mod pickup;
mod postfix;
mod queue;
mod rates;
mod relaying;
mod reload;
mod replay;
mod send;
mod service;
mod shutdown;
mod smuggling;
mod snapshot;
mod stand_ins;
mod support;
mod three_routes;
mod telemetry;
mod tls;
mod top;
mod trail;
mod unknown;
mod wrong_configurations;
