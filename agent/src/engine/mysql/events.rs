//! Events that came by replication are switched off on the replica (`REPLICA_SIDE_DISABLED`, `SLAVESIDE_DISABLED` before 8.4), and
//! stay so when it is one no more: each is switched on by ALTER EVENT.
//!
//! ALTER EVENT writes the session's `sql_mode`, time zone and character sets over the event's, so the session takes the event's
//! own first. MySQL keeps events where no statement can put them back afterwards.

use flytt_proto::failure::Failure;

use super::Mysql;
use crate::engine::mysql_family::quote::{identifier, literal};

impl Mysql {
    /// Behind the gate, where the scheduler itself is off: they run once it is on.
    pub(super) async fn wake_events(&self) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        let sleeping = session
            .rows(
                "select EVENT_SCHEMA, EVENT_NAME, DEFINER, TIME_ZONE, SQL_MODE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION \
                 from information_schema.EVENTS where STATUS in ('REPLICA_SIDE_DISABLED', 'SLAVESIDE_DISABLED')",
            )
            .await?;
        for row in sleeping {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || row.next().unwrap_or_default();
            let (schema, name, definer, zone, mode, client, collation) = (next(), next(), next(), next(), next(), next(), next());
            let (user, host) = definer.rsplit_once('@').unwrap_or((&definer, "%"));
            // In back-ticks: a quoted string means something else under another `sql_mode`.
            let alter = format!(
                "alter definer = {}@{} event {}.{} enable",
                identifier(user),
                identifier(host),
                identifier(&schema),
                identifier(&name)
            );
            let mut settings = format!("set session time_zone = {}, sql_mode = {}", literal(&zone), literal(&mode));
            // We speak UTF-8. Names beyond ASCII would not be found under another character set: then the event takes ours.
            if alter.is_ascii() {
                settings.push_str(&format!(
                    ", character_set_client = {}, collation_connection = {}",
                    literal(&client),
                    literal(&collation)
                ));
            }
            session.run(&settings).await?;
            session.run(&alter).await?;
            session.run("set session sql_mode = '', character_set_client = utf8mb4, collation_connection = default").await?;
        }
        Ok(())
    }
}
