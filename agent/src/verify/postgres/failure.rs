//! Turns what the driver reports of a read into failures an operator can act on.

use flytt_proto::failure::Failure;
use tokio_postgres::error::SqlState;

/// A read that did not succeed; it has changed nothing.
pub(super) fn read(error: &tokio_postgres::Error) -> Failure {
    let Some(server) = error.as_db_error() else {
        return Failure::refused(
            "SERVER_GONE",
            format!("the connection to the server breaks: {error}"),
            "look at the server and its log",
        );
    };
    let code = server.code();
    let sentence = format!("the server answers: {} (SQLSTATE {})", server.message(), code.code());
    // 1 GB is the limit of a value (manual, "PostgreSQL Limits"); one beyond it is an internal error or one of the limit.
    let too_large = *code == SqlState::PROGRAM_LIMIT_EXCEEDED
        || *code == SqlState::INTERNAL_ERROR && server.message().starts_with("invalid memory alloc request size");
    if too_large {
        Failure::refused("ROW_TOO_LARGE", sentence, "compare this table with each column hashed by itself")
    } else if [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code) {
        Failure::refused("SERVER_GONE", sentence, "look at the server and its log")
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        Failure::refused("NOT_ALLOWED", sentence, "let `role` in agent.toml be a superuser")
    } else if [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_SERIALIZATION_FAILURE].contains(code) {
        // A standby's replay ends a read that is in its way with the second one.
        Failure::refused("IN_USE", sentence, "try again in a moment")
    } else {
        Failure::refused("SQL_REFUSED", sentence, "look at the server's log")
    }
}

pub(super) fn unreadable(what: &str) -> Failure {
    Failure::refused("UNREADABLE", format!("the server's answer is not of the expected form: {what}"), "report this")
}
