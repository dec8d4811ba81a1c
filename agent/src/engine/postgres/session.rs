//! Connections to the local server: over its unix socket, admitted by peer authentication, without a password.
//!
//! One is kept warm, so that the cutover never waits for a login. Who is admitted stands in `pg_ident.conf`: once a move
//! has a role of its own there, that one is used, because it is the one that passes the fence.

use std::{sync::Arc, time::Duration};

use flytt_proto::failure::Failure;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::{Postgres, failure};

/// Of every session of ours. Nothing of it is logged or shown by the server: a statement may carry a verifier.
const OPTIONS: &str = "-c search_path=pg_catalog -c statement_timeout=30s -c lock_timeout=5s \
    -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 -c default_transaction_read_only=off \
    -c DateStyle=ISO -c client_min_messages=error -c track_activities=off \
    -c log_statement=none -c log_duration=off -c log_min_duration_statement=-1 -c log_min_duration_sample=-1 \
    -c log_min_error_statement=panic -c log_transaction_sample_rate=0 \
    -c log_parser_stats=off -c log_statement_stats=off -c debug_print_parse=off -c debug_print_rewritten=off \
    -c debug_print_plan=off -c log_lock_waits=off \
    -c pg_stat_statements.track=none -c pg_stat_statements.track_utility=off -c pgaudit.log=none \
    -c auto_explain.log_min_duration=-1";
pub(super) const APPLICATION: &str = "flytt-agent";
const LOGIN_LIMIT: Duration = Duration::from_secs(5);

/// A connection, and who it is.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    pub(super) role: String,
}

impl Session {
    /// For who asks it in ways of his own.
    pub(super) fn into_client(self) -> Client {
        self.client
    }

    /// Runs `sql` (one or more statements, one round trip) and gives the last rows back as texts.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let messages = self.client.simple_query(sql).await.map_err(|error| failure::statement(&error))?;
        let mut rows = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
            }
        }
        Ok(rows)
    }

    pub(super) async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.rows(sql).await.map(drop)
    }

    /// The only value of the only row; empty when null.
    pub(super) async fn value(&self, sql: &str) -> Result<String, Failure> {
        Ok(self.rows(sql).await?.into_iter().flatten().next().flatten().unwrap_or_default())
    }

    pub(super) async fn is_true(&self, sql: &str) -> Result<bool, Failure> {
        Ok(self.value(sql).await? == "t")
    }

    /// A value that the server composed as JSON.
    pub(super) async fn json<T: serde::de::DeserializeOwned>(&self, sql: &str) -> Result<T, Failure> {
        let text = self.value(sql).await?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::refused("UNREADABLE", format!("the server's answer is not of the expected form: {error}"), "report this")
        })
    }
}

impl Postgres {
    /// The warm session, or a new one when it is gone or a better role has been admitted since.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Failure> {
        let roles = self.roles().await;
        let mut warm = self.warm.lock().await;
        if let Some(session) = warm.as_ref()
            && !session.client.is_closed()
            && roles.first() == Some(&session.role)
        {
            return Ok(Arc::clone(session));
        }
        let mut refusal = None;
        for role in &roles {
            // An admitted role may not exist yet; then the session at hand is as good as a new one.
            if let Some(session) = warm.as_ref()
                && !session.client.is_closed()
                && session.role == *role
            {
                return Ok(Arc::clone(session));
            }
            match self.connect(role, &self.config.database).await {
                Ok(session) => {
                    let session = Arc::new(session);
                    *warm = Some(Arc::clone(&session));
                    return Ok(session);
                }
                Err(error) => refusal = Some(error),
            }
        }
        *warm = None;
        Err(refusal.expect("there is always the configured role"))
    }

    /// A session of its own, for what may take long or must not be seen by others.
    pub(super) async fn connect(&self, role: &str, database: &str) -> Result<Session, Failure> {
        let mut settings = tokio_postgres::Config::new();
        settings
            .host_path(&self.config.socket)
            .port(self.config.port)
            .user(role)
            .dbname(database)
            .application_name(APPLICATION)
            .options(OPTIONS);
        let (client, connection) = match tokio::time::timeout(LOGIN_LIMIT, settings.connect(NoTls)).await {
            Ok(outcome) => outcome.map_err(|error| failure::login(role, &error))?,
            Err(_) => {
                return Err(Failure::refused(
                    "SERVER_DOWN",
                    format!("the server does not finish a login within {} s", LOGIN_LIMIT.as_secs()),
                    "look at the server and its log",
                ));
            }
        };
        // It ends with the client; its error is what the client's next call reports.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a session ends");
            }
        });
        Ok(Session { client, role: role.to_owned() })
    }

    /// Whom we may be here, best first: each move's own role that `pg_ident.conf` admits, then the configured one.
    async fn roles(&self) -> Vec<String> {
        let mut roles = match self.files().await {
            Ok(files) => std::fs::read_to_string(&files.ident).map(|text| admitted(&text)).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        roles.push(self.config.role.clone());
        roles
    }
}

/// The agent roles in lines `flytt_x <system user> flytt_x_agent`.
fn admitted(ident: &str) -> Vec<String> {
    let role = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let map = words.first().filter(|map| map.starts_with("flytt_"))?;
        words.last().filter(|role| **role == format!("{map}_agent")).map(|role| (*role).to_owned())
    };
    ident.lines().filter_map(role).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_maps_name_a_role() {
        let ident = "# flytt_no postgres flytt_no_agent\nflytt_a \"postgres\" flytt_a_agent\nops root postgres\n\
                     flytt_b postgres postgres\n";
        assert_eq!(admitted(ident), ["flytt_a_agent"]);
    }
}
