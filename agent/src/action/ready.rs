//! Both sides, before the window (C0): nothing stands in its way, and a checkpoint makes what follows short.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Ready {
    fn role(&self) -> v1::Role {
        self.role()
    }

    fn stays(&self) -> bool {
        false
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let engine = at.host.engine()?;
        if let Some(reason) = at.host.ledger.book().guarded.get(&at.migration) {
            return Err(Failure::refused(
                "GUARDED",
                reason.clone(),
                "make room on the source, then `flytt rollback` and start again",
            ));
        }
        let findings = engine.obstacles(&at.migration, self).await?;
        let changes = engine.recipe(&at.migration, &engine::Intent::Ready).await?;
        Ok(Survey { findings, changes })
    }
}
