//! Positions in the write-ahead log: the final one of the source, the target's way to it, and the proof of a promotion.

use std::fs;

use flytt_proto::{
    failure::Failure,
    name::{Lsn, Migration, Position},
};

use super::{Postgres, cluster, failure, names, session::Session};
use crate::engine::Replication;

impl Postgres {
    pub(super) async fn own_position(&self) -> Result<Lsn, Failure> {
        let session = self.session().await?;
        let sql = "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end";
        lsn(&session.value(sql).await?)
    }

    /// The flush position after a durable marker. A second marker follows, so that a record which straddles the position
    /// is complete and on its way, and the standby never waits for somebody to finish it.
    pub(super) async fn mark_end(&self, migration: &Migration) -> Result<Lsn, Failure> {
        let session = self.session().await?;
        emit(&session, migration).await?;
        let end = lsn(&session.value("select pg_current_wal_flush_lsn()").await?)?;
        emit(&session, migration).await?;
        Ok(end)
    }

    /// Returns once `goal` is replayed; fails when the server goes away.
    pub(super) async fn replayed(&self, goal: Lsn) -> Result<Lsn, Failure> {
        let session = self.session().await?;
        loop {
            let text = session.value("select pg_last_wal_replay_lsn()").await?;
            if text.is_empty() {
                let sentence = "the server has replayed nothing since it started: it is no standby";
                return Err(Failure::refused("NOT_A_STANDBY", sentence, "look at the server's log"));
            }
            let at = lsn(&text)?;
            if at >= goal {
                return Ok(at);
            }
            tokio::time::sleep(std::time::Duration::from_micros(500)).await;
        }
    }

    pub(super) async fn prove_primary(&self, migration: &Migration, fork: Lsn) -> Result<Lsn, Failure> {
        let data = &self.config.data_directory;
        let session = self.session().await?;
        let row = session
            .rows(
                "select pg_is_in_recovery(), (select system_identifier from pg_control_system()), \
                 case when pg_is_in_recovery() then null else left(pg_walfile_name(pg_current_wal_lsn()), 8) end",
            )
            .await?;
        let mut row = row.into_iter().flatten().map(Option::unwrap_or_default);
        let (in_recovery, system, timeline) =
            (row.next().unwrap_or_default(), row.next().unwrap_or_default(), row.next().unwrap_or_default());
        let doubt = |sentence: String| Failure::refused("NOT_THE_PRIMARY", sentence, "burn the target and seed it again");
        if in_recovery != "f" {
            return Err(doubt("the server is still in recovery".into()));
        }
        let on_disk = cluster::system_identifier(data).map_err(|error| failure::file(data, &error))?;
        if on_disk.map(|id| id.to_string()) != Some(system.clone()) {
            return Err(doubt(format!("the server's system identifier is {system}, its data directory's is {on_disk:?}")));
        }
        let number = u32::from_str_radix(&timeline, 16).map_err(|_| doubt(format!("its timeline is {timeline:?}")))?;
        if number < 2 {
            return Err(doubt("it is still on its first timeline".into()));
        }
        let path = data.join("pg_wal").join(format!("{timeline}.history"));
        let history = fs::read_to_string(&path).map_err(|error| failure::file(&path, &error))?;
        let forked = fork_point(&history).ok_or_else(|| doubt(format!("{} names no fork", path.display())))?;
        if forked < fork {
            return Err(doubt(format!("it forked at {forked}, before the source's final position {fork}")));
        }
        emit(&session, migration).await?;
        lsn(&session.value("select pg_current_wal_flush_lsn()").await?)
    }

    pub(super) async fn look_at_replication(&self, migration: &Migration) -> Result<Replication, Failure> {
        let session = self.session().await?;
        if session.is_true("select pg_is_in_recovery()").await? {
            receiving(&session).await
        } else {
            sending(&session, &names::slot(migration)).await
        }
    }
}

/// `local`: a synchronous standby that is gone must not hold up the window; durable here is what counts.
async fn emit(session: &Session, migration: &Migration) -> Result<(), Failure> {
    let marker = names::literal(migration.as_str());
    session
        .run(&format!(
            "begin; set local synchronous_commit = local; select pg_logical_emit_message(true, 'flytt', {marker}); commit"
        ))
        .await
}

