//! Preflight: is this move possible? Looks at both servers' facts; changes nothing.

use super::*;

#[tonic::async_trait]
impl Intent for v1::Check {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    fn stays(&self) -> bool {
        false
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let read = |facts: &str| {
            serde_json::from_str(facts).map_err(|error| {
                Failure::refused(
                    "BAD_FACTS",
                    format!("the other agent's facts do not read: {error}"),
                    "install the same version of flytt-agent everywhere",
                )
            })
        };
        let findings = at.host.engine()?.findings(&read(&self.source_facts)?, &read(&self.target_facts)?, self);
        Ok(Survey { findings, changes: Vec::new() })
    }
}
