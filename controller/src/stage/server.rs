//! A throw-away PostgreSQL server, laid out as Debian does: configuration outside the data directory, a socket of its own,
//! peer authentication for the administrator and passwords for the application.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;

use super::{
    place::Place,
    processes,
    programs::Programs,
    spawn::{Account, Program},
};

const START: Duration = Duration::from_secs(90);
const STATEMENT: Duration = Duration::from_secs(600);
/// Rows of 1 KiB, told apart by their number.
const ROWS_PER_MIB: u32 = 1024;

/// A server and its directories. It ends with this value, whoever started it last.
#[derive(Debug)]
pub struct Server {
    name: String,
    root: PathBuf,
    port: u16,
    bin: PathBuf,
    account: Account,
    stage: PathBuf,
}

impl Server {
    /// Makes a new cluster, not started. `name` becomes the directory's.
    ///
    /// # Errors
    /// `STAGE_DIRECTORY`, or `STAGE_PROGRAM` with what `initdb` says.
    pub async fn create(place: &Place, programs: &Programs, name: &str, port: u16) -> Result<Self, Failure> {
        let server = Self::vacant(place, programs, name, port)?;
        let data = server.data().display().to_string();
        let arguments =
            ["-D", &data, "-U", "postgres", "-E", "UTF8", "--locale=C", "-k", "-N", "--auth-local=peer", "--auth-host=reject"];
        server.program("initdb", &arguments).run("", START).await?;
        // As Debian does, so that nothing can take these for the ones that count.
        for file in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
            let path = server.data().join(file);
            std::fs::remove_file(&path).map_err(|error| {
                let sentence = format!("removing {} fails: {error}", path.display());
                Failure::unknown("STAGE_DIRECTORY", sentence, "look at this directory")
            })?;
        }
        Ok(server)
    }

    /// Configuration for a server whose data directory is still empty: what a move fills.
    ///
    /// # Errors
    /// `STAGE_DIRECTORY`.
    pub fn vacant(place: &Place, programs: &Programs, name: &str, port: u16) -> Result<Self, Failure> {
        let account = place.account();
        let root = place.directory(name, 0o755, Some(account))?;
        let server = Self {
            name: name.to_owned(),
            root,
            port,
            bin: programs.postgres.clone(),
            account: account.clone(),
            stage: place.path().to_owned(),
        };
        for (directory, mode) in [("data", 0o700), ("etc", 0o755), ("run", 0o755)] {
            place.directory(&format!("{name}/{directory}"), mode, Some(account))?;
        }
        let etc = server.root.join("etc");
        let files =
            [("postgresql.conf", server.settings()), ("pg_hba.conf", server.access()), ("pg_ident.conf", server.identities())];
        for (file, text) in files {
            place.file(&etc.join(file), &text, 0o640, Some(account))?;
        }
        Ok(server)
    }

    fn settings(&self) -> String {
        let root = self.root.display();
        format!(
            "data_directory = '{root}/data'\n\
             hba_file = '{root}/etc/pg_hba.conf'\n\
             ident_file = '{root}/etc/pg_ident.conf'\n\
             cluster_name = '{}'\n\
             listen_addresses = '127.0.0.1'\n\
             port = {}\n\
             unix_socket_directories = '{root}/run'\n\
             max_connections = 100\n\
             password_encryption = 'scram-sha-256'\n\
             shared_buffers = '64MB'\n\
             # files below the data directory, so that nothing stays behind in /dev/shm\n\
             dynamic_shared_memory_type = mmap\n\
             fsync = on\n\
             wal_level = replica\n\
             max_wal_senders = 10\n\
             max_replication_slots = 10\n\
             max_wal_size = '256MB'\n\
             log_line_prefix = '%m [%p] %q%u@%d '\n\
             timezone = 'UTC'\n",
            self.name, self.port,
        )
    }

    /// Where the operating-system user is not called `postgres`, a map says that it is the administrator all the same.
    fn access(&self) -> String {
        let map = if self.account.name == "postgres" { "" } else { " map=stage" };
        format!("local all postgres peer{map}\nhost all app 127.0.0.1/32 scram-sha-256\n")
    }

    fn identities(&self) -> String {
        if self.account.name == "postgres" { String::new() } else { format!("stage {} postgres\n", self.account.name) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Directory of the unix socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("run")
    }

    pub fn config_file(&self) -> PathBuf {
        self.root.join("etc/postgresql.conf")
    }

    pub fn hba_file(&self) -> PathBuf {
        self.root.join("etc/pg_hba.conf")
    }

    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Directory of PostgreSQL's programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    fn program(&self, name: &str, arguments: &[&str]) -> Program {
        Program {
            path: self.bin.join(name),
            arguments: arguments.iter().map(Into::into).collect(),
            account: self.account.clone(),
            stage: self.stage.clone(),
        }
    }

    /// Starts it; returns when it accepts connections.
    ///
    /// # Errors
    /// `STAGE_PROGRAM`, or `STAGE_NOT_UP` with the end of the server's log.
    pub async fn start(&self) -> Result<(), Failure> {
        let (data, log) = (self.data().display().to_string(), self.log());
        let options = format!("-c config_file={}", self.config_file().display());
        let arguments = ["-D", &data, "-l", &log.display().to_string(), "-o", &options, "-w", "-t", "60", "-s", "start"];
        let started = self.program("pg_ctl", &arguments).run("", START).await;
        started.map(|_| ()).map_err(|_| super::not_up(&format!("the server {} does not start", self.name), &log))
    }

    /// Lets the administrator copy the cluster over the socket, with a slot of this name.
    ///
    /// # Errors
    /// `STAGE_DIRECTORY`, or `STAGE_PROGRAM` with the server's message.
    pub async fn admit_base_backup(&self, slot: &str) -> Result<(), Failure> {
        let hba = self.hba_file();
        let map = if self.account.name == "postgres" { "" } else { " map=stage" };
        let line = format!("local replication postgres peer{map}\n");
        let added = std::fs::OpenOptions::new().append(true).open(&hba).and_then(|mut file| file.write_all(line.as_bytes()));
        added.map_err(|error| {
            let sentence = format!("writing {} fails: {error}", hba.display());
            Failure::unknown("STAGE_DIRECTORY", sentence, "look at this directory")
        })?;
        let slot = format!("SELECT pg_reload_conf(), pg_create_physical_replication_slot('{slot}', true);\n");
        self.sql("postgres", &slot).await.map(|_| ())
    }

    /// A plain `pg_basebackup` of this server into a directory of its own, which is removed again; the time it took. What to
    /// compare a seed with: over the server's own socket, and with the options of one.
    ///
    /// # Errors
    /// `STAGE_PROGRAM` with what it says, `STAGE_DIRECTORY`.
    pub async fn base_backup(&self, slot: &str) -> Result<Duration, Failure> {
        let into = self.root.join("base-backup");
        let directory = into.display().to_string();
        let way = format!("host={} port={} user=postgres", self.socket().display(), self.port);
        let arguments = ["-D", &directory, "-X", "stream", "-S", slot, "--no-password", "--progress"];
        let same = ["--manifest-checksums=CRC32C", "--checkpoint=fast", "-d", &way];
        let begun = Instant::now();
        self.program("pg_basebackup", &[&arguments[..], &same[..]].concat()).run("", STATEMENT).await?;
        let took = begun.elapsed();
        std::fs::remove_dir_all(&into).map_err(|error| {
            let sentence = format!("removing {directory} fails: {error}");
            Failure::unknown("STAGE_DIRECTORY", sentence, "look at this directory")
        })?;
        Ok(took)
    }

    /// Immediate shutdown: sessions are cut, nothing is written any more.
    ///
    /// # Errors
    /// `STAGE_PROGRAM` with what `pg_ctl` says.
    pub async fn stop_immediate(&self) -> Result<(), Failure> {
        let data = self.data().display().to_string();
        self.program("pg_ctl", &["-D", &data, "-m", "immediate", "-w", "-s", "stop"]).run("", START).await.map(|_| ())
    }

    /// SIGKILL to the server and all its sessions, as a power cut would do it.
    pub fn kill_hard(&self) {
        processes::kill_all(&self.data());
    }

    /// Whether any process of this server lives.
    pub fn is_running(&self) -> bool {
        processes::any(&self.data())
    }

    /// Runs statements as the administrator, over the socket; returns the rows, `|` between columns.
    ///
    /// # Errors
    /// `STAGE_PROGRAM` with the server's message.
    pub async fn sql(&self, database: &str, statements: &str) -> Result<String, Failure> {
        let (socket, port) = (self.socket().display().to_string(), self.port.to_string());
        let set = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"];
        let way = ["-h", &socket, "-p", &port, "-U", "postgres", "-d", database, "-f", "-"];
        self.program("psql", &[&set[..], &way[..]].concat()).run(statements, STATEMENT).await
    }

    /// Role and database `app`. The password goes in by standard input, and into no log.
    pub(super) async fn admit_application(&self, password: &str) -> Result<(), Failure> {
        let quiet = "SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic';";
        self.sql("postgres", &format!("{quiet} CREATE ROLE app LOGIN PASSWORD '{password}';\nCREATE DATABASE app OWNER app;\n"))
            .await?;
        Ok(())
    }

    /// A table `orders` of about this size.
    pub(super) async fn fill(&self, mib: u32) -> Result<(), Failure> {
        let rows = u64::from(mib) * u64::from(ROWS_PER_MIB);
        let statements = format!(
            "SET ROLE app;\n\
             CREATE TABLE orders (id bigint PRIMARY KEY, body text NOT NULL);\n\
             INSERT INTO orders SELECT i, repeat(md5(i::text), 29) FROM generate_series(1, {rows}) i;\n\
             VACUUM (ANALYZE) orders;\n\
             RESET ROLE;\nCHECKPOINT;\n"
        );
        self.sql("app", &statements).await?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        processes::end_all(&self.data());
    }
}
