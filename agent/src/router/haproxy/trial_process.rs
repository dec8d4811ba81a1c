//! The second HAProxy process of a trial: started in a directory of its own, ended and removed with it.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::command::{Command, Running};

/// Ends the process and removes the directory when dropped.
#[derive(Debug)]
pub(super) struct TrialProcess {
    process: Option<Running>,
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
        let mut trial = Self { process: None, directory };
        let file = trial.directory.join("haproxy.cfg");
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?.write_all(configuration.as_bytes())?;
        let command = Command::new(binary).arg("-db").arg("-q").arg("-f").arg(&file);
        trial.process = Some(command.start().map_err(io::Error::other)?);
        Ok(trial)
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.process.as_mut()?.ended()
    }
}

impl Drop for TrialProcess {
    fn drop(&mut self) {
        // First the process, which writes there.
        self.process = None;
        let _ = fs::remove_dir_all(&self.directory);
    }
}
