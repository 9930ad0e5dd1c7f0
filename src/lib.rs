//! waypost, a hybrid SMTP routing relay. A line a module, top floor first; a module uses its own floor and those
//! below it (ARCHITECTURE.md, "The walls"; held by `tests/walls.rs`).

pub mod cli; // one file a verb
pub mod app; // builds the parts and starts them: the only place that knows them all
pub mod admin; // what operators ask of the running relay, and tell it
pub mod alerts; // what an operator must know without looking
pub mod ingress; // doors in: listeners, TLS, the I/O of SMTP sessions
pub mod delivery; // scheduler, limits, breakers, retry, attempt, settle
pub mod transport; // ways out: mx, smtp, lmtp, sendgrid, mailgun, ses, maildir
pub mod access; // who may relay
pub mod bounce; // delivery status notifications
pub mod telemetry; // traces for OpenTelemetry, from the trail's records
pub mod audit; // the trail of each message: follows the queue's journal
pub mod queue; // accept, claim, settle, list; redb behind it
pub mod routing; // the table, matching, explanation: pure
pub mod smtp; // commands, replies, session machines of both sides: pure
pub mod config; // YAML with places, typed configuration, check, schema
pub mod mail; // address, envelope, message id, header reading, trace fields: pure
pub mod metrics; // counters, gauges, spreads
pub mod os; // what differs between systems; the clock
