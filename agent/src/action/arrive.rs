//! Source: what the target wrote (`mark`) has arrived here.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Arrive {
    fn role(&self) -> v1::Role {
        v1::Role::Source
    }

    fn stays(&self) -> bool {
        false
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        Ok(Survey::default())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let position = self.position.parse().map_err(|_| missing("the position that is to arrive"))?;
        at.host.engine()?.has_come_back(&at.migration, &position).await?;
        Ok(plain(format!("{position} has come back")))
    }
}
