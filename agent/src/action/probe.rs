//! What this host's storage sustains.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Probe {
    fn role(&self) -> v1::Role {
        v1::Probe::role(self)
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        Err(missing("a probe"))
    }
}
