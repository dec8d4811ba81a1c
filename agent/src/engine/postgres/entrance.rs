//! Proof that an entrance leads to this very server: a login through it, found in the local list of sessions.

use std::time::Duration;

use flytt_proto::{failure::Failure, name::Migration};
use tokio_postgres::NoTls;

use super::{Postgres, names};
use crate::secret;

const LIMIT: Duration = Duration::from_secs(3);

impl Postgres {
    /// The login is the replication role's, with the password that is kept here. The name it gives itself is random, so
    /// that no other server can have it by chance.
    pub(super) async fn reach(&self, migration: &Migration, entrance: &str) -> Result<(), Failure> {
        let (host, port) = split(entrance)?;
        let role = names::replication_role(migration);
        let path = self.passfile(migration);
        let password = secret::password(&path, &role).map_err(|error| super::failure::file(&path, &error))?;
        let mut random = [0_u8; 12];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| Failure::refused("NO_RANDOM", "the system gives no random bytes", "look at the host"))?;
        let name = format!("flytt-{}", data_encoding::HEXLOWER.encode(&random));

        let mut settings = tokio_postgres::Config::new();
        settings.host(host).port(port).user(&role).dbname(&self.config.database).application_name(&name);
        settings.connect_timeout(LIMIT);
        password.log_in(&mut settings);
        let refused = |why: String| {
            Failure::refused(
                "NOT_REACHED",
                format!("a login through {entrance} does not arrive here: {why}"),
                "look at the router",
            )
        };
        let login = tokio::time::timeout(LIMIT, settings.connect(NoTls)).await.map_err(|_| refused("no answer".into()))?;
        let (client, connection) = login.map_err(|error| match error.as_db_error() {
            Some(server) => refused(format!("{} (SQLSTATE {})", server.message(), server.code().code())),
            None => refused(error.to_string()),
        })?;
        let connection = tokio::spawn(connection);
        let session = self.session().await?;
        let sql = format!("select count(*) from pg_stat_activity where application_name = {}", names::literal(&name));
        let found = session.value(&sql).await;
        drop(client);
        // The session must be gone when we say so: whoever looks next counts sessions.
        let _ = tokio::time::timeout(LIMIT, connection).await;
        if found? == "1" { Ok(()) } else { Err(refused("it arrives at another server".into())) }
    }
}

/// `host:port`, `[v6]:port`.
fn split(entrance: &str) -> Result<(&str, u16), Failure> {
    let bad = || Failure::refused("BAD_ENTRANCE", format!("{entrance:?} is not host:port"), "correct the router's `entrance`");
    let (host, port) = entrance.rsplit_once(':').ok_or_else(bad)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // A path would be a socket, which no application of another host uses.
    if host.is_empty() || host.contains('/') || host.contains(',') {
        return Err(bad());
    }
    Ok((host, port.parse().map_err(|_| bad())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entrance_is_a_host_and_a_port() {
        assert_eq!(split("lb:5432").unwrap(), ("lb", 5432));
        assert_eq!(split("[::1]:5432").unwrap(), ("::1", 5432));
        for bad in ["", "lb", "lb:", "lb:x", "lb:70000", ":5432", "/tmp:5432", "a,b:1"] {
            assert!(split(bad).is_err(), "{bad:?}");
        }
    }
}
