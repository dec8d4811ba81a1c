//! The plan as a picture.

use super::{
    Plan,
    Reversal::{NothingToUndo, PointOfNoReturn, Undo},
    Step,
};

impl Plan {
    /// The plan as a Mermaid diagram, as it stands in `docs/ARCHITECTURE.md`.
    pub fn diagram(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        let mut before: Option<&Step> = None;
        for step in &self.steps {
            if before.is_none_or(|before| before.phase != step.phase) {
                if before.is_some() {
                    text.push_str("  end\n");
                }
                text.push_str(&format!("  subgraph {:?}\n", step.phase));
            }
            let (open, close) = match step.reversal {
                Undo => ("[", "]"),
                NothingToUndo => ("(", ")"),
                PointOfNoReturn => ("{{", "}}"),
            };
            text.push_str(&format!("    {}{open}\"{}: {}\"{close}\n", step.id, step.on, step.what));
            before = Some(step);
        }
        text.push_str("  end\n");
        for pair in self.steps.windows(2) {
            text.push_str(&format!("  {} --> {}\n", pair[0].id, pair[1].id));
        }
        text
    }
}
