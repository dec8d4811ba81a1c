//! Kernel settings: written live, read back, and kept in one drop-in. What they should be is decided elsewhere.
//!
//! A setting is written only over the value that was found, and taken back only over the value that was written: what
//! somebody else has set meanwhile stays.

mod drop_in;
mod live;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use flytt_proto::{failure::Failure, fuse::Fuse};
use serde::{Deserialize, Serialize};

pub(crate) use drop_in::DropIn;
pub use drop_in::Line;
pub use live::Kernel;

use super::disk;

/// One value of the kernel's, with what undo needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    pub want: Setting,
    /// What held before. It may have another key: `vm.dirty_ratio` in place of `vm.dirty_bytes`.
    pub had: Setting,
    /// The file that sets it again when the host starts; `None` where this agent may not write there.
    pub drop_in: Option<PathBuf>,
    /// The file's line for this key, of an earlier move.
    pub had_line: Option<Line>,
}

/// A key of the table and its value, the numbers of a vector apart by one blank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub key: String,
    pub value: String,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.value)
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { want, had, drop_in, .. } = self;
        if want.key == had.key {
            write!(f, "set {}: {} → {}", want.key, had.value, want.value)?;
        } else {
            write!(f, "set {had} → {want}")?;
        }
        if drop_in.is_none() { f.write_str(" (until the next start of the host)") } else { Ok(()) }
    }
}

/// What the kernel makes of a setting that was to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Wanted,
    /// As it was: never written, or refused by the kernel.
    AsBefore,
    /// Somebody else's.
    Other(Setting),
}

impl Sysctl {
    pub(crate) fn standing(&self, kernel: &Kernel) -> Result<Standing, Failure> {
        let now = kernel.in_force(table::find(&self.want.key)?).map_err(|error| unreadable(&self.want.key, &error))?;
        Ok(match now {
            now if now == self.want => Standing::Wanted,
            now if now == self.had => Standing::AsBefore,
            now => Standing::Other(now),
        })
    }
}

/// Sets it and keeps it. That the kernel does not take a value is no failure of the move: the value that was found is put
/// back, nothing is kept, and whoever reads the settings afterwards says so.
pub(super) fn apply(kernel: &Kernel, change: &Sysctl, fuse: &Fuse) -> Result<(), Failure> {
    let row = table::find(&change.want.key)?;
    row.allows(&change.want.value)?;
    table::find(&change.had.key)?.could_be(&change.had.value)?;
    // Refused before anything is changed.
    let mut file = change.drop_in.as_deref().map(DropIn::read).transpose()?;
    match change.standing(kernel)? {
        Standing::Wanted => {}
        Standing::Other(_) => return Ok(()),
        Standing::AsBefore => {
            let written = kernel.write(row, &change.want.value);
            if !matches!(change.standing(kernel), Ok(Standing::Wanted)) {
                tracing::warn!(error = ?written.err(), "the kernel does not take {}", change.want);
                put_back(kernel, change)?;
                return Ok(());
            }
        }
    }
    fuse.point(|| format!("between {} and its drop-in", change.want.key))?;
    if let (Some(file), Some(path)) = (&mut file, &change.drop_in)
        && file.line(&change.want.key).is_none_or(|line| line.set != change.want)
    {
        file.put(&change.want.key, Some(Line { set: change.want.clone(), before: change.had.clone() }));
        file.write(path)?;
    }
    Ok(())
}

/// What was found is put back; says what was left because somebody else has changed it since.
pub(super) fn undo(kernel: &Kernel, change: &Sysctl) -> Result<Option<String>, Failure> {
    let mut left = Vec::new();
    match change.standing(kernel)? {
        Standing::AsBefore => {}
        Standing::Wanted => put_back(kernel, change)?,
        Standing::Other(now) => left.push(format!("{now} was set by somebody else and is left as it is")),
    }
    if let Some(path) = &change.drop_in {
        match DropIn::read(path) {
            Ok(mut file) => match file.line(&change.want.key) {
                Some(line) if line.set == change.want && Some(line) != change.had_line.as_ref() => {
                    file.put(&change.want.key, None);
                    if let Some(had) = &change.had_line {
                        file.put(&had.set.key, Some(had.clone()));
                    }
                    file.write(path)?;
                }
                Some(line) if Some(line) != change.had_line.as_ref() => {
                    left.push(format!("{} in {} was written by somebody else and is left as it is", line.set, path.display()));
                }
                Some(_) | None => {}
            },
            Err(failure) if failure.code == "DROP_IN_REFUSED" => left.push(format!("{} and is left as it is", failure.sentence)),
            Err(failure) => return Err(failure),
        }
    }
    Ok(if left.is_empty() { None } else { Some(left.join("; ")) })
}

/// Of two settings that exclude each other the one that was in force is written; the kernel zeroes the other.
fn put_back(kernel: &Kernel, change: &Sysctl) -> Result<(), Failure> {
    if matches!(change.standing(kernel), Ok(Standing::AsBefore)) {
        return Ok(());
    }
    let row = table::find(&change.had.key)?;
    row.could_be(&change.had.value)?;
    let written = kernel.write(row, &change.had.value);
    match change.standing(kernel)? {
        Standing::AsBefore => Ok(()),
        Standing::Wanted | Standing::Other(_) => {
            let why = written.err().map(|error| format!(": {error}")).unwrap_or_default();
            Err(Failure::unknown(
                "SYSCTL_NOT_RESTORED",
                format!("the kernel does not take {} back{why}", change.had),
                format!("run `sysctl -w {}` as root, then the command again", assignment(&change.had)),
            ))
        }
    }
}

/// As `sysctl -w` takes it, quoted for a shell.
pub(crate) fn assignment(Setting { key, value }: &Setting) -> String {
    if value.contains(' ') { format!("'{key}={value}'") } else { format!("{key}={value}") }
}

fn unreadable(key: &str, error: &io::Error) -> Failure {
    disk(Path::new(key), error)
}
