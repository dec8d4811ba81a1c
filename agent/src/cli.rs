//! The command line: one declaration for parser, help, man page and completions. What each command does is `main.rs`'s.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use flytt_proto::name::Migration;

use crate::{package::Stop, probe::Job};

/// flytt's agent: serves one database or router host to its operator's controller.
#[derive(Debug, Parser)]
#[command(name = "flytt-agent", version, about)]
pub struct Arguments {
    /// This host's configuration.
    #[arg(long, default_value = "/etc/flytt/agent.toml")]
    pub config: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve. Needs to have joined.
    Run {
        /// The service confines this process and whatever it starts: the server must be started by somebody else.
        #[arg(long)]
        confined: bool,
    },
    /// Open the port for enrolment only, for ten minutes, and show a one-time code for `flytt host add`.
    Join {
        /// Join a (new) deployment although this host has joined one.
        #[arg(long)]
        again: bool,
    },
    /// What flytt has on this host; with a migration's name, take it back without a controller, once the agent is stopped.
    Revert { migration: Option<Migration> },
    /// Whether the agent may be stopped now: not between C0 and C10 of a move. The package asks this before it is exchanged.
    MayStop(Stop),
    /// Measure the disk under a directory of this host, without agent or controller; one line of JSON.
    #[command(hide = true)]
    Probe {
        directory: PathBuf,
        /// Seconds of each job.
        #[arg(long, default_value_t = 0)]
        seconds: u32,
        /// Bytes of the file [default: min(1 GiB, 5 % of what is free)].
        #[arg(long, default_value_t = 0)]
        bytes: u64,
        /// As in randwrite-4k-qd32 [default: the usual ones].
        #[arg(long = "job")]
        jobs: Vec<Job>,
    },
}
