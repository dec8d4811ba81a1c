//! Facts that only a running server gives.

use flytt_proto::failure::Failure;

use super::{super::Mariadb, MaFacts, Own};
use crate::engine::{
    mariadb::names,
    mysql_family::{
        facts::{Live, ask},
        session::Session,
    },
};

/// The settings that a finding looks at.
const SETTINGS: &[&str] = &[
    "bind_address",
    "binlog_expire_logs_seconds",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "character_set_server",
    "collation_server",
    "event_scheduler",
    "expire_logs_days",
    "gtid_domain_id",
    "gtid_strict_mode",
    "innodb_data_file_path",
    "innodb_flush_log_at_trx_commit",
    "innodb_page_size",
    "log_bin",
    "log_slave_updates",
    "lower_case_table_names",
    "max_allowed_packet",
    "read_only",
    "replicate_do_db",
    "replicate_ignore_db",
    "replicate_wild_do_table",
    "replicate_wild_ignore_table",
    "server_id",
    "skip_networking",
    "sql_mode",
    "strict_password_validation",
    "sync_binlog",
    "version",
];

impl Mariadb {
    pub(super) async fn ask(&self, facts: &mut MaFacts) -> Result<(), Failure> {
        let session = self.session().await?;
        facts.common.settings = ask::settings(&session, SETTINGS).await?;
        facts.common.version = facts.setting("version").to_owned();
        facts.common.live = self.live(&session).await?;
        facts.own = own(&session).await?;
        Ok(())
    }

    async fn live(&self, session: &Session) -> Result<Live, Failure> {
        let status = self.slave_status(session).await?.unwrap_or_default();
        let at = |key: &str| status.get(key).cloned().unwrap_or_default();
        let from =
            if at("master_host").is_empty() { String::new() } else { format!("{}:{}", at("master_host"), at("master_port")) };
        Ok(Live {
            replicates_from: from,
            replicates_as: at("master_user"),
            lost_definers: ask::lost_definers(session, "mysql.global_priv").await?,
            collations_known: ask::set(
                session,
                "select coalesce(FULL_COLLATION_NAME, COLLATION_NAME) from information_schema.COLLATION_CHARACTER_SET_APPLICABILITY",
            )
            .await?,
            plugins_used: ask::set(
                session,
                "select distinct coalesce(json_value(Priv, '$.plugin'), '') from mysql.global_priv \
                 where json_value(Priv, '$.is_role') is null and json_value(Priv, '$.plugin') <> ''",
            )
            .await?,
            ..ask::live(session, names::AGENT).await?
        })
    }
}

async fn own(session: &Session) -> Result<Own, Failure> {
    let validators =
        "select count(*) from information_schema.PLUGINS where PLUGIN_TYPE = 'PASSWORD VALIDATION' and PLUGIN_STATUS = 'ACTIVE'";
    Ok(Own {
        all_privileges: session.value("show grants").await?.to_uppercase().starts_with("GRANT ALL PRIVILEGES ON *.*"),
        binlog_pos: session.value("select @@global.gtid_binlog_pos").await?,
        slave_pos: session.value("select @@global.gtid_slave_pos").await?,
        validates_passwords: session.value(validators).await? != "0",
        uid: session.value("select @@global.server_uid").await.unwrap_or_default(),
    })
}
