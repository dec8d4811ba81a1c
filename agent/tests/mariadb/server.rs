//! A throw-away server with its option file outside the data directory. It ends with its value.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use flytt_agent::{
    change::Verb,
    config,
    engine::{Engine as _, Pipes, mariadb::Mariadb, mysql_family::dump::rows::Lending},
};
use mysql_async::{Conn, OptsBuilder, Row, prelude::Queryable as _};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{apply::shop, tunnel};

/// Small ones, so that there are some.
const PIECES: Lending = Lending { lease: Duration::from_secs(600), piece: 256 << 10 };

pub(crate) struct Server {
    pub(crate) root: PathBuf,
    pub(crate) port: u16,
    pub(crate) engine: Arc<Mariadb>,
}

/// The account that the tests' operating-system user is on the server.
pub(crate) fn user() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Directories and an option file, but no data yet.
    pub(crate) fn prepare(base: &Path, name: &str, number: u16) -> Self {
        let root = base.join(name);
        // A server that starts empties its `tmpdir` of tables, whoever is at work with them.
        for part in ["etc", "state", "drop-in", "tmp"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        let port = free_port();
        let at = |part: &str| root.join(part).display().to_string();
        fs::write(
            root.join("etc/my.cnf"),
            format!(
                "[mariadbd]\ndatadir = {}\nsocket = {}\ntmpdir = {}\nport = {port}\nbind-address = 127.0.0.1\nserver_id = {number}\n\
                 gtid_domain_id = {number}\ngtid_strict_mode = 1\nlog_bin = bin\nlog_slave_updates = 1\nbinlog_format = ROW\n\
                 innodb_buffer_pool_size = 16M\ninnodb_log_file_size = 16M\nevent_scheduler = ON\ngeneral_log = 1\n\
                 general_log_file = {}\ncharacter_set_server = utf8mb4\n!includedir {}\n",
                at("data"),
                at("s"),
                at("tmp"),
                at("general.log"),
                at("drop-in"),
            ),
        )
        .unwrap();
        Self::attach(base, name, port)
    }

    /// One that another process of this test prepared.
    pub(crate) fn attach(base: &Path, name: &str, port: u16) -> Self {
        let root = base.join(name);
        let settings = Self::settings(&root, port);
        let engine = Mariadb::new(settings, root.join("state"), true).through(tunnel::pipes(base)).lending(PIECES);
        Self { root, port, engine: Arc::new(engine) }
    }

    /// An empty server that runs; whoever runs this test is its administrator.
    pub(crate) async fn empty(base: &Path, name: &str, number: u16) -> Self {
        let server = Self::prepare(base, name, number);
        let run = Command::new("/usr/bin/mariadb-install-db")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", server.data().display()))
            .arg(format!("--tmpdir={}", server.root.join("tmp").display()))
            .args(["--auth-root-authentication-method=socket", "--skip-test-db", "--skip-name-resolve"])
            .arg(format!("--auth-root-socket-user={}", user()))
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        server.start().await;
        server
    }

    /// One for a dump.
    pub(crate) async fn target(base: &Path) -> Self {
        Self::empty(base, "target", 2).await
    }

    /// The same server, seen by an agent that lends its snapshots for so long.
    pub(crate) fn lending(mut self, base: &Path, lease: Duration) -> Self {
        let engine = Mariadb::new(Self::settings(&self.root, self.port), self.root.join("state"), true);
        self.engine = Arc::new(engine.through(tunnel::pipes(base)).lending(Lending { lease, ..PIECES }));
        self
    }

    /// The same server, seen by an agent whose copies come through these.
    pub(crate) fn through(mut self, pipes: Arc<dyn Pipes>) -> Self {
        let engine = Mariadb::new(Self::settings(&self.root, self.port), self.root.join("state"), true);
        self.engine = Arc::new(engine.through(pipes).lending(PIECES));
        self
    }

    fn settings(root: &Path, port: u16) -> config::Mariadb {
        config::Mariadb {
            data_directory: root.join("data"),
            config_file: root.join("etc/my.cnf"),
            drop_in: root.join("drop-in"),
            server: "/usr/sbin/mariadbd".into(),
            bin: "/usr/bin".into(),
            socket: root.join("s"),
            port,
            tunnel_port: free_port(),
            start: Vec::new(),
            stop: Vec::new(),
            log: Some(root.join("log")),
            account: user(),
        }
    }

    /// With an application's accounts and table, running.
    pub(crate) async fn source(base: &Path) -> Self {
        let server = Self::empty(base, "source", 1).await;
        let mut root = server.root_session().await;
        for sql in [
            "create database app",
            "create table app.writes (writer int, number int, primary key (writer, number))",
            "create user app@'%' identified by 'app'",
            "create user app@localhost identified by 'app'",
            "grant select, insert, update, delete, execute on app.* to app@'%'",
            "grant select, insert, update, delete, execute on app.* to app@localhost",
        ] {
            root.query_drop(sql).await.unwrap();
        }
        server
    }

    /// A copy of a running source, by the server's own tool; it knows up to where it goes.
    pub(crate) async fn copy(base: &Path, source: &Self) -> Self {
        let server = Self::prepare(base, "target", 2);
        let tool = |arguments: &[String]| {
            let run = Command::new("/usr/bin/mariadb-backup").args(arguments).output().unwrap();
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        };
        let into = format!("--target-dir={}", server.data().display());
        tool(&[
            format!("--defaults-file={}", source.root.join("etc/my.cnf").display()),
            "--backup".into(),
            into.clone(),
            format!("--user={}", user()),
            format!("--socket={}", source.socket().display()),
        ]);
        tool(&["--prepare".into(), into]);
        let said = fs::read_to_string(server.data().join("xtrabackup_binlog_info")).unwrap();
        let position = said.split_whitespace().nth(2).unwrap().to_owned();
        // A copy that starts with its source's events writes what the source will write, too.
        let by_hand = server.root.join("drop-in/by-hand.cnf");
        fs::write(&by_hand, "[mariadbd]\nevent_scheduler = OFF\nread_only = 1\n").unwrap();
        server.start().await;
        fs::remove_file(by_hand).unwrap();
        let mut root = server.root_session().await;
        root.query_drop(format!("set global gtid_slave_pos = '{position}'")).await.unwrap();
        server
    }

    /// What it has written of itself.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    pub(crate) async fn start(&self) {
        if let Err(error) = self.engine.tell(&shop(), &Verb::Start).await {
            panic!("{error:?}\n{}", self.log());
        }
    }

    pub(crate) async fn kill(&self) {
        self.engine.tell(&shop(), &Verb::Kill).await.unwrap();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("s")
    }

    /// As the account that the socket vouches for.
    pub(crate) async fn root_session(&self) -> Conn {
        self.by_socket(&user(), None).await.unwrap()
    }

    pub(crate) async fn by_socket(&self, user: &str, password: Option<&str>) -> Result<Conn, mysql_async::Error> {
        let settings = OptsBuilder::default().socket(Some(self.socket().display().to_string())).user(Some(user)).pass(password);
        Conn::new(settings).await
    }

    pub(crate) async fn by_tcp(&self, user: &str, password: &str) -> Result<Conn, mysql_async::Error> {
        Conn::new(by_tcp(self.port, user, password)).await
    }
}

pub(crate) fn by_tcp(port: u16, user: &str, password: &str) -> OptsBuilder {
    OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some(user)).pass(Some(password)).prefer_socket(false)
}

pub(crate) async fn value(conn: &mut Conn, sql: &str) -> String {
    let row: Option<Row> = conn.query_first(sql).await.unwrap();
    row.and_then(|row| row.get_opt::<String, _>(0)).and_then(Result::ok).unwrap_or_default()
}

/// A server that is stopped in the middle of whatever it does, as long as this is held.
pub(crate) struct Stopped<'a>(&'a Server);

impl Server {
    pub(crate) fn stopped(&self) -> Stopped<'_> {
        self.signal(Signal::SIGSTOP);
        Stopped(self)
    }

    /// To the server whose working directory is this data directory, whoever started it.
    fn signal(&self, signal: Signal) {
        let Ok(data) = fs::metadata(self.data()) else { return };
        for process in procfs::process::all_processes().unwrap().flatten() {
            let there = fs::metadata(format!("/proc/{}/cwd", process.pid()));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (data.dev(), data.ino()))
                && process.stat().is_ok_and(|stat| stat.comm == "mariadbd")
            {
                let _ = kill(Pid::from_raw(process.pid()), signal);
            }
        }
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
