//! The seed: `mariadb-backup` of the source, through a pipe into `mbstream`, then prepared; and how such a copy is taken away
//! again. Where replication begins after it is `begin`'s.

use std::{ffi::OsString, path::Path, time::Duration};

use flytt_proto::{
    failure::{Effect, Failure},
    name::Migration,
    v1::draw_request::Producer,
};
use tokio::sync::mpsc;

use super::{Mariadb, file, names, system};
use crate::{
    change::{Backup, Change},
    command::{self, Command},
    engine::{
        Progress, SeedOrder, Source, Stage, Upstream, Way,
        directory::{self, Mark},
        mysql_family::{place::Place, process},
        returned,
    },
};

const PREPARE_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Commits may wait so long for the end of a copy: less than clients commonly wait for their server.
const HOLD_LIMIT: Duration = Duration::from_secs(20);
/// A process that waits for its disk is not gone before that answers, and a slow one has much to take of what was written behind.
/// Below what an undo may take in all.
const END_LIMIT: Duration = Duration::from_secs(90);
/// Bytes of memory for applying the log that was written meanwhile.
const PREPARE_MEMORY: (u64, u64) = (64 << 20, 2 << 30);

impl Mariadb {
    pub(super) async fn seed(&self, migration: &Migration, order: &SeedOrder) -> Result<Vec<Change>, Failure> {
        if order.way == Way::Dump {
            return self.seed_by_dump(migration, order).await;
        }
        if let Upstream::Direct { .. } = order.upstream {
            return Err(super::recipe::no_direct());
        }
        let (data, name) = (&self.config.data_directory, names::database(migration));
        let found = system::identifier(data).map(|id| id.to_string());
        let place = Place { data, may_replace: self.may_replace, found, mark: self.mark(&name) };
        let mut changes: Vec<Change> = place.made_free(migration, &order.replace_system)?.into_iter().collect();
        changes.push(Change::Backup(Backup {
            into: data.clone(),
            host: String::new(),
            port: 0,
            role: String::new(),
            slot: name,
            passfile: std::path::PathBuf::new(),
            tls: true,
            max_rate: order.max_rate,
            fast_checkpoint: false,
            system: order.system.clone(),
            expected_bytes: order.expected_bytes,
            origin: order.origin.clone(),
        }));
        Ok(changes)
    }

    /// A copy that fails leaves nothing: the disk that it may have filled is needed by others.
    pub(super) async fn copy(&self, backup: &Backup, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        let into = &backup.into;
        if into != &self.config.data_directory {
            return Err(refused("NOT_OUR_DIRECTORY", format!("{} is not this host's data directory", into.display())));
        }
        self.end_leftovers(into).await?;
        let mark = self.mark(&backup.slot);
        if !directory::is_empty(into).map_err(|error| file(into, &error))? {
            if !mark.names(into) {
                return Err(refused("DIRECTORY_NOT_EMPTY", format!("{} is not empty", into.display())));
            }
            // What an earlier run of this very copy left.
            directory::empty(into).map_err(|error| file(into, &error))?;
        }
        mark.set(into).map_err(|error| file(into, &error))?;
        // `mbstream` says that a write fails, and not why.
        let copied = self.fill(backup, &progress).await.map_err(|why| if is_full(into) { no_space(&why) } else { why });
        if copied.is_err()
            && let Err(failure) = self.take_away(backup).await
        {
            tracing::warn!(code = failure.code, "{failure}");
        }
        copied
    }

    async fn fill(&self, backup: &Backup, progress: &mpsc::Sender<Progress>) -> Result<(), Failure> {
        let into = &backup.into;
        let (Some(pipes), Some(origin)) = (&self.pipes, &backup.origin) else {
            let sentence = "this host does not know the source's agent".to_owned();
            return Err(Failure::refused("NO_ORIGIN", sentence, "run `flytt resume` with the same version of flytt everywhere"));
        };
        let at = |done: u64| Progress { done, total: backup.expected_bytes.max(done), rows: 0 };
        // A listener that is slow or gone does not hold up the copy.
        let tell = |done| {
            let _ = progress.try_send(at(done));
        };
        let unpack = Command::new(self.config.bin.join("mbstream")).arg("-x").arg("-C").arg(into);
        let bytes = pipes.draw(origin, Producer::MariadbBackup, backup.max_rate, &unpack, &tell).await?;
        let _ = progress.send(at(bytes)).await;

        self.prepare(into).run(PREPARE_LIMIT).await.map_err(|error| broken("SEED_NOT_INTACT", &error.to_string()))?;
        if system::identifier(into).map(|id| id.to_string()).as_deref() != Some(backup.system.as_str()) {
            return Err(broken("WRONG_CLUSTER", "the copy carries another system identifier than the source"));
        }
        self.begin_at(into, &Self::copied_up_to(into)?).await?;
        sync(into).await.map_err(|error| file(into, &error))
    }

    pub(super) async fn take_away(&self, backup: &Backup) -> Result<(), Failure> {
        let into = &backup.into;
        self.end_leftovers(into).await?;
        let mark = self.mark(&backup.slot);
        if !mark.names(into) {
            return Ok(());
        }
        returned::end(into, process::server, || Box::pin(self.now_serving()), || Box::pin(self.end_at_once())).await?;
        directory::empty(into).map_err(|error| file(into, &error).with_effect(Effect::Unknown))?;
        mark.clear().map_err(|error| file(mark.path(), &error))
    }

    pub(super) fn mark(&self, name: &str) -> Mark {
        Mark::of(&self.state, name)
    }

