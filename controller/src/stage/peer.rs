//! Other people's ways to copy one server's database into another, as their users run them: what a dump of ours is measured beside.

use std::{path::PathBuf, time::Duration};

use flytt_proto::failure::Failure;

use super::{mysql_family::socket, place::Place, programs, server::Server};
use crate::spec::Engine;

const MYDUMPER: [&str; 2] = ["/usr/bin/mydumper", "/usr/bin/myloader"];
const CHECKSUM: &str = "/usr/bin/pt-table-checksum";
const LIMIT: Duration = Duration::from_secs(3600);
/// As many as ours has sessions on two to four cores.
const THREADS: &str = "4";

/// A way to copy a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The vendor's own dump and client, with zstd on the way.
    Pipeline,
    /// `mydumper` into files, then `myloader`.
    Mydumper,
}

/// Their programs, found once. `tool` is the vendor's dump, `client` its client.
#[derive(Debug)]
pub struct Peers {
    tool: PathBuf,
    client: PathBuf,
    more: &'static str,
    files: PathBuf,
}

impl Peers {
    /// # Errors
    /// `PROGRAM_MISSING`, with the package to install.
    pub fn find(engine: Engine, place: &Place, from: &Server) -> Result<Self, Failure> {
        let at = |program: &str| from.bin().join(program);
        let (tool, client, more) = match engine {
            Engine::Mysql => (at("mysqldump"), at("mysql"), "--set-gtid-purged=OFF --no-tablespaces"),
            Engine::Mariadb | Engine::Postgres => (at("mariadb-dump"), at("mariadb"), ""),
        };
        for (package, program) in
            [("mariadb-client", tool.clone()), ("mydumper", MYDUMPER[0].into()), ("zstd", PathBuf::from("/usr/bin/zstd"))]
        {
            if !program.is_file() {
                return Err(programs::missing(package, &program));
            }
        }
        let files = place.directory("dumped", 0o700, Some(place.account()))?;
        Ok(Self { tool, client, more, files })
    }

    /// Copies database `app`. Nothing of it goes into the target's binary log, as with ours.
    ///
    /// # Errors
    /// `STAGE_PROGRAM` with what the programs say.
    pub async fn copy(&self, by: Peer, from: &Server, to: &Server) -> Result<(), Failure> {
        let user = &from.at.account.name;
        let (from_socket, to_socket) = (socket(&from.at), socket(&to.at));
        let (from_socket, to_socket, files) = (from_socket.display(), to_socket.display(), self.files.display());
        let script = match by {
            // The compression of ours.
            Peer::Pipeline => format!(
                "{} --no-defaults --user={user} --socket={from_socket} --single-transaction --quick --routines --events --triggers \
                 --hex-blob --default-character-set=utf8mb4 --max-allowed-packet=1G {} --databases app | zstd -q -1 | zstd -q -d | \
                 {} --no-defaults --user={user} --socket={to_socket} --default-character-set=utf8mb4 --max-allowed-packet=1G \
                 --init-command='SET SESSION sql_log_bin = 0'",
                self.tool.display(),
                self.more,
                self.client.display(),
            ),
            // Its files are not compressed: it knows gzip alone here, which costs it more than their way through memory.
            Peer::Mydumper => format!(
                "rm -rf {files}/app && {} --user={user} --socket={from_socket} --database=app --threads={THREADS} --rows=100000 \
                 --triggers --events --routines --trx-consistency-only --outputdir={files}/app && \
                 {} --user={user} --socket={to_socket} --threads={THREADS} --directory={files}/app && rm -rf {files}/app",
                MYDUMPER[0], MYDUMPER[1],
            ),
        };
        from.at.program("/bin/bash".into(), &["-o", "pipefail", "-e", "-c", &script]).run("", LIMIT).await.map(drop)
    }
}

/// Checksums of these tables of database `app` by `pt-table-checksum`, on the source and, through replication, on whoever follows it.
/// It looks for no replica and waits for none: that is the least that it can take.
///
/// # Errors
/// `PROGRAM_MISSING`; `STAGE_PROGRAM` with what it says.
pub async fn checksum(of: &Server, tables: &[&str]) -> Result<(), Failure> {
    let program = std::path::Path::new(CHECKSUM);
    if !program.is_file() {
        return Err(programs::missing("percona-toolkit", program));
    }
    let (socket, user) = (socket(&of.at), &of.at.account.name);
    let tables = format!("--tables={}", tables.join(","));
    let to = format!("S={},u={user}", socket.display());
    let arguments = [
        "--no-version-check",
        "--no-check-binlog-format",
        "--no-check-replication-filters",
        "--recursion-method=none",
        "--databases=app",
        "--replicate=app.checksums",
        &tables,
        "--quiet",
        &to,
    ];
    of.at.program(program.into(), &arguments).run("", LIMIT).await.map(drop)
}
