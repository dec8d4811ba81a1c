//! A throw-away server with its configuration outside the data directory, as Debian has it. It ends with its value.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use flytt_agent::{
    config,
    engine::{Upstream, postgres::Postgres},
};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

pub(crate) struct Server {
    pub(crate) root: PathBuf,
    pub(crate) port: u16,
    bin: PathBuf,
    pub(crate) engine: std::sync::Arc<Postgres>,
}

/// What the log records of the tests' own servers: as much as there is.
const LOUD: &str =
    "log_statement = 'all'\nlog_min_duration_statement = 0\nlog_min_error_statement = 'debug5'\nlog_connections = on\n";

impl Server {
    /// Directories and configuration, but no cluster yet.
    pub(crate) fn prepare(base: &Path, name: &str) -> Self {
        let root = base.join(name);
        for part in ["etc", "run", "state"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |part: &str| root.join(part).display().to_string();
        fs::write(
            root.join("etc/postgresql.conf"),
            format!(
                "data_directory = '{}'\nhba_file = '{}'\nident_file = '{}'\nunix_socket_directories = '{}'\nport = {port}\n\
                 listen_addresses = '127.0.0.1'\nshared_buffers = '16MB'\nmax_connections = 40\ncluster_name = '{name}/x'\n\
                 wal_log_hints = on\nmax_slot_wal_keep_size = '1GB'\nmax_prepared_transactions = 4\n{LOUD}",
                at("data"),
                at("etc/pg_hba.conf"),
                at("etc/pg_ident.conf"),
                at("run"),
            ),
        )
        .unwrap();
        fs::write(
            root.join("etc/pg_hba.conf"),
            "local all postgres peer\nlocal all app trust\nhost all slow 127.0.0.1/32 password\n\
             host all app 127.0.0.1/32 scram-sha-256\n",
        )
        .unwrap();
        fs::write(root.join("etc/pg_ident.conf"), "# nobody yet\n").unwrap();
        let engine = Postgres::new(settings(&root, port), root.join("state"), true);
        Self { bin: bin(), root, port, engine: std::sync::Arc::new(engine) }
    }

    /// What its agent is told of it.
    pub(crate) fn settings(&self) -> config::Postgres {
        settings(&self.root, self.port)
    }

    /// A cluster with an application's role and table, running.
    pub(crate) async fn source(base: &Path) -> Self {
        let server = Self::prepare(base, "source");
        server.tool("initdb", &["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C"]);
        for file in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
            fs::remove_file(server.data().join(file)).unwrap();
        }
        server.start();
        let client = server.client("postgres").await;
        client
            .batch_execute(
                "create role app login password 'app'; create role slow login password 'slow'; \
                 create table writes (writer int, number int, primary key (writer, number)); \
                 grant all on writes to app, slow",
            )
            .await
            .unwrap();
        server
    }

    pub(crate) fn start(&self) {
        let options = format!("-c config_file={}", self.root.join("etc/postgresql.conf").display());
        self.tool("pg_ctl", &["-l", &self.root.join("log").display().to_string(), "-w", "-o", &options, "start"]);
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap()
    }

    fn tool(&self, name: &str, arguments: &[&str]) {
        let output = Command::new(self.bin.join(name)).arg("-D").arg(self.data()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Through the socket directory itself, as the tunnel's end would be.
    pub(crate) fn upstream(&self) -> Upstream {
        Upstream::Tunnel { directory: self.root.join("run"), port: self.port }
    }

    pub(crate) async fn client(&self, role: &str) -> Client {
        self.login(role).await.unwrap()
    }

    pub(crate) async fn login(&self, role: &str) -> Result<Client, tokio_postgres::Error> {
        let mut settings = tokio_postgres::Config::new();
        settings.host_path(self.root.join("run")).port(self.port).user(role).dbname("postgres");
        let (client, connection) = settings.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub(crate) async fn login_by_tcp(&self) -> Result<Client, tokio_postgres::Error> {
        let mut settings = tokio_postgres::Config::new();
        settings.host("127.0.0.1").port(self.port).user("app").password("app").dbname("postgres");
        let (client, connection) = settings.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

fn settings(root: &Path, port: u16) -> config::Postgres {
    config::Postgres {
        data_directory: root.join("data"),
        config_file: Some(root.join("etc/postgresql.conf")),
        bin: bin(),
        socket: root.join("run"),
        port,
        start: Vec::new(),
        stop: Vec::new(),
        log: Some(root.join("log")),
        role: "postgres".into(),
        database: "postgres".into(),
    }
}

pub(crate) async fn value(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            return row.get(0).unwrap_or_default().to_owned();
        }
    }
    String::new()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new(self.bin.join("pg_ctl")).arg("-D").arg(self.data()).args(["-m", "immediate", "stop"]).output();
    }
}

/// The newest PostgreSQL of this machine, in the place where packages put it.
fn bin() -> PathBuf {
    let mut all: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is installed")
        .map(|entry| entry.unwrap().path().join("bin"))
        .collect();
    all.retain(|bin| bin.join("postgres").exists());
    all.sort();
    all.pop().expect("PostgreSQL is installed")
}
