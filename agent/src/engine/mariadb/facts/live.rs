//! Facts that only a running server gives.

use std::collections::{BTreeMap, BTreeSet};

use flytt_proto::failure::Failure;

use super::{super::Mariadb, Live, MaFacts};
use crate::engine::{
    mariadb::names,
    mysql_family::{quote::literal, session::Session},
};

/// The settings that a finding looks at.
const SETTINGS: [&str; 28] = [
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

const SYSTEM: &str = "('mysql', 'information_schema', 'performance_schema', 'sys')";

impl Mariadb {
    pub(super) async fn ask(&self, facts: &mut MaFacts) -> Result<(), Failure> {
        let session = self.session().await?;
        let wanted = SETTINGS.map(literal).join(", ");
        let rows = session.rows(&format!("show global variables where Variable_name in ({wanted})")).await?;
        let pair = |row: Vec<Option<String>>| {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            Some((row.next()?.to_lowercase(), row.next()?))
        };
        facts.settings = rows.into_iter().filter_map(pair).collect::<BTreeMap<_, _>>();
        facts.version = facts.setting("version").to_owned();
        facts.live = self.live(&session).await?;
        Ok(())
    }

    async fn live(&self, session: &Session) -> Result<Live, Failure> {
        let number = async |sql: &str| Ok::<u64, Failure>(session.value(sql).await?.parse().unwrap_or(0));
        let status = self.slave_status(session).await?.unwrap_or_default();
        let at = |key: &str| status.get(key).cloned().unwrap_or_default();
        let from =
            if at("master_host").is_empty() { String::new() } else { format!("{}:{}", at("master_host"), at("master_port")) };
        let own = literal(&format!("{}%", "flytt\\_"));
        Ok(Live {
            all_privileges: session
                .value("show grants")
                .await?
                .to_uppercase()
                .starts_with("GRANT ALL PRIVILEGES ON *.*"),
            data_bytes: number("select coalesce(sum(data_length + index_length), 0) from information_schema.TABLES").await?,
            binlog_pos: session.value("select @@global.gtid_binlog_pos").await?,
            slave_pos: session.value("select @@global.gtid_slave_pos").await?,
            replicates_from: from,
            replicates_as: at("master_user"),
            replicas: list(
                session,
                &format!(
                    "select distinct USER from information_schema.PROCESSLIST where COMMAND like 'Binlog Dump%' and USER not like {own}"
                ),
            )
            .await?,
            without_key: list(session, &without_key()).await?,
            not_transactional: list(session, &not_transactional()).await?,
            lost_definers: list(session, &lost_definers()).await?,
            events: number("select count(*) from mysql.event where status <> 'DISABLED'").await?,
            prepared: session.rows("xa recover").await?.len() as u64,
            longest_transaction: number(&format!(
                "select coalesce(max(timestampdiff(second, trx_started, now())), 0) from information_schema.INNODB_TRX \
                 where trx_mysql_thread_id not in (select ID from information_schema.PROCESSLIST where USER in ('system user', {}))",
                literal(names::AGENT)
            ))
            .await?,
            collations_used: set(
                session,
                "select distinct TABLE_COLLATION from information_schema.TABLES where TABLE_COLLATION is not null \
                 union select distinct COLLATION_NAME from information_schema.COLUMNS where COLLATION_NAME is not null \
                 union select DEFAULT_COLLATION_NAME from information_schema.SCHEMATA",
            )
            .await?,
            collations_known: set(
                session,
                "select coalesce(FULL_COLLATION_NAME, COLLATION_NAME) from information_schema.COLLATION_CHARACTER_SET_APPLICABILITY",
            )
            .await?,
            plugins_used: set(
                session,
                "select distinct coalesce(json_value(Priv, '$.plugin'), '') from mysql.global_priv \
                 where json_value(Priv, '$.is_role') is null and json_value(Priv, '$.plugin') <> ''",
            )
            .await?,
            plugins_active: set(
                session,
                "select PLUGIN_NAME from information_schema.PLUGINS where PLUGIN_TYPE = 'AUTHENTICATION' and PLUGIN_STATUS = 'ACTIVE'",
            )
            .await?,
            has_time_zones: number("select count(*) from mysql.time_zone_name").await? > 0,
            validates_passwords: number(
                "select count(*) from information_schema.PLUGINS where PLUGIN_TYPE = 'PASSWORD VALIDATION' and PLUGIN_STATUS = 'ACTIVE'",
            )
            .await?
                > 0,
            uid: session.value("select @@global.server_uid").await.unwrap_or_default(),
        })
    }
}

async fn list(session: &Session, sql: &str) -> Result<Vec<String>, Failure> {
    Ok(session.rows(sql).await?.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

async fn set(session: &Session, sql: &str) -> Result<BTreeSet<String>, Failure> {
    Ok(list(session, sql).await?.into_iter().collect())
}

fn without_key() -> String {
    format!(
        "select concat(t.TABLE_SCHEMA, '.', t.TABLE_NAME) from information_schema.TABLES t \
         left join information_schema.TABLE_CONSTRAINTS c on c.TABLE_SCHEMA = t.TABLE_SCHEMA and c.TABLE_NAME = t.TABLE_NAME \
         and c.CONSTRAINT_TYPE in ('PRIMARY KEY', 'UNIQUE') \
         where t.TABLE_TYPE = 'BASE TABLE' and t.TABLE_SCHEMA not in {SYSTEM} and c.CONSTRAINT_NAME is null order by 1 limit 20"
    )
}

fn not_transactional() -> String {
    format!(
        "select concat(t.TABLE_SCHEMA, '.', t.TABLE_NAME, ' (', t.ENGINE, ')') from information_schema.TABLES t \
         join information_schema.ENGINES e on e.ENGINE = t.ENGINE where coalesce(e.TRANSACTIONS, 'NO') <> 'YES' \
         and t.TABLE_TYPE = 'BASE TABLE' and t.TABLE_SCHEMA not in {SYSTEM} order by 1 limit 20"
    )
}

/// A routine, view, trigger or event of a definer that is no account fails when it is used (error 1449).
fn lost_definers() -> String {
    let objects = [
        ("routines", "concat('routine ', ROUTINE_SCHEMA, '.', ROUTINE_NAME)", "routine_schema"),
        ("views", "concat('view ', TABLE_SCHEMA, '.', TABLE_NAME)", "table_schema"),
        ("triggers", "concat('trigger ', TRIGGER_SCHEMA, '.', TRIGGER_NAME)", "trigger_schema"),
        ("events", "concat('event ', EVENT_SCHEMA, '.', EVENT_NAME)", "event_schema"),
    ];
    let of = |(table, name, schema): &(&str, &str, &str)| {
        format!(
            "select convert(concat(DEFINER, ': ', {name}) using utf8mb4) collate utf8mb4_bin what from information_schema.{table} \
             where {schema} not in {SYSTEM} and not exists (select 1 from mysql.global_priv g where convert(DEFINER using utf8mb4) \
             collate utf8mb4_bin = convert(if(g.Host = '', g.User, concat(g.User, '@', g.Host)) using utf8mb4) collate utf8mb4_bin)"
        )
    };
    format!("select what from ({}) lost order by 1 limit 20", objects.iter().map(of).collect::<Vec<_>>().join(" union all "))
}
