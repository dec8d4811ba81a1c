//! What the driver reports of a read of a digest, as a failure that an operator can act on.

use flytt_proto::failure::{Effect, Failure};
use tokio_postgres::error::SqlState;

use crate::engine::postgres::failure;

/// A read that did not succeed; it has changed nothing.
pub(super) fn read(error: &tokio_postgres::Error) -> Failure {
    let usual = failure::statement(error).with_effect(Effect::None);
    let Some(server) = error.as_db_error() else { return usual };
    // 1 GB is the limit of a value (manual, "PostgreSQL Limits"); one beyond it is an internal error or one of the limit.
    let too_large = *server.code() == SqlState::PROGRAM_LIMIT_EXCEEDED
        || *server.code() == SqlState::INTERNAL_ERROR && server.message().starts_with("invalid memory alloc request size");
    if too_large {
        Failure::refused("ROW_TOO_LARGE", usual.sentence, "compare this table with each column hashed by itself")
    } else if [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_SERIALIZATION_FAILURE].contains(server.code()) {
        // A standby's replay ends a read that is in its way with the second one.
        Failure::refused("IN_USE", usual.sentence, "try again in a moment")
    } else {
        usual
    }
}

pub(super) fn unreadable(what: &str) -> Failure {
    Failure::refused("UNREADABLE", format!("the server's answer is not of the expected form: {what}"), "report this")
}

pub(super) fn no_scheme() -> Failure {
    let sentence = "the controller asks for digests in a form that this engine does not have";
    Failure::refused("BAD_REQUEST", sentence, "install the same version of flytt and flytt-agent everywhere")
}
