//! The configuration directory: YAML with places, typed configuration, its errors.

mod model;
mod pattern;
mod secret;
mod unit;

pub use model::*;
pub use pattern::{AddressPattern, DomainPattern, Glob, PatternError};
pub use secret::Secret;
pub use unit::{Rate, Size};
