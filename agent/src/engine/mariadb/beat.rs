//! The heartbeat: a row of the move's own that says by the source's clock how late it is here. What the server calls
//! `Seconds_Behind_Master` is 0 while its connection is down, and jumps with each long transaction.

use flytt_proto::{failure::Failure, name::Migration};

use super::{Mariadb, names};
use crate::engine::mysql_family::session::Session;

impl Mariadb {
    /// Only where the move's replica is connected: the row is of use to nobody else.
    pub(super) async fn beat_once(&self, migration: &Migration) -> Result<(), Failure> {
        let session = self.session().await?;
        if session.account != names::AGENT || !self.has_replica(&session, migration).await? {
            return Ok(());
        }
        // A connection that broke while the target was away does not come back by itself in every case.
        if self.back_trouble(&session, migration).await?.is_some() {
            self.rest_back(&session, migration).await?;
        }
        let table = format!("{}.heartbeat", names::database(migration));
        if !self.has_table(&session, migration).await? {
            session.run(&format!("create database if not exists {}", names::database(migration))).await?;
            let columns = "(id int primary key, at timestamp(6) not null default current_timestamp(6)) engine = InnoDB";
            session.run(&format!("create table if not exists {table} {columns}")).await?;
        }
        // By the clock, whatever time the session was told.
        session.run(&format!("insert into {table} values (1, sysdate(6)) on duplicate key update at = sysdate(6)")).await
    }

    /// The newest one here, in microseconds since 1970 by the source's clock; 0 where there is none.
    pub(super) async fn newest_beat(&self, session: &Session, migration: &Migration) -> Result<u64, Failure> {
        if !self.has_table(session, migration).await? {
            return Ok(0);
        }
        let database = names::database(migration);
        let sql = format!("select cast(unix_timestamp(at) * 1000000 as unsigned) from {database}.heartbeat where id = 1");
        Ok(session.value(&sql).await?.parse().unwrap_or(0))
    }

    async fn has_table(&self, session: &Session, migration: &Migration) -> Result<bool, Failure> {
        let database = names::database(migration);
        let sql = format!(
            "select count(*) from information_schema.TABLES where TABLE_SCHEMA = '{database}' and TABLE_NAME = 'heartbeat'"
        );
        session.is_true(&sql).await
    }
}
