//! Simulations of delivery: hours in milliseconds, under a paused clock.

mod change;
mod ends;
mod lanes;
mod limits;
mod operate;
mod orders;
mod outages;
mod real;
mod running;
mod script;
mod shelf;
mod simulation;
mod world;
