//! One host's side of a move: looks at it, says what is missing, writes that down, and does it.

pub mod baton;
pub mod change;
pub mod command;
pub mod config;
pub mod engine;
pub mod router;
pub mod secret;
