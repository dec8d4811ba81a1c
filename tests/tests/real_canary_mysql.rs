//! The canary on real MariaDB and MySQL servers behind a real HAProxy: what is done to them is what it must report, and each way
//! in which the data can be wrong is found. What is the same for every database is tested in `real_canary.rs`.
#![allow(clippy::disallowed_methods, reason = "a test starts a server and writes throw-away files")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use flytt::{
    canary::{self, Canary, Connection, Options, Outcome, Protocol, Record, Row, Verification},
    spec::Engine,
    stage::{Place, Programs, Proxy, Upstream},
};
use mysql_async::{Conn, OptsBuilder, Row as Answer, prelude::Queryable as _};

/// Whether the canary's schema is there.
const LEFT: &str = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'flytt_canary'";
/// Each letter of it means something to an option file.
const PASSWORD: &str = "hunter2 # \\\\ secret";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Vendor {
    Mariadb,
    Mysql,
}

impl Vendor {
    fn engine(self) -> Engine {
        match self {
            Vendor::Mariadb => Engine::Mariadb,
            Vendor::Mysql => Engine::Mysql,
        }
    }

    fn server(self) -> &'static str {
        match self {
            Vendor::Mariadb => "/usr/sbin/mariadbd",
            Vendor::Mysql => "/opt/flytt-mysql/usr/sbin/mysqld",
        }
    }

    /// What makes an empty data directory, with an administrator who comes by the socket.
    fn install(self) -> (&'static str, Vec<String>) {
        match self {
            Vendor::Mariadb => {
                let options = ["--auth-root-authentication-method=socket", "--skip-test-db", "--skip-name-resolve"];
                let account = format!("--auth-root-socket-user={}", user());
                ("/usr/bin/mariadb-install-db", options.into_iter().map(str::to_owned).chain([account]).collect())
            }
            Vendor::Mysql => (self.server(), vec!["--initialize-insecure".into()]),
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Vendor::Mariadb => &["--innodb-log-file-size=16M"],
            Vendor::Mysql => &["--innodb-redo-log-capacity=16M", "--mysqlx=0", "--secure-file-priv=NULL"],
        }
    }

    /// The administrator's name.
    fn root(self) -> String {
        match self {
            Vendor::Mariadb => user(),
            Vendor::Mysql => "root".into(),
        }
    }

    /// The account is locked (`ER_ACCOUNT_HAS_BEEN_LOCKED`).
    fn locked(self) -> &'static str {
        match self {
            Vendor::Mariadb => "4151",
            Vendor::Mysql => "3118",
        }
    }
}

struct Server {
    vendor: Vendor,
    root: PathBuf,
    place: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn user() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).expect("known").expect("a user").name
}

/// Below those of outgoing connections: one of these could otherwise sit on it while the server is down.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let first = 12_000 + u16::try_from(std::process::id() % 10_000).expect("small");
    let mut ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    ports.find(free).expect("a free port")
}

impl Server {
    fn new(vendor: Vendor, place: &Path) -> Self {
        let root = place.join("server");
        fs::create_dir_all(root.join("tmp")).expect("made");
        let server = Self { vendor, root, place: place.to_owned(), port: free_port(), process: None };
        let (program, options) = vendor.install();
        let install = server.program(program).args(options).output().expect(program);
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        server
    }

    /// Marked as the stage's, so that it ends with the stage's place even where this test is killed. A server that is not told
    /// otherwise refuses root.
    fn program(&self, path: &str) -> Command {
        let mut command = Command::new(path);
        let at = |option: &str, part: &str| format!("--{option}={}", self.root.join(part).display());
        command.env("FLYTT_STAGE", &self.place).arg("--no-defaults").args([at("datadir", "data"), at("tmpdir", "tmp")]);
        command.arg(format!("--user={}", user())).stdin(Stdio::null());
        command
    }

