//! Everything that a move could leave on the hosts of a stage, read from the hosts themselves and not from any record of ours.

use std::{collections::BTreeMap, fs, path::Path};

use flytt::{
    spec::Engine,
    stage::{Server, Stage},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    engine: Engine,
    /// Every configuration file of both servers, byte by byte.
    files: BTreeMap<String, String>,
    /// Names beside the data directories: trash among them.
    beside: Vec<String>,
    /// Secrets, marks, tunnels' sockets: what agents keep for a move.
    kept: Vec<String>,
    /// What is ours in a server that answers: slots, accounts, databases, settings; its name before each.
    in_servers: Vec<String>,
    /// Copies under way.
    processes: Vec<String>,
    /// Servers of the backend, and whether an administrator took one out.
    proxy: Vec<String>,
    /// Whether the target has any data.
    target_data: bool,
}

const IN_POSTGRES: &str = "SELECT 'slot ' || slot_name FROM pg_replication_slots \
     UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'flytt%' \
     UNION ALL SELECT 'setting ' || name FROM pg_file_settings WHERE name IN ('primary_conninfo', 'primary_slot_name') \
     ORDER BY 1";

/// The canary's database is a test's own.
const IN_MARIADB: &str = "SELECT concat('account ', User, '@', Host) FROM mysql.global_priv WHERE User LIKE 'flytt%' \
     UNION ALL SELECT concat('database ', SCHEMA_NAME) FROM information_schema.SCHEMATA \
     WHERE SCHEMA_NAME LIKE 'flytt%' AND SCHEMA_NAME <> 'flytt_canary' \
     UNION ALL SELECT concat('locked ', User, '@', Host) FROM mysql.global_priv WHERE json_value(Priv, '$.account_locked') = '1' \
     UNION ALL SELECT concat('appliers ', @@global.slave_parallel_threads, ' ', @@global.slave_parallel_mode) \
     UNION ALL SELECT concat('event_scheduler ', @@global.event_scheduler) ORDER BY 1";

/// Accounts that MySQL makes for itself are locked on every server.
const IN_MYSQL: &str = "SELECT concat('account ', User, '@', Host) AS line FROM mysql.user WHERE User LIKE 'flytt%' \
     UNION ALL SELECT concat('database ', SCHEMA_NAME) FROM information_schema.SCHEMATA \
     WHERE SCHEMA_NAME LIKE 'flytt%' AND SCHEMA_NAME <> 'flytt_canary' \
     UNION ALL SELECT concat('locked ', User, '@', Host) FROM mysql.user WHERE account_locked = 'Y' \
     UNION ALL SELECT concat('persisted ', VARIABLE_NAME) FROM performance_schema.persisted_variables \
     UNION ALL SELECT concat('plugin ', PLUGIN_NAME) FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone' \
     UNION ALL SELECT concat('channel ', CHANNEL_NAME) FROM performance_schema.replication_connection_configuration \
     UNION ALL SELECT concat('appliers ', @@global.replica_parallel_workers, ' ', @@global.replica_preserve_commit_order) \
     UNION ALL SELECT concat('event_scheduler ', @@global.event_scheduler) ORDER BY line";

impl Trace {
    pub(crate) async fn of(stage: &Stage) -> Self {
        let mut trace = Self {
            engine: stage.engine,
            files: BTreeMap::new(),
            beside: Vec::new(),
            kept: Vec::new(),
            in_servers: Vec::new(),
            processes: processes(stage.place.path()),
            proxy: proxy(stage.proxy.socket()).await.into_iter().filter(|line| !line.starts_with(HOLDING)).collect(),
            target_data: !names(&stage.target.data()).is_empty(),
        };
        for server in [&stage.source, &stage.target] {
            let (name, root) = (server.name(), server.data().parent().expect("a host's directory").to_owned());
            for place in ["etc", "options"] {
                for file in names(&root.join(place)) {
                    let text = fs::read_to_string(root.join(place).join(&file)).expect("a text");
                    trace.files.insert(format!("{name}/{place}/{file}"), text);
                }
            }
            trace.beside.extend(names(&root).into_iter().map(|entry| format!("{name}/{entry}")));
            for place in ["state/secret", "state/seed", "run"] {
                let entries = names(&root.join("agent").join(place));
                trace.kept.extend(entries.into_iter().map(|entry| format!("{name}/{place}/{entry}")));
            }
            for signal in ["standby.signal", "recovery.signal"] {
                if server.data().join(signal).exists() {
                    trace.kept.push(format!("{name}/data/{signal}"));
                }
            }
            trace.in_servers.extend(in_server(stage.engine, server).await);
        }
        let log = |entry: &String| entry.ends_with("/server.log");
        trace.beside.retain(|entry| !log(entry));
        trace
    }

