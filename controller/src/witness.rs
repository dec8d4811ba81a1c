//! The canary of a real move, where migration.toml asks for one: it writes through the router across the cutover, and
//! afterwards every write that was acknowledged is looked up through the same way in.

use std::time::Duration;

use flytt_proto::failure::{Effect, Failure};
use serde_json::{Value, json};

use crate::{
    canary::{Canary, Connection, Options, Record},
    spec::Spec,
};

/// How long it writes on after the cutover, so that the gap has an end.
const AFTER: Duration = Duration::from_secs(1);

/// A canary at work, or none.
#[derive(Debug)]
pub struct Witness(Option<Canary>);

impl Witness {
    pub async fn call(spec: &Spec) -> Result<Self, Failure> {
        let Some(canary) = &spec.canary else { return Ok(Self(None)) };
        let connection = Connection::from_file(spec.engine.protocol(), &canary.connection)?;
        let options = Options { clients: canary.clients, ..Options::default() };
        Ok(Self(Some(Canary::start(connection, options).await?)))
    }

    /// What the application saw: text and value. Its schema goes.
    ///
    /// # Errors
    /// `WRITES_LOST`; then the schema stays, as evidence.
    pub async fn testify(self) -> Result<Option<(String, Value)>, Failure> {
        let Some(canary) = self.0 else { return Ok(None) };
        tokio::time::sleep(AFTER).await;
        let record = canary.stop().await;
        let verification = record.verify(record.connection()).await?;
        if !verification.is_clean() {
            return Err(Failure::unknown(
                "WRITES_LOST",
                format!("what was acknowledged is not what is there: {}", json!(verification)),
                "keep both servers as they are; the canary's table flytt_canary.written is the evidence",
            )
            .with_effect(Effect::Done));
        }
        record.clean_up().await?;
        Ok(Some((text(&record), json!({ "report": record.report, "verification": verification }))))
    }

    /// The cutover did not come to its end: its schema goes, and that is all.
    pub async fn dismiss(self) {
        if let Some(canary) = self.0
            && let Err(failure) = canary.stop().await.clean_up().await
        {
            tracing::warn!(code = failure.code, "the canary's schema flytt_canary is left: {failure}");
        }
    }
}

fn text(record: &Record) -> String {
    let report = &record.report;
    format!(
        "the canary: {} writes acknowledged, 0 lost; longest gap {:.1} ms; {} sessions cut, {} connections failed",
        report.acknowledged,
        report.longest_gap.ms,
        report.sessions_cut,
        report.connects.failed()
    )
}
