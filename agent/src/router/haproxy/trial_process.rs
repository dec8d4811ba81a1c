//! The second HAProxy process of a trial: started in a directory of its own, ended and removed with it.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::{Child, Command};

/// Ends the process and removes the directory when dropped.
#[derive(Debug)]
pub(super) struct TrialProcess {
    child: Child,
    directory: PathBuf,
}

impl TrialProcess {
    /// Starts `binary` with `configuration` in `directory`, which is made new for it.
    pub(super) fn start(binary: &Path, directory: PathBuf, configuration: &str) -> io::Result<Self> {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let file = directory.join("haproxy.cfg");
        let started = (|| {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?.write_all(configuration.as_bytes())?;
            #[allow(
                clippy::disallowed_methods,
                reason = "a child of its own kind, until the agent's one place for processes takes it"
            )]
            Command::new(binary)
                .arg("-db")
                .arg("-f")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .env_clear()
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
        })();
        match started {
            Ok(child) => Ok(Self { child, directory }),
            Err(error) => {
                let _ = fs::remove_dir_all(&directory);
                Err(error)
            }
        }
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    pub(super) async fn end(mut self) {
        // It may have ended already; Drop clears the rest.
        let _ = self.child.kill().await;
    }
}

impl Drop for TrialProcess {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
