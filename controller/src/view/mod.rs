//! What the operator sees: the same lines for a person and for a program.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicBool, Ordering},
};

use flytt_proto::{failure::Failure, v1};

use crate::{plan::Step, spec::Spec};

mod human;
mod json;

pub use human::Human;
pub use json::Json;

/// One thing to show.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    Step {
        step: &'a Step,
        spec: &'a Spec,
    },
    /// What a step would change.
    Would(&'a str),
    Event {
        step: &'a Step,
        kind: &'a v1::event::Kind,
    },
    Done {
        step: &'a Step,
        outcome: &'a v1::Outcome,
        elapsed_us: u64,
    },
    Failed {
        step: &'a Step,
        failure: &'a Failure,
    },
    Back {
        step: &'a Step,
    },
    Finding(&'a v1::Finding),
    Note(&'a str),
    Warning(&'a str),
    /// The command's own answer: text for a person, a value for a program.
    Answer {
        text: &'a str,
        value: &'a serde_json::Value,
    },
}

pub trait View: Debug + Send + Sync {
    fn show(&mut self, line: Line<'_>);
}

/// Text from elsewhere with its control characters made visible, so that it cannot act on a terminal.
pub fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() && c != '\n' { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether the reader of standard output went away: what is only shown may end then.
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Writes a line to standard output; a reader that went away (`| head`) ends the process quietly.
fn print(line: &str) {
    use std::io::Write as _;
    if let Err(error) = writeln!(anstream::stdout(), "{line}")
        && error.kind() == std::io::ErrorKind::BrokenPipe
    {
        // Nobody reads any more; the move itself does not depend on being watched.
        CLOSED.store(true, Ordering::Relaxed);
        tracing::debug!("standard output is closed");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn escape_sequences_of_others_do_not_reach_the_terminal() {
        let shown = super::safe("a\u{1b}]52;c;evil\u{7}b\nc\r");
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\r']), "{shown:?}");
        assert!(shown.contains("a\\u{1b}]52") && shown.contains("b\nc"), "{shown:?}");
    }
}
