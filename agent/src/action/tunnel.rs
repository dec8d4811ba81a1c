//! Target: a socket of its own whose other end is the source's server. It remembers who the source is.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Tunnel {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        peer(self.source.as_ref())?;
        Ok(Survey::default())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let (name, address) = peer(self.source.as_ref())?;
        at.host.open_tunnel(&at.migration, name, address).await?;
        Ok(plain("the tunnel's socket is there"))
    }

    async fn after_undo(&self, at: &At) -> Result<v1::Outcome, Failure> {
        at.host.close_tunnel(&at.migration).await;
        Ok(plain("the tunnel is closed"))
    }
}
