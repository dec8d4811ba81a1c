//! Target (C9): a login through every router arrives in this very server.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Prove {
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
        for entrance in &self.entrances {
            at.host.engine()?.reached_through(&at.migration, entrance).await?;
        }
        Ok(plain(format!("reached through {}", self.entrances.join(", "))))
    }
}
