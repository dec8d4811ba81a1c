//! Turns what the driver reports into failures an operator can act on. The text of a statement never stands in one: it may
//! carry a verifier.

use flytt_proto::failure::Failure;
use mysql_async::{DriverError, Error};

/// The account is locked (`ER_ACCOUNT_HAS_BEEN_LOCKED`; MySQL's number, then MariaDB's).
const LOCKED: [u16; 2] = [3118, 4151];
/// No such account, wrong password, or another operating-system user than the socket's.
const DENIED: [u16; 2] = [1045, 1698];

/// A statement that did not succeed. `IN_USE` can be tried again; `SERVER_GONE` means that its effect is not known.
pub(crate) fn statement(error: &Error) -> Failure {
    let Error::Server(server) = error else { return gone(&error.to_string()) };
    let sentence = match server.code {
        // A syntax error quotes the statement.
        1064 => "the server does not take a statement (error 1064)".to_owned(),
        code => format!("the server answers: {} (error {code})", server.message),
    };
    match server.code {
        // MariaDB's number, then MySQL's.
        1617 | 3074 => Failure::refused("NO_CONNECTION", sentence, "look at SHOW ALL SLAVES STATUS, or at SHOW REPLICA STATUS"),
        1205 | 1213 => Failure::refused("IN_USE", sentence, "try again in a moment"),
        1053 | 1152 | 1317 | 1927 => Failure::unknown("SERVER_GONE", sentence, "look at the server and its log"),
        1044 | 1142 | 1227 | 1370 | 1410 => {
            Failure::refused("NOT_ALLOWED", sentence, "let `account` in agent.toml have all privileges")
        }
        _ => Failure::refused("SQL_REFUSED", sentence, "look at the server's log"),
    }
}

pub(crate) fn gone(why: &str) -> Failure {
    Failure::unknown("SERVER_GONE", format!("the connection to the server breaks: {why}"), "look at the server and its log")
}

/// A login that did not succeed; nothing was done.
pub(crate) fn login(account: &str, error: &Error) -> Failure {
    match error {
        Error::Server(server) => Failure::refused(
            "LOGIN_REFUSED",
            format!("the server refuses account {account}: {} (error {})", server.message, server.code),
            "let `account` in agent.toml log in over the unix socket as the agent's operating-system user (unix_socket)",
        ),
        Error::Driver(_) | Error::Io(_) | Error::Other(_) | Error::Url(_) => Failure::refused(
            "SERVER_DOWN",
            format!("the server cannot be reached: {error}"),
            "start it, or correct `socket` in agent.toml",
        ),
    }
}

/// Whether a login failed because of who tried it, so that another account may do better. MySQL asks for an account that it does
/// not have by some plugin or other, so that nobody can tell; among them is one that the driver does not know (tried on 9.7).
pub(crate) fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Driver(DriverError::UnknownAuthPlugin { .. }))
        || matches!(error, Error::Server(server) if DENIED.contains(&server.code) || LOCKED.contains(&server.code))
}

/// Whether the account is there, its password was right, and it is locked.
pub(crate) fn is_locked(error: &Error) -> bool {
    matches!(error, Error::Server(server) if LOCKED.contains(&server.code))
}