    async fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.root.join("log")).expect("a log");
        let process = self
            .program(self.vendor.server())
            .arg(format!("--socket={}", self.root.join("s").display()))
            .arg(format!("--port={}", self.port))
            // An application's server as careless as it can be: no transaction ends by itself.
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--server-id=7", "--autocommit=0", "--completion-type=2"])
            .args(["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=1"])
            .args(self.vendor.options())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the server (mariadb-server-core, packaging/mysql.sh)");
        self.process = Some(process);
        for _ in 0..600 {
            if Conn::new(self.as_root()).await.is_ok() {
                return;
            }
            pause(50).await;
        }
        panic!("{}", fs::read_to_string(self.root.join("log")).unwrap_or_default());
    }

    /// As a power cut would do it.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn as_root(&self) -> OptsBuilder {
        OptsBuilder::default().socket(Some(self.root.join("s").display().to_string())).user(Some(self.vendor.root()))
    }

    /// Runs statements as the administrator; gives the first value of the last.
    async fn sql(&self, statements: &[&str]) -> String {
        let mut conn = Conn::new(self.as_root()).await.expect("the administrator logs in");
        let mut last = None;
        conn.query_drop("SET autocommit = 1, completion_type = 0").await.expect("set");
        for statement in statements {
            let answer: Option<Answer> =
                conn.query_first(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            last = answer.and_then(|row| row.get_opt::<String, _>(0)).and_then(Result::ok);
        }
        conn.disconnect().await.expect("said goodbye");
        last.unwrap_or_default()
    }
}

impl Server {
    /// Of the application.
    async fn end_sessions(&self) {
        let mut conn = Conn::new(self.as_root()).await.expect("the administrator logs in");
        let sessions: Vec<u64> =
            conn.query("SELECT id FROM information_schema.processlist WHERE user = 'app'").await.expect("listed");
        for session in sessions {
            // One that has ended is as good.
            let _ = conn.query_drop(format!("KILL {session}")).await;
        }
        conn.disconnect().await.expect("said goodbye");
    }
}

/// In the order in which its parts end.
struct Scene {
    proxy: Proxy,
    server: Server,
    place: Place,
    _base: tempfile::TempDir,
}

async fn scene(vendor: Vendor) -> Scene {
    let base = tempfile::Builder::new().prefix("canary").tempdir_in("/tmp").expect("a directory");
    fs::set_permissions(base.path(), PermissionsExt::from_mode(0o755)).expect("mode");
    let place = Place::new(base.path()).expect("a place");
    let mut server = Server::new(vendor, place.path());
    server.start().await;
    server
        .sql(&[&format!("CREATE USER app@'%' IDENTIFIED BY '{PASSWORD}'"), "GRANT ALL PRIVILEGES ON flytt_canary.* TO app@'%'"])
        .await;
    let upstream = Upstream { port: server.port, status: None };
    let entrance = free_port();
    let programs = Programs::find(vendor.engine()).expect("the stage's programs");
    let proxy = Proxy::create(&place, &programs, entrance, upstream, upstream).await.expect("a proxy");
    Scene { proxy, server, place, _base: base }
}

impl Scene {
    fn read(&self, text: &str) -> Result<Connection, flytt_proto::failure::Failure> {
        let path = self.place.path().join("client.cnf");
        let file = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&path);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).expect("written");
        Connection::from_file(Protocol::Mysql, &path)
    }

    fn entrance_as(&self, password: &str) -> Connection {
        let address = self.proxy.entrance();
        let text = format!("[client]\nhost = {}\nport = {}\nuser = app\npassword = '{password}'\n", address.ip(), address.port());
        self.read(&text).expect("a way in")
    }

    fn entrance(&self) -> Connection {
        self.entrance_as(PASSWORD)
    }

    async fn canary(&self) -> Canary {
        Canary::start(self.entrance(), Options { clients: 4, ..Options::default() }).await.expect("a canary")
    }

    /// Past the proxy, on the server itself.
    async fn verify(&self, record: &Record) -> Verification {
        record.verify(&self.entrance().at("127.0.0.1", self.server.port)).await.expect("comparable")
    }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Waits until acknowledgements come again.
async fn recovered(canary: &Canary) {
    let before = canary.pulse().acknowledged;
    for _ in 0..1500 {
        if canary.pulse().acknowledged > before + 100 {
            return;
        }
        pause(20).await;
    }
    panic!("nothing is acknowledged any more: {:?}", canary.pulse());
}

