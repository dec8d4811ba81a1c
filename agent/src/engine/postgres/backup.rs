//! The seed: `pg_basebackup` into an empty directory, then `pg_verifybackup`; and how such a copy is taken away again.
//!
//! A directory is only ever emptied when a mark in the agent's state says that its contents are a copy of ours.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use flytt_proto::failure::Failure;
use tokio::sync::mpsc;

use super::{Postgres, cluster, failure, names};
use crate::{
    change::Backup,
    command::{self, Command},
    engine::{Progress, write_behind::WriteBehind},
};

const VERIFY_LIMIT: Duration = Duration::from_secs(24 * 3600);
const END_LIMIT: Duration = Duration::from_secs(10);

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
            empty(into).map_err(|error| failure::file(into, &error))?;
        }
        self.mark(backup).map_err(|error| failure::file(into, &error))?;

        let mut running = self.command(backup).start().map_err(|error| failure::tool("SEED_FAILED", &error))?;
        let behind = WriteBehind::below(into);
        let mut copied = Progress { done: 0, total: backup.expected_bytes };
        while let Some(line) = running.line().await {
            if let Some((done, total)) = parse(&line) {
                // A listener that is slow or gone does not hold up the copy.
                copied = Progress { done, total: total.max(backup.expected_bytes) };
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
        if let Some(postmaster) = cluster::postmaster(into) {
            let sentence = format!("a server (process {postmaster}) runs in {}", into.display());
            return Err(refused("STILL_RUNNING", sentence));
        }
        empty(into).map_err(|error| failure::file(into, &error).with_effect(flytt_proto::failure::Effect::Unknown))?;
        let mark = names::seed_mark(&self.state, &backup.slot);
        fs::remove_file(&mark).map_err(|error| failure::file(&mark, &error))
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
        fs::read_to_string(names::seed_mark(&self.state, slot)).is_ok_and(|mark| mark == mark_text(into))
    }

    fn mark(&self, backup: &Backup) -> io::Result<()> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let into = &backup.into;
        if !into.exists() {
            fs::DirBuilder::new().mode(0o700).create(into)?;
        }
        if !fs::symlink_metadata(into)?.is_dir() {
            return Err(io::Error::other("the data directory is not a directory"));
        }
        let path = names::seed_mark(&self.state, &backup.slot);
        let parent = path.parent().expect("a mark lies in the state directory");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        // A half-written mark matches no directory, so it permits nothing.
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(mark_text(into).as_bytes())?;
        file.sync_all()?;
        fs::File::open(parent)?.sync_all()
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

fn mark_text(into: &Path) -> String {
    format!("{} {}\n", into.display(), cluster::inode(into))
}

/// Its contents, never itself; a symlink in it goes, not what it points to.
fn empty(directory: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(directory)?.is_dir() {
        return Err(io::Error::other("it is not a directory"));
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".flytt-trash-") {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    fs::File::open(directory)?.sync_all()
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
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_are_bytes() {
        assert_eq!(parse(" 23120/31219 kB (74%), 0/1 tablespace"), Some((23120 * 1024, 31219 * 1024)));
        assert_eq!(parse("waiting for checkpoint"), None);
        assert_eq!(parse("pg_basebackup: error: x/y kB (z"), None);
    }

    #[test]
    fn emptying_follows_no_link_and_spares_the_trash() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("precious"), "x").unwrap();
        fs::create_dir_all(inside.path().join("base/1")).unwrap();
        fs::create_dir(inside.path().join(".flytt-trash-shop")).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("pg_wal")).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("base/2")).unwrap();
        empty(inside.path()).unwrap();
        assert!(outside.path().join("precious").exists());
        let left: Vec<_> = fs::read_dir(inside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".flytt-trash-shop"]);

        let link = outside.path().join("link");
        std::os::unix::fs::symlink(inside.path(), &link).unwrap();
        assert!(empty(&link).is_err(), "not through a link either");
    }
}
