//! The gates: what must hold of the machines themselves. Each has a key in migration.toml and a code among the findings; only
//! these may be overridden by an operator. What they ask for stands with the agent.

use std::{fmt, str::FromStr};

use crate::v1;

/// One of them. Its findings carry its code, whatever their level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The target's random writes against the source's peak.
    Iops,
    /// What a commit waits for the disk, on the target against on the source.
    Commit,
    /// The target's disk while it is written to.
    Storage,
    /// Processor time that a hypervisor takes away, on either side.
    Steal,
    /// A copy or a catch-up that comes to an end.
    Converge,
    /// Both sides were found to hold the same, not too long ago. Asked for by the cutover.
    Verified,
}

impl Gate {
    pub const ALL: [Self; 6] = [Self::Iops, Self::Commit, Self::Storage, Self::Steal, Self::Converge, Self::Verified];

    /// Those that the agents judge: whether they block or warn is for migration.toml to say.
    pub const OF_MACHINES: [Self; 5] = [Self::Iops, Self::Commit, Self::Storage, Self::Steal, Self::Converge];

    /// As in migration.toml.
    pub fn key(self) -> &'static str {
        match self {
            Self::Iops => "iops",
            Self::Commit => "commit",
            Self::Storage => "storage",
            Self::Steal => "steal",
            Self::Converge => "converge",
            Self::Verified => "verified",
        }
    }

    /// As among the findings, and behind `--accept`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Iops => "GATE_IOPS",
            Self::Commit => "GATE_COMMIT",
            Self::Storage => "GATE_STORAGE",
            Self::Steal => "GATE_STEAL",
            Self::Converge => "GATE_CONVERGE",
            Self::Verified => "GATE_VERIFIED",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The text is the code of no gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only a gate can be accepted")]
pub struct NoGate;

impl FromStr for Gate {
    type Err = NoGate;
    fn from_str(text: &str) -> Result<Self, NoGate> {
        Self::ALL.into_iter().find(|gate| gate.code() == text).ok_or(NoGate)
    }
}

impl v1::Gates {
    /// What becomes of this gate when it does not hold. Not told is a warning: nobody asked for a block.
    pub fn level(&self, gate: Gate) -> v1::finding::Level {
        let level = match gate {
            Gate::Iops => self.iops(),
            Gate::Commit => self.commit(),
            Gate::Storage => self.storage(),
            Gate::Steal => self.steal(),
            Gate::Converge => self.converge(),
            // Not theirs to judge.
            Gate::Verified => v1::finding::Level::Unspecified,
        };
        match level {
            v1::finding::Level::Block | v1::finding::Level::Accepted => level,
            v1::finding::Level::Warn | v1::finding::Level::Ok | v1::finding::Level::Unspecified => v1::finding::Level::Warn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_and_no_other_does() {
        for gate in Gate::ALL {
            assert_eq!(gate.code().parse(), Ok(gate));
            assert_eq!(gate.code(), format!("GATE_{}", gate.key().to_uppercase()));
        }
        for code in ["SAME_SERVER", "gate_iops", "iops", "", "GATE_"] {
            assert_eq!(code.parse::<Gate>(), Err(NoGate), "{code}");
        }
    }
}
