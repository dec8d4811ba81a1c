//! Files that must be there, whole, after a power cut: temporary file, fsync, rename, fsync of the directory. The one place
//! that may call `std::fs::{write, rename}`. What stands in the files is the callers' concern.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Makes `path` hold exactly `bytes` with permissions `mode`. A crash leaves the old file or the new one, never a mixture.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = Temporary::of(path, bytes, mode)?;
    rename(&temporary.0, path)
}

/// Like [`write`], but refuses with `AlreadyExists` when there is a `path` already: nothing is ever overwritten.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = Temporary::of(path, bytes, mode)?;
    // A link, unlike a rename, fails when the name is taken.
    std::fs::hard_link(&temporary.0, path).map_err(|e| about("create", path, e))?;
    sync_parent(path)
}

/// Renames within one file system; the new name holds after a power cut.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[allow(clippy::disallowed_methods, reason = "made durable by the fsync of the directories below")]
    std::fs::rename(from, to).map_err(|e| about("rename", from, e))?;
    sync_parent(to)?;
    if parent(from) == parent(to) { Ok(()) } else { sync_parent(from) }
}

/// Removes a file; that it was never there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(about("remove", path, e)),
    }
}

/// Creates one directory with permissions `mode`; an existing one is kept as it is.
pub fn directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(about("create", path, e)),
    }
}

/// Makes durable which names stand in the directory that holds `path`.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = parent(path);
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(|e| about("sync", parent, e))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// The kind stays, so that callers can tell a full disk from a missing file; the message names the path.
fn about(verb: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {verb} {}: {error}", path.display()))
}

/// A synced file beside its destination, removed when dropped (after a rename there is nothing left to remove).
struct Temporary(PathBuf);

impl Temporary {
    fn of(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().ok_or_else(|| about("write", path, io::ErrorKind::InvalidInput.into()))?);
        name.push(format!(".{}.{}.new", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let temporary = parent(path).join(name);
        let fail = |e| about("write", path, e);
        let open = || OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary);
        let mut file = match open() {
            // Left by a process that had our number and died: nobody else can be writing it.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&temporary).map_err(fail)?;
                open().map_err(fail)?
            }
            opened => opened.map_err(fail)?,
        };
        let guard = Self(temporary);
        sweep(path, file.metadata().map_err(fail)?.uid());
        // The umask took bits from the mode above; set it as it was asked for, before there is any content.
        file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(fail)?;
        file.write_all(bytes).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        Ok(guard)
    }
}

/// What a process of this user that was killed in the middle has left beside `path`. One that lives is still writing; those of
/// other users may be hidden from us (proc(5), `hidepid`).
fn sweep(path: &Path, user: u32) {
    let own = path.file_name().and_then(|name| name.to_str()).map(|name| format!(".{name}."));
    let (Some(own), Ok(entries)) = (own, std::fs::read_dir(parent(path))) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let middle = name.to_str().and_then(|name| name.strip_prefix(&own)?.strip_suffix(".new"));
        let numbers = middle.and_then(|middle| middle.split_once('.'));
        let Some((process, number)) = numbers else { continue };
        let is_ours = process.parse::<u32>().is_ok() && number.parse::<u64>().is_ok();
        let is_ours = is_ours && entry.metadata().is_ok_and(|meta| meta.uid() == user);
        if is_ours && !Path::new("/proc").join(process).exists() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hba.conf");
        // No process has so high a number (proc(5), pid_max).
        let (dead, alive, other) = (".hba.conf.99999999.3.new", ".hba.conf.1.3.new", ".hba.conf.old.new");
        for name in [dead, alive, other] {
            File::create(dir.path().join(name)).unwrap();
        }
        write(&path, b"x", 0o600).unwrap();
        let there = |name: &str| dir.path().join(name).exists();
        assert_eq!([dead, alive, other].map(there), [false, true, true]);
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_write_replaces_content_and_mode_and_leaves_nothing_beside() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        write(&path, b"one", 0o644).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (b"two".to_vec(), 0o600));
        assert_eq!(names(home.path()), ["file"]);
    }

    #[test]
    fn create_never_overwrites() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        create(&path, b"first", 0o600).unwrap();
        let error = create(&path, b"second", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(names(home.path()), ["key"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_names_the_path() {
        let home = tempfile::tempdir().unwrap();
        let taken = home.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        let error = write(&taken, b"x", 0o600).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(names(home.path()), ["taken"]);
        let error = write(&home.path().join("absent/file"), b"x", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn removing_twice_is_no_error_and_directories_keep_their_mode() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        write(&path, b"x", 0o600).unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(names(home.path()).is_empty());
        let inner = home.path().join("inner");
        directory(&inner, 0o700).unwrap();
        directory(&inner, 0o755).unwrap();
        assert_eq!(mode(&inner), 0o700);
        write(&path, b"x", 0o600).unwrap();
        assert!(directory(&path, 0o700).is_err(), "a file is no directory");
    }
}
