//! Target: the replication role's password is made here and stays here; its verifier is what it comes to.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Credential {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        Ok(Survey::default())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let verifier = at.host.engine()?.credential(&at.migration).await?;
        Ok(v1::Outcome { kind: Some(v1::outcome::Kind::Verifier(verifier)) })
    }

    fn reversal(&self) -> Option<engine::Intent> {
        Some(engine::Intent::Forget)
    }
}
