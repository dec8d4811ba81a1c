//! Orders a move: knows its steps and their order, and none of the means.

pub mod enrol;
pub mod home;
