//! The copy itself: CLONE through the tunnel into the target's data directory, and how one is taken away again.

use std::{fs, path::Path, time::Duration};

use flytt_proto::{
    failure::{Effect, Failure},
    name::Migration,
};
use tokio::sync::mpsc;

use super::{
    super::{Mysql, file, names},
    receiver::{self, Receiver},
};
use crate::{
    change::Backup,
    engine::{
        Progress, directory,
        mysql_family::{
            process,
            quote::{account, literal},
            session::Session,
        },
        returned,
        write_behind::WriteBehind,
    },
    secret,
};

/// Where CLONE writes, in the data directory: it wants a directory that is not there yet.
const COPY: &str = ".flytt-copy";

const LOOK: Duration = Duration::from_millis(200);
const MIB: u64 = 1 << 20;

impl Mysql {
    /// A copy that fails leaves nothing: the disk that it may have filled is needed by others.
    pub(in super::super) async fn copy(&self, backup: &Backup, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        let into = &backup.into;
        if into != &self.config.data_directory {
            return Err(refused("NOT_OUR_DIRECTORY", format!("{} is not this host's data directory", into.display())));
        }
        receiver::end(into).await?;
        let mark = self.mark(&backup.slot);
        if !directory::is_empty(into).map_err(|error| file(into, &error))? {
            if !mark.names(into) {
                return Err(refused("DIRECTORY_NOT_EMPTY", format!("{} is not empty", into.display())));
            }
            // What an earlier run of this very copy left.
            directory::empty(into).map_err(|error| file(into, &error))?;
        }
        mark.set(into).map_err(|error| file(into, &error))?;
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
        let Some(origin) = &backup.origin else {
            let sentence = "this host does not know the source's agent".to_owned();
            return Err(Failure::refused("NO_ORIGIN", sentence, "run `flytt resume` with the same version of flytt everywhere"));
        };
        let receiver = Receiver::start(self, into).await?;
        let behind = WriteBehind::below(into);
        let (worker, watcher) = (receiver.session().await?, receiver.session().await?);
        tokio::select! {
            done = copy_from(backup, &origin.migration, &worker) => done?,
            never = tell(&watcher, backup.expected_bytes, progress) => never,
        }
        // The watcher may have been interrupted in the middle of its question.
        if let Some(Progress { done, total, .. }) = looked(&receiver.session().await?).await {
            let _ = progress.send(Progress { done, total: backup.expected_bytes.max(total).max(done), rows: 0 }).await;
        }
        drop(behind);
        receiver.remove().await?;
        arrive(into).await.map_err(|error| file(into, &error))
    }

    pub(in super::super) async fn take_away(&self, backup: &Backup) -> Result<(), Failure> {
        let into = &backup.into;
        receiver::end(into).await?;
        let mark = self.mark(&backup.slot);
        if !mark.names(into) {
            return Ok(());
        }
        returned::end(into, process::server, || Box::pin(self.now_serving()), || Box::pin(self.end_at_once())).await?;
        directory::empty(into).map_err(|error| file(into, &error).with_effect(Effect::Unknown))?;
        mark.clear().map_err(|error| file(mark.path(), &error))
    }
}

/// The password stands in one statement, which the receiver writes as `<secret>` wherever it shows its statements (tried: list of
/// threads, general log, performance_schema).
async fn copy_from(backup: &Backup, migration: &Migration, worker: &Session) -> Result<(), Failure> {
    let path = &backup.passfile;
    let password = secret::password(path, &names::replication(migration)).map_err(|error| file(path, &error))?;
    let rate = backup.max_rate.div_ceil(MIB);
    let source = format!("{}:{}", backup.host, backup.port);
    for setting in [
        format!("set global clone_valid_donor_list = {}", literal(&source)),
        format!("set global clone_max_data_bandwidth = {rate}, global clone_max_network_bandwidth = {rate}"),
        // Each has a connection, and the tunnel takes sixteen.
        "set global clone_max_concurrency = 4".to_owned(),
    ] {
        worker.run(&setting).await?;
    }
    let copy = backup.into.join(COPY);
    let statement = password.within(
        &format!("clone instance from {}:{} identified by ", account(&backup.role, &backup.host), backup.port),
        // Inside the tunnel; TLS within it would hide from its screen who logs in.
        &format!(" data directory = {} require no ssl", literal(&copy.to_string_lossy())),
    );
    worker.run_secretly(&statement).await.map_err(|failure| {
        if [TOO_SMALL, NO_ROOM].iter().any(|said| failure.sentence.contains(said)) {
            return no_space(&failure);
        }
        Failure::unknown(
            "SEED_FAILED",
            format!("CLONE does not copy the source: {}", failure.sentence),
            "the sentence has the servers' own words; correct that, take the seed back and start it again",
        )
    })
}

async fn tell(watcher: &Session, expected: u64, progress: &mpsc::Sender<Progress>) -> ! {
    loop {
        if let Some(Progress { done, total, .. }) = looked(watcher).await {
            // A listener that is slow or gone does not hold up the copy.
            let _ = progress.try_send(Progress { done, total: expected.max(total).max(done), rows: 0 });
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn looked(watcher: &Session) -> Option<Progress> {
    let sql = "select coalesce(sum(DATA), 0), coalesce(sum(ESTIMATE), 0) from performance_schema.clone_progress \
               where STAGE in ('FILE COPY', 'PAGE COPY', 'REDO COPY')";
    let row = watcher.rows(sql).await.ok()?.into_iter().next()?;
    let mut numbers = row.into_iter().map(|number| number.and_then(|number| number.parse().ok()));
    Some(Progress { done: numbers.next()??, total: numbers.next()??, rows: 0 })
}

/// What was copied becomes the data directory.
async fn arrive(into: &Path) -> std::io::Result<()> {
    let copy = into.join(COPY);
    for entry in fs::read_dir(&copy)? {
        let entry = entry?;
        #[allow(clippy::disallowed_methods, reason = "all of it is synced below; until then the mark says that it may go")]
        fs::rename(entry.path(), into.join(entry.file_name()))?;
    }
    fs::remove_dir(&copy)?;
    let directory = fs::File::open(into)?;
    let synced = tokio::task::spawn_blocking(move || nix::unistd::syncfs(&directory).map_err(std::io::Error::from));
    synced.await.map_err(std::io::Error::other)?
}

/// CLONE sees beforehand that there is not enough room (`ER_CLONE_DISK_SPACE`).
const TOO_SMALL: &str = "(error 3873)";
/// Written to by then, the disk was full; what CLONE takes away as it ends may make room again before anybody looks (`ENOSPC`).
const NO_ROOM: &str = "(errno: 28 ";
/// With less than this no file could have grown.
const FULL: u64 = 4 << 20;

pub(in super::super) fn is_full(into: &Path) -> bool {
    process::free(into) < FULL
}

pub(in super::super) fn no_space(why: &Failure) -> Failure {
    let sentence = format!("the target's disk is full: {}", why.sentence);
    Failure::unknown("NO_SPACE", sentence, "give the target's data directory a larger disk, then start the copy again")
}

fn refused(code: &str, sentence: String) -> Failure {
    Failure::refused(code, sentence, "look at the target's data directory; nothing of it was touched")
}
