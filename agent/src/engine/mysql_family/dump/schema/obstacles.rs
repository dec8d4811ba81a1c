//! What would stop the writing of a schema in the middle, found before a byte is copied. Looks only.

use flytt_proto::failure::Failure;

use super::{Object, Schema, Vendor, text};
use crate::engine::mysql_family::session::Session;

/// Whether this server, asked through this session, will take `wanted`.
///
/// # Errors
/// `FUNCTIONS_NOT_TRUSTED`: with its binary log on, a server takes a function that may not be deterministic only when told so,
/// also from an administrator, and also where nothing is logged (tried on MariaDB 10.11 and MySQL 9.7).
pub async fn obstacles(session: &Session, wanted: &Schema) -> Result<(), Failure> {
    let takes_all = session.is_true("select not @@global.log_bin or @@global.log_bin_trust_function_creators").await?;
    let untrusted = wanted.routines.iter().find(|routine| routine.kind == "function" && !is_trusted(routine));
    match untrusted {
        Some(function) if !takes_all => Err(Failure::refused(
            "FUNCTIONS_NOT_TRUSTED",
            format!("the target would refuse function {}.{}: it is not declared DETERMINISTIC", function.database, function.name),
            "set log_bin_trust_function_creators = 1 on the target, as it is or was on the source",
        )),
        _ => same_vendor(session, wanted.vendor).await,
    }
}

/// `DETERMINISTIC`, `NO SQL` or `READS SQL DATA` before the body. Read without care for where the body begins: a wrong guess here
/// is the server's own refusal later.
fn is_trusted(function: &Object) -> bool {
    let (sql, tokens) = (&function.create, text::head(&function.create));
    let phrase = |words: &[&str]| text::phrase(sql, &tokens, words).is_some();
    let is_deterministic = phrase(&["DETERMINISTIC"]) && !phrase(&["NOT", "DETERMINISTIC"]);
    is_deterministic || phrase(&["NO", "SQL"]) || phrase(&["READS", "SQL", "DATA"])
}

async fn same_vendor(session: &Session, wanted: Vendor) -> Result<(), Failure> {
    let is_mariadb = session.value("select version()").await?.contains("MariaDB");
    if is_mariadb == (wanted == Vendor::Mariadb) {
        return Ok(());
    }
    Err(Failure::refused(
        "OTHER_VENDOR",
        "source and target are of different vendors",
        "choose a target of the source's vendor: MySQL and MariaDB do not replicate from each other both ways",
    ))
}
