//! The logical dump that MySQL and MariaDB share: what is written to the target before the rows and after them. How rows travel
//! stands beside it.

pub mod rows;
pub mod schema;
