//! The seed: `pg_basebackup` into an empty directory, then `pg_verifybackup`; and how such a copy is taken away again.

use std::{path::Path, time::Duration};

use flytt_proto::failure::Failure;
use tokio::sync::mpsc;

use super::{Postgres, cluster, failure, names};
use crate::{
    change::Backup,
    command::{self, Command},
    engine::{
        Progress,
        directory::{self, Mark},
        returned,
        write_behind::WriteBehind,
    },
};

const VERIFY_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// A process that waits for its disk is not gone before that answers, and a slow one has much to take of what was written behind.
/// Below what an undo may take in all.
const END_LIMIT: Duration = Duration::from_secs(90);

impl Postgres {
    pub(super) async fn copy(&self, backup: &Backup, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        let into = &backup.into;
        if into != &self.config.data_directory {
            return Err(refused("NOT_OUR_DIRECTORY", format!("{} is not this host's data directory", into.display())));
        }
        self.end_leftovers(backup).await?;
        if !cluster::is_empty(into).map_err(|error| failure::file(into, &error))? {
            if !self.is_ours(backup) {
                return Err(refused("DIRECTORY_NOT_EMPTY", format!("{} is not empty", into.display())));
            }
            // What an earlier run of this very copy left.
            directory::empty(into).map_err(|error| failure::file(into, &error))?;
        }
        self.mark(&backup.slot).set(into).map_err(|error| failure::file(into, &error))?;

        let mut running = self.command(backup).start().map_err(|error| failure::tool("SEED_FAILED", &error))?;
        let behind = WriteBehind::below(into);
        let mut copied = Progress { done: 0, total: backup.expected_bytes, rows: 0 };
        while let Some(line) = running.line().await {
            if let Some((done, total)) = parse(&line) {
                // A listener that is slow or gone does not hold up the copy.
                copied = Progress { done, total: total.max(backup.expected_bytes), rows: 0 };
                let _ = progress.try_send(copied);
            }
        }
        running.wait().await.map_err(|error| broken("SEED_FAILED", &error.to_string()))?;
        drop(behind);
        // Everything is on disk now, which the tool's last line was too early to say.
        let _ = progress.send(copied).await;

        let verify = Command::new(self.config.bin.join("pg_verifybackup")).arg("--exit-on-error").arg("--quiet").arg(into);
        verify.run(VERIFY_LIMIT).await.map_err(|error| broken("SEED_NOT_INTACT", &error.to_string()))?;
        let system = cluster::system_identifier(into).map_err(|error| failure::file(into, &error))?;
        if system.map(|id| id.to_string()).as_deref() != Some(backup.system.as_str()) {
            return Err(broken("WRONG_CLUSTER", "the copy carries another system identifier than the source"));
        }
        Ok(())
    }

    pub(super) async fn take_away(&self, backup: &Backup) -> Result<(), Failure> {
        let into = &backup.into;
        self.end_leftovers(backup).await?;
        if !self.is_ours(backup) {
            return Ok(());
        }
        returned::end(into, cluster::postmaster, || Box::pin(self.now_serving()), || Box::pin(self.end_at_once())).await?;
        directory::empty(into).map_err(|error| failure::file(into, &error).with_effect(flytt_proto::failure::Effect::Unknown))?;
        let mark = self.mark(&backup.slot);
        mark.clear().map_err(|error| failure::file(mark.path(), &error))
    }

    /// `-X stream` forks a second process that outlives a killed parent and keeps the slot busy: it is found by its
    /// command line, which names slot and directory.
    async fn end_leftovers(&self, backup: &Backup) -> Result<(), Failure> {
        let into = backup.into.to_string_lossy().into_owned();
        let of_this_copy = |line: &[String]| {
            let has = |word: &str| line.iter().any(|argument| argument == word);
            line.first().is_some_and(|program| program.ends_with("pg_basebackup")) && has(&backup.slot) && has(&into)
        };
        if command::end_all(of_this_copy, END_LIMIT).await {
            Ok(())
        } else {
            Err(broken("SEED_STILL_RUNS", "processes of the copy do not end"))
        }
    }

    fn command(&self, backup: &Backup) -> Command {
        let (port, passfile) = (backup.port.to_string(), backup.passfile.to_string_lossy().into_owned());
        let mut command = Command::new(self.config.bin.join("pg_basebackup"))
            .arg("-D")
            .arg(&backup.into)
            .args(["-X", "stream", "-S", &backup.slot, "--no-password", "--progress", "--manifest-checksums=CRC32C"])
            .arg(if backup.fast_checkpoint { "--checkpoint=fast" } else { "--checkpoint=spread" })
            .arg("-d")
            .arg(conninfo(&backup.host, &port, &backup.role, &passfile, backup.tls, &backup.slot));
        if backup.max_rate > 0 {
            // The tool takes 32 kB/s to 1024 MB/s.
            command = command.arg(format!("--max-rate={}k", (backup.max_rate / 1024).clamp(32, 1_048_576)));
        }
        command
    }

    /// Whether the directory is the very one that a copy of this move was begun in.
    pub(super) fn is_ours(&self, backup: &Backup) -> bool {
        self.holds_copy(&backup.slot, &backup.into)
    }

    pub(super) fn holds_copy(&self, slot: &str, into: &Path) -> bool {
        self.mark(slot).names(into)
    }

    fn mark(&self, slot: &str) -> Mark {
        Mark::of(&self.state, slot)
    }
}

/// How the copy, and later the standby, reaches the source. With TLS, channel binding proves that the source is the one
/// that knows the verifier: no certificate authority is needed for that.
pub(super) fn conninfo(host: &str, port: &str, role: &str, passfile: &str, tls: bool, application: &str) -> String {
    let mut pairs = vec![
        ("host", host),
        ("port", port),
        ("user", role),
        ("passfile", passfile),
        ("application_name", application),
        ("gssencmode", "disable"),
        ("keepalives_idle", "5"),
        ("keepalives_interval", "2"),
        ("keepalives_count", "3"),
        ("connect_timeout", "10"),
    ];
    if tls {
        pairs.extend([("sslmode", "require"), ("channel_binding", "require")]);
    } else {
        pairs.push(("sslmode", "disable"));
    }
    names::conninfo(&pairs)
}

/// ` 23120/31219 kB (74%), 0/1 tablespace`
fn parse(line: &str) -> Option<(u64, u64)> {
    let (counts, _) = line.split_once(" kB (")?;
    let (done, total) = counts.trim().split_once('/')?;
    Some((done.parse::<u64>().ok()?.checked_mul(1024)?, total.parse::<u64>().ok()?.checked_mul(1024)?))
}

fn refused(code: &str, sentence: String) -> Failure {
    Failure::refused(code, sentence, "look at the target's data directory; nothing of it was touched")
}

fn broken(code: &str, why: &str) -> Failure {
    Failure::unknown(code, format!("the copy fails: {why}"), "take the seed back and start it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_are_bytes() {
        assert_eq!(parse(" 23120/31219 kB (74%), 0/1 tablespace"), Some((23120 * 1024, 31219 * 1024)));
        assert_eq!(parse("waiting for checkpoint"), None);
        assert_eq!(parse("pg_basebackup: error: x/y kB (z"), None);
    }
}
