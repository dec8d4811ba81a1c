//! PostgreSQL on the stage, laid out as Debian does: configuration outside the data directory, a socket of its own, peer
//! authentication for the administrator and passwords for the application.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;

use super::{
    programs::missing,
    server::{Database, Layout, START, STATEMENT, Server},
};

const VERSIONS: &str = "/usr/lib/postgresql";

#[derive(Debug)]
pub(super) struct Postgres {
    /// Of `initdb`, `pg_ctl`, `psql` and `postgres`.
    bin: PathBuf,
}

impl Postgres {
    /// The newest that this machine has whole.
    pub(super) fn find() -> Result<Self, Failure> {
        Self::find_in(Path::new(VERSIONS))
    }

    fn find_in(all: &Path) -> Result<Self, Failure> {
        let versions = std::fs::read_dir(all).into_iter().flatten().flatten();
        let complete = |bin: &PathBuf| ["initdb", "pg_ctl", "psql", "postgres"].iter().all(|program| bin.join(program).is_file());
        let newest = versions
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
            .filter(|(_, bin)| complete(bin))
            .max();
        newest.map(|(_, bin)| Self { bin }).ok_or_else(|| missing("postgresql", &all.join("*/bin/initdb")))
    }

    fn settings(at: &Layout) -> String {
        let root = at.root.display();
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
            at.name, at.port,
        )
    }

    /// Where the operating-system user is not called `postgres`, a map says that it is the administrator all the same.
    fn access(at: &Layout) -> String {
        let map = if at.account.name == "postgres" { "" } else { " map=stage" };
        format!("local all postgres peer{map}\nhost all app 127.0.0.1/32 scram-sha-256\n")
    }

    fn identities(at: &Layout) -> String {
        if at.account.name == "postgres" { String::new() } else { format!("stage {} postgres\n", at.account.name) }
    }
}

#[tonic::async_trait]
impl Database for Postgres {
    fn bin(&self) -> &Path {
        &self.bin
    }

    fn config(&self) -> &'static str {
        "postgresql.conf"
    }

    fn files(&self, at: &Layout) -> Vec<(&'static str, String)> {
        let (settings, access, identities) = (Self::settings(at), Self::access(at), Self::identities(at));
        // The last as Debian has it.
        vec![
            ("postgresql.conf", settings),
            ("pg_hba.conf", access),
            ("pg_ident.conf", identities),
            ("start.conf", "# Automatic startup configuration\n\nauto\n".into()),
        ]
    }

    async fn initialise(&self, at: &Layout) -> Result<(), Failure> {
        let data = at.data().display().to_string();
        let arguments =
            ["-D", &data, "-U", "postgres", "-E", "UTF8", "--locale=C", "-k", "-N", "--auth-local=peer", "--auth-host=reject"];
        at.program(self.bin.join("initdb"), &arguments).run("", START).await?;
        // As Debian does, so that nothing can take these for the ones that count.
        for file in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
            let path = at.data().join(file);
            std::fs::remove_file(&path).map_err(|error| directory("removing", &path, &error))?;
        }
        Ok(())
    }

    async fn start(&self, at: &Layout) -> Result<(), Failure> {
        let (data, log) = (at.data().display().to_string(), at.log());
        let options = format!("-c config_file={}", at.etc().join(self.config()).display());
        let arguments = ["-D", &data, "-l", &log.display().to_string(), "-o", &options, "-w", "-t", "60", "-s", "start"];
        let started = at.program(self.bin.join("pg_ctl"), &arguments).run("", START).await;
        started.map(|_| ()).map_err(|_| super::not_up(&format!("the server {} does not start", at.name), &log))
    }

    async fn sql(&self, at: &Layout, database: &str, statements: &str) -> Result<String, Failure> {
        let (socket, port) = (at.run().display().to_string(), at.port.to_string());
        let database = if database.is_empty() { "postgres" } else { database };
        let set = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"];
        let way = ["-h", &socket, "-p", &port, "-U", "postgres", "-d", database, "-f", "-"];
        at.program(self.bin.join("psql"), &[&set[..], &way[..]].concat()).run(statements, STATEMENT).await
    }

    fn application(&self, password: &str) -> String {
        format!(
            "SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic'; \
             CREATE ROLE app LOGIN PASSWORD '{password}';\nCREATE DATABASE app OWNER app;\n"
        )
    }

    fn filling(&self, rows: u64) -> String {
        format!(
            "SET ROLE app;\n\
             CREATE TABLE orders (id bigint PRIMARY KEY, body text NOT NULL);\n\
             INSERT INTO orders SELECT i, repeat(md5(i::text), 29) FROM generate_series(1, {rows}) i;\n\
             VACUUM (ANALYZE) orders;\n\
             RESET ROLE;\nCHECKPOINT;\n"
        )
    }

    fn way_in(&self, port: u16, password: &str) -> String {
        format!("host=127.0.0.1 port={port} user=app password={password} dbname=app\n")
    }

    fn agent(&self, at: &Layout) -> Result<String, Failure> {
        let (data, config, socket, log) = (at.data(), at.etc().join(self.config()), at.run(), at.log());
        let paths =
            [("data_directory", &*data), ("config_file", &config), ("bin", &self.bin), ("socket", &socket), ("log", &log)];
        let mut text = "\n[postgres]\n".to_owned();
        for (key, path) in paths {
            let _ = writeln!(text, "{key} = \"{}\"", path.display());
        }
        let _ = writeln!(text, "port = {}", at.port);
        Ok(text)
    }
}

