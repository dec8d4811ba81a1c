//! Where a copy ends is where replication begins: the position that the backup tool noted is put into the copy's own table, so
//! that the data directory says it wherever and whenever it is started.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use flytt_proto::{failure::Failure, gtid::GtidPosition};

use super::{Mariadb, position};
use crate::command::Command;

/// The tool's note: file, offset and GTIDs, by tabs. Named so since 11.1, and as the second until then.
const NOTES: [&str; 2] = ["mariadb_backup_binlog_info", "xtrabackup_binlog_info"];

const LIMIT: Duration = Duration::from_secs(600);

impl Mariadb {
    /// The position up to which the copy goes.
    pub(super) fn copied_up_to(into: &Path) -> Result<GtidPosition, Failure> {
        let note = NOTES.iter().find_map(|name| fs::read_to_string(into.join(name)).ok());
        let gtids = note.as_deref().and_then(gtids).map(position::gtids).transpose()?.unwrap_or_default();
        if gtids.is_empty() {
            return Err(Failure::unknown(
                "NO_START_POSITION",
                "the copy does not say up to which transaction of the source it goes",
                "let the source write its binary log with GTIDs and commit one transaction, then start the copy again",
            ));
        }
        Ok(gtids)
    }

    /// Replication of the server in `into` will begin after `position`. The server is run for a moment, without a network and as
    /// nobody's server: it reads statements, one a line, and ends. (There it refuses to set `gtid_slave_pos`, with error 1053; the
    /// table behind that variable is read at each start.)
    pub(super) async fn begin_at(&self, into: &Path, position: &GtidPosition) -> Result<(), Failure> {
        let mut statements = "delete from mysql.gtid_slave_pos;\n".to_owned();
        // One more for each storage engine, where the source was a replica with `gtid_pos_auto_engines`.
        for table in position_tables(into) {
            statements.push_str(&format!("delete from mysql.{table};\n"));
        }
        for gtid in position.iter() {
            statements.push_str(&format!(
                "insert into mysql.gtid_slave_pos (domain_id, sub_id, server_id, seq_no) values ({}, 1, {}, {});\n",
                gtid.domain, gtid.server, gtid.sequence
            ));
        }
        let run = self.bootstrap(into).run_on(&statements, LIMIT).await;
        run.map(drop).map_err(|error| {
            let sentence = format!("the copy does not take its position: {error}");
            Failure::unknown(
                "SEED_NOT_INTACT",
                sentence,
                "see that the target's option file fits the source's, then start the copy again",
            )
        })
    }

    fn bootstrap(&self, into: &Path) -> Command {
        let option = |name: &str, value: &Path| {
            let mut option = OsString::from(name);
            option.push(value);
            option
        };
        Command::new(&self.config.server)
            .arg(option("--defaults-file=", &self.config.config_file))
            .arg("--bootstrap")
            .arg(option("--datadir=", into))
            // Its own words come to us, and what it does here is in no log.
            .args(["--skip-log-error", "--skip-log-bin", "--skip-networking", "--read-only=0", "--innodb-read-only=0"])
    }
}

/// The third column; the positions of several domains may stand on lines of their own.
fn gtids(note: &str) -> Option<&str> {
    note.splitn(3, '\t').nth(2).map(str::trim)
}

fn position_tables(into: &Path) -> Vec<String> {
    let entries = fs::read_dir(into.join("mysql")).into_iter().flatten().flatten();
    let table = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let table = name.strip_suffix(".frm")?;
        let is_plain = table.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (table.starts_with("gtid_slave_pos_") && is_plain).then(|| table.to_owned())
    };
    entries.filter_map(table).collect()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_names_no_transaction_is_none_to_begin_with() {
        let into = tempfile::tempdir().unwrap();
        let note = |text: &str| {
            fs::write(into.path().join("xtrabackup_binlog_info"), text).unwrap();
            Mariadb::copied_up_to(into.path())
        };
        assert_eq!(note("bin.000001\t849\t1-1-3\n").unwrap().to_string(), "1-1-3");
        assert_eq!(note("bin.000001\t849\t1-1-3,2-5-7\n").unwrap().to_string(), "1-1-3,2-5-7");
        for none in ["", "bin.000001\t849\t\n", "bin.000001\t849"] {
            assert_eq!(note(none).unwrap_err().code, "NO_START_POSITION", "{none:?}");
        }
        assert_eq!(note("bin.000001\t849\t1-1\n").unwrap_err().code, "UNREADABLE");
        fs::remove_file(into.path().join("xtrabackup_binlog_info")).unwrap();
        assert_eq!(Mariadb::copied_up_to(into.path()).unwrap_err().code, "NO_START_POSITION");
    }

    #[test]
    fn the_tables_of_other_storage_engines_are_found_by_their_files() {
        let into = tempfile::tempdir().unwrap();
        fs::create_dir(into.path().join("mysql")).unwrap();
        for name in ["gtid_slave_pos.frm", "gtid_slave_pos_InnoDB.frm", "gtid_slave_pos_InnoDB.ibd", "gtid_slave_pos_a@0020b.frm"]
        {
            fs::write(into.path().join("mysql").join(name), "").unwrap();
        }
        assert_eq!(position_tables(into.path()), ["gtid_slave_pos_InnoDB"]);
    }
}
