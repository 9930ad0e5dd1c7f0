//! Delivery: what is queued goes out, by the route's chain, within its limits, until each recipient is settled.
//!
//! The steps of a delivery, with the function of each:
//!
//! 1. The queue tells which lanes have mail (`Queue::nudged`); a lane stands in line when some is due (`Board::nudge`).
//! 2. A window of its legs is claimed, each recipient routed anew, those that go elsewhere written down (`Desk::read`).
//! 3. The lane gets its turn (`Scheduler::look_at`); a leg that is too old bounces.
//! 4. The chain is asked which provider takes it, or what it waits for (`plan::plan`), from the providers' health
//!    (`Health::standing`) and quotas (`Quotas::spent`).
//! 5. Concurrency is looked at and permits are taken, the route's and then the provider's (`Scheduler::admit`). What is
//!    shut parks the lane there (`Board::park`), and nobody else.
//! 6. The attempt runs in a task of its own (`Scheduler::launch`, `attempt::run`).
//! 7. Its outcomes, whatever way it ended (`Flight::end`), go to the provider's health (`Health::record`) and are settled,
//!    recipient by recipient (`settle::settle`).
//! 8. The settlement is written with the reports it calls for (`Desk::write`); new legs nudge their lanes: step 1.
//!
//! Beside that, the sweep finds what expires or is delayed while it waits (`sweep::sweep`).
//!
//! `breaker`, `schedule`, `plan` and `settle` are pure: time and randomness are arguments. All state has one owner, the
//! scheduler's task (`Scheduler::run`).

mod attempt;
mod backlog;
mod board;
mod breaker;
mod desk;
mod finish;
mod health;
mod limits;
mod pending;
mod plan;
mod quota;
mod schedule;
mod scheduler;
mod settle;
mod span;
mod start;
mod status;
mod sweep;

#[cfg(test)]
mod fixtures;

pub use backlog::Backlog;
pub use desk::lane;
pub use scheduler::{Deps, Scheduler};
pub use status::Meter;
