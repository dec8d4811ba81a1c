//! A large copy goes to disk while it is made. By itself the kernel keeps gibibytes of it in memory, and all of that is waited
//! for at the end, when the tool makes its copy durable.

use std::{fs, io, path::Path, sync::mpsc, thread, time::Duration};

/// Rest between two rounds: long enough that files are not flushed page by page.
const REST: Duration = Duration::from_millis(30);

/// At work until it is dropped. Only hastens what is done anyway, so nothing depends on it.
#[derive(Debug)]
pub(crate) struct WriteBehind(#[expect(dead_code, reason = "its end is the thread's")] mpsc::Sender<()>);

impl WriteBehind {
    /// Writes out what is dirty on the file system of `directory`, again and again (syncfs(2)). Nothing, with a line in the log,
    /// where that cannot be had.
    pub(crate) fn below(directory: &Path) -> Option<Self> {
        let behind = Self::start(directory);
        behind.inspect_err(|error| tracing::warn!(%error, "the copy is not written behind; its end will take longer")).ok()
    }

    fn start(directory: &Path) -> io::Result<Self> {
        let directory = fs::File::open(directory)?;
        let (alive, ended) = mpsc::channel();
        thread::Builder::new().name("write-behind".into()).spawn(move || {
            while ended.recv_timeout(REST) == Err(mpsc::RecvTimeoutError::Timeout) {
                // An error is the tool's own fsync to find.
                let _ = nix::unistd::syncfs(&directory);
            }
        })?;
        Ok(Self(alive))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn threads() -> usize {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim_end() == "write-behind").count()
    }

    fn until(count: usize) {
        let begun = Instant::now();
        while threads() != count {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} threads write behind, not {count}", threads());
            thread::sleep(REST);
        }
    }

    #[test]
    fn it_works_until_it_is_dropped_and_its_absence_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let behind = WriteBehind::below(directory.path());
        until(1);
        drop(behind);
        until(0);
        assert!(WriteBehind::below(&directory.path().join("missing")).is_none());
    }
}
