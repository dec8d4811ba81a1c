//! MySQL on the stage: the option file outside the data directory, the administrator known by the unix socket and the
//! application by its password.

use std::path::{Path, PathBuf};

use flytt_proto::failure::Failure;

use super::{
    mysql_family::{self, OPTIONS, option, socket},
    programs::missing,
    server::{Database, Layout, START},
};

/// Where the servers are: the test bed's own, and the distribution's.
const ROOTS: [&str; 2] = ["/opt/flytt-mysql/usr", "/usr"];

#[derive(Debug)]
pub(super) struct Mysql {
    server: PathBuf,
    bin: PathBuf,
}

impl Mysql {
    pub(super) fn find() -> Result<Self, Failure> {
        let at = |root: &str| Self { server: Path::new(root).join("sbin/mysqld"), bin: Path::new(root).join("bin") };
        // On a machine with MariaDB both names may be a link to MariaDB's programs.
        let is_own = |path: &Path| path.is_file() && path.canonicalize().is_ok_and(|path| !path.ends_with("mariadbd"));
        let found = ROOTS.map(at).into_iter().find(|mysql| is_own(&mysql.server) && mysql.bin.join("mysql").is_file());
        found.ok_or_else(|| missing("mysql-server-core", Path::new("/usr/sbin/mysqld")))
    }
}

#[tonic::async_trait]
impl Database for Mysql {
    fn bin(&self) -> &Path {
        &self.bin
    }

    fn config(&self) -> &'static str {
        OPTIONS
    }

    /// Its port tells each server of the stage from every other, so it is its number, too.
    fn files(&self, at: &Layout) -> Vec<(&'static str, String)> {
        let port = at.port;
        let text = format!(
            "[mysqld]\ndatadir = {}\nsocket = {}\ntmpdir = {}\nport = {port}\nbind-address = 127.0.0.1\nskip_name_resolve = 1\n\
             mysqlx = 0\nsecure_file_priv = NULL\nserver_id = {port}\ngtid_mode = ON\nenforce_gtid_consistency = ON\nlog_bin = bin\n\
             sync_binlog = 1\ninnodb_flush_log_at_trx_commit = 1\ninnodb_buffer_pool_size = 64M\ninnodb_redo_log_capacity = 64M\n\
             max_connections = 100\nplugin_load_add = auth_socket.so\nplugin_load_add = mysql_clone.so\n",
            at.data().display(),
            socket(at).display(),
            at.tmp().display(),
        );
        vec![(OPTIONS, text)]
    }

    /// No plug-in is loaded before the first real start: that one makes the accounts that the socket vouches for.
    async fn initialise(&self, at: &Layout) -> Result<(), Failure> {
        let (options, log) = (option("defaults-file", &at.etc().join(OPTIONS)), option("log-error", &at.log()));
        let arguments = [options.as_str(), &log, "--initialize-insecure"];
        at.program(self.server.clone(), &arguments).run("", START).await?;
        mysql_family::start(at, &self.server).await?;
        let name = &at.account.name;
        let accounts = format!(
            "CREATE USER '{name}'@localhost IDENTIFIED WITH auth_socket;\nGRANT ALL ON *.* TO '{name}'@localhost WITH GRANT OPTION;\n\
             GRANT PROXY ON ''@'' TO '{name}'@localhost WITH GRANT OPTION;\n\
             ALTER USER root@localhost IDENTIFIED WITH auth_socket;\nRESET BINARY LOGS AND GTIDS;\nSHUTDOWN;\n"
        );
        let as_root = ["--no-defaults", "--user=root", &option("socket", &socket(at))];
        at.program(self.bin.join("mysql"), &as_root).run(&accounts, START).await.map(drop)
    }

    async fn start(&self, at: &Layout) -> Result<(), Failure> {
        mysql_family::ended(at).await?;
        mysql_family::start(at, &self.server).await
    }

    async fn sql(&self, at: &Layout, database: &str, statements: &str) -> Result<String, Failure> {
        mysql_family::sql(at, self.bin.join("mysql"), database, statements).await
    }

    /// The canary makes a database of its own.
    fn application(&self, password: &str) -> String {
        format!(
            "CREATE DATABASE app;\nCREATE USER app@'%' IDENTIFIED BY '{password}';\n\
             GRANT ALL PRIVILEGES ON app.* TO app@'%';\nGRANT ALL PRIVILEGES ON flytt_canary.* TO app@'%';\n"
        )
    }

    /// Not in the binary log: what is there before a move would be there twice. (MD5 is a component of its own in MySQL 9.7.)
    fn filling(&self, rows: u64) -> String {
        format!(
            "SET SESSION sql_log_bin = 0, SESSION cte_max_recursion_depth = {rows};\n\
             CREATE TABLE orders (id bigint PRIMARY KEY, body text NOT NULL);\n\
             INSERT INTO orders WITH RECURSIVE seq (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < {rows}) \
             SELECT n, repeat(sha2(n, 256), 15) FROM seq;\n\
             ANALYZE NO_WRITE_TO_BINLOG TABLE orders;\n"
        )
    }

    fn way_in(&self, port: u16, password: &str) -> String {
        mysql_family::way_in(port, password)
    }

    fn agent(&self, at: &Layout) -> Result<String, Failure> {
        mysql_family::agent("mysql", at, &self.server, &self.bin, &[])
    }
}
