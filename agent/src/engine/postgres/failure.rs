//! Turns what the driver, the file system and the tools report into failures an operator can act on. The text of a
//! statement never stands in one: it may carry a verifier.

use std::{io, path::Path};

use flytt_proto::failure::Failure;
use tokio_postgres::error::SqlState;

use crate::command::CommandError;

/// A statement that did not succeed. `IN_USE` can be tried again; `SERVER_GONE` means that its effect is not known.
pub(crate) fn statement(error: &tokio_postgres::Error) -> Failure {
    let Some(server) = error.as_db_error() else {
        return gone(&causes(error));
    };
    let sentence = format!("the server answers: {} (SQLSTATE {})", server.message(), server.code().code());
    let code = server.code();
    if *code == SqlState::OBJECT_IN_USE {
        Failure::refused("IN_USE", sentence, "try again in a moment")
    } else if [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code) {
        Failure::unknown("SERVER_GONE", sentence, "look at the server and its log")
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        Failure::refused("NOT_ALLOWED", sentence, "let `role` in agent.toml be a superuser")
    } else {
        Failure::refused("SQL_REFUSED", sentence, "look at the server's log")
    }
}

pub(super) fn gone(why: &str) -> Failure {
    Failure::unknown("SERVER_GONE", format!("the connection to the server breaks: {why}"), "look at the server and its log")
}

/// A login that did not succeed; nothing was done.
pub(super) fn login(role: &str, error: &tokio_postgres::Error) -> Failure {
    match error.as_db_error() {
        // It starts, recovers or shuts down, whoever asks.
        Some(server) if *server.code() == SqlState::CANNOT_CONNECT_NOW => {
            let sentence = format!("the server takes no sessions now: {}", server.message());
            Failure::refused("SERVER_DOWN", sentence, "wait until it is up, or look at its log")
        }
        Some(server) => Failure::refused(
            "LOGIN_REFUSED",
            format!("the server refuses role {role}: {} (SQLSTATE {})", server.message(), server.code().code()),
            "admit this operating-system user as `role` of agent.toml by peer authentication over the unix socket",
        ),
        None => Failure::refused(
            "SERVER_DOWN",
            format!("the server cannot be reached: {}", causes(error)),
            "start it, or correct `socket` and `port` in agent.toml",
        ),
    }
}

pub(super) fn file(path: &Path, error: &io::Error) -> Failure {
    Failure::refused("FILE", format!("{}: {error}", path.display()), "look at the file's owner and mode, and at the disk")
}

pub(super) fn tool(code: &str, error: &CommandError) -> Failure {
    Failure::refused(code, error.to_string(), "look at `bin` in agent.toml, and at the server's log")
}

/// The driver's `Display` leaves out what stands behind it.
fn causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
