//! A host's ledger as an operator reads it, on the host itself and from afar.

use std::fmt::{Display, Formatter, Result};

use crate::{
    failure::Failure,
    v1::{LedgerReply, ledger_reply::Move},
};

impl Display for LedgerReply {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.moves.is_empty() {
            return writeln!(f, "nothing of flytt stands on this host");
        }
        self.moves.iter().try_for_each(|it| it.fmt(f))
    }
}

impl Display for Move {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}: {}, controller epoch {}", self.migration, named(self.phase().as_str_name()), self.command_epoch)?;
        if self.lease_ms > 0 {
            write!(f, ", {:.1} s of its lease left", self.lease_ms as f64 / 1e3)?;
        }
        writeln!(f)?;
        if !self.peer.is_empty() {
            writeln!(f, "  lets the agent of {} in", self.peer)?;
        }
        if !self.guarded.is_empty() {
            writeln!(f, "  gave the move up: {}", self.guarded)?;
        }
        for operation in &self.operations {
            let mut changes = operation.changes.iter();
            let first = changes.next().map_or("", String::as_str);
            let line = format!("  {:<18} {:<11} {first}", operation.step, named(operation.state().as_str_name()));
            writeln!(f, "{}", line.trim_end())?;
            for change in changes {
                writeln!(f, "{:32}{change}", "")?;
            }
        }
        match self.kept.clone().map(Failure::from) {
            Some(kept) => writeln!(f, "  stays as it is: {}; {}", kept.sentence, kept.remedy),
            None => {
                writeln!(f, "  without a controller: stop the agent, then, as its user, flytt-agent revert {}", self.migration)
            }
        }
    }
}

fn named(value: &str) -> String {
    value.to_lowercase().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{baton_state::Phase, ledger_reply::Operation, operation_state::State};

    #[test]
    fn each_change_stands_under_its_step() {
        let operation = |step: &str, state: State, changes: &[&str]| Operation {
            step: step.into(),
            state: state.into(),
            changes: changes.iter().map(|&text| text.into()).collect(),
        };
        let mut it = Move {
            migration: "shop".into(),
            phase: Phase::Fenced.into(),
            command_epoch: 3,
            lease_ms: 2_100,
            peer: "db-new".into(),
            operations: vec![
                operation("check", State::Done, &[]),
                operation("admit", State::Interrupted, &["create role flytt_shop_repl", "create slot flytt_shop"]),
            ],
            ..Move::default()
        };
        let expected = "shop: fenced, controller epoch 3, 2.1 s of its lease left\n  lets the agent of db-new in\n\
                        \x20 check              done\n\
                        \x20 admit              interrupted create role flytt_shop_repl\n\
                        \x20                               create slot flytt_shop\n\
                        \x20 without a controller: stop the agent, then, as its user, flytt-agent revert shop\n";
        assert_eq!(it.to_string(), expected);
        it.kept = Some(Failure::refused("POINT_OF_NO_RETURN", "this target holds the right", "run `flytt finish`").into());
        let text = LedgerReply { moves: vec![it] }.to_string();
        assert!(text.ends_with("  stays as it is: this target holds the right; run `flytt finish`\n"), "{text}");
        assert_eq!(LedgerReply::default().to_string(), "nothing of flytt stands on this host\n");
    }
}
