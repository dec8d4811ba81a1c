//! A data directory's former contents, moved aside and back. Nothing is deleted but what we put there ourselves.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use flytt_proto::durable;

use super::DataDir;

/// Moves what is in the directory into the trash, whose existence says that the directory's contents are ours from now on.
pub(super) fn apply(change: &DataDir) -> io::Result<()> {
    if change.trash.symlink_metadata().is_ok() {
        return Ok(());
    }
    fs::create_dir_all(&change.path)?;
    let aside = with_suffix(&change.trash, ".partial");
    if let Err(error) = fs::create_dir(&aside)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    move_contents(&change.path, &aside, &[&aside])?;
    durable::rename(&aside, &change.trash)
}

/// Brings the former contents back over what we put there.
pub(super) fn undo(change: &DataDir) -> io::Result<()> {
    let aside = with_suffix(&change.trash, ".partial");
    if change.trash.symlink_metadata().is_ok() {
        empty(&change.path, &[&change.trash, &aside])?;
        durable::rename(&change.trash, &aside)?;
    }
    if aside.symlink_metadata().is_ok() {
        move_contents(&aside, &change.path, &[])?;
        fs::remove_dir(&aside)?;
    }
    Ok(())
}

/// Removes a trash directory of ours.
pub(super) fn discard(trash: &Path) -> io::Result<()> {
    if trash.symlink_metadata().is_err() {
        return Ok(());
    }
    empty(trash, &[])?;
    fs::remove_dir(trash)
}

fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn move_contents(from: &Path, to: &Path, keep: &[&Path]) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if !keep.contains(&path.as_path()) {
            durable::rename(&path, &to.join(path.file_name().expect("read_dir gives names")))?;
        }
    }
    Ok(())
}

/// Removes what is in the directory, but never crosses into another file system and never follows a link.
pub(crate) fn empty(path: &Path, keep: &[&Path]) -> io::Result<()> {
    let device = fs::symlink_metadata(path)?.dev();
    one_device(path, device)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if keep.contains(&entry.path().as_path()) {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

fn one_device(path: &Path, device: u64) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let about = fs::symlink_metadata(entry.path())?;
        if about.dev() != device {
            return Err(io::Error::other(format!("{} is another file system", entry.path().display())));
        }
        if about.is_dir() {
            one_device(&entry.path(), device)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_former_contents_come_back_from_every_state() {
        for twice in [false, true] {
            for inside in [false, true] {
                let dir = tempfile::tempdir().expect("a directory");
                let path = dir.path().join("main");
                let trash = if inside { path.join(".flytt-trash-shop") } else { dir.path().join(".flytt-trash-shop") };
                let change = DataDir { path: path.clone(), trash };
                undo(&change).expect("undone though never applied");
                fs::create_dir_all(path.join("base/1")).expect("made");
                durable::write(&path.join("PG_VERSION"), b"15\n", 0o600).expect("written");
                apply(&change).expect("applied");
                assert!(!path.join("PG_VERSION").exists());
                durable::write(&path.join("copy"), b"new", 0o600).expect("our copy");
                if twice {
                    apply(&change).expect("applied again");
                    assert!(path.join("copy").exists(), "a second time must not touch our copy");
                    undo(&change).expect("undone");
                }
                undo(&change).expect("undone");
                let mut names: Vec<_> = fs::read_dir(&path).expect("read").map(|e| e.expect("entry").file_name()).collect();
                names.sort();
                assert_eq!(names, ["PG_VERSION", "base"], "twice {twice} inside {inside}");
            }
        }
    }
}
