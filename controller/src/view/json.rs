//! For a program: one JSON object a line.

use flytt_proto::v1::{self, event::Kind};
use serde_json::json;

use super::{Line, View, print};

fn finding(finding: &v1::Finding) -> serde_json::Value {
    json!({
        "level": finding.level().as_str_name().to_lowercase(), "code": finding.code, "host": finding.host,
        "sentence": finding.sentence, "remedy": finding.remedy
    })
}

#[derive(Debug, Default)]
pub struct Json;

impl View for Json {
    fn show(&mut self, line: Line<'_>) {
        let value = match line {
            Line::Step { step, .. } => json!({
                "step": step.id, "host": step.on, "phase": step.phase, "reversal": step.reversal, "what": step.what
            }),
            Line::Would(change) => json!({ "would": change }),
            Line::Event { step, kind: Kind::Doing(text) } => json!({ "step": step.id, "doing": text }),
            Line::Event { step, kind: Kind::Progress(progress) } => json!({ "step": step.id, "progress": progress }),
            Line::Event { step, kind: Kind::Finding(found) } => json!({ "step": step.id, "finding": finding(found) }),
            Line::Event { .. } => return,
            Line::Done { step, elapsed_us, outcome } => {
                json!({ "step": step.id, "host": step.on, "done": true, "elapsed_us": elapsed_us, "outcome": outcome })
            }
            Line::Failed { step, failure } => json!({ "step": step.id, "host": step.on, "failed": failure }),
            Line::Back { step } => json!({ "step": step.id, "host": step.on, "taking_back": true }),
            Line::Finding(found) => json!({ "finding": finding(found) }),
            Line::Note(text) => json!({ "note": text }),
            Line::Warning(text) => json!({ "warning": text }),
            Line::Answer { value, .. } => value.clone(),
        };
        print(&value.to_string());
    }
}
