//! Transactions that have been open for long: the fence would have to cut them off.

use std::time::Duration;

use flytt_proto::{failure::Failure, v1};

use super::{findings::block, quote::literal, session::Session};

/// InnoDB notes in which second a transaction began, and no more (`INNODB_TRX.trx_started`).
const GRAIN: Duration = Duration::from_secs(1);

/// Those of others than `agent` that are older than `limit`. One that may be older by its second, and may be younger, is looked at
/// again when the second is over: short transactions, of which a busy server has some at every moment, are gone by then.
pub(crate) async fn longer_than(session: &Session, limit: Duration, agent: &str) -> Result<Vec<v1::Finding>, Failure> {
    if older_than(session, limit, agent).await?.is_empty() {
        return Ok(Vec::new());
    }
    tokio::time::sleep(GRAIN).await;
    let found = older_than(session, limit + GRAIN, agent).await?.into_iter().map(|row| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let (thread, age) = (row.next().unwrap_or_default(), row.next().unwrap_or_default());
        block(
            "LONG_TRANSACTION",
            format!("thread {thread} has been in a transaction for {age} s"),
            "let it finish, or end it; the fence would cut it off",
        )
    });
    Ok(found.collect())
}

async fn older_than(session: &Session, age: Duration, agent: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
    let sql = format!(
        "select trx_mysql_thread_id, timestampdiff(second, trx_started, now()) from information_schema.INNODB_TRX \
         where trx_started <= now(6) - interval {} microsecond and trx_mysql_thread_id not in \
         (select ID from information_schema.PROCESSLIST where USER in ('system user', {})) order by trx_started limit 5",
        age.as_micros(),
        literal(agent)
    );
    session.rows(&sql).await
}
