//! `agent.toml`, parsed into checked types. What this host allows stands here and nowhere else.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// The agent's configuration. Unknown keys are errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where controllers and other agents reach this one.
    pub listen: SocketAddr,
    /// Ledger, identity and passwords; 0700, on a disk that lasts.
    pub state: PathBuf,
    /// Tunnel sockets; 0700; may be emptied by a restart of the host.
    pub runtime: PathBuf,
    /// Plain-text `GET /primary`, `/replica`, `/health`. Off unless set.
    pub status: Option<SocketAddr>,
    /// HAProxy's agent-check port. Off unless set.
    pub agent_check: Option<SocketAddr>,
    /// Consent to destroy: only then may a move put its copy in the place of this host's data directory.
    #[serde(default)]
    pub may_replace_data: bool,
    /// The WAL guard drops a move's slot before the disk of this (source) host has less than this share free. Percent.
    #[serde(default = "ten")]
    pub guard_free_percent: u8,
    /// Which kernel settings a move may change here.
    #[serde(default)]
    pub tuning: Tuning,
    pub postgres: Option<Postgres>,
    pub mariadb: Option<Mariadb>,
    pub mysql: Option<Mysql>,
    pub haproxy: Option<Haproxy>,
}

fn ten() -> u8 {
    10
}

/// What a move may do to this host's kernel settings, of those that the agent knows (`change/sysctl/table.rs`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// The file below `/etc/sysctl.d` that sets them again when the host starts.
    pub drop_in: PathBuf,
    /// Where the kernel's settings are mounted.
    pub sysctl: PathBuf,
    /// Settings that no move changes here.
    pub keep: Vec<Kept>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { drop_in: "/etc/sysctl.d/60-flytt.conf".into(), sysctl: "/proc/sys".into(), keep: Vec::new() }
    }
}

/// The name of a setting that the agent knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Kept(pub String);

impl TryFrom<String> for Kept {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match crate::change::sysctl::table::find(&name) {
            Ok(_) => Ok(Self(name)),
            Err(_) => Err(format!("{name:?} is not a setting that a move would change")),
        }
    }
}

/// The PostgreSQL server of this host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    pub data_directory: PathBuf,
    /// `postgresql.conf`, where it is not in the data directory (Debian keeps it in /etc).
    pub config_file: Option<PathBuf>,
    /// Directory of `postgres`, `pg_ctl`, `pg_basebackup`, `pg_verifybackup`.
    pub bin: PathBuf,
    /// Directory of the server's unix socket.
    pub socket: PathBuf,
    pub port: u16,
    /// A program with its arguments that starts the server and returns, and one that stops it: both or neither. Without them
    /// the agent starts the server itself, by `pg_ctl`.
    #[serde(default)]
    pub start: Vec<String>,
    #[serde(default)]
    pub stop: Vec<String>,
    /// Where a server that we start ourselves writes until its own logging is up.
    pub log: Option<PathBuf>,
    /// Role and database of the agent's first connections; later ones use a role of the move's own.
    #[serde(default = "postgres")]
    pub role: String,
    #[serde(default = "postgres")]
    pub database: String,
}

fn postgres() -> String {
    "postgres".into()
}

/// The MariaDB server of this host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mariadb {
    pub data_directory: PathBuf,
    /// The option file that the server is started with.
    pub config_file: PathBuf,
    /// A directory of the agent's own which `config_file` includes (`!includedir`): what must hold across a restart stands there.
    pub drop_in: PathBuf,
    #[serde(default = "mariadbd")]
    pub server: PathBuf,
    /// Directory of `mariadb-backup` and `mbstream`.
    #[serde(default = "usr_bin")]
    pub bin: PathBuf,
    pub socket: PathBuf,
    /// Where routers reach the server.
    pub port: u16,
    /// A target: where on loopback its server finds the tunnel to the source.
    #[serde(default = "tunnel_port")]
    pub tunnel_port: u16,
    /// A program with its arguments that starts the server and returns, and one that stops it: both or neither. Without them
    /// the agent starts `server` itself, and ends it by signals.
    #[serde(default)]
    pub start: Vec<String>,
    #[serde(default)]
    pub stop: Vec<String>,
    /// Where a server that we start ourselves writes its log.
    pub log: Option<PathBuf>,
    /// The account of the agent's first connection: its operating-system user's, by `unix_socket`.
    #[serde(default = "mysql")]
    pub account: String,
}

