//! Proof that an entrance leads to this very server: a login through it, found in the local list of threads.

use std::time::Duration;

use flytt_proto::failure::Failure;
use mysql_async::{Conn, Opts, OptsBuilder};

use super::{quote::literal, session::Session};
use crate::secret::Secret;

const LIMIT: Duration = Duration::from_secs(3);

/// The login is the move's own account, which may do nothing, with the password that is kept here. Its number and account
/// must be in our own list of threads: another server has no account of that password.
pub(crate) async fn reach(session: &Session, account: &str, password: &Secret, entrance: &str) -> Result<(), Failure> {
    let (host, port) = split(entrance)?;
    let refused = |why: String| {
        Failure::refused("NOT_REACHED", format!("a login through {entrance} does not arrive here: {why}"), "look at the router")
    };
    // Not the driver's own idea of a shorter way: it must go through the router.
    let settings = OptsBuilder::default().ip_or_hostname(host).tcp_port(port).user(Some(account)).prefer_socket(false);
    let settings = password.log_in_by_mysql(settings).stmt_cache_size(0);
    let login = tokio::time::timeout(LIMIT, Conn::new(Opts::from(settings))).await;
    let conn = login.map_err(|_| refused("no answer".into()))?.map_err(|error| refused(error.to_string()))?;
    let sql = format!(
        "select count(*) from information_schema.PROCESSLIST \
         where ID = {} and USER = {} and COMMAND not like 'Binlog Dump%'",
        conn.id(),
        literal(account)
    );
    let found = session.value(&sql).await;
    // The session must be gone when we say so: whoever looks next counts sessions.
    let _ = tokio::time::timeout(LIMIT, conn.disconnect()).await;
    if found? == "1" { Ok(()) } else { Err(refused("it arrives at another server".into())) }
}

/// `host:port`, `[v6]:port`.
fn split(entrance: &str) -> Result<(&str, u16), Failure> {
    let bad = || Failure::refused("BAD_ENTRANCE", format!("{entrance:?} is not host:port"), "correct the router's `entrance`");
    let (host, port) = entrance.rsplit_once(':').ok_or_else(bad)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains('/') {
        return Err(bad());
    }
    Ok((host, port.parse().map_err(|_| bad())?))
}
