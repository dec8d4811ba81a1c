//! What MySQL and MariaDB truly share: the client protocol, the driver, quoting, the password hash, the server's process and its
//! list of threads, and what preflight asks of both. How each replicates, fences and promotes differs, and stays with each engine.

pub(super) mod appliers;
pub(super) mod beat;
pub mod dump;
pub(super) mod entrance;
pub(super) mod facts;
pub(super) mod failure;
pub(super) mod findings;
pub(super) mod import;
pub(super) mod orphans;
pub(super) mod place;
pub(super) mod process;
pub(super) mod program;
pub(crate) mod quote;
pub(super) mod screen;
pub mod session;
pub(super) mod sessions;
pub(super) mod transactions;