fn mariadbd() -> PathBuf {
    "/usr/sbin/mariadbd".into()
}

fn usr_bin() -> PathBuf {
    "/usr/bin".into()
}

fn tunnel_port() -> u16 {
    7433
}

fn mysql() -> String {
    "mysql".into()
}

/// The MySQL server of this host. What must hold across its restarts is persisted in the server itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mysql {
    pub data_directory: PathBuf,
    /// The option file that the server is started with.
    pub config_file: PathBuf,
    #[serde(default = "mysqld")]
    pub server: PathBuf,
    /// Directory of the server's client programs.
    #[serde(default = "usr_bin")]
    pub bin: PathBuf,
    pub socket: PathBuf,
    /// Where routers reach the server. A source's server must listen there on 127.0.0.1, too.
    pub port: u16,
    /// A target: where on loopback its server finds the tunnel to the source.
    #[serde(default = "tunnel_port")]
    pub tunnel_port: u16,
    /// A program with its arguments that starts the server and returns, and one that stops it: both or neither. Without them
    /// the agent starts `server` itself, and ends it by signals.
    #[serde(default)]
    pub start: Vec<String>,
    #[serde(default)]
    pub stop: Vec<String>,
    /// Where a server that we start ourselves writes its log. MySQL adds `.err` to a name without an ending.
    pub log: Option<PathBuf>,
    /// The account of the agent's first connection: its operating-system user's, by `auth_socket`.
    #[serde(default = "mysql")]
    pub account: String,
    /// Consent: an import may switch the redo log and the mending of torn pages off, where a trial shows that it helps. A server
    /// that is killed meanwhile does not start again, and its data is lost.
    #[serde(default)]
    pub import_may_lose_data: bool,
}

fn mysqld() -> PathBuf {
    "/usr/sbin/mysqld".into()
}

/// The HAProxy of this host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Haproxy {
    /// Admin socket (`stats socket … level admin`).
    pub socket: PathBuf,
    /// `host:port` that the applications use.
    pub entrance: String,
    /// Name of the frontend behind `entrance`.
    pub frontend: String,
    #[serde(default = "haproxy")]
    pub binary: PathBuf,
}

fn haproxy() -> PathBuf {
    "/usr/sbin/haproxy".into()
}

impl Config {
    /// Of the server that this host serves, whichever it is; `None` on a router's host.
    pub fn data_directory(&self) -> Option<&Path> {
        let postgres = self.postgres.as_ref().map(|postgres| &postgres.data_directory);
        let mariadb = self.mariadb.as_ref().map(|mariadb| &mariadb.data_directory);
        let mysql = self.mysql.as_ref().map(|mysql| &mysql.data_directory);
        postgres.or(mariadb).or(mysql).map(PathBuf::as_path)
    }

    /// Whether this host's server, if it has one, is started by somebody else than the agent itself.
    pub fn is_started_elsewhere(&self) -> bool {
        self.starters().all(|(start, _)| !start.is_empty())
    }

    /// What starts and what stops the server of this host.
    fn starters(&self) -> impl Iterator<Item = (&[String], &[String])> {
        let postgres = self.postgres.as_ref().map(|postgres| (&postgres.start[..], &postgres.stop[..]));
        let mariadb = self.mariadb.as_ref().map(|mariadb| (&mariadb.start[..], &mariadb.stop[..]));
        let mysql = self.mysql.as_ref().map(|mysql| (&mysql.start[..], &mysql.stop[..]));
        [postgres, mariadb, mysql].into_iter().flatten()
    }

    /// Reads `agent.toml`. The error names the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Self = toml::from_str(&text).with_context(|| format!("{} is not a valid agent.toml", path.display()))?;
        // Who starts it and is not told that it is to stay down may start it again, beside a primary.
        if config.starters().any(|(start, stop)| start.is_empty() != stop.is_empty()) {
            anyhow::bail!("{}: set both `start` and `stop` of the server, or neither", path.display());
        }
        Ok(config)
    }
}
