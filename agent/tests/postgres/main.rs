//! The PostgreSQL engine against real servers: the changes it proposes are applied by a small applier of this test's own,
//! so that what is tested is the engine alone.
#![allow(clippy::disallowed_methods, reason = "a test starts servers and writes throw-away files")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod apply;
mod server;
mod user;
mod writers;

mod cutover;
mod digest;
mod facts;
mod fence;
mod seed;
mod truth;
