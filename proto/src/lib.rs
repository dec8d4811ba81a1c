//! The language both sides speak: the wire, checked names, identity, and the record on disk.

pub mod artefact;
pub mod code;
pub mod durable;
pub mod failure;
pub mod fuse;
pub mod gate;
pub mod gtid;
pub mod gtid_set;
pub mod identity;
pub mod name;
pub mod record;
pub mod recovery;

mod hex;
mod standing;

/// What stands on the wire (`proto/flytt/v1`). Types that are acted on are turned into checked ones at the edge.
#[allow(
    missing_debug_implementations,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    clippy::wildcard_enum_match_arm,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("flytt.v1");
}

/// The encoded descriptors of [`v1`], for the test that every method stands in the authorisation table.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/flytt.fds"));

/// Grows with every change of the wire that an older side would misread. Both sides refuse another number.
pub const PROTOCOL: u32 = 1;
