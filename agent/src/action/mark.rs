//! Target: a write of its own, for the source to receive. The way back is proven with it before it is needed.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Mark {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    fn stays(&self) -> bool {
        false
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        Ok(Survey::default())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let position = at.host.engine()?.mark_own(&at.migration).await?;
        Ok(v1::Outcome { kind: Some(v1::outcome::Kind::Position(position.to_string())) })
    }
}
