//! The operator's directory: the deployment's authority, the hosts it knows, the operator's own short-lived certificate.
//! What moves are under way stands in the journal, not here.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use flytt_proto::{
    durable,
    failure::Failure,
    identity::{Authority, Credentials, OPERATOR_LIFETIME, Role},
    name::{Deployment, HostName},
};
use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};

/// One deployment, as its operator keeps it.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    authority: Authority,
}

/// A host that has been added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// `host:port` of its agent.
    pub address: String,
    /// SHA-256 of its agent's public key, hexadecimal.
    pub key: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hosts {
    #[serde(default)]
    hosts: BTreeMap<HostName, Host>,
}

/// `~/.local/state/flytt` of the user who runs this.
pub fn default_path() -> Result<PathBuf, Failure> {
    match User::from_uid(Uid::effective()) {
        Ok(Some(user)) => Ok(user.dir.join(".local/state/flytt")),
        Ok(None) | Err(_) => Err(failed("the user who runs this has no home directory", "name the directory with --home")),
    }
}

impl Home {
    /// Founds a deployment: makes the directory and, in it, a new authority.
    pub fn init(path: &Path, deployment: Deployment) -> Result<Self, Failure> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(disk(path))?;
        check_private(path)?;
        let _lock = lock(path)?;
        let (place, staging) = (path.join("ca"), path.join("ca.new"));
        if place.exists() {
            return Err(occupied(path));
        }
        // Of an init that was killed: an authority that has signed nothing.
        if staging.exists() {
            std::fs::remove_dir_all(&staging).map_err(disk(&staging))?;
        }
        let authority = Authority::create(&staging, deployment)?;
        durable::rename(&staging, &place).map_err(disk(&place))?;
        Ok(Self { path: path.to_owned(), authority })
    }

    /// Opens what [`Home::init`] made.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        if !path.join("ca").exists() {
            let sentence = format!("{} holds no deployment", path.display());
            return Err(failed(&sentence, "run `flytt init`, or name the directory with --home"));
        }
        check_private(path)?;
        Ok(Self { path: path.to_owned(), authority: Authority::load(&path.join("ca"))? })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The operator's certificate. A new one is issued when less than a third of its life is left.
    pub fn credentials(&self) -> Result<Credentials, Failure> {
        let _lock = lock(&self.path)?;
        let directory = self.path.join("operator");
        match Credentials::load(&directory) {
            Ok(held) if self.is_fresh(&held) => return Ok(held),
            // Somebody should know of it, although a new one would do.
            Err(failure) if failure.code == "KEY_EXPOSED" => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        let fresh = self.authority.issue_operator(&operator(), OPERATOR_LIFETIME)?;
        fresh.save(&directory)?;
        Ok(fresh)
    }

    fn is_fresh(&self, held: &Credentials) -> bool {
        held.identity().role == Role::Operator
            && held.identity().deployment == *self.authority.deployment()
            && held.is_of(&self.authority)
            && held.life_left() > 1.0 / 3.0
    }

    /// The hosts that have been added, by name.
    pub fn hosts(&self) -> Result<BTreeMap<HostName, Host>, Failure> {
        let path = self.path.join("hosts.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(e) => return Err(disk(&path)(e)),
        };
        let hosts: Hosts = toml::from_str(&text).map_err(|e| {
            let sentence = format!("{} cannot be read: {}", path.display(), e.message());
            failed(&sentence, "correct the file; each host is a table [hosts.NAME] with address and key")
        })?;
        Ok(hosts.hosts)
    }

    /// One host, or how to make it known.
    pub fn host(&self, name: &HostName) -> Result<Host, Failure> {
        self.hosts()?.remove(name).ok_or_else(|| unknown_host(name))
    }

    /// Records a host that has been enrolled. A name is never given twice.
    pub fn add(&self, name: &HostName, host: Host) -> Result<(), Failure> {
        let _lock = lock(&self.path)?;
        let mut hosts = self.hosts()?;
        if hosts.contains_key(name) {
            let sentence = format!("a host {name} is known already");
            return Err(Failure::refused("HOST_KNOWN", sentence, "choose another name, or remove it with `flytt host remove`"));
        }
        hosts.insert(name.clone(), host);
        self.write(hosts)
    }

    /// Forgets a host.
    pub fn remove(&self, name: &HostName) -> Result<Host, Failure> {
        let _lock = lock(&self.path)?;
        let mut hosts = self.hosts()?;
        let host = hosts.remove(name).ok_or_else(|| unknown_host(name))?;
        self.write(hosts)?;
        Ok(host)
    }

    fn write(&self, hosts: BTreeMap<HostName, Host>) -> Result<(), Failure> {
        let path = self.path.join("hosts.toml");
        let text = toml::to_string(&Hosts { hosts }).map_err(|e| failed(&e.to_string(), "report this"))?;
        durable::write(&path, text.as_bytes(), 0o600).map_err(disk(&path))
    }
}

