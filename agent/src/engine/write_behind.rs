//! A large copy goes to disk while it is made. By itself the kernel keeps gibibytes of it in memory, and all of that is waited
//! for at the end, when the tool makes its copy durable.

use std::{fs, io, path::Path, sync::mpsc, thread, time::Duration};

/// Rest between two rounds: long enough that files are not flushed page by page.
const REST: Duration = Duration::from_millis(30);

/// At work until it is dropped. Only hastens what is done anyway, so nothing depends on it.
#[derive(Debug)]
pub(crate) struct WriteBehind(#[expect(dead_code, reason = "its end is the thread's")] mpsc::Sender<()>);

impl WriteBehind {
    /// Writes out what is dirty on the file system of `directory`, again and again (syncfs(2)).
    pub(crate) fn below(directory: &Path) -> io::Result<Self> {
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
