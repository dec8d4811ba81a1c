//! What a package asks of an agent's ledger before it exchanges the program or takes it away. The agent may be running; nothing is
//! changed, and the ledger's lock is not taken.

use flytt_proto::failure::Failure;

use crate::{
    config::Config,
    ledger::{Ledger, Seen},
};

/// What the agent is to be stopped for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Stop {
    /// Nor while a copy is made that would begin anew.
    #[arg(long)]
    pub copies: bool,
    /// Nor for a program that reads no newer form of the ledger than this.
    #[arg(long, value_name = "FORM")]
    pub reads: Option<u32>,
}

/// This host's ledger, as it lies on disk.
pub fn look(config: &Config) -> Result<Seen, Failure> {
    Ledger::look(&config.state.join("ledger.db"))
}

/// Refuses with the reason.
pub fn may_stop(config: &Config, stop: Stop) -> Result<(), Failure> {
    judge(&look(config)?, stop)
}

fn judge(seen: &Seen, stop: Stop) -> Result<(), Failure> {
    if let Some((leg, stands)) = seen.book.window(seen.quiet) {
        let sentence = format!("{leg} is between C0 and C10: {stands}");
        let remedy = "wait until the cutover is over, or run `flytt resume` or `flytt rollback`";
        return Err(Failure::refused("IN_WINDOW", sentence, remedy));
    }
    if let Some(reads) = stop.reads.filter(|reads| seen.form > *reads) {
        let sentence = format!("the ledger has rows of form {}, and the other program reads none newer than {reads}", seen.form);
        return Err(Failure::refused("LEDGER_NEWER", sentence, "keep this version, or install a later one"));
    }
    match seen.book.copying() {
        Some(leg) if stop.copies => {
            let sentence = format!("a copy for {leg} may be under way, and would begin anew");
            Err(Failure::refused("COPYING", sentence, "wait until the target follows: `flytt status`"))
        }
        Some(_) | None => Ok(()),
    }
}
