//! The only module that makes or reads a secret: the password of a move's replication role, kept in a 0600 password file
//! (PostgreSQL manual, "The Password File"). There is no way from a [`Secret`] to an argument, an environment or a text.

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
    match read(path, role) {
        Ok((_, verifier)) => return Ok(verifier),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let parent = path.parent().ok_or_else(|| io::Error::other("a password file needs a directory"))?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;

    let mut random = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let password = SecretString::from(data_encoding::BASE64URL_NOPAD.encode(&random));
    random.fill(0);
    let verifier = postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes());
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
