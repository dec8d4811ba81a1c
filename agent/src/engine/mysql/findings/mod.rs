//! Preflight over both hosts' facts. Until MySQL's own facts are judged, no move is let through.

use flytt_proto::v1;

use crate::engine::Facts;

pub(super) fn all(_: &Facts, _: &Facts, _: &v1::Check) -> Vec<v1::Finding> {
    let sentence = "MySQL has no preflight yet: nothing is known of what a move would stumble over".to_owned();
    vec![block("NO_PREFLIGHT", sentence, "move by hand until a later version judges it")]
}

pub(super) fn block(code: &str, sentence: String, remedy: &str) -> v1::Finding {
    let level = v1::finding::Level::Block.into();
    v1::Finding { level, code: code.into(), host: String::new(), sentence, remedy: remedy.into() }
}
