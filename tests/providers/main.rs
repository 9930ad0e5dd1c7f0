//! The API transports against what stands for the providers: scripted servers that answer, hang and break off as told,
//! and the strict stand-ins Prism (SendGrid, Mailgun) and moto (Amazon SES). A test that needs one of the latter is
//! ignored with its name, so that plain `cargo test` says what it left out; `tests/run` installs them and runs all.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod fake;
mod maildir;
mod mailgun;
mod outages;
mod script;
mod sendgrid;
mod ses;
mod support;
