//! A throw-away server with its option file outside the data directory. It ends with its value.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use flytt_agent::{
    change::Verb,
    config,
    engine::{Engine as _, Pipes, mysql::Mysql, mysql_family::dump::rows::Lending},
};

use mysql_async::{Conn, OptsBuilder, Row, prelude::Queryable as _};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{apply::shop, tunnel};

/// Where `packaging/mysql.sh` puts them.
pub(crate) const MYSQLD: &str = "/opt/flytt-mysql/usr/sbin/mysqld";

/// Small pieces, so that there are some.
const PIECES: Lending = Lending { lease: Duration::from_secs(600), piece: 256 << 10 };

pub(crate) struct Server {
    pub(crate) root: PathBuf,
    pub(crate) port: u16,
    pub(crate) engine: Arc<Mysql>,
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
        for part in ["etc", "state", "tmp"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        let port = free_port();
        let at = |part: &str| root.join(part).display().to_string();
        fs::write(
            root.join("etc/my.cnf"),
            format!(
                "[mysqld]\ndatadir = {}\nsocket = {}\ntmpdir = {}\nport = {port}\nbind-address = 127.0.0.1\nserver_id = {number}\n\
                 mysqlx = 0\nsecure_file_priv = NULL\ngtid_mode = ON\nenforce_gtid_consistency = ON\nlog_bin = bin\n\
                 innodb_buffer_pool_size = 16M\ninnodb_redo_log_capacity = 16M\nplugin_load_add = auth_socket.so\n\
                 plugin_load_add = mysql_clone.so\nreplica_parallel_workers = 1\n\
                 general_log = 1\ngeneral_log_file = {}\n",
                at("data"),
                at("s"),
                at("tmp"),
                at("general.log"),
            ),
        )
        .unwrap();
        Self::attach(base, name, port)
    }

    /// One that another process of this test prepared.
    pub(crate) fn attach(base: &Path, name: &str, port: u16) -> Self {
        let root = base.join(name);
        let engine = Mysql::new(Self::settings(&root, port), root.join("state"), true);
        let engine = Arc::new(engine.through(tunnel::pipes(base)).lending(PIECES));
        Self { root, port, engine }
    }

    /// The same server, seen by an agent that lends its snapshots for so long.
    pub(crate) fn lending(mut self, base: &Path, lease: Duration) -> Self {
        let engine = Mysql::new(Self::settings(&self.root, self.port), self.root.join("state"), true);
        self.engine = Arc::new(engine.through(tunnel::pipes(base)).lending(Lending { lease, ..PIECES }));
        self
    }

    /// The same server, seen by an agent whose copies come through these.
    pub(crate) fn through(mut self, pipes: Arc<dyn Pipes>) -> Self {
        let engine = Mysql::new(Self::settings(&self.root, self.port), self.root.join("state"), true);
        self.engine = Arc::new(engine.through(pipes).lending(PIECES));
        self
    }

    fn settings(root: &Path, port: u16) -> config::Mysql {
        config::Mysql {
            data_directory: root.join("data"),
            config_file: root.join("etc/my.cnf"),
            server: MYSQLD.into(),
            bin: "/opt/flytt-mysql/usr/bin".into(),
            socket: root.join("s"),
            port,
            tunnel_port: free_port(),
            start: Vec::new(),
            stop: Vec::new(),
            log: Some(root.join("log.err")),
            account: user(),
            import_may_lose_data: false,
        }
    }

    /// An empty server that runs; whoever runs this test is its administrator.
    pub(crate) async fn empty(base: &Path, name: &str, number: u16) -> Self {
        let server = Self::prepare(base, name, number);
        server.install().await;
        server
    }

    /// One for a dump that comes without the settings of an import.
    pub(crate) async fn target(base: &Path) -> Self {
        let server = Self::prepare(base, "target", 2);
        let options = server.root.join("etc/my.cnf");
        fs::write(&options, fs::read_to_string(&options).unwrap() + "local_infile = 1\n").unwrap();
        server.install().await;
        server
    }

    async fn install(&self) {
        let server = self;
        let run = server.mysqld().arg("--initialize-insecure").output().unwrap();
        assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stderr), server.log());
        // No plug-in is loaded before the first real start: that one makes the accounts that the socket vouches for.
        let first = server.root.join("etc/first.sql");
        let accounts = format!(
            "alter user root@localhost identified with auth_socket;\ncreate user '{0}'@localhost identified with auth_socket;\n\
             grant all on *.* to '{0}'@localhost with grant option;\n\
             grant proxy on ''@'' to '{0}'@localhost with grant option;\nreset binary logs and gtids;\n",
            user()
        );
        fs::write(&first, accounts).unwrap();
        server.run(server.mysqld().arg(format!("--init-file={}", first.display()))).await;
    }

    fn mysqld(&self) -> Command {
        let mut command = Command::new(MYSQLD);
        command.arg(format!("--defaults-file={}", self.root.join("etc/my.cnf").display()));
        // A name without an ending gets one.
        command.arg(format!("--log-error={}", self.root.join("log.err").display()));
        command
    }

    /// With an application's accounts and table, running.
    pub(crate) async fn source(base: &Path) -> Self {
        let server = Self::empty(base, "source", 1).await;
        let mut root = server.root_session().await;
        for sql in [
            "create database app",
            "create table app.writes (writer int, number int, primary key (writer, number))",
            "create user app@'%' identified by 'app'",
            "grant select, insert, update, delete, execute on app.* to app@'%'",
        ] {
            root.query_drop(sql).await.unwrap();
        }
        server
    }

    /// A copy of a running source, by the server's own means, that was never started; it knows up to where it goes.
    pub(crate) async fn copy(base: &Path, source: &Self) -> Self {
        let server = Self::prepare(base, "target", 2);
        let copy = format!("clone local data directory = '{}'", server.data().display());
        source.root_session().await.query_drop(copy).await.unwrap();
        server
    }

    pub(crate) async fn start(&self) {
        if let Err(error) = self.engine.tell(&shop(), &Verb::Start).await {
            panic!("{error:?}\n{}", self.log());
        }
    }

    pub(crate) async fn kill(&self) {
        self.engine.tell(&shop(), &Verb::Kill).await.unwrap();
    }

    async fn run(&self, server: &mut Command) {
        let mut child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while self.by_socket(&user(), None).await.is_err() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(60), "{ended:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Whoever waits for it lets it leave the list of processes.
        std::thread::spawn(move || child.wait());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root.join("log.err")).unwrap_or_default()
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

    pub(crate) async fn by_tcp(&self, user: &str, password: &str) -> Result<Conn, mysql_async::Error> {
        Conn::new(by_tcp(self.port, user, password)).await
    }

    pub(crate) async fn by_socket(&self, user: &str, password: Option<&str>) -> Result<Conn, mysql_async::Error> {
        let settings = OptsBuilder::default().socket(Some(self.socket().display().to_string())).user(Some(user)).pass(password);
        Conn::new(settings).await
    }

    /// The server whose working directory is this data directory, whoever started it.
    pub(crate) fn process(&self) -> Option<Pid> {
        let data = fs::metadata(self.data()).ok()?;
        procfs::process::all_processes().unwrap().flatten().find_map(|process| {
            let there = fs::metadata(format!("/proc/{}/cwd", process.pid())).ok()?;
            let is_ours = (there.dev(), there.ino()) == (data.dev(), data.ino());
            (is_ours && process.stat().is_ok_and(|stat| stat.comm == "mysqld" && stat.state != 'Z'))
                .then(|| Pid::from_raw(process.pid()))
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = self.process() {
            let _ = kill(process, signal);
        }
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
