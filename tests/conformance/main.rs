//! The session against the standards: RFC 5321, 6409, 1870, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531 and 8314, each
//! row with its section; what is taken although it is wrong; what is refused because it is not safe. The tables of
//! `docs/smtp.md` are made of these rows, and compared with them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../support/page.rs"]
mod page;
mod rfc;
mod talk;
mod tolerance;