/// The user's name, where it is of the right form.
fn operator() -> HostName {
    let user = User::from_uid(Uid::current()).ok().flatten().and_then(|user| user.name.parse().ok());
    user.unwrap_or_else(|| "operator".parse().expect("a good name"))
}

/// Held while something in the directory is read and written again. Two controllers wait for each other.
fn lock(path: &Path) -> Result<File, Failure> {
    let path = path.join("lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = open.map_err(disk(&path))?;
    file.lock().map_err(disk(&path))?;
    Ok(file)
}

/// The authority's key lies here: nobody else looks in.
fn check_private(path: &Path) -> Result<(), Failure> {
    let mode = path.metadata().map_err(disk(path))?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let sentence = format!("{} is open to others (mode {mode:04o})", path.display());
    Err(Failure::refused("HOME_EXPOSED", sentence, format!("run `chmod 700 {}`", path.display())))
}

fn occupied(path: &Path) -> Failure {
    let what = match Home::load(path).and_then(|home| Ok((home.hosts()?.len(), home))) {
        Ok((hosts, home)) => format!("the deployment {} with {hosts} hosts", home.authority.deployment()),
        Err(failure) => format!("a deployment that cannot be read ({failure})"),
    };
    let sentence = format!("{} already holds {what}", path.display());
    Failure::refused("HOME_OCCUPIED", sentence, "use it as it is, or name another directory with --home")
}

fn unknown_host(name: &HostName) -> Failure {
    let remedy = "see `flytt host list`, and add it with `flytt host add`";
    Failure::refused("HOST_UNKNOWN", format!("no host {name} is known"), remedy)
}

fn failed(sentence: &str, remedy: &str) -> Failure {
    Failure::refused("HOME_UNUSABLE", sentence, remedy)
}

fn disk(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let shown = path.display().to_string();
    move |error| failed(&format!("{shown} cannot be used: {error}"), "see that it is ours and has room")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn founded() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::init(&directory.path().join("a/b"), "test".parse().unwrap()).unwrap();
        (directory, home)
    }

    fn host(address: &str) -> Host {
        Host { address: address.into(), key: "ab".repeat(32) }
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_deployment_is_founded_once() {
        let (_directory, home) = founded();
        assert_eq!((mode(home.path()), mode(&home.path().join("ca/key.pem"))), (0o700, 0o600));
        home.add(&"db-1".parse().unwrap(), host("a:1")).unwrap();
        let again = Home::init(home.path(), "other".parse().unwrap()).unwrap_err();
        assert_eq!(again.code, "HOME_OCCUPIED");
        assert!(again.sentence.contains("deployment test with 1 hosts"), "{again}");
        let loaded = Home::load(home.path()).unwrap();
        assert_eq!(loaded.authority().certificate_pem(), home.authority().certificate_pem());
    }

    #[test]
    fn an_init_that_was_killed_is_no_obstacle_but_a_broken_authority_is() {
        let (_directory, home) = founded();
        let other = home.path().join("other");
        std::fs::DirBuilder::new().mode(0o700).create(&other).unwrap();
        Authority::create(&other.join("ca.new"), "half".parse().unwrap()).unwrap();
        assert_eq!(Home::init(&other, "whole".parse().unwrap()).unwrap().authority().deployment().as_str(), "whole");
        durable::remove(&other.join("ca/cert.pem")).unwrap();
        assert_eq!(Home::init(&other, "new".parse().unwrap()).unwrap_err().code, "HOME_OCCUPIED");
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let (_directory, home) = founded();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(Home::load(home.path()).unwrap_err().code, "HOME_EXPOSED");
        assert_eq!(Home::load(&home.path().join("none")).unwrap_err().code, "HOME_UNUSABLE");
    }

    #[test]
    fn hosts_are_kept_by_name() {
        let (_directory, home) = founded();
        let (one, two) = ("db-1".parse().unwrap(), "db-2".parse().unwrap());
        assert!(home.hosts().unwrap().is_empty());
        home.add(&one, host("a:1")).unwrap();
        home.add(&two, host("b:1")).unwrap();
        assert_eq!(home.add(&one, host("c:1")).unwrap_err().code, "HOST_KNOWN");
        let again = Home::load(home.path()).unwrap();
        assert_eq!(again.hosts().unwrap(), BTreeMap::from([(one.clone(), host("a:1")), (two.clone(), host("b:1"))]));
        assert_eq!(again.remove(&one).unwrap(), host("a:1"));
        assert_eq!(again.remove(&one).unwrap_err().code, "HOST_UNKNOWN");
        assert_eq!(home.host(&one).unwrap_err().code, "HOST_UNKNOWN");
        assert_eq!(home.host(&two).unwrap(), host("b:1"));
    }

    #[test]
    fn hosts_added_at_the_same_time_are_all_kept() {
        let (_directory, home) = founded();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let home = &home;
                scope.spawn(move || home.add(&format!("db-{n}").parse().unwrap(), host("a:1")).unwrap());
            }
        });
        assert_eq!(home.hosts().unwrap().len(), 8);
    }

    #[test]
    fn a_damaged_list_is_said_and_not_overwritten() {
        let (_directory, home) = founded();
        let path = home.path().join("hosts.toml");
        for bad in ["[hosts.db-1]\naddress = 1", "[hosts.DB]\naddress = \"a\"\nkey = \"b\"", "extra = 1"] {
            durable::write(&path, bad.as_bytes(), 0o600).unwrap();
            assert_eq!(home.add(&"db-2".parse().unwrap(), host("a:1")).unwrap_err().code, "HOME_UNUSABLE", "{bad}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
    }

    #[test]
    fn the_operators_certificate_is_kept_while_it_is_fresh_and_replaced_when_it_is_not() {
        let (_directory, home) = founded();
        let first = home.credentials().unwrap().fingerprint();
        assert_eq!(home.credentials().unwrap().fingerprint(), first);
        let place = home.path().join("operator");
        let replaced = |what: &str| {
            let before = Credentials::load(&place).map(|held| held.fingerprint()).unwrap_or_default();
            let after = home.credentials().unwrap();
            assert_ne!(after.fingerprint(), before, "{what}");
            assert!(after.life_left() > 0.9);
        };
        // Ten minutes of its life lie before its making.
        let old = home.authority().issue_operator(&operator(), Duration::from_secs(240)).unwrap();
        old.save(&place).unwrap();
        replaced("less than a third left");
        let enough = home.authority().issue_operator(&operator(), Duration::from_secs(360)).unwrap();
        enough.save(&place).unwrap();
        assert_eq!(home.credentials().unwrap().fingerprint(), enough.fingerprint(), "more than a third left");
        durable::write(&place.join("cert.pem"), b"half", 0o644).unwrap();
        replaced("half-written");
        let other = Home::init(&home.path().join("other"), "test".parse().unwrap()).unwrap();
        other.credentials().unwrap().save(&place).unwrap();
        replaced("of another authority");
        std::fs::set_permissions(place.join("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(home.credentials().unwrap_err().code, "KEY_EXPOSED");
    }
}
