//! What MySQL and MariaDB truly share: the client protocol, the driver, quoting, the password hash, the server process on disk.
//! How each replicates, fences and promotes differs, and stays with each engine.

pub mod dump;
pub(super) mod failure;
pub(super) mod process;
pub(super) mod quote;
pub(super) mod screen;
pub mod session;
