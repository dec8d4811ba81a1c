//! Any host, once it is over: what is left of the move goes.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Finish {
    fn role(&self) -> v1::Role {
        self.role()
    }

    fn ends(&self) -> bool {
        true
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let mut changes = match self.role() {
            v1::Role::Router | v1::Role::Unspecified => Vec::new(),
            role @ (v1::Role::Source | v1::Role::Target) => {
                at.host.engine()?.recipe(&at.migration, &engine::Intent::Finish { role }).await?
            }
        };
        changes.extend(at.host.trash(&at.migration).map(|path| Change::Discard { path }));
        Ok(changes.into())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        at.host.close_tunnel(&at.migration).await;
        let kept = at.host.changes_of(&at.migration, super::tune::is_tune);
        if kept.is_empty() {
            return Ok(plain("nothing of this move is left here"));
        }
        Ok(plain(format!("nothing of this move is left here but {} kernel settings, as they were set", kept.len())))
    }

    async fn before_undo(&self, _at: &At) -> Result<(), Failure> {
        Err(past_the_point())
    }
}
