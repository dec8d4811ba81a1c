//! One host's side of a move: looks at it, says what is missing, writes that down, and does it.
//!
//! `service → action → engine, router, link → change → command → secret`: each knows only what stands to its right.

pub mod access;
mod action;
mod apply;
pub mod baton;
mod beat;
pub mod change;
pub mod cli;
pub mod command;
pub mod config;
pub mod device;
pub mod engine;
mod gates;
mod guard;
pub mod host;
mod import;
pub mod join;
pub mod lease;
pub mod ledger;
pub mod link;
pub mod package;
mod peers;
pub mod probe;
mod recovery;
pub mod revert;
pub mod router;
pub mod run;
pub mod samples;
pub mod secret;
pub mod serve;
pub mod service;
mod sha_crypt;
pub mod status;
mod tuning;
pub mod verify;
mod watch;
