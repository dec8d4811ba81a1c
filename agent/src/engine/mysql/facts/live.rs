//! Facts that only a running server gives.

use flytt_proto::failure::Failure;

use super::{super::Mysql, MyFacts, Own};
use crate::engine::{
    mysql::{names, replica::upstream},
    mysql_family::{
        facts::{Live, ask},
        session::Session,
    },
};

/// The settings that a finding looks at.
const SETTINGS: &[&str] = &[
    "bind_address",
    "binlog_encryption",
    "binlog_expire_logs_auto_purge",
    "binlog_expire_logs_seconds",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_value_options",
    "character_set_server",
    "collation_server",
    "enforce_gtid_consistency",
    "event_scheduler",
    "explicit_defaults_for_timestamp",
    "gtid_mode",
    "innodb_data_file_path",
    "innodb_data_home_dir",
    "innodb_doublewrite_dir",
    "innodb_log_group_home_dir",
    "innodb_page_size",
    "innodb_undo_directory",
    "log_bin",
    "log_replica_updates",
    "lower_case_table_names",
    "max_allowed_packet",
    "partial_revokes",
    "plugin_dir",
    "require_secure_transport",
    "server_id",
    "skip_networking",
    "sql_mode",
    "ssl_ca",
    "version",
];

/// What a move does as the agent's account.
const PRIVILEGES: [&str; 11] = [
    "backup_admin",
    "connection_admin",
    "create user",
    "process",
    "reload",
    "replication client",
    "replication_slave_admin",
    "select",
    "system_user",
    "system_variables_admin",
    "xa_recover_admin",
];

impl Mysql {
    pub(super) async fn ask(&self, facts: &mut MyFacts) -> Result<(), Failure> {
        let session = self.session().await?;
        facts.common.settings = ask::settings(&session, SETTINGS).await?;
        facts.common.version = facts.setting("version").to_owned();
        facts.common.live = live(&session).await?;
        facts.own = own(&session).await?;
        Ok(())
    }
}

async fn live(session: &Session) -> Result<Live, Failure> {
    let (replicates_from, replicates_as) = upstream(session).await?.unwrap_or_default();
    Ok(Live {
        replicates_from,
        replicates_as,
        lost_definers: ask::lost_definers(session, "mysql.user").await?,
        collations_known: ask::set(session, "select COLLATION_NAME from information_schema.COLLATIONS").await?,
        // A role is an account that is locked, without a password.
        plugins_used: ask::set(session, "select distinct plugin from mysql.user where account_locked = 'N' and plugin <> ''")
            .await?,
        // What the list of tables says is up to a day old (`information_schema_stats_expiry`).
        data_bytes: session
            .value("select coalesce(sum(FILE_SIZE), 0) from information_schema.INNODB_TABLESPACES")
            .await?
            .parse()
            .unwrap_or(0),
        ..ask::live(session, names::AGENT).await?
    })
}

async fn own(session: &Session) -> Result<Own, Failure> {
    let number = async |sql: &str| Ok::<u64, Failure>(session.value(sql).await?.parse().unwrap_or(0));
    let has = ask::set(
        session,
        "select lower(PRIVILEGE_TYPE) from information_schema.USER_PRIVILEGES where replace(GRANTEE, '''', '') = current_user()",
    )
    .await?;
    let log = session.named("show binary log status").await?.unwrap_or_default();
    let filter = |name: &str| log.get(name).filter(|value| !value.is_empty()).map(|value| format!("{name} = {value}"));
    let keyrings = "select (select count(*) from performance_schema.keyring_component_status \
                    where STATUS_KEY = 'Component_status' and STATUS_VALUE = 'Active') + (select count(*) from \
                    information_schema.PLUGINS where PLUGIN_TYPE = 'KEYRING' and PLUGIN_STATUS = 'ACTIVE')";
    Ok(Own {
        lacks: PRIVILEGES.iter().filter(|needed| !has.contains(**needed)).map(|needed| (*needed).to_owned()).collect(),
        server_uuid: session.value("select @@global.server_uuid").await?,
        gtid_executed: session.value("select @@global.gtid_executed").await?.replace('\n', ""),
        filters: ask::list(
            session,
            "select concat(FILTER_NAME, ' = ', FILTER_RULE) from performance_schema.replication_applier_global_filters \
             where FILTER_RULE <> '' union select concat(FILTER_NAME, ' = ', FILTER_RULE) \
             from performance_schema.replication_applier_filters where FILTER_RULE <> ''",
        )
        .await?,
        binlog_filters: ["binlog_do_db", "binlog_ignore_db"].into_iter().filter_map(filter).collect(),
        encrypted: number("select count(*) from information_schema.INNODB_TABLESPACES where ENCRYPTION = 'Y'").await?,
        keyring: number(keyrings).await? > 0,
        libraries_used: ask::set(
            session,
            "select PLUGIN_LIBRARY from information_schema.PLUGINS where PLUGIN_LIBRARY is not null and PLUGIN_STATUS = 'ACTIVE' \
             union select concat(substring_index(component_urn, '://', -1), '.so') from mysql.component",
        )
        .await?,
        persisted: ask::list(session, "select VARIABLE_NAME from performance_schema.persisted_variables order by 1").await?,
        outside: ask::list(
            session,
            "select FILE_NAME from information_schema.FILES where FILE_TYPE in ('TABLESPACE', 'UNDO LOG') and FILE_NAME like '/%' \
             order by 1 limit 20",
        )
        .await?,
        certified: ask::list(
            session,
            "select concat(User, '@', Host) from mysql.user where ssl_type in ('X509', 'SPECIFIED') order by 1 limit 20",
        )
        .await?,
        restricted: number("select count(*) from mysql.user where json_contains_path(User_attributes, 'one', '$.Restrictions')").await?,
    })
}
