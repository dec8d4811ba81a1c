//! The heartbeat: a row of the move's own that says by the source's clock how late it is on the target. What the servers call seconds
//! behind their source is 0 while the connection is down, and jumps with each long transaction. When one is written is each engine's.

use flytt_proto::failure::Failure;

use super::session::Session;

/// Writes one into the move's own `database`.
pub(crate) async fn write(session: &Session, database: &str) -> Result<(), Failure> {
    let table = format!("{database}.heartbeat");
    if !has_table(session, database).await? {
        session.run(&format!("create database if not exists {database}")).await?;
        let columns = "(id int primary key, at timestamp(6) not null default current_timestamp(6)) engine = InnoDB";
        session.run(&format!("create table if not exists {table} {columns}")).await?;
    }
    // By the clock, whatever time the session was told.
    session.run(&format!("insert into {table} values (1, sysdate(6)) on duplicate key update at = sysdate(6)")).await
}

/// The newest one here, in microseconds since 1970 by the source's clock; 0 where there is none.
pub(crate) async fn newest(session: &Session, database: &str) -> Result<u64, Failure> {
    if !has_table(session, database).await? {
        return Ok(0);
    }
    let sql = format!("select cast(unix_timestamp(at) * 1000000 as unsigned) from {database}.heartbeat where id = 1");
    Ok(session.value(&sql).await?.parse().unwrap_or(0))
}

async fn has_table(session: &Session, database: &str) -> Result<bool, Failure> {
    let sql =
        format!("select count(*) from information_schema.TABLES where TABLE_SCHEMA = '{database}' and TABLE_NAME = 'heartbeat'");
    session.is_true(&sql).await
}
