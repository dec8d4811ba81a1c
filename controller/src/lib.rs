//! flytt's controller: it knows the order of things and nothing about how they are done.

pub mod accept;
mod bench;
pub mod canary;
pub mod cli;
pub mod demo;
pub mod drive;
pub mod enrol;
pub mod fleet;
pub mod halt;
pub mod home;
pub mod journal;
pub mod plan;
pub mod session;
pub mod spec;
pub mod stage;
pub mod verb;
pub mod verify;
pub mod view;
pub mod witness;