    /// The programs of a copy, found by their command lines: each names the directory, and the server's own one that it only reads
    /// statements.
    async fn end_leftovers(&self, into: &Path) -> Result<(), Failure> {
        let into = into.to_string_lossy().into_owned();
        let of_this_copy = |line: &[String]| {
            let is = |program: &str| line.first().is_some_and(|first| first.ends_with(program));
            let has = |word: &str| line.iter().any(|argument| argument == word);
            (is("/mbstream") && has(&into))
                || (is("/mariadb-backup") && has("--prepare") && has(&format!("--target-dir={into}")))
                || (has("--bootstrap") && has(&format!("--datadir={into}")))
        };
        if command::end_all(of_this_copy, END_LIMIT).await {
            Ok(())
        } else {
            Err(broken("SEED_STILL_RUNS", "processes of the copy do not end"))
        }
    }

    fn prepare(&self, into: &Path) -> Command {
        let memory = procfs::Current::current().map_or(0, |memory: procfs::Meminfo| memory.mem_available.unwrap_or(0) / 4);
        self.tool()
            .arg("--prepare")
            .arg(format!("--use-memory={}", memory.clamp(PREPARE_MEMORY.0, PREPARE_MEMORY.1)))
            .arg(option("--target-dir=", into))
    }

    // --- the source's part

    /// `mariadb-backup` as the account that the server knows by its operating-system user: there is no password anywhere.
    pub(super) async fn backup_program(&self, migration: &Migration, producer: Producer) -> Result<Source, Failure> {
        match producer {
            Producer::MariadbBackup => {}
            Producer::Unspecified | Producer::Snapshot | Producer::Rows | Producer::SnapshotEnd => {
                let sentence = "the target asks for a program that this agent does not know";
                return Err(Failure::refused("NO_PRODUCER", sentence, "install the same version of flytt-agent on both hosts"));
            }
        }
        let aside = self.aside().join(migration.as_str());
        if !self.end_programs(&aside).await {
            return Err(broken("SEED_STILL_RUNS", "an earlier copy of the source does not end"));
        }
        let program = self
            .tool()
            .args(["--backup", "--stream=mbstream"])
            // While commits wait, it waits for its log reader to wake up once more: by default each second.
            .arg("--log-copy-interval=20")
            .arg(format!("--user={}", self.config.account))
            .arg(option("--socket=", &self.config.socket))
            // It must be named, is never made, and says whose this is.
            .arg(option("--target-dir=", &aside));
        Ok(Source { program, stage })
    }

    pub(super) async fn end_backup_programs(&self) {
        if !self.end_programs(&self.aside()).await {
            tracing::error!("programs that an earlier agent started for a copy do not end");
        }
    }

    async fn end_programs(&self, below: &Path) -> bool {
        let is_ours =
            |argument: &String| argument.strip_prefix("--target-dir=").is_some_and(|at| Path::new(at).starts_with(below));
        command::end_all(|line| line.iter().any(|argument| argument == "--backup") && line.iter().any(is_ours), END_LIMIT).await
    }

    fn aside(&self) -> std::path::PathBuf {
        self.state.join("pipe")
    }

    /// No option file counts: what it does is said here.
    fn tool(&self) -> Command {
        Command::new(self.config.bin.join("mariadb-backup")).arg("--no-defaults")
    }
}

/// The stages of `BACKUP STAGE` (MariaDB manual) as the tool tells them. From FLUSH on it holds locks; in the last it blocks commits
/// while it copies the end of the logs. What it says otherwise in a version to come costs speed in these moments, no more.
fn stage(line: &str) -> Option<Stage> {
    if line.contains("BACKUP STAGE FLUSH") {
        Some(Stage::Hurry)
    } else if line.contains("Starting BACKUP STAGE BLOCK_COMMIT") {
        Some(Stage::Hold(HOLD_LIMIT))
    } else if line.contains("All tables unlocked") {
        Some(Stage::Release)
    } else {
        None
    }
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

/// The tools do not see to it that what they wrote is on the disk.
async fn sync(into: &Path) -> std::io::Result<()> {
    let directory = std::fs::File::open(into)?;
    let synced = tokio::task::spawn_blocking(move || nix::unistd::syncfs(&directory).map_err(std::io::Error::from));
    synced.await.map_err(std::io::Error::other)?
}

/// With less than this no file could have grown.
const FULL: u64 = 4 << 20;

pub(super) fn is_full(into: &Path) -> bool {
    process::free(into) < FULL
}

pub(super) fn no_space(why: &Failure) -> Failure {
    let sentence = format!("the target's disk is full: {}", why.sentence);
    Failure::unknown("NO_SPACE", sentence, "give the target's data directory a larger disk, then start the copy again")
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
    fn the_tool_s_own_words_say_who_waits_for_it() {
        let said = [
            ("[00] 2026-11-21 02:58:42 Acquired locks for BACKUP STAGE START", None),
            ("[01] 2026-11-21 02:58:43 Streaming ./sys/host_summary_by_stages.frm to <STDOUT>", None),
            ("[00] 2026-11-21 02:58:43 Starting BACKUP STAGE FLUSH", Some(Stage::Hurry)),
            ("[00] 2026-11-21 02:58:43 Started BACKUP STAGE BLOCK_DDL", None),
            ("[00] 2026-11-21 02:58:43 Starting BACKUP STAGE BLOCK_COMMIT", Some(Stage::Hold(HOLD_LIMIT))),
            ("[00] 2026-11-21 02:58:44 Finishing BACKUP STAGE BLOCK_COMMIT", None),
            ("[00] 2026-11-21 02:58:44 All tables unlocked", Some(Stage::Release)),
        ];
        for (line, means) in said {
            assert_eq!(stage(line), means, "{line}");
        }
    }
}
