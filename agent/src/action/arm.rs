//! Source: follows the target while it goes on serving, so that the window holds nothing of it; where an engine cannot do that, all
//! is prepared that it will need to follow later (`rejoin`). What it is good for is proven by a write of the target that arrives
//! (`mark`, `arrive`).

use super::*;

#[tonic::async_trait]
impl Intent for v1::Arm {
    fn role(&self) -> v1::Role {
        v1::Role::Source
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        peer(self.target.as_ref())?;
        recipe(at, engine::Intent::Arm).await
    }

    /// The server finds the tunnel there when it begins to follow.
    async fn begin(&self, at: &At) -> Result<(), Failure> {
        let (name, address) = peer(self.target.as_ref())?;
        at.host.open_tunnel(&at.migration, name, address).await
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        if !at.host.engine()?.rejoins() {
            return Ok(plain("the source follows the target, and serves as before"));
        }
        // Whether its agent is reached from here is better known now than after the cutover.
        at.host.ask_baton(&at.migration, &peer(self.target.as_ref())?).await?;
        Ok(plain("the target's agent is reached from here"))
    }

    async fn after_undo(&self, at: &At) -> Result<v1::Outcome, Failure> {
        at.host.close_tunnel(&at.migration).await;
        Ok(plain("the source follows nobody"))
    }
}
