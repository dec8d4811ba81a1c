//! Whether two servers hold the same, while the application writes on. Digests are made in the databases; what is compared here are
//! counts and sums, and in the end hashes of single rows.
//!
//! `sides` is what the two servers are asked, `listing` what there is to compare, `look` what one look at a range tells, `narrow` what becomes of a range that was not
//! equal at first, `parts` how tables are cut, `pass` all of them, `pace` how hard it may press, `objects` what is not rows, `record` what is on disk of it, `report`
//! what a person reads.
//!
//! A range is equal when the target, having applied what the source had, has what the source has had. It differs only when the same
//! rows differ in two such looks, a moment apart, with the source unchanged. Anything else is in flight: never passed in silence.

mod listing;
mod look;
mod narrow;
mod objects;
mod pace;
mod parts;
mod pass;
mod record;
mod report;
mod sides;
#[cfg(test)]
mod tests;

pub use objects::Object;
pub use pace::Pace;
pub use pass::{Only, Options, Progress, pass};
pub use record::{Last, last};
pub use report::{Report, Summary};
pub use sides::{Pair, Side, Sides};
