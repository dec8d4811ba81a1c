//! Target, before a byte is moved: are both machines fit for it? By what was measured of them; looks only.

use super::*;
use crate::gates;

#[tonic::async_trait]
impl Intent for v1::Judge {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    fn stays(&self) -> bool {
        false
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        Ok(Survey { findings: gates::judge(self), changes: Vec::new() })
    }
}
