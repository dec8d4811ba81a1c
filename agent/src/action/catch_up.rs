//! Target (C4): everything up to the final position is applied, and nothing else.

use super::*;

#[tonic::async_trait]
impl Intent for v1::CatchUp {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    fn stays(&self) -> bool {
        false
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        claim(at, self.fence.as_ref(), ClaimKind::FenceProof).await?;
        Ok(Survey::default())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let fence = claim(at, self.fence.as_ref(), ClaimKind::FenceProof).await?;
        let wanted = fence.position.ok_or_else(|| missing("the final position"))?;
        let engine = at.host.engine()?;
        let applied = engine.caught_up(&wanted).await?;
        engine.has_no_more_than(&wanted).await?;
        Ok(plain(format!("applied {applied}, which includes {wanted}")))
    }
}
