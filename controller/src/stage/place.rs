//! The stage's own directory: made, filled, and removed with everything that runs in it. A demo that was killed cannot do the
//! last; the next one does it, because the directory names its owner.

use std::{
    ffi::OsStr,
    fs::{DirBuilder, File, Permissions},
    io::{self, Read, Write},
    net::UdpSocket,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use flytt_proto::failure::Failure;
use nix::unistd::geteuid;

use super::{
    memory,
    ports::free_ports,
    processes::{self, began},
    spawn::Account,
};

const PREFIX: &str = "flytt-stage-";
const OWNER: &str = "owner";

/// A directory that ends, with all its processes, when this value does.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    account: Account,
    /// To the ports of all that runs in it.
    claims: Mutex<Vec<UdpSocket>>,
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let remedy = "look at the permissions and the free space of this directory";
    Failure::unknown("STAGE_DIRECTORY", format!("{what} {} fails: {error}", path.display()), remedy)
}

impl Place {
    /// Makes the directory below `base`, after it has cleared away what a killed demo left there.
    ///
    /// # Errors
    /// `STAGE_DIRECTORY` when it cannot be made; `PROGRAM_MISSING` when there is no user to run servers as.
    pub fn new(base: &Path) -> Result<Self, Failure> {
        clear_stale(base);
        let account = Account::of_stage()?;
        let path = base.join(format!("{PREFIX}{}", random_hex::<4>()?));
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| failed("making", &path, &error))?;
        let place = Self { path, account, claims: Mutex::default() };
        let pid = std::process::id();
        let owner = format!("{pid} {}\n", began(pid).unwrap_or_default());
        place.file(&place.path.join(OWNER), &owner, 0o644, None)?;
        // Others must be able to pass: the servers run under an account of their own. The umask has no say.
        std::fs::set_permissions(&place.path, Permissions::from_mode(0o755))
            .map_err(|error| failed("opening", &place.path, &error))?;
        Ok(place)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ports of the loopback address that are this place's for as long as it lives.
    pub(super) fn ports<const N: usize>(&self) -> Result<[u16; N], Failure> {
        let (ports, claims) = free_ports()?;
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).extend(claims);
        Ok(ports)
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    fn give(&self, path: &Path, mode: u32, to: Option<&Account>) -> Result<(), Failure> {
        let given = match to {
            Some(account) if geteuid().is_root() => chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw())),
            Some(_) | None => Ok(()),
        };
        given
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
            .map_err(|error| failed("giving away", path, &error))
    }

    /// Makes a directory inside; `to` becomes its owner.
    pub(super) fn directory(&self, name: &str, mode: u32, to: Option<&Account>) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| failed("making", &path, &error))?;
        self.give(&path, mode, to)?;
        Ok(path)
    }

    /// Writes a new file; `to` becomes its owner.
    pub(super) fn file(&self, path: &Path, text: &str, mode: u32, to: Option<&Account>) -> Result<(), Failure> {
        File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| failed("writing", path, &error))?;
        self.give(path, mode, to)
    }

    /// The program, reachable for the servers' account wherever the checkout or home directory is that it comes from.
    pub(super) fn executable(&self, from: &Path, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        let placed = std::fs::hard_link(from, &path).or_else(|_| std::fs::copy(from, &path).map(|_| ()));
        placed.map_err(|error| failed("copying", from, &error))?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    processes::end_all(path);
    if let Ok(account) = Account::of_stage() {
        memory::give_back(path, &account);
    }
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!("{} is left behind: {error}", path.display());
    }
}

/// Ends and removes the stages below `base` whose owner is gone. Others' directories, and those of running demos, stay.
pub fn clear_stale(base: &Path) {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    let named = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(PREFIX));
    for entry in entries.filter(|entry| named(&entry.file_name())) {
        if is_stale(&entry.path()) {
            tracing::info!("removing {}, which a demo that was killed has left", entry.path().display());
            remove(&entry.path());
        }
    }
}

fn is_stale(path: &Path) -> bool {
    // Not through a symbolic link, and nothing of another user: the base is open to all.
    let Ok(about) = path.symlink_metadata() else { return false };
    if !about.is_dir() || about.uid() != geteuid().as_raw() {
        return false;
    }
    match std::fs::read_to_string(path.join(OWNER)) {
        Ok(text) => {
            let mut fields = text.split_whitespace().map(str::parse::<u64>);
            match (fields.next(), fields.next()) {
                (Some(Ok(pid)), Some(Ok(start))) => u32::try_from(pid).ok().and_then(began) != Some(start),
                _ => is_old(&about),
            }
        }
        Err(_) => is_old(&about),
    }
}

/// One without a readable owner may be in the making.
fn is_old(about: &std::fs::Metadata) -> bool {
    let age = about.modified().ok().and_then(|made| SystemTime::now().duration_since(made).ok());
    age.is_some_and(|age| age > Duration::from_secs(60))
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).map_err(|error| failed("reading", source, &error))?;
    Ok(bytes)
}

pub(super) fn random_hex<const N: usize>() -> Result<String, Failure> {
    Ok(random::<N>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(base: &Path, name: &str, owner: &str) -> PathBuf {
        let path = base.join(name);
        std::fs::create_dir(&path).expect("a directory");
        File::create(path.join(OWNER)).and_then(|mut file| file.write_all(owner.as_bytes())).expect("an owner");
        path
    }

    #[test]
    fn only_stages_whose_owner_is_gone_are_removed() {
        let base = tempfile::tempdir().expect("a directory");
        let pid = std::process::id();
        let start = began(pid).expect("we live");
        let running = stage(base.path(), "flytt-stage-1", &format!("{pid} {start}\n"));
        let reused_pid = stage(base.path(), "flytt-stage-2", &format!("{pid} {}\n", start + 1));
        let dead = stage(base.path(), "flytt-stage-3", &format!("{} 1\n", u32::MAX));
        let in_the_making = stage(base.path(), "flytt-stage-4", "");
        let other = stage(base.path(), "something-else", &format!("{} 1\n", u32::MAX));
        let link = base.path().join("flytt-stage-5");
        std::os::unix::fs::symlink(&other, &link).expect("a link");

        clear_stale(base.path());
        let left = [&running, &reused_pid, &dead, &in_the_making, &other, &link].map(|path| path.exists());
        assert_eq!(left, [true, false, false, true, true, true]);
    }

    #[test]
    fn a_place_ends_with_what_is_in_it() {
        let base = tempfile::tempdir().expect("a directory");
        let place = Place::new(base.path()).expect("a place");
        let path = place.path().to_owned();
        let mode = |path: &Path| path.metadata().expect("there").mode() & 0o777;
        assert_eq!(mode(&path), 0o755);
        place.file(&path.join("secret"), "x", 0o600, None).expect("a file");
        assert_eq!(mode(&path.join("secret")), 0o600);
        assert_eq!(mode(&place.directory("home", 0o700, None).expect("a directory")), 0o700);
        drop(place);
        assert!(!path.exists());
    }
}