    /// After a move that is finished: as before on both sides, but that the old source stays fenced for good.
    pub(crate) fn assert_moved_from(mut self, before: &Self) {
        let mut wanted = before.clone();
        match self.engine {
            Engine::Postgres => {
                let fenced = self.files.remove("db-old/etc/pg_hba.conf").expect("there");
                let was = wanted.files.remove("db-old/etc/pg_hba.conf").expect("there");
                assert!(fenced.ends_with(&was) && fenced.starts_with("# >>> flytt demo fence"), "{fenced}");
                assert_eq!(fenced.matches("# >>>").count(), 1, "{fenced}");
                wanted.kept.push("db-old/data/standby.signal".into());
                self.does_not_start_by_itself("db-old", &mut wanted);
            }
            Engine::Mariadb | Engine::Mysql => {
                // MySQL has persisted it; the first line of the server says so, too.
                if self.engine == Engine::Mariadb {
                    let fence = self.files.remove("db-old/options/flytt-demo-surrendered.cnf").expect("closed for good");
                    assert!(fence.contains("read_only"), "{fence}");
                }
                // The account by which its agent gets past that, and nobody else does.
                wanted.kept.push("db-old/state/secret/_agent.pgpass".into());
                let (shut, open): (Vec<_>, Vec<_>) = self.in_servers.drain(..).partition(|line| line.starts_with("db-old: "));
                assert!(shut[0].contains("locked"), "{shut:?}");
                self.in_servers = open;
                // The new server is what the old one was, whatever ran there before.
                wanted.in_servers.retain(|line| line.starts_with("db-old: "));
                wanted.in_servers.iter_mut().for_each(|line| *line = line.replace("db-old: ", "db-new: "));
            }
        }
        wanted.target_data = true;
        self.same_servers_in_proxy(&mut wanted);
        assert_eq!(self, wanted);
    }

    /// A server that was surrendered does not come up with its host.
    fn does_not_start_by_itself(&mut self, host: &str, wanted: &mut Self) {
        let (file, no_comment) = (format!("{host}/etc/start.conf"), |line: &&str| !line.starts_with('#') && !line.is_empty());
        let (now, was) = (self.files.remove(&file).expect("there"), wanted.files.remove(&file).expect("there"));
        assert_eq!(was.lines().filter(no_comment).collect::<Vec<_>>(), ["auto"]);
        assert_eq!(now.lines().filter(no_comment).collect::<Vec<_>>(), ["manual # flytt: was auto"]);
    }

    /// What of it is that host's: the name of each thing, and its text where it is a file.
    pub(crate) fn of_host(&self, name: &str) -> BTreeMap<String, String> {
        let named = [&self.beside, &self.kept, &self.in_servers].into_iter().flatten();
        let all = named.map(|line| (line.clone(), String::new())).chain(self.files.clone());
        all.filter(|(line, _)| line.starts_with(name)).collect()
    }

    /// Which of its servers are out is the proxy's new state; that none of ours is among them is what counts.
    fn same_servers_in_proxy(&mut self, wanted: &mut Self) {
        let server = |line: &String| line.split(' ').next().map(str::to_owned).unwrap_or_default();
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (self.proxy.iter().map(server).collect(), wanted.proxy.iter().map(server).collect());
        assert_eq!(ours, theirs);
        self.proxy.clear();
        wanted.proxy.clear();
    }

