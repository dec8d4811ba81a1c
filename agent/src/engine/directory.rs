//! A data directory on disk, whichever engine's: whether it is empty, and whether what is in it is a copy of ours.
//!
//! A directory is only ever emptied when a mark in the agent's state says that its contents are a copy of ours.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use flytt_proto::name::Migration;

/// What stands in the place of the data directory's former contents.
pub(super) fn trash(migration: &Migration) -> String {
    format!(".flytt-trash-{migration}")
}

/// Whether nothing is in it; an absent one counts.
pub(super) fn is_empty(data: &Path) -> io::Result<bool> {
    match fs::read_dir(data) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

pub(super) fn is_mount_point(data: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    match (device(data), data.parent().map(device)) {
        (Ok(own), Some(Ok(parent))) => own != parent,
        (Ok(_), Some(Err(_)) | None) => true,
        (Err(_), _) => false,
    }
}

/// `device:inode`; empty when there is no such directory.
pub(super) fn inode(data: &Path) -> String {
    fs::metadata(data).map(|meta| format!("{}:{}", meta.dev(), meta.ino())).unwrap_or_default()
}

/// A logical copy's record, beside the marks.
pub(super) fn record(state: &Path, name: &str) -> PathBuf {
    state.join("seed").join(format!("{name}.dump"))
}

/// How the copy of a move that is not finished came to the server of `data`: by its files or by a dump; empty where there is none.
pub(super) fn copied(state: &Path, data: &Path) -> &'static str {
    let entries = fs::read_dir(state.join("seed")).into_iter().flatten().flatten();
    let how = entries.filter_map(|entry| match entry.path().extension()?.to_str()? {
        "dump" => Some("dump"),
        "mark" => fs::read_to_string(entry.path()).is_ok_and(|mark| mark == text(data)).then_some("physical"),
        _ => None,
    });
    how.max().unwrap_or_default()
}

/// Says which directory holds a copy that we made: only such a one is ever emptied.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
}

impl Mark {
    /// The mark of the copy of this name, in an agent's `state`.
    pub(super) fn of(state: &Path, name: &str) -> Self {
        Self { path: state.join("seed").join(format!("{name}.mark")) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `into` is the very directory that the copy was begun in.
    pub(super) fn names(&self, into: &Path) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|mark| mark == text(into))
    }

    /// Makes the directory where there is none, and marks it.
    pub(super) fn set(&self, into: &Path) -> io::Result<()> {
        if !into.exists() {
            fs::DirBuilder::new().mode(0o700).create(into)?;
        }
        if !fs::symlink_metadata(into)?.is_dir() {
            return Err(io::Error::other("the data directory is not a directory"));
        }
        let parent = self.path.parent().expect("a mark lies in the state directory");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        // A half-written mark matches no directory, so it permits nothing.
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        file.write_all(text(into).as_bytes())?;
        file.sync_all()?;
        fs::File::open(parent)?.sync_all()
    }

    /// Once nothing of the copy is left.
    pub(super) fn clear(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

fn text(into: &Path) -> String {
    format!("{} {}\n", into.display(), inode(into))
}

/// Its contents, never itself; a symlink in it goes, not what it points to.
pub(super) fn empty(directory: &Path) -> io::Result<()> {
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

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

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

    #[test]
    fn a_mark_names_one_directory_and_not_what_came_in_its_place() {
        let home = tempfile::tempdir().unwrap();
        let (state, into) = (home.path().join("state"), home.path().join("data"));
        let mark = Mark::of(&state, "flytt_shop");
        assert!(!mark.names(&into));
        assert_eq!(copied(&state, &into), "");
        mark.set(&into).unwrap();
        assert_eq!((copied(&state, &into), copied(&state, home.path())), ("physical", ""));
        assert!(mark.names(&into) && is_empty(&into).unwrap() && !is_mount_point(&into));
        assert!(!mark.names(&home.path().join("other")));
        fs::rename(&into, home.path().join("aside")).unwrap();
        fs::create_dir(&into).unwrap();
        assert!(!mark.names(&into), "another directory of this name");
        fs::write(record(&state, "flytt_shop"), "{}").unwrap();
        assert_eq!(copied(&state, &into), "dump");
        mark.clear().unwrap();
        assert!(mark.clear().is_err());
    }
}
