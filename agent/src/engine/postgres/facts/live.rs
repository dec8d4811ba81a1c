//! Facts that only a running server gives: one query about the cluster, and one in each database.

use std::collections::BTreeMap;

use flytt_proto::failure::Failure;

use super::{Database, Live, PgFacts, disk::SETTINGS};
use crate::engine::postgres::{Postgres, names, session::Session};

const CLUSTER: &str = "select json_build_object(\
    'in_recovery', pg_is_in_recovery(),\
    'data_bytes', (select coalesce(sum(pg_tablespace_size(oid)), 0) from pg_tablespace)::bigint,\
    'tablespaces', (select coalesce(json_agg(pg_tablespace_location(oid)), '[]') from pg_tablespace \
        where pg_tablespace_location(oid) <> ''),\
    'slots', (select count(*) from pg_replication_slots),\
    'logical_slots', (select coalesce(json_agg(slot_name), '[]') from pg_replication_slots where slot_type = 'logical'),\
    'walsenders', (select count(*) from pg_stat_replication),\
    'prepared', (select count(*) from pg_prepared_xacts),\
    'longest_transaction', (select greatest(0, floor(coalesce(extract(epoch from max(clock_timestamp() - xact_start)), 0)))::bigint \
        from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()),\
    'workers', (select coalesce(json_agg(distinct backend_type), '[]') from pg_stat_activity where datid is not null \
        and backend_type not in ('client backend', 'walsender', 'parallel worker') and backend_type not like 'autovacuum%'),\
    'wal_bytes', (select coalesce(sum(size), 0) from pg_ls_waldir())::bigint)";

/// Columns of version 15 do not exist in 14, and changed their names in 17: the row is read as JSON.
const DATABASES: &str = "select coalesce(json_agg(row_to_json(d)), '[]') from (select * from pg_database \
    where datallowconn and datname <> 'template1' order by datname) d";

#[derive(serde::Deserialize)]
struct DatabaseRow {
    oid: serde_json::Value,
    datname: String,
    #[serde(default)]
    datlocprovider: String,
    datcollate: String,
    #[serde(default)]
    datcollversion: Option<String>,
}

const INSIDE: &str = "select json_build_object(\
    'extensions', (select coalesce(json_object_agg(extname, extversion), '{}') from pg_extension),\
    'libraries', (select coalesce(json_agg(distinct probin), '[]') from pg_proc where probin is not null),\
    'unlogged', (select coalesce(json_agg(oid::regclass::text), '[]') from pg_class where relpersistence = 'u' and relkind in ('r', 'm')),\
    'subscriptions', (select coalesce(json_agg(subname), '[]') from pg_subscription s join pg_database d on d.oid = s.subdbid \
        where d.datname = current_database() and s.subenabled))";

impl Postgres {
    pub(super) async fn ask(&self, facts: &mut PgFacts) -> Result<(), Failure> {
        let session = self.session().await?;
        let wanted = SETTINGS.iter().map(|name| names::literal(name)).collect::<Vec<_>>().join(",");
        facts.settings = session
            .json::<BTreeMap<String, String>>(&format!(
                "select json_object_agg(name, setting) from pg_settings where name in ({wanted})"
            ))
            .await?;
        facts.superuser = session.is_true("select rolsuper from pg_roles where rolname = current_user").await?;
        facts.hba_errors =
            session.json("select coalesce(json_agg(error), '[]') from pg_hba_file_rules where error is not null").await?;
        facts.live = session.json::<Live>(CLUSTER).await?;
        for row in session.json::<Vec<DatabaseRow>>(DATABASES).await? {
            facts.live.databases.push(self.inside(&session, &row).await?);
        }
        Ok(())
    }

    async fn inside(&self, session: &Session, row: &DatabaseRow) -> Result<Database, Failure> {
        let own = self.connect(&session.role, &row.datname).await?;
        let mut database = own.json::<Database>(INSIDE).await?;
        if own.is_true("select to_regclass('cron.job') is not null").await? {
            database.jobs = own.value("select count(*) from cron.job where active").await?.parse().unwrap_or(0);
        }
        // From 15 on; before, the server does not know.
        if own.is_true("select to_regproc('pg_database_collation_actual_version') is not null").await? {
            let oid = row.oid.to_string().replace('"', "");
            database.actual_version =
                Some(own.value(&format!("select pg_database_collation_actual_version({oid})")).await?).filter(|v| !v.is_empty());
        }
        database.name.clone_from(&row.datname);
        database.provider.clone_from(&row.datlocprovider);
        database.collate.clone_from(&row.datcollate);
        database.collation_version.clone_from(&row.datcollversion);
        Ok(database)
    }
}
