//! Simulations of delivery: hours in milliseconds, under a paused clock.

mod outages;
mod script;
mod shelf;
mod world;
