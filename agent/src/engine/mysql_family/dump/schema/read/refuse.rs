//! What a logical dump does not carry, so that it is an error and nobody misses it later.

use flytt_proto::failure::Failure;

use super::Vendor;
use crate::engine::mysql_family::session::Session;

/// Objects of the whole server, and how one finds them.
const BOTH: [(&str, &str); 2] = [
    ("functions in shared libraries (CREATE FUNCTION … SONAME)", "select name from mysql.func"),
    ("server definitions (CREATE SERVER)", "select Server_name from mysql.servers"),
];
const MYSQL: [(&str, &str); 3] = [
    (
        "accounts with a second password (RETAIN CURRENT PASSWORD)",
        "select concat(User, '@', Host) from mysql.user where json_contains_path(User_attributes, 'one', '$.additional_password')",
    ),
    (
        "general tablespaces (CREATE TABLESPACE)",
        "select NAME from information_schema.INNODB_TABLESPACES where SPACE_TYPE = 'General' and NAME <> 'mysql'",
    ),
    (
        "resource groups (CREATE RESOURCE GROUP)",
        "select RESOURCE_GROUP_NAME from information_schema.RESOURCE_GROUPS \
         where RESOURCE_GROUP_NAME not in ('USR_default', 'SYS_default', 'SYS_internal')",
    ),
];

pub(super) async fn what_stays_behind(session: &Session, vendor: Vendor) -> Result<(), Failure> {
    let more: &[_] = if vendor == Vendor::Mysql { &MYSQL } else { &[] };
    for (kind, sql) in BOTH.iter().chain(more) {
        let found: Vec<String> = session.rows(sql).await?.into_iter().flatten().flatten().collect();
        if !found.is_empty() {
            return Err(not_copied(&format!("{kind}: {}", found.join(", "))));
        }
    }
    Ok(())
}

pub(super) fn not_copied(what: &str) -> Failure {
    Failure::refused(
        "SCHEMA_NOT_COPIED",
        format!("a logical copy does not carry {what}"),
        "remove them, or seed by a physical copy instead",
    )
}
