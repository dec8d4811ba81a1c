//! The MariaDB engine against real servers: the changes it proposes are applied by the agent's own hands, without its ledger, so
//! that what is tested is the engine alone.
#![allow(clippy::disallowed_methods, reason = "a test starts servers and writes throw-away files")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod agent;
mod apply;
mod everything;
mod orphans;
mod peculiar;
mod server;
mod silent;
mod tunnel;
mod user;
mod writers;

mod back;
mod cutover;
mod digest;
mod dump;
mod ended;
mod facts;
mod fence;
mod full;
mod hostile;
mod import;
mod killed;
mod lent;
mod obstacles;
mod schema;
mod seed;
mod torn;
