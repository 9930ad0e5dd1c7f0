//! The configuration directory: YAML with places, typed configuration, its errors.
//!
//! The way of a file: `origin` finds and reads it, `tree` parses it into nodes with places, `read` and `raw` make
//! records of them, `check` judges what the records mean together and gives the typed configuration of `model`. What is
//! wrong becomes a `Problem` on each of these steps, and reading goes on: one run finds all.

mod admin;
mod alerts;
mod audit;
mod check;
mod clients;
mod diff;
mod fault;
mod load;
mod model;
mod origin;
mod pattern;
mod problem;
mod raw;
mod read;
mod schema;
mod secret;
mod telemetry;
mod tree;
mod unit;
mod verifier;

pub use admin::Admin;
pub use alerts::{AlertRules, AlertTarget, Alerts, Growth, MailTarget, WebhookTarget};
pub use audit::{Audit, AuditAddresses};
pub use clients::{ClientLimits, ClientTimeouts, LoginLimits, MailLimits};
pub use diff::{Change, ChangeJson, Kind as ChangeKind, What as ChangeWhat, changes};
pub use load::{Loaded, load};
pub use model::*;
pub use origin::{DEFAULT, Kind, Origin, ReadError, Sources, files, locate, read, read_what_is_there};
pub use pattern::{AddressPattern, DomainPattern, Glob, PatternError};
pub use problem::{Problem, ProblemJson, Severity, sort};
pub use schema::schema;
pub use secret::{Assumed, Known, Outside, Secret, System};
pub use telemetry::Telemetry;
pub use unit::{Rate, ShowDuration, Size, UnitError, parse_duration};
pub use verifier::{ScramVerifier, Verifier};