async fn receiving(session: &Session) -> Result<Replication, Failure> {
    let rows = session
        .rows(
            "select coalesce(r.status, ''), coalesce(pg_last_wal_replay_lsn(), '0/0'), \
             greatest(pg_last_wal_receive_lsn(), r.latest_end_lsn, pg_last_wal_replay_lsn()), \
             (select case when pg_get_wal_replay_pause_state() <> 'not paused' then 'replay is paused' else '' end), \
             coalesce(lpad(upper(to_hex(r.received_tli)), 8, '0'), ''), \
             coalesce((select max(left(name, 8)) from pg_ls_waldir() where name ~ '^[0-9A-F]{8}[.]history$'), '') \
             from (select 1) one left join pg_stat_wal_receiver r on true",
        )
        .await?;
    let mut row = rows.into_iter().flatten().map(Option::unwrap_or_default);
    let mut next = || row.next().unwrap_or_default();
    let (status, applied, announced, paused, timeline, newest) = (next(), next(), next(), next(), next(), next());
    let applied = lsn(&applied)?;
    let announced = if announced.is_empty() { applied } else { lsn(&announced)? };
    // The receiver fetches the history of the primary's timeline first. A server that has gone another way can still stream what
    // both have in common, and then waits for ever.
    let astray = timeline < newest;
    let streaming = status == "streaming" && !astray;
    let trouble = match (streaming, paused.is_empty()) {
        (_, false) => paused,
        (true, true) => String::new(),
        (false, true) if astray && !status.is_empty() => {
            format!("it is on timeline {timeline} and the primary on {newest}: it may have written what the primary never had")
        }
        (false, true) if status.is_empty() => "no WAL receiver runs".into(),
        (false, true) => format!("the WAL receiver is {status}"),
    };
    Ok(Replication {
        streaming,
        position: Some(Position::Postgres(applied)),
        upstream: Some(Position::Postgres(announced)),
        lag_bytes: announced.0.saturating_sub(applied.0),
        trouble,
        ..Replication::default()
    })
}

async fn sending(session: &Session, slot: &str) -> Result<Replication, Failure> {
    let rows = session
        .rows(&format!(
            "select pg_current_wal_flush_lsn(), coalesce(r.state, ''), r.replay_lsn, \
             coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint, coalesce(s.wal_status, ''), s.slot_name \
             from (select 1) one left join pg_replication_slots s on s.slot_name = {} \
             left join pg_stat_replication r on r.pid = s.active_pid",
            names::literal(slot)
        ))
        .await?;
    let mut row = rows.into_iter().flatten().map(Option::unwrap_or_default);
    let mut next = || row.next().unwrap_or_default();
    let (flushed, state, applied, held, wal_status, name) = (next(), next(), next(), next(), next(), next());
    let flushed = lsn(&flushed)?;
    let applied = if applied.is_empty() { None } else { Some(lsn(&applied)?) };
    let streaming = state == "streaming";
    let trouble = if name.is_empty() {
        "there is no slot of this move".into()
    } else if wal_status == "lost" || wal_status == "unreserved" {
        format!("the slot's WAL is {wal_status}")
    } else if streaming {
        String::new()
    } else if state.is_empty() {
        "nobody is connected to the slot".into()
    } else {
        format!("the slot's connection is in state {state}")
    };
    Ok(Replication {
        streaming,
        position: Some(Position::Postgres(flushed)),
        upstream: applied.map(Position::Postgres),
        lag_bytes: applied.map_or(0, |applied| flushed.0.saturating_sub(applied.0)),
        held_bytes: held.parse::<i64>().map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0)),
        trouble,
        ..Replication::default()
    })
}

/// The switch point of the newest line of a timeline history file: `<parent> <LSN> <reason>` (manual, "Timelines").
fn fork_point(history: &str) -> Option<Lsn> {
    let line = history.lines().rfind(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

pub(super) fn lsn(text: &str) -> Result<Lsn, Failure> {
    text.parse()
        .map_err(|error| Failure::refused("UNREADABLE", format!("the server's answer is no position: {error}"), "report this"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_fork_counts() {
        let history = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000110\tno recovery target specified\n\n";
        assert_eq!(fork_point(history), Some(Lsn(0x500_0110)));
        assert_eq!(fork_point("\n# nothing\n"), None);
    }
}
