//! The three kinds of file as records: what keys there are, and what each may hold. What keys mean together is
//! judged in `check/`.

mod audit;
mod admin;
mod alerts;
mod host;
mod number;
mod pickup;
mod providers;
mod routes;
mod scalar;
mod secret;
mod server;
mod telemetry;
mod users;

pub(super) use admin::*;
pub(super) use alerts::*;
pub(super) use audit::*;
pub(super) use host::*;
pub(super) use number::*;
pub(super) use pickup::*;
pub(super) use providers::*;
pub(super) use routes::*;
pub(super) use scalar::*;
pub(super) use secret::*;
pub(super) use server::*;
pub(super) use telemetry::*;
pub(super) use users::*;
