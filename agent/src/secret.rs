//! The only module that makes or reads a secret: the password of a role, kept in a 0600 password file (PostgreSQL manual, "The
//! Password File"). There is no way from a [`Secret`] to an argument or an environment, and one to a statement: the server that
//! is to keep the password is told it over its own socket.

use std::{
    fmt,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};

/// A password. It prints as nothing and is wiped from memory when dropped.
pub struct Secret(SecretString);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Puts the password into a connection's settings, which do not print it either.
    pub(crate) fn log_in(&self, settings: &mut tokio_postgres::Config) {
        settings.password(self.0.expose_secret());
    }

    /// The same for the driver of MySQL and MariaDB.
    pub(crate) fn log_in_by_mysql(&self, settings: mysql_async::OptsBuilder) -> mysql_async::OptsBuilder {
        settings.pass(Some(self.0.expose_secret()))
    }

    /// `before`, the password as an SQL literal, `after`. It needs no escaping: see [`keep`].
    pub(crate) fn within(&self, before: &str, after: &str) -> SecretString {
        SecretString::from(format!("{before}'{}'{after}", self.0.expose_secret()))
    }

    #[cfg(test)]
    pub(crate) fn is_in(&self, text: &str) -> bool {
        text.contains(self.0.expose_secret())
    }
}

/// Where the password of `name` is kept: to be named to a program, never to be shown.
pub fn passfile(state: &Path, name: &str) -> PathBuf {
    state.join("secret").join(format!("{name}.pgpass"))
}

/// The SCRAM verifier of `role`'s password; the password is made when there is none yet.
///
/// The verifier stands in the file's comment line, because its salt is random: asked twice, the answer is the same.
pub fn keep(path: &Path, role: &str) -> io::Result<String> {
    keep_with(path, role, 32, postgres_protocol::password::scram_sha_256)
}

/// The same with the verifier of `mysql_native_password`: `*` and the hexadecimal SHA-1 of the password's SHA-1 (MariaDB manual,
/// "Authentication Plugin - mysql_native_password"). Of 256 random bits it tells nothing. Whoever holds it and hears a login in
/// clear text could log in; that is why such a login never leaves a host but inside the tunnel.
pub fn keep_native(path: &Path, role: &str) -> io::Result<String> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY as SHA1, digest};
    keep_with(path, role, 32, |password| {
        let twice = digest(&SHA1, digest(&SHA1, password).as_ref());
        format!("*{}", data_encoding::HEXUPPER.encode(twice.as_ref()))
    })
}

/// The same with MySQL's hash of it for `caching_sha2_password`, salted: it stands beside the password, so that it stays the same.
pub fn keep_sha2(path: &Path, role: &str) -> io::Result<String> {
    let mut salt = [0_u8; 20];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    // MySQL takes at most 32 characters from a replica (error 3056): 192 random bits.
    keep_with(path, role, 24, |password| crate::sha_crypt::verifier(password, &salt))
}

/// `random` = bytes of the password.
fn keep_with(path: &Path, role: &str, random: usize, verifier: impl Fn(&[u8]) -> String) -> io::Result<String> {
    match read(path, role) {
        Ok((_, verifier)) => return Ok(verifier),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let parent = path.parent().ok_or_else(|| io::Error::other("a password file needs a directory"))?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;

    let mut random = vec![0_u8; random];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let password = SecretString::from(data_encoding::BASE64URL_NOPAD.encode(&random));
    random.fill(0);
    let verifier = verifier(password.expose_secret().as_bytes());
    let text = SecretString::from(format!("# {verifier}\n*:*:*:{role}:{}\n", password.expose_secret()));

    // Under a name of its own first: a reader never sees half of it, and a crash leaves nothing that looks whole.
    let draft = path.with_extension("draft");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.expose_secret().as_bytes())?;
    file.sync_all()?;
    #[allow(clippy::disallowed_methods, reason = "the file and its directory are synced around it")]
    fs::rename(&draft, path)?;
    fs::File::open(parent)?.sync_all()?;
    Ok(verifier)
}

/// Removes a password file, where there is one.
pub fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The verifier of the password kept for `role`.
pub fn verifier(path: &Path, role: &str) -> io::Result<String> {
    read(path, role).map(|(_, verifier)| verifier)
}

/// The password kept for `role`.
pub fn password(path: &Path, role: &str) -> io::Result<Secret> {
    read(path, role).map(|(secret, _)| secret)
}

fn read(path: &Path, role: &str) -> io::Result<(Secret, String)> {
    let mut file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
    let meta = file.metadata()?;
    if meta.mode() & 0o077 != 0 || meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other("the password file is open to others"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let text = SecretString::from(text);
    let mut lines = text.expose_secret().lines();
    let verifier = lines.next().and_then(|line| line.strip_prefix("# "));
    let password = lines.next().and_then(|line| line.strip_prefix(&format!("*:*:*:{role}:")));
    match (verifier, password) {
        (Some(verifier), Some(password)) if !password.is_empty() => Ok((Secret(password.into()), verifier.to_owned())),
        (_, _) => Err(io::Error::other("the password file is not one of ours")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_for_this_user_alone() {
        let state = tempfile::tempdir().unwrap();
        let path = passfile(state.path(), "shop");
        let verifier = keep(&path, "flytt_shop_repl").unwrap();
        assert!(verifier.starts_with("SCRAM-SHA-256$4096:"));
        assert_eq!(keep(&path, "flytt_shop_repl").unwrap(), verifier, "asked twice, the same");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);

        let secret = password(&path, "flytt_shop_repl").unwrap();
        assert!(secret.is_in(&fs::read_to_string(&path).unwrap()));
        assert!(!secret.is_in(&verifier) && !secret.is_in(&format!("{secret:?}")));
        let mut settings = tokio_postgres::Config::new();
        secret.log_in(&mut settings);
        assert!(!secret.is_in(&format!("{settings:?}")), "the driver prints it");
    }

    #[test]
    fn the_native_hash_is_the_server_s_own() {
        let state = tempfile::tempdir().unwrap();
        let path = passfile(state.path(), "shop");
        fs::create_dir(state.path().join("secret")).unwrap();
        // The manual's own example is of another password than we would make; only the form of ours can be told.
        let verifier = keep_native(&path, "flytt_shop_repl").unwrap();
        assert!(verifier.len() == 41 && verifier.starts_with('*'));
        assert_eq!(keep_native(&path, "flytt_shop_repl").unwrap(), verifier);
        let secret = password(&path, "flytt_shop_repl").unwrap();
        assert!(!secret.is_in(&verifier));
        let text = secret.within("a = ", ", b");
        assert!(text.expose_secret().starts_with("a = '") && !secret.is_in(&format!("{text:?}")));
    }

    #[test]
    fn one_that_others_can_read_or_that_is_not_ours_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let path = passfile(state.path(), "shop");
        keep(&path, "flytt_shop_repl").unwrap();
        assert!(password(&path, "flytt_other_repl").is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(password(&path, "flytt_shop_repl").is_err());
        assert!(keep(&path, "flytt_shop_repl").is_err(), "nor is it replaced");
    }
}
