//! What must hold across a restart of the server: option files of ours in a directory that its own option file includes.
//! MariaDB has no SET PERSIST (error 1064).

use std::{fs, time::Duration};

use flytt_proto::{failure::Failure, name::Migration};

use super::{Mariadb, names};
use crate::{
    change::{Change, File},
    command::Command,
};

const LIMIT: Duration = Duration::from_secs(10);
/// Before the word that says whether events ran, for whoever takes the file away.
const EVENTS: &str = "# event_scheduler here, once this file is gone: ";

impl Mariadb {
    /// Read-only and without events, from the next start on.
    pub(super) fn shut(&self, migration: &Migration, purpose: &str, events: bool) -> Change {
        let state = if events { "on" } else { "off" };
        let text = format!(
            "# flytt, move {migration}: {purpose}. Managed, do not edit.\n{EVENTS}{state}\n\
             [mariadbd]\nread_only = 1\nevent_scheduler = OFF\n"
        );
        let path = names::drop_in(&self.config.drop_in, migration, purpose);
        Change::File(File { path, want: Some(text), had: None, mode: 0o644 })
    }

    /// The same, and it follows nobody until the file is gone.
    pub(super) fn shut_alone(&self, migration: &Migration, purpose: &str, events: bool) -> Change {
        let mut change = self.shut(migration, purpose, events);
        if let Change::File(File { want: Some(text), .. }) = &mut change {
            text.push_str("skip_slave_start = 1\n");
        }
        change
    }

    pub(super) fn not_shut(&self, migration: &Migration, purpose: &str) -> Change {
        let path = names::drop_in(&self.config.drop_in, migration, purpose);
        Change::File(File { path, want: None, had: None, mode: 0o644 })
    }

    /// What earlier moves left to stand for good on a host that was their source: it would shut the next primary when that restarts.
    pub(super) fn lifted(&self, migration: &Migration) -> Result<Vec<Change>, Failure> {
        let directory = &self.config.drop_in;
        let ours = ["gate", "replica"].map(|purpose| names::drop_in(directory, migration, purpose));
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return Err(super::file(directory, &error)),
        };
        let mut changes = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !ours.contains(path)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let purpose =
                name.strip_prefix("flytt-").and_then(|name| name.strip_suffix(".cnf")).and_then(|name| name.rsplit('-').next());
            if purpose.is_some_and(|purpose| ["surrendered", "fence", "gate", "replica"].contains(&purpose)) {
                let had = fs::read_to_string(&path).map_err(|error| super::file(&path, &error))?;
                changes.push(Change::File(File { path, want: None, had: Some(had), mode: 0o644 }));
            }
        }
        Ok(changes)
    }

    /// Whether events ran before the file of this purpose came, if it is there.
    pub(super) fn events_before(&self, migration: &Migration, purpose: &str) -> Option<bool> {
        let text = fs::read_to_string(names::drop_in(&self.config.drop_in, migration, purpose)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(EVENTS)).map(|state| state == "on")
    }

    /// Whether events run once nothing of ours stands in the way. Asked of the files when ours is not there; a second look must not
    /// take our own answer for the owner's.
    pub(super) async fn events_by_file(&self, migration: &Migration) -> bool {
        match self.events_before(migration, "replica") {
            Some(events) => events,
            None => self.option("event_scheduler").await.is_some_and(|state| ["on", "1"].contains(&&*state.to_lowercase())),
        }
    }

    /// Whether a server that is started with `config_file` reads the directory.
    pub(super) fn reads_drop_ins(&self) -> bool {
        includes(&self.config.config_file, &self.config.drop_in, 0)
    }

    /// The options a server started now would have: `--name=value`, later ones win.
    pub(super) async fn options(&self) -> Vec<String> {
        let mut file = std::ffi::OsString::from("--defaults-file=");
        file.push(&self.config.config_file);
        let said = Command::new(&self.config.server).arg(file).arg("--print-defaults").run(LIMIT).await;
        let text = said.map(|output| output.stdout).unwrap_or_default();
        text.split_whitespace().filter(|word| word.starts_with("--")).map(str::to_owned).collect()
    }

    /// The value of one of these options.
    pub(super) async fn option(&self, name: &str) -> Option<String> {
        let normal = |text: &str| text.to_ascii_lowercase().replace('-', "_");
        self.options().await.iter().rev().find_map(|option| {
            let (key, value) = option.trim_start_matches('-').split_once('=').unwrap_or((option.trim_start_matches('-'), "1"));
            (normal(key) == normal(name)).then(|| value.to_owned())
        })
    }
}

/// `!includedir` and `!include` as the server follows them (MariaDB manual, "Configuring MariaDB with Option Files").
fn includes(file: &std::path::Path, directory: &std::path::Path, depth: u8) -> bool {
    let Ok(text) = fs::read_to_string(file) else { return false };
    let same = |path: &str| fs::canonicalize(path.trim()).ok() == fs::canonicalize(directory).ok();
    text.lines().map(str::trim).any(|line| {
        if let Some(path) = line.strip_prefix("!includedir") {
            let entries = fs::read_dir(path.trim()).into_iter().flatten().flatten();
            let nested = |entry: fs::DirEntry| {
                entry.path().extension().is_some_and(|e| e == "cnf") && depth < 8 && includes(&entry.path(), directory, depth + 1)
            };
            return same(path) || entries.into_iter().any(nested);
        }
        line.strip_prefix("!include").is_some_and(|path| depth < 8 && includes(path.trim().as_ref(), directory, depth + 1))
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

    #[test]
    fn a_directory_counts_when_it_is_included_also_by_way_of_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["ours", "conf.d"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("my.cnf"), format!("[mariadbd]\n!includedir {}\n", at("conf.d").display())).unwrap();
        assert!(!includes(&at("my.cnf"), &at("ours"), 0));
        fs::write(at("conf.d/50.cnf"), format!("  !includedir {}/\n", at("ours").display())).unwrap();
        assert!(includes(&at("my.cnf"), &at("ours"), 0));
        fs::write(at("loop.cnf"), format!("!include {}\n", at("loop.cnf").display())).unwrap();
        assert!(!includes(&at("loop.cnf"), &at("ours"), 0), "a circle ends");
        assert!(!includes(&at("absent.cnf"), &at("ours"), 0));
    }
}
