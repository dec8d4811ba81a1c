//! What would stop the writing of a schema in the middle, found before a byte is copied. Looks only.

use flytt_proto::failure::Failure;

use super::{AccountName, Object, Schema, Statement, Vendor, read::reader, text};
use crate::engine::mysql_family::session::Session;

/// Whether this server, asked through this session, will take `wanted` but for the accounts of `keep` and the session's own.
///
/// # Errors
/// `OTHER_VENDOR`. `FUNCTIONS_NOT_TRUSTED`: with its binary log on, a server takes a function that may not be deterministic only
/// when told so, also from an administrator, and also where nothing is logged (tried on MariaDB 10.11 and MySQL 9.7).
/// `PROXY_NOT_GRANTED`: all privileges do not contain PROXY (the same).
pub async fn obstacles(session: &Session, wanted: &Schema, keep: &[AccountName]) -> Result<(), Failure> {
    let is_mariadb = session.value("select version()").await?.contains("MariaDB");
    if is_mariadb != (wanted.vendor == Vendor::Mariadb) {
        return Err(Failure::refused(
            "OTHER_VENDOR",
            "source and target are of different vendors",
            "choose a target of the source's vendor",
        ));
    }
    let takes_all = session.is_true("select not @@global.log_bin or @@global.log_bin_trust_function_creators").await?;
    let untrusted = wanted.routines.iter().find(|routine| routine.kind == "function" && !is_trusted(routine));
    if let (Some(function), false) = (untrusted, takes_all) {
        return Err(Failure::refused(
            "FUNCTIONS_NOT_TRUSTED",
            format!("the target would refuse function {}.{}: it is not declared DETERMINISTIC", function.database, function.name),
            "set log_bin_trust_function_creators = 1 on the target, as it is or was on the source",
        ));
    }
    let reader = reader(session).await?;
    let others = wanted.accounts.iter().filter(|account| account.name != reader && !keep.contains(&account.name));
    let is_proxy = |grant: &Statement| grant.sql.starts_with("GRANT PROXY ");
    let proxy = others.clone().find(|account| account.grants.iter().any(is_proxy));
    let own: Vec<String> = session.rows("show grants").await?.into_iter().flatten().flatten().collect();
    let may = |grant: &String| grant.starts_with("GRANT PROXY ON ``@`") && grant.ends_with("WITH GRANT OPTION");
    match proxy {
        Some(account) if !own.iter().any(may) => Err(Failure::refused(
            "PROXY_NOT_GRANTED",
            format!("account {} has the privilege PROXY, which {reader} on the target may not give", account.name),
            format!("there, as root: GRANT PROXY ON ''@'' TO {} WITH GRANT OPTION", reader.quoted()),
        )),
        _ => Ok(()),
    }
}

/// `DETERMINISTIC`, `NO SQL` or `READS SQL DATA` before the body. Read without care for where the body begins: a wrong guess here
/// is the server's own refusal later.
fn is_trusted(function: &Object) -> bool {
    let (sql, tokens) = (&function.create, text::head(&function.create));
    let phrase = |words: &[&str]| text::phrase(sql, &tokens, words).is_some();
    let is_deterministic = phrase(&["deterministic"]) && !phrase(&["not", "deterministic"]);
    is_deterministic || phrase(&["no", "sql"]) || phrase(&["reads", "sql", "data"])
}
