//! flytt's controller: it knows the order of things and nothing about how they are done.

pub mod halt;
pub mod spec;
