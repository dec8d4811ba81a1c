//! On the host that will follow: the password of its account is made here and stays here; its verifier is what it comes to.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Credential {
    fn role(&self) -> v1::Role {
        // An older controller knows of the target's alone, and names nobody.
        if v1::Credential::role(self) == v1::Role::Source { v1::Role::Source } else { v1::Role::Target }
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        Ok(Survey::default())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let engine = at.host.engine()?;
        let verifier = match v1::Credential::role(self) {
            v1::Role::Source => engine.back_credential(&at.migration).await?,
            v1::Role::Target | v1::Role::Router | v1::Role::Unspecified => engine.credential(&at.migration).await?,
        };
        Ok(v1::Outcome { kind: Some(v1::outcome::Kind::Verifier(verifier)) })
    }

    fn reversal(&self) -> Option<engine::Intent> {
        Some(engine::Intent::Forget { role: Intent::role(self) })
    }
}