async fn power_cut_and_violations(vendor: Vendor) {
    let mut scene = scene(vendor).await;
    let canary = scene.canary().await;
    recovered(&canary).await;
    scene.server.kill();
    pause(400).await;
    scene.server.start().await;
    recovered(&canary).await;
    let record = canary.stop().await;

    let report = &record.report;
    assert!(report.longest_gap.ms >= 400.0, "{report:?}");
    assert_eq!(report.sessions_cut, 4, "{report:?}");
    assert!(report.maybe <= 4 && report.refused <= 4, "one write of each client at most: {report:?}");
    assert_eq!((report.servers.len(), report.server_changes), (1, 0));
    assert!(report.servers[0].server.ends_with(&format!(":{} (server 7)", scene.server.port)), "{report:?}");
    let clean = scene.verify(&record).await;
    assert!(clean.is_clean(), "{clean:?}");
    assert!(clean.acknowledged > report.acknowledged, "some are of two rows");
    assert_eq!(clean.server, report.servers[0].server);
    let by_row = scene.server.sql(&["SELECT DISTINCT server FROM flytt_canary.written"]).await;
    assert_eq!(by_row, clean.server, "the rows say what the session heard");

    // Now the data is damaged, one way after the other. What a checker never found, it cannot find.
    let first = |rows| {
        let fits = |write: &&canary::Write| write.rows == rows && matches!(write.outcome, Outcome::Acknowledged { .. });
        record.history.writers[1].iter().find(fits).expect("one acknowledged").seq
    };
    let (single, pair) = (first(1), first(2));
    let row = |seq| Row { writer: 1, seq };
    let delete = async |seq| {
        scene.server.sql(&[&format!("DELETE FROM flytt_canary.written WHERE writer = 1 AND seq = {seq}")]).await;
    };
    delete(single).await;
    let lost = scene.verify(&record).await;
    assert_eq!((lost.is_clean(), &lost.lost[..]), (false, &[row(single)][..]));

    scene.server.sql(&["INSERT INTO flytt_canary.written VALUES (1, 1000000, 'elsewhere')"]).await;
    let strange = scene.verify(&record).await;
    assert_eq!((strange.is_clean(), &strange.never_sent[..]), (false, &["1/1000000".to_owned()][..]));

    delete(pair + 1).await;
    let torn = scene.verify(&record).await;
    assert_eq!((torn.is_clean(), &torn.torn[..]), (false, &[row(pair)][..]));
    assert_eq!(BTreeSet::from_iter(torn.lost), BTreeSet::from([row(single), row(pair + 1)]));

    let again = format!("INSERT INTO flytt_canary.written SELECT * FROM flytt_canary.written WHERE writer = 1 AND seq = {pair}");
    scene.server.sql(&["ALTER TABLE flytt_canary.written DROP PRIMARY KEY", &again]).await;
    let doubled = scene.verify(&record).await;
    assert_eq!((doubled.is_clean(), &doubled.doubled[..]), (false, &[row(pair)][..]));

    // What somebody else put into the schema is not the canary's to remove.
    scene.server.sql(&["CREATE TABLE flytt_canary.theirs (a INT)", "INSERT INTO flytt_canary.theirs VALUES (42)"]).await;
    assert_eq!(record.clean_up().await.expect_err("not empty").code, "CANARY_DENIED");
    assert_eq!(scene.server.sql(&["SELECT a FROM flytt_canary.theirs"]).await, "42");
    scene.server.sql(&["DROP TABLE flytt_canary.theirs"]).await;
    record.clean_up().await.expect("cleaned up");
    canary::clean_up(&scene.entrance()).await.expect("nothing is there any more");
    assert_eq!(scene.server.sql(&[LEFT]).await, "0");
}

