//! What a server holds besides rows, in definitions that are equal where the things are.

use flytt_proto::failure::Failure;
use tokio_postgres::Client;

use super::{super::Object, failure, rows};

/// What nobody has written in this session's database since the log was last written ahead: a standby's copy of a sequence stands
/// where the primary's will be once it has given away what it has logged.
const SEQUENCES: &str = "select string_agg(format('select ''sequence value'', %L, concat_ws('' '', last_value + log_cnt * %s, is_called) \
    from %s', c.oid::regclass::text, s.seqincrement, c.oid::regclass), ' union all ' order by c.oid) \
    from pg_class c join pg_sequence s on s.seqrelid = c.oid join pg_namespace n on n.oid = c.relnamespace \
    where c.relpersistence <> 't' and n.nspname !~ '^pg_'";

/// Everything of the client's database but its rows; secrets stand in it as digests with `salt`.
///
/// # Errors
/// See the module above.
pub async fn objects(client: &Client, salt: u64) -> Result<Vec<Object>, Failure> {
    let mut all = read(client, &include_str!("objects.sql").replace("%SALT%", &salt.to_string())).await?;
    if let Some(values) = rows(client, SEQUENCES).await?.into_iter().flatten().next().flatten() {
        all.extend(read(client, &values).await?);
    }
    Ok(all)
}

/// What belongs to no single database: roles, databases, tablespaces, settings.
///
/// # Errors
/// See the module above.
pub async fn of_the_server(client: &Client, salt: u64) -> Result<Vec<Object>, Failure> {
    read(client, &include_str!("server.sql").replace("%SALT%", &salt.to_string())).await
}

async fn read(client: &Client, sql: &str) -> Result<Vec<Object>, Failure> {
    let object = |row| match <[Option<String>; 3]>::try_from(row) {
        Ok([Some(kind), name, definition]) => {
            Ok(Object { kind, name: name.unwrap_or_default(), definition: definition.unwrap_or_default() })
        }
        _ => Err(failure::unreadable("an object without a kind")),
    };
    rows(client, sql).await?.into_iter().map(object).collect()
}
