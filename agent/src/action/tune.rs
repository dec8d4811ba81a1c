//! Kernel settings for the copy and the load after it.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Tune {
    fn role(&self) -> v1::Role {
        v1::Tune::role(self)
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        Err(missing("a tuner"))
    }
}
