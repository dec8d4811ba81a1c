//! Kernel settings for the copy and the load after it. A setting that cannot be had is told, and never ends a move.

use super::*;
use crate::tuning;

#[tonic::async_trait]
impl Intent for v1::Tune {
    fn role(&self) -> v1::Role {
        v1::Tune::role(self)
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let peer = peer(self.peer.as_ref())?;
        let tuning::Advice { findings, changes } =
            tuning::look(&at.host.hands.kernel, &at.host.config.tuning, v1::Tune::role(self), &peer).await;
        Ok(Survey { findings, changes })
    }

    /// The kernel's word, not ours: every value is read again.
    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let set = at.host.changes_of(&at.migration, is_tune);
        let mut finding = tuning::judge(&at.host.hands.kernel, &set);
        finding.extend(self.survey(at).await?.findings);
        Ok(v1::Outcome { kind: Some(v1::outcome::Kind::Findings(v1::outcome::Findings { finding })) })
    }
}

pub(crate) fn is_tune(kind: &v1::action::Kind) -> bool {
    matches!(kind, v1::action::Kind::Tune(_))
}
