//! The MySQL engine against real servers: the changes it proposes are applied by the agent's own hands, without its ledger, so
//! that what is tested is the engine alone.
#![allow(clippy::disallowed_methods, reason = "a test starts servers and writes throw-away files")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../mariadb/apply.rs"]
mod apply;
mod server;
mod tunnel;
#[path = "../mariadb/user.rs"]
mod user;
#[path = "../mariadb/writers.rs"]
mod writers;

mod back;
mod cutover;
mod facts;
mod fence;
mod import;
mod peculiar;
mod schema;
mod seed;
mod smoke;
