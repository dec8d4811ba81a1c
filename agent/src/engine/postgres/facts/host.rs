//! Facts about the machine and about what PostgreSQL's packages have installed on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{super::cluster, Host, PgFacts};
use crate::command::Command;

const LIMIT: Duration = Duration::from_secs(10);
/// Programs that start, stop or promote a server on their own.
const MANAGERS: [&str; 6] = ["patroni", "repmgrd", "pg_autoctl", "pacemakerd", "stolon-keeper", "corosync"];
const MANAGER_FILES: [&str; 5] = [
    "/etc/patroni/config.yml",
    "/etc/patroni.yml",
    "/etc/repmgr.conf",
    "/etc/corosync/corosync.conf",
    "/etc/patroni/patroni.yml",
];

pub(super) async fn look(data: &Path, config_file: &Path) -> Host {
    let start_conf = config_file.parent().map(|parent| parent.join("start.conf"));
    Host {
        architecture: std::env::consts::ARCH.to_owned(),
        page_size: nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten()
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(0),
        glibc: said("/usr/bin/getconf", &["GNU_LIBC_VERSION"]).await,
        boot_id: cluster::boot_id(),
        data_free: free(data),
        wal_free: free(&data.join("pg_wal")),
        managers: managers(data),
        start_conf: start_conf.and_then(|path| fs::read_to_string(path).ok()).map(|text| first_word(&text)).unwrap_or_default(),
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → 150018
pub(super) async fn version(bin: &Path) -> u32 {
    parse_version(&said(&bin.join("postgres"), &["--version"]).await)
}

fn parse_version(text: &str) -> u32 {
    let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default();
    let (major, minor) = word.split_once('.').unwrap_or((word, "0"));
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().unwrap_or(0);
    number(major) * 10_000 + number(minor)
}

/// Versions that the installed scripts can bring an extension to: `name--1.0.sql`, `name--1.0--1.1.sql`.
pub(super) async fn extensions(bin: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let share = directory(bin, "--sharedir").await.join("extension");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in names(&share) {
        let Some(stem) = name.strip_suffix(".sql") else { continue };
        if let (Some((extension, _)), Some((_, version))) = (stem.split_once("--"), stem.rsplit_once("--")) {
            found.entry(extension.to_owned()).or_default().insert(version.to_owned());
        }
    }
    found
}

pub(super) async fn libraries(bin: &Path) -> BTreeSet<String> {
    let directory = directory(bin, "--pkglibdir").await;
    names(&directory).filter_map(|name| name.strip_suffix(".so").map(str::to_owned)).collect()
}

/// As `pg_config` of the same installation says it.
async fn directory(bin: &Path, which: &str) -> PathBuf {
    said(&bin.join("pg_config"), &[which]).await.into()
}

fn names(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

async fn said(program: impl Into<PathBuf>, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments.iter().copied()).run(LIMIT).await;
    output.map(|output| output.stdout).unwrap_or_default()
}

/// Bytes free for this user, on the file system of the nearest directory that exists.
fn free(path: &Path) -> u64 {
    let existing = path.ancestors().find_map(|path| nix::sys::statvfs::statvfs(path).ok());
    existing.map_or(0, |fs| fs.blocks_available().saturating_mul(fs.fragment_size()))
}

fn managers(data: &Path) -> Vec<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    // Of any user, and also an interpreter's script: `python3 /usr/bin/patroni`.
    for process in procfs::process::all_processes().into_iter().flatten().filter_map(Result::ok) {
        let line = process.cmdline().unwrap_or_default();
        for word in line.iter().take(2) {
            let name = word.rsplit('/').next().unwrap_or_default();
            found.extend(MANAGERS.iter().filter(|manager| **manager == name).map(|manager| format!("process {manager}")));
        }
    }
    found.extend(MANAGER_FILES.iter().filter(|path| Path::new(path).exists()).map(|path| (*path).to_owned()));
    found.extend(
        ["patroni.dynamic.json", "pg_autoctl.cfg"]
            .iter()
            .map(|name| data.join(name))
            .filter(|path| path.exists())
            .map(|path| path.to_string_lossy().into_owned()),
    );
    found.into_iter().collect()
}

fn first_word(text: &str) -> String {
    let line = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).find(|line| !line.is_empty());
    line.unwrap_or_default().to_owned()
}

/// The first address that is not a wildcard; for a wildcard this machine's own name.
pub(super) fn address(facts: &PgFacts, port: u16) -> String {
    let Some(host) = facts.list("listen_addresses").into_iter().next() else { return String::new() };
    let host = match host.as_str() {
        "*" | "0.0.0.0" | "::" => {
            fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
        }
        other => other.to_owned(),
    };
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_packages_and_betas() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), 150_018);
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1"), 180_000);
        assert_eq!(parse_version(""), 0);
    }

    #[test]
    fn a_wildcard_is_reached_by_name() {
        let at = |listen: &str| {
            let settings = [("listen_addresses".to_owned(), listen.to_owned())].into();
            address(&PgFacts { settings, ..PgFacts::default() }, 5432)
        };
        assert_eq!(at(""), "");
        assert_eq!(at("10.0.0.5,127.0.0.1"), "10.0.0.5:5432");
        assert_eq!(at("fd00::1"), "[fd00::1]:5432");
        assert!(at("*").len() > ":5432".len());
    }
}
