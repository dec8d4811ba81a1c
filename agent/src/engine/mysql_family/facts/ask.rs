//! Questions that both servers answer in the same words.

use std::collections::{BTreeMap, BTreeSet};

use flytt_proto::failure::Failure;

use super::{Live, binary_log};
use crate::engine::mysql_family::{quote::literal, session::Session};

pub(crate) const SYSTEM: &str = "('mysql', 'information_schema', 'performance_schema', 'sys')";

/// Those of the global settings of these names that there are, with underscores in their names.
pub(crate) async fn settings(session: &Session, wanted: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
    let wanted: Vec<String> = wanted.iter().map(|name| literal(name)).collect();
    let rows = session.rows(&format!("show global variables where Variable_name in ({})", wanted.join(", "))).await?;
    let pair = |row: Vec<Option<String>>| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        Some((row.next()?.to_lowercase(), row.next()?))
    };
    Ok(rows.into_iter().filter_map(pair).collect())
}

/// What both say. Whom it replicates from, its accounts and what it knows of collations are for each engine to add. `agent` is the
/// account of our own sessions.
pub(crate) async fn live(session: &Session, agent: &str) -> Result<Live, Failure> {
    let number = async |sql: &str| Ok::<u64, Failure>(session.value(sql).await?.parse().unwrap_or(0));
    Ok(Live {
        data_bytes: number("select coalesce(sum(data_length + index_length), 0) from information_schema.TABLES").await?,
        replicas: list(
            session,
            "select distinct USER from information_schema.PROCESSLIST where COMMAND like 'Binlog Dump%' and USER not like 'flytt\\\\_%'",
        )
        .await?,
        without_key: list(session, &without_key()).await?,
        not_transactional: list(session, &not_transactional()).await?,
        events: number("select count(*) from information_schema.EVENTS where STATUS <> 'DISABLED'").await?,
        prepared: session.rows("xa recover").await?.len() as u64,
        longest_transaction: number(&format!(
            "select coalesce(max(timestampdiff(second, trx_started, now())), 0) from information_schema.INNODB_TRX \
             where trx_mysql_thread_id not in (select ID from information_schema.PROCESSLIST where USER in ('system user', {}))",
            literal(agent)
        ))
        .await?,
        largest_transaction: binary_log::largest_lately(session.value("select @@global.log_bin_index").await?.into()).await,
        collations_used: set(
            session,
            "select distinct TABLE_COLLATION from information_schema.TABLES where TABLE_COLLATION is not null \
             union select distinct COLLATION_NAME from information_schema.COLUMNS where COLLATION_NAME is not null \
             union select DEFAULT_COLLATION_NAME from information_schema.SCHEMATA",
        )
        .await?,
        plugins_active: set(
            session,
            "select PLUGIN_NAME from information_schema.PLUGINS where PLUGIN_TYPE = 'AUTHENTICATION' and PLUGIN_STATUS = 'ACTIVE'",
        )
        .await?,
        databases: list(session, &databases()).await?,
        has_time_zones: number("select count(*) from mysql.time_zone_name").await? > 0,
        ..Live::default()
    })
}

/// The first column.
pub(crate) async fn list(session: &Session, sql: &str) -> Result<Vec<String>, Failure> {
    Ok(session.rows(sql).await?.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

pub(crate) async fn set(session: &Session, sql: &str) -> Result<BTreeSet<String>, Failure> {
    Ok(list(session, sql).await?.into_iter().collect())
}

/// Those of applications.
fn databases() -> String {
    format!("select SCHEMA_NAME from information_schema.SCHEMATA where SCHEMA_NAME not in {SYSTEM} order by 1 limit 20")
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

/// A routine, view, trigger or event of a definer that is no account fails when it is used (error 1449). `accounts` is the table of
/// accounts, with columns `Host` and `User`; a role has no host.
pub(crate) async fn lost_definers(session: &Session, accounts: &str) -> Result<Vec<String>, Failure> {
    let objects = [
        ("routines", "concat('routine ', ROUTINE_SCHEMA, '.', ROUTINE_NAME)", "routine_schema"),
        ("views", "concat('view ', TABLE_SCHEMA, '.', TABLE_NAME)", "table_schema"),
        ("triggers", "concat('trigger ', TRIGGER_SCHEMA, '.', TRIGGER_NAME)", "trigger_schema"),
        ("events", "concat('event ', EVENT_SCHEMA, '.', EVENT_NAME)", "event_schema"),
    ];
    let of = |(table, name, schema): &(&str, &str, &str)| {
        format!(
            "select convert(concat(DEFINER, ': ', {name}) using utf8mb4) collate utf8mb4_bin what from information_schema.{table} \
             where {schema} not in {SYSTEM} and not exists (select 1 from {accounts} g where convert(DEFINER using utf8mb4) \
             collate utf8mb4_bin = convert(if(g.Host = '', g.User, concat(g.User, '@', g.Host)) using utf8mb4) collate utf8mb4_bin)"
        )
    };
    let all = objects.iter().map(of).collect::<Vec<_>>().join(" union all ");
    list(session, &format!("select what from ({all}) lost order by 1 limit 20")).await
}
