//! The gRPC edge: each service translates and delegates.

pub mod enrol;