/// What only a PostgreSQL server can be asked.
impl Server {
    pub fn hba_file(&self) -> PathBuf {
        self.at.etc().join("pg_hba.conf")
    }

    /// Lets the administrator copy the cluster over the socket, with a slot of this name.
    ///
    /// # Errors
    /// `STAGE_DIRECTORY`, or `STAGE_PROGRAM` with the server's message.
    pub async fn admit_base_backup(&self, slot: &str) -> Result<(), Failure> {
        let hba = self.hba_file();
        let map = if self.at.account.name == "postgres" { "" } else { " map=stage" };
        let line = format!("local replication postgres peer{map}\n");
        let added = std::fs::OpenOptions::new().append(true).open(&hba).and_then(|mut file| file.write_all(line.as_bytes()));
        added.map_err(|error| directory("writing", &hba, &error))?;
        let slot = format!("SELECT pg_reload_conf(), pg_create_physical_replication_slot('{slot}', true);\n");
        self.sql("postgres", &slot).await.map(|_| ())
    }

    /// A plain `pg_basebackup` of this server into a directory of its own, which is removed again; the time it took. What to
    /// compare a seed with: over the server's own socket, and with the options of one.
    ///
    /// # Errors
    /// `STAGE_PROGRAM` with what it says, `STAGE_DIRECTORY`.
    pub async fn base_backup(&self, slot: &str) -> Result<Duration, Failure> {
        let into = self.at.root.join("base-backup");
        let path = into.display().to_string();
        let way = format!("host={} port={} user=postgres", self.socket().display(), self.port());
        let arguments = ["-D", &path, "-X", "stream", "-S", slot, "--no-password", "--progress"];
        let same = ["--manifest-checksums=CRC32C", "--checkpoint=fast", "-d", &way];
        let begun = Instant::now();
        self.at.program(self.bin().join("pg_basebackup"), &[&arguments[..], &same[..]].concat()).run("", STATEMENT).await?;
        let took = begun.elapsed();
        std::fs::remove_dir_all(&into).map_err(|error| directory("removing", &into, &error))?;
        Ok(took)
    }

    /// Immediate shutdown: sessions are cut, nothing is written any more.
    ///
    /// # Errors
    /// `STAGE_PROGRAM` with what `pg_ctl` says.
    pub async fn stop_immediate(&self) -> Result<(), Failure> {
        let data = self.data().display().to_string();
        let arguments = ["-D", &data, "-m", "immediate", "-w", "-s", "stop"];
        self.at.program(self.bin().join("pg_ctl"), &arguments).run("", START).await.map(|_| ())
    }
}

fn directory(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let sentence = format!("{what} {} fails: {error}", path.display());
    Failure::unknown("STAGE_DIRECTORY", sentence, "look at this directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_complete_postgres_is_taken_and_a_missing_package_named() {
        let root = tempfile::tempdir().expect("a directory");
        let touch = |path: &Path| drop(std::fs::File::create(path).expect("a file"));
        assert!(Postgres::find_in(root.path()).expect_err("no server").remedy.contains("apt install postgresql"));
        for version in ["9", "15", "17"] {
            let bin = root.path().join(version).join("bin");
            std::fs::create_dir_all(&bin).expect("a directory");
            for program in ["initdb", "pg_ctl", "psql", "postgres"] {
                // Only the client of 17 is there.
                if version != "17" || program == "psql" {
                    touch(&bin.join(program));
                }
            }
        }
        assert_eq!(Postgres::find_in(root.path()).expect("found").bin, root.path().join("15/bin"));
    }
}
