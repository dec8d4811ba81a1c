//! Events that came by replication are switched off on the replica (`SLAVESIDE_DISABLED`), and only ALTER EVENT makes the running
//! scheduler know that they are on again: it keeps a list of its own, which a change of its table does not reach (tried).
//!
//! ALTER EVENT writes the session's `sql_mode` and character sets over the event's, so those are put back afterwards: they count
//! when the event runs, not when it is planned.

use flytt_proto::failure::Failure;

use super::Mariadb;
use crate::engine::mysql_family::quote::{account, identifier, literal};

/// What ALTER EVENT would change besides the state.
const KEPT: [&str; 5] = ["sql_mode", "character_set_client", "collation_connection", "db_collation", "modified"];

impl Mariadb {
    /// Behind the gate, where the scheduler itself is off: they run once it is on.
    pub(super) async fn wake_events(&self) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        let kept = KEPT.join(", ");
        let sleeping = session
            .rows(&format!("select db, name, definer, time_zone, {kept} from mysql.event where status = 'SLAVESIDE_DISABLED'"))
            .await?;
        for row in sleeping {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || row.next().unwrap_or_default();
            let (database, name, definer, zone) = (next(), next(), next(), next());
            let (user, host) = definer.rsplit_once('@').unwrap_or((&definer, "%"));
            // The schedule is written in the event's own time zone.
            session.run(&format!("set session time_zone = {}", literal(&zone))).await?;
            session
                .run(&format!(
                    "alter definer = {} event {}.{} enable",
                    account(user, host),
                    identifier(&database),
                    identifier(&name)
                ))
                .await?;
            let values: Vec<String> = KEPT.iter().map(|column| format!("{column} = {}", literal(&next()))).collect();
            let which = format!("db = {} and name = {}", literal(&database), literal(&name));
            session.run(&format!("update mysql.event set {} where {which}", values.join(", "))).await?;
        }
        Ok(())
    }
}
