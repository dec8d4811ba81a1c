//! demo
use tokio_util::sync::CancellationToken;
use crate::{halt::Halt, verb::Answer, view::View};
#[derive(Debug, clap::Args)]
pub struct Options {}
pub(crate) async fn run(_o: Options, _s: CancellationToken, _v: &mut dyn View) -> Result<Answer, Halt> { Ok(Answer{text: String::new(), value: serde_json::Value::Null}) }