    /// After a move there and back: the source as it was to the byte, and the target fenced for good.
    pub(crate) fn assert_moved_back_from(mut self, before: &Self) {
        let mut wanted = before.clone();
        match self.engine {
            Engine::Postgres => {
                let fenced = self.files.remove("db-new/etc/pg_hba.conf").expect("there");
                let was = wanted.files.remove("db-new/etc/pg_hba.conf").expect("there");
                assert!(fenced.ends_with(&was) && fenced.starts_with("# >>> flytt demo fence"), "{fenced}");
                assert_eq!(fenced.matches("# >>>").count(), 1, "{fenced}");
                wanted.kept.push("db-new/data/standby.signal".into());
                self.does_not_start_by_itself("db-new", &mut wanted);
            }
            Engine::Mariadb | Engine::Mysql => {
                if self.engine == Engine::Mariadb {
                    let fence = self.files.remove("db-new/options/flytt-demo.back-surrendered.cnf").expect("closed for good");
                    assert!(fence.contains("read_only"), "{fence}");
                }
                wanted.kept.push("db-new/state/secret/_agent.pgpass".into());
                let (shut, open): (Vec<_>, Vec<_>) = self.in_servers.drain(..).partition(|line| line.starts_with("db-new: "));
                assert!(shut.iter().any(|line| line.contains("locked")), "{shut:?}");
                self.in_servers = open;
                wanted.in_servers.retain(|line| line.starts_with("db-old: "));
            }
        }
        wanted.target_data = true;
        self.same_servers_in_proxy(&mut wanted);
        assert_eq!(self, wanted);
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

async fn in_server(engine: Engine, server: &Server) -> Vec<String> {
    if !server.is_running() {
        return Vec::new();
    }
    let (database, ours) = match engine {
        Engine::Postgres => ("postgres", IN_POSTGRES),
        Engine::Mariadb => ("mysql", IN_MARIADB),
        Engine::Mysql => ("mysql", IN_MYSQL),
    };
    let text = match server.sql(database, ours).await {
        Ok(text) => text,
        Err(failure) => format!("does not answer: {failure}"),
    };
    text.lines().map(|line| format!("{}: {line}", server.name())).collect()
}

fn processes(stage: &Path) -> Vec<String> {
    let wanted = stage.display().to_string();
    let all = procfs::process::all_processes().expect("proc").filter_map(Result::ok);
    let lines = all.filter_map(|process| Some(process.cmdline().ok()?.join(" ")));
    let copies = |line: &String| ["pg_basebackup", "mariadb-backup", "mbstream"].iter().any(|program| line.contains(program));
    lines.filter(|line| copies(line) && line.contains(&wanted)).collect()
}

/// `<name> <administrative state>`, as HAProxy itself says (management guide, `show servers state`).
/// The holding server as it may stand while a client that slipped into it goes on (see docs/haproxy.md): in maintenance by an
/// administrator's order, HAProxy's `SRV_ADMF_FMAINT`.
const HOLDING: &str = "flytt-hold 1";

/// Whether the proxy's servers are the application's own; the last client has left when this is asked.
pub(crate) async fn holds_nobody(stage: &Stage) -> bool {
    !proxy(stage.proxy.socket()).await.iter().any(|line| line.starts_with("flytt-hold"))
}

async fn proxy(socket: &Path) -> Vec<String> {
    let Ok(mut stream) = tokio::net::UnixStream::connect(socket).await else { return vec!["HAProxy is away".into()] };
    stream.write_all(b"show servers state\n").await.expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answered");
    let rows = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).map(str::split_whitespace);
    let mut servers: Vec<String> = rows
        .filter_map(|mut fields| {
            let (name, admin) = (fields.nth(3)?, fields.nth(2)?);
            Some(format!("{name} {admin}"))
        })
        .collect();
    servers.sort();
    servers
}

/// What a move could leave in a server: how it comes about, and how it goes.
fn plants(engine: Engine) -> &'static [(&'static str, &'static str, &'static str)] {
    match engine {
        Engine::Postgres => &[
            ("slot", "SELECT pg_create_physical_replication_slot('flytt_demo')", "SELECT pg_drop_replication_slot('flytt_demo')"),
            ("role", "CREATE ROLE flytt_demo_back", "DROP ROLE flytt_demo_back"),
            ("setting", "ALTER SYSTEM SET primary_slot_name = 'flytt_demo'", "ALTER SYSTEM RESET primary_slot_name"),
        ],
        Engine::Mariadb => &[
            ("account", "CREATE USER flytt_demo_repl@localhost", "DROP USER flytt_demo_repl@localhost"),
            ("database", "CREATE DATABASE flytt", "DROP DATABASE flytt"),
            ("locked", "ALTER USER app@'%' ACCOUNT LOCK", "ALTER USER app@'%' ACCOUNT UNLOCK"),
            ("appliers", "SET GLOBAL slave_parallel_threads = 4", "SET GLOBAL slave_parallel_threads = 0"),
            ("event_scheduler", "SET GLOBAL event_scheduler = ON", "SET GLOBAL event_scheduler = OFF"),
        ],
        Engine::Mysql => &[
            ("account", "CREATE USER flytt_demo_repl@localhost", "DROP USER flytt_demo_repl@localhost"),
            ("database", "CREATE DATABASE flytt", "DROP DATABASE flytt"),
            ("locked", "ALTER USER app@'%' ACCOUNT LOCK", "ALTER USER app@'%' ACCOUNT UNLOCK"),
            ("persisted", "SET PERSIST read_only = OFF", "RESET PERSIST read_only"),
            ("plugin", "UNINSTALL PLUGIN clone", "INSTALL PLUGIN clone SONAME 'mysql_clone.so'"),
            ("appliers", "SET GLOBAL replica_parallel_workers = 8", "SET GLOBAL replica_parallel_workers = 4"),
            ("event_scheduler", "SET GLOBAL event_scheduler = OFF", "SET GLOBAL event_scheduler = ON"),
            (
                "channel",
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'x', SOURCE_SSL = 1 FOR CHANNEL 'flytt_demo_back'",
                "RESET REPLICA ALL FOR CHANNEL 'flytt_demo_back'",
            ),
        ],
    }
}

