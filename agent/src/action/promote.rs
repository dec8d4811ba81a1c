//! Target (C6): promoted behind its gate, and proven. Taken back by burning: ended, still gated, never to be opened.

use super::*;
use crate::{baton::Command, change::Verb, engine::Serving, import};

#[tonic::async_trait]
impl Intent for v1::Promote {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        import::must_be_over(&at.host).await?;
        claim(at, self.fence.as_ref(), ClaimKind::FenceProof).await?;
        let mut survey = recipe(at, engine::Intent::Promote).await?;
        // It has caught up for good.
        let follow = at.host.changes_of(&at.migration, |action| matches!(action, v1::action::Kind::Follow(_)));
        survey.changes.extend(follow.into_iter().filter_map(|change| {
            let Change::Server(Verb::RaiseAppliers { settings }) = change else { return None };
            Some(Change::Server(Verb::LowerAppliers { settings }))
        }));
        Ok(survey)
    }

    async fn begin(&self, at: &At) -> Result<(), Failure> {
        let fence = claim(at, self.fence.as_ref(), ClaimKind::FenceProof).await?;
        let applied = at.host.engine()?.position().await?;
        crate::guard::must_have_room(&at.host)?;
        super::gate::must_be_closed(at).await?;
        import::must_be_over(&at.host).await?;
        at.host.baton(&at.migration, &Command::Promote { epoch: at.epoch, fence, applied }).await
    }

    /// The last moment at which the source can still serve instead.
    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        crate::guard::must_have_room(&at.host)?;
        let fence = claim(at, self.fence.as_ref(), ClaimKind::FenceProof).await?;
        let fork = fence.position.ok_or_else(|| missing("the final position"))?;
        let applied = at.host.engine()?.proven_primary(&at.migration, &fork).await?;
        at.host.baton(&at.migration, &Command::Closed { applied }).await?;
        Ok(artefact(at.host.sign_newest(&at.migration)?))
    }

    async fn before_undo(&self, at: &At) -> Result<(), Failure> {
        at.host.baton(&at.migration, &Command::Burn { epoch: at.epoch }).await
    }

    fn reversal(&self) -> Option<engine::Intent> {
        Some(engine::Intent::Burn)
    }

    async fn after_undo(&self, at: &At) -> Result<v1::Outcome, Failure> {
        if at.host.engine()?.serving().await? != Serving::Down {
            return Err(Failure::unknown("NOT_BURNED", "the target's server is still up", "end it by hand, then `flytt resume`"));
        }
        at.host.baton(&at.migration, &Command::Down).await?;
        Ok(artefact(at.host.sign_newest(&at.migration)?))
    }
}
