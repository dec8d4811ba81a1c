//! What the server is, as every engine tells it. The engine's own facts, which findings judge, come beside it.

use std::fs;

use flytt_proto::failure::Failure;

use super::Mysql;
use crate::engine::{Facts, Serving, mysql_family::process};

impl Mysql {
    pub(super) async fn look(&self) -> Result<Facts, Failure> {
        let data = &self.config.data_directory;
        let serving = self.now_serving().await?;
        let mut data_bytes = 0;
        if serving != Serving::Down {
            let sql = "select coalesce(sum(FILE_SIZE), 0) from information_schema.INNODB_TABLESPACES";
            data_bytes = self.session().await?.value(sql).await?.parse().unwrap_or(0);
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default();
        Ok(Facts {
            serving,
            system: server_uuid(&fs::read_to_string(data.join("auto.cnf")).unwrap_or_default()).unwrap_or_default().to_owned(),
            data_bytes,
            address: format!("{host}:{}", self.config.port),
            place: format!("{} {}", process::boot_id(), process::inode(data)),
            detail: "{}".to_owned(),
        })
    }
}

/// From the file that a server makes when it has none: whoever copies a data directory without it gets a server of its own.
fn server_uuid(auto: &str) -> Option<&str> {
    auto.lines().find_map(|line| line.trim().strip_prefix("server-uuid=").or_else(|| line.trim().strip_prefix("server_uuid=")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_was_started_once_has_a_uuid() {
        assert_eq!(
            server_uuid("[auto]\nserver-uuid=8a94f357-aab4-11df-86ab-c80aa9429562\n"),
            Some("8a94f357-aab4-11df-86ab-c80aa9429562")
        );
        assert_eq!(server_uuid(""), None);
    }
}
