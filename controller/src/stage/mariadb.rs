//! MariaDB on the stage: the option file outside the data directory, a directory beside it for the agent's own options, the
//! administrator known by the unix socket and the application by its password.

use std::path::{Path, PathBuf};

use flytt_proto::failure::Failure;

use super::{
    mysql_family::{self, OPTIONS, option, socket},
    programs::missing,
    server::{Database, Layout, START},
};

const SERVER: &str = "/usr/sbin/mariadbd";
const BIN: &str = "/usr/bin";
/// Of the agent's own option files.
const DROP_IN: &str = "options";

#[derive(Debug)]
pub(super) struct Mariadb;

impl Mariadb {
    pub(super) fn find() -> Result<Self, Failure> {
        let needed = [
            ("mariadb-server-core", PathBuf::from(SERVER)),
            ("mariadb-server-core", at_bin("mariadb-install-db")),
            ("mariadb-client-core", at_bin("mariadb")),
            ("mariadb-backup", at_bin("mariadb-backup")),
            ("mariadb-backup", at_bin("mbstream")),
        ];
        needed
            .iter()
            .find(|(_, program)| !program.is_file())
            .map_or(Ok(Self), |(package, program)| Err(missing(package, program)))
    }
}

fn at_bin(program: &str) -> PathBuf {
    Path::new(BIN).join(program)
}

#[tonic::async_trait]
impl Database for Mariadb {
    fn bin(&self) -> &Path {
        Path::new(BIN)
    }

    fn config(&self) -> &'static str {
        OPTIONS
    }

    fn directories(&self) -> &'static [&'static str] {
        &[DROP_IN]
    }

    /// Its port tells each server of the stage from every other, so it is its number, too. Names are not looked up: the
    /// application's account is the same wherever it comes from.
    fn files(&self, at: &Layout) -> Vec<(&'static str, String)> {
        let port = at.port;
        let text = format!(
            "[mariadbd]\ndatadir = {}\nsocket = {}\ntmpdir = {}\nport = {port}\nbind-address = 127.0.0.1\nskip_name_resolve = 1\n\
             server_id = {port}\ngtid_domain_id = {port}\ngtid_strict_mode = 1\nlog_bin = bin\nlog_slave_updates = 1\n\
             binlog_format = ROW\nsync_binlog = 1\ninnodb_flush_log_at_trx_commit = 1\ninnodb_buffer_pool_size = 64M\n\
             innodb_log_file_size = 64M\nmax_connections = 100\ncharacter_set_server = utf8mb4\n!includedir {}\n",
            at.data().display(),
            socket(at).display(),
            at.tmp().display(),
            at.root.join(DROP_IN).display(),
        );
        vec![(OPTIONS, text)]
    }

    async fn initialise(&self, at: &Layout) -> Result<(), Failure> {
        let administrator = format!("--auth-root-socket-user={}", at.account.name);
        let (data, tmp) = (option("datadir", &at.data()), option("tmpdir", &at.tmp()));
        let fixed = ["--no-defaults", "--auth-root-authentication-method=socket", "--skip-test-db", "--skip-name-resolve"];
        let arguments = [&fixed[..], &[&administrator, &data, &tmp]].concat();
        at.program(at_bin("mariadb-install-db"), &arguments).run("", START).await.map(drop)
    }

    async fn start(&self, at: &Layout) -> Result<(), Failure> {
        mysql_family::start(at, Path::new(SERVER)).await
    }

    async fn sql(&self, at: &Layout, database: &str, statements: &str) -> Result<String, Failure> {
        mysql_family::sql(at, at_bin("mariadb"), database, statements).await
    }

    /// The binary log has statements as they were written, passwords too. The canary makes a database of its own.
    fn application(&self, password: &str) -> String {
        format!(
            "CREATE DATABASE app;\nSET SESSION sql_log_bin = 0;\nCREATE USER app@'%' IDENTIFIED BY '{password}';\n\
             GRANT ALL PRIVILEGES ON app.* TO app@'%';\nGRANT ALL PRIVILEGES ON flytt_canary.* TO app@'%';\n"
        )
    }

    /// Not in the binary log: what is there before a move would be there twice.
    fn filling(&self, rows: u64) -> String {
        format!(
            "SET SESSION sql_log_bin = 0;\n\
             CREATE TABLE orders (id bigint PRIMARY KEY, body text NOT NULL);\n\
             INSERT INTO orders SELECT seq, repeat(md5(seq), 29) FROM seq_1_to_{rows};\n\
             ANALYZE NO_WRITE_TO_BINLOG TABLE orders;\n"
        )
    }

    fn way_in(&self, port: u16, password: &str) -> String {
        mysql_family::way_in(port, password)
    }

    fn agent(&self, at: &Layout) -> Result<String, Failure> {
        mysql_family::agent("mariadb", at, Path::new(SERVER), Path::new(BIN), &[("drop_in", at.root.join(DROP_IN))])
    }
}