async fn turned_away(vendor: Vendor) {
    let mut scene = scene(vendor).await;

    // Held: new connections and answers only wait. No failure, but a gap.
    let canary = scene.canary().await;
    scene.proxy.process().pause();
    pause(1000).await;
    scene.proxy.process().resume();
    recovered(&canary).await;
    let held = canary.stop().await;
    assert!(held.report.longest_gap.ms >= 900.0, "{:?}", held.report);
    assert_eq!((held.report.sessions_cut, held.report.connects.failed(), held.report.maybe), (0, 0, 0), "{:?}", held.report);
    assert!(scene.verify(&held).await.is_clean());

    // A second canary does not write into the first one's table, and what a dead one left can be removed.
    let second = Canary::start(scene.entrance(), Options::default()).await.expect_err("there is one");
    assert_eq!(second.code, "CANARY_EXISTS");
    canary::clean_up(&scene.entrance()).await.expect("removed");

    // The proxy is gone for 200 ms: nobody listens. A client that had found the server's socket would not notice.
    let canary = scene.canary().await;
    scene.proxy.process().kill_hard();
    pause(50).await;
    recovered(&canary).await;
    let record = canary.stop().await;
    let connects = &record.report.connects;
    assert!(connects.refused > 0 && connects.logins_refused.is_empty() && connects.closed_in_login == 0, "{:?}", record.report);
    assert_eq!(record.report.sessions_cut, 4);
    assert!(scene.verify(&record).await.is_clean());
    record.clean_up().await.expect("cleaned up");

    // The account is locked and its sessions are ended: a fence.
    let canary = scene.canary().await;
    scene.server.sql(&["ALTER USER app@'%' ACCOUNT LOCK"]).await;
    scene.server.end_sessions().await;
    pause(500).await;
    scene.server.sql(&["ALTER USER app@'%' ACCOUNT UNLOCK"]).await;
    recovered(&canary).await;
    let record = canary.stop().await;
    let connects = &record.report.connects;
    assert!(record.report.longest_gap.ms >= 400.0, "{:?}", record.report);
    assert_eq!(connects.logins_refused.keys().collect::<Vec<_>>(), [vendor.locked()], "{:?}", record.report);
    assert_eq!((connects.refused, connects.closed_in_login, record.report.sessions_cut), (0, 0, 4), "{:?}", record.report);
    assert!(scene.verify(&record).await.is_clean());

    // The server takes no writes: it says so, and nothing of it is there.
    record.clean_up().await.expect("cleaned up");
    let canary = scene.canary().await;
    scene.server.sql(&["SET GLOBAL read_only = 1"]).await;
    pause(300).await;
    scene.server.sql(&["SET GLOBAL read_only = 0"]).await;
    recovered(&canary).await;
    let record = canary.stop().await;
    assert_eq!(record.report.statements_refused.keys().collect::<Vec<_>>(), ["1290"], "{:?}", record.report);
    assert!(record.report.refused > 0 && record.report.connects.failed() == 0 && record.report.maybe == 0, "{:?}", record.report);
    assert!(scene.verify(&record).await.is_clean());
    record.clean_up().await.expect("cleaned up");

    // No server is up any more: the proxy closes what it accepts. The canary ends all the same, and what is lost with the
    // server is only in question, not acknowledged.
    let canary = scene.canary().await;
    scene.server.kill();
    pause(6000).await;
    let record = canary.stop().await;
    let report = &record.report;
    assert!(report.connects.closed_in_login > 0 && report.connects.refused == 0, "{report:?}");
    assert!(report.longest_gap.ms >= 5000.0, "{report:?}");
    let down = scene.entrance().at("127.0.0.1", scene.server.port);
    assert_eq!(record.verify(&down).await.expect_err("the server is down").code, "CANARY_UNREACHABLE");
    scene.server.start().await;
    assert!(scene.verify(&record).await.is_clean());
}

async fn refused_at_the_start(vendor: Vendor) {
    let scene = scene(vendor).await;
    let failure = Canary::start(scene.entrance_as("guessed"), Options::default()).await.expect_err("wrong password");
    assert_eq!(failure.code, "CANARY_DENIED");
    assert!(!format!("{failure:?}").contains("guessed"));

    // MySQL has no such variable.
    if vendor == Vendor::Mariadb {
        // A database can be made, but no table of ours in it: nothing stays behind.
        scene.server.sql(&["SET GLOBAL sql_mode = ''", "SET GLOBAL enforce_storage_engine = Aria"]).await;
        let failure = Canary::start(scene.entrance(), Options::default()).await.expect_err("no transactions");
        assert_eq!(failure.code, "CANARY_DENIED", "{failure}");
        assert_eq!(scene.server.sql(&[LEFT]).await, "0");
    }

    scene.server.sql(&["REVOKE ALL PRIVILEGES ON flytt_canary.* FROM app@'%'", "GRANT DROP ON flytt_canary.* TO app@'%'"]).await;
    let failure = Canary::start(scene.entrance(), Options::default()).await.expect_err("no right to make a schema");
    assert_eq!(failure.code, "CANARY_DENIED", "{failure}");
    assert!(failure.remedy.contains("flytt_canary.*"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb_a_power_cut_under_load_is_measured_and_loses_nothing_and_each_seeded_violation_is_found() {
    power_cut_and_violations(Vendor::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
async fn on_mysql_a_power_cut_under_load_is_measured_and_loses_nothing_and_each_seeded_violation_is_found() {
    power_cut_and_violations(Vendor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb_each_way_of_being_turned_away_is_counted_apart() {
    turned_away(Vendor::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
async fn on_mysql_each_way_of_being_turned_away_is_counted_apart() {
    turned_away(Vendor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb_an_account_that_may_not_log_in_or_make_a_schema_is_refused_at_the_start() {
    refused_at_the_start(Vendor::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
async fn on_mysql_an_account_that_may_not_log_in_or_make_a_schema_is_refused_at_the_start() {
    refused_at_the_start(Vendor::Mysql).await;
}
