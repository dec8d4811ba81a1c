//! Why a probe ends before its time. Whoever asks first is the one who is told of.

use std::sync::{Arc, OnceLock};

use flytt_proto::failure::Failure;

/// Somebody's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Whoever asked for the probe has gone away, or another thread of it has failed.
    Cancelled,
    /// The host needs its disk: what was measured so far stays. In words.
    HostFirst(String),
}

/// Shared by the threads of a probe.
#[derive(Clone, Debug, Default)]
pub(super) struct Halt(Arc<OnceLock<Reason>>);

impl Halt {
    pub(super) fn ask(&self, reason: Reason) {
        // The first reason stays.
        let _ = self.0.set(reason);
    }

    /// Cheap enough to be asked before every operation.
    pub(super) fn reason(&self) -> Option<&Reason> {
        self.0.get()
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.get().is_some()
    }
}

/// Asks when it is dropped: whoever holds it must stay for the probe to go on.
#[derive(Debug)]
pub(super) struct Presence(pub(super) Halt);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.ask(Reason::Cancelled);
    }
}

pub(super) fn cancelled() -> Failure {
    Failure::refused("PROBE_CANCELLED", "the probe is cancelled; its file is gone", "run `flytt probe` when it suits")
}
