//! The MySQL engine against real servers: the changes it proposes are applied by the agent's own hands, without its ledger, so
//! that what is tested is the engine alone.
#![allow(clippy::disallowed_methods, reason = "a test starts servers and writes throw-away files")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../mariadb/apply.rs"]
mod apply;
mod server;
#[path = "../mariadb/tunnel.rs"]
#[allow(dead_code, reason = "MariaDB's tests need all of it")]
mod tunnel;
#[path = "../mariadb/user.rs"]
mod user;
#[path = "../mariadb/writers.rs"]
mod writers;

mod back;
mod cutover;
mod digest;
mod everything;
mod facts;
mod fence;
mod import;
mod peculiar;
mod schema;
mod seed;
mod smoke;

// What both vendors go through, by the same tests.
#[cfg(not(without_mysql))]
#[path = "../mariadb/agent.rs"]
#[allow(dead_code, reason = "MariaDB's tests need all of it")]
mod agent;
#[cfg(not(without_mysql))]
#[path = "../mariadb/dump.rs"]
mod dump;
#[cfg(not(without_mysql))]
#[path = "../mariadb/ended.rs"]
mod ended;
#[cfg(not(without_mysql))]
#[path = "../mariadb/full.rs"]
mod full;
#[cfg(not(without_mysql))]
#[path = "../mariadb/hostile.rs"]
mod hostile;
#[cfg(not(without_mysql))]
#[path = "../mariadb/killed.rs"]
mod killed;
#[cfg(not(without_mysql))]
#[path = "../mariadb/lent.rs"]
mod lent;
#[cfg(not(without_mysql))]
mod texts;
#[cfg(not(without_mysql))]
#[path = "../mariadb/torn.rs"]
mod torn;