#[allow(clippy::disallowed_methods, reason = "what a test leaves need not last")]
async fn whatever_is_left_is_found(engine: Engine) {
    let scene = super::Scene::of(engine, 1, "").await;
    let (stage, before) = (&scene.stage, &scene.before);
    let same = async |what: &str| assert_eq!(&Trace::of(stage).await, before, "after {what} is gone");
    let found = async |what: &str| assert_ne!(&Trace::of(stage).await, before, "{what} is not found");
    for (what, plant, remove) in plants(engine) {
        let database = if engine == Engine::Postgres { "postgres" } else { "mysql" };
        stage.source.sql(database, plant).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        found(what).await;
        stage.source.sql(database, remove).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        same(what).await;
    }
    for server in [&stage.source, &stage.target] {
        let root = server.data().parent().expect("a host's directory").to_owned();
        for place in
            ["etc/left.conf", ".flytt-trash-demo", "agent/state/secret/demo.pgpass", "agent/run/demo.sock", "data/standby.signal"]
        {
            let path = root.join(place);
            fs::create_dir_all(path.parent().expect("a directory")).unwrap();
            fs::write(&path, "left").unwrap();
            found(place).await;
            fs::remove_file(&path).unwrap();
            same(place).await;
        }
        let config = server.config_file();
        let text = fs::read(&config).unwrap();
        fs::write(&config, [&text[..], b"# one byte more\n"].concat()).unwrap();
        found("a line in the server's configuration").await;
        fs::write(&config, text).unwrap();
        same("a line in the server's configuration").await;
    }
    let program = stage.place.path().join("pg_basebackup");
    fs::copy("/bin/cat", &program).unwrap();
    let piped = std::process::Stdio::piped;
    let mut copy = super::shell::command(&program).stdin(piped()).stdout(piped()).spawn().unwrap();
    // What answers has come so far that it shows its name.
    std::io::Write::write_all(copy.stdin.as_mut().unwrap(), b"x").unwrap();
    std::io::Read::read_exact(copy.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    found("a copy under way").await;
    copy.kill().unwrap();
    copy.wait().unwrap();
    fs::remove_file(program).unwrap();
    same("a copy under way").await;
    let order = async |orders: &str| {
        let mut admin = tokio::net::UnixStream::connect(stage.proxy.socket()).await.unwrap();
        admin.write_all(format!("{orders}\n").as_bytes()).await.unwrap();
        admin.read_to_string(&mut String::new()).await.unwrap();
    };
    order("add server database_back/flytt-hold 127.0.0.1:9").await;
    assert!(!holds_nobody(stage).await, "a holding server outside the rotation is not found");
    order("set server database_back/flytt-hold state ready").await;
    found("a holding server in use").await;
    order("set server database_back/flytt-hold state maint; del server database_back/flytt-hold").await;
    assert!(holds_nobody(stage).await);
    same("the holding server").await;
    order("set server database_back/db_old state maint").await;
    found("a server that is out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_left_is_found_on_postgres() {
    whatever_is_left_is_found(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_left_is_found_on_mariadb() {
    whatever_is_left_is_found(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
async fn whatever_is_left_is_found_on_mysql() {
    whatever_is_left_is_found(Engine::Mysql).await;
}
