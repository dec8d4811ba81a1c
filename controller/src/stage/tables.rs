//! Rows for measuring. A dump, on MariaDB and MySQL alike: five tables of an application, and what a target is given before anybody
//! imports into it. A comparison: one narrow table.

use std::fmt::Write as _;

use flytt_proto::failure::Failure;

use super::server::Server;
use crate::spec::Engine;

/// Four of a tenth each, and a big one.
const TABLES: [(&str, u32); 5] = [("first", 10), ("second", 10), ("third", 10), ("fourth", 10), ("big", 60)];
/// Of a row as text.
const ROW: u64 = 232;
/// The same for all who import, so that nothing is left for a lease on such settings to win.
const IMPORT: &str = "SET GLOBAL innodb_flush_log_at_trx_commit = 2; SET GLOBAL sync_binlog = 0; \
                      SET GLOBAL innodb_io_capacity_max = 20000; SET GLOBAL innodb_io_capacity = 20000; \
                      SET GLOBAL innodb_buffer_pool_size = 2147483648;";

impl Server {
    /// So many MiB of them, as texts, in the database `app`.
    ///
    /// # Errors
    /// `STAGE_PROGRAM` with the server's message, as of all of these.
    pub async fn fill_tables(&self, mib: u32) -> Result<(), Failure> {
        self.sql("app", &filling(mib)).await.map(drop)
    }

    /// How many rows each of them has.
    ///
    /// # Errors
    /// As above.
    pub async fn rows_of_tables(&self) -> Result<String, Failure> {
        let counts = TABLES.map(|(table, _)| format!("(SELECT count(*) FROM app.{table})")).join(", ");
        self.sql("", &format!("SELECT concat_ws(' ', {counts})")).await
    }

    /// # Errors
    /// As above.
    pub async fn drop_tables(&self) -> Result<(), Failure> {
        self.sql("", "SET SESSION sql_log_bin = 0; DROP DATABASE app").await.map(drop)
    }

    /// Its administrator may write. MariaDB lets that one write in any case.
    ///
    /// # Errors
    /// As above.
    pub async fn open_to_copies(&self, engine: Engine) -> Result<(), Failure> {
        self.set_super_read_only(engine, "0").await
    }

    /// # Errors
    /// As above.
    pub async fn shut_to_copies(&self, engine: Engine) -> Result<(), Failure> {
        self.set_super_read_only(engine, "1").await
    }

    async fn set_super_read_only(&self, engine: Engine, to: &str) -> Result<(), Failure> {
        match engine {
            Engine::Mysql => self.sql("", &format!("SET GLOBAL super_read_only = {to}")).await.map(drop),
            Engine::Mariadb | Engine::Postgres => Ok(()),
        }
    }

    /// # Errors
    /// As above.
    pub async fn set_for_import(&self, engine: Engine) -> Result<(), Failure> {
        let redo = if engine == Engine::Mysql { "innodb_redo_log_capacity" } else { "innodb_log_file_size" };
        self.sql("", &format!("{IMPORT} SET GLOBAL {redo} = 1073741824;")).await.map(drop)
    }
}

impl Server {
    /// So many rows of four numbers, in the table `narrow` of the database `app`.
    ///
    /// # Errors
    /// As above.
    pub async fn fill_narrow(&self, engine: Engine, rows: u64) -> Result<(), Failure> {
        self.sql("app", &filling_narrow(engine, rows)).await.map(drop)
    }

    /// The rows of a table of the database `app`, counted.
    ///
    /// # Errors
    /// As above.
    pub async fn count(&self, table: &str) -> Result<String, Failure> {
        self.sql("app", &format!("SELECT count(*) FROM {table}")).await
    }
}

/// It doubles until it is full.
fn filling_narrow(engine: Engine, rows: u64) -> String {
    let row = |id: &str| format!("{id}, {id} % 99991, ({id} % 1000000) / 100.0, {id} % 4");
    let mut sql =
        "CREATE TABLE narrow (id integer NOT NULL PRIMARY KEY, customer integer NOT NULL, amount decimal(10,2) NOT NULL, \
                   state smallint NOT NULL);\n"
            .to_owned();
    sql.push_str(&format!("INSERT INTO narrow SELECT {};\n", row("1")));
    let mut there = 1;
    while there < rows {
        let more = there.min(rows - there);
        sql.push_str(&format!("INSERT INTO narrow SELECT {} FROM narrow WHERE id <= {more};\n", row(&format!("(id + {there})"))));
        there += more;
    }
    sql.push_str(match engine {
        Engine::Postgres => "VACUUM ANALYZE narrow; ANALYZE orders;",
        Engine::Mariadb | Engine::Mysql => "ANALYZE TABLE narrow, orders;",
    });
    sql
}

/// Rows as an application has them: numbers, names, times, and texts that zstd halves. Each table doubles until it is full.
fn filling(mib: u32) -> String {
    let mut sql = "SET SESSION sql_log_bin = 0;\n".to_owned();
    let row = |id: &str| {
        format!(
            "{id}, crc32({id}) % 100000, elt(1 + crc32({id} + 7) % 4, 'new', 'paid', 'shipped', 'returned'), \
             (crc32({id} + 1) % 1000000) / 100, timestamp('2020-01-01') + interval crc32({id} + 2) % 150000000 second, \
             if({id} % 3 = 0, concat('call before noon, gate ', {id} % 97), null), \
             concat('Item ', {id}, ': ', sha2({id}, 256), ' ', repeat('lorem ipsum dolor ', 5))"
        )
    };
    for (table, part) in TABLES {
        let rows = (u64::from(mib) << 20) / ROW * u64::from(part) / 100;
        let _ = writeln!(
            sql,
            "CREATE TABLE {table} (id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, customer int unsigned NOT NULL, \
             status varchar(12) NOT NULL, amount decimal(10,2) NOT NULL, created datetime NOT NULL, note varchar(255), \
             body varchar(255) NOT NULL, KEY customer (customer), KEY created (created, status)) ENGINE = InnoDB;"
        );
        let _ = writeln!(sql, "INSERT INTO {table} SELECT {};", row("1"));
        let mut there = 1;
        while there < rows {
            let more = there.min(rows - there);
            let _ =
                writeln!(sql, "INSERT INTO {table} SELECT {} FROM {table} WHERE id <= {more};", row(&format!("(id + {there})")));
            there += more;
        }
        let _ = writeln!(sql, "ANALYZE NO_WRITE_TO_BINLOG TABLE {table};");
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_filled_to_its_part_and_no_further() {
        let sql = filling(1);
        let rows = (1 << 20) / ROW * 60 / 100;
        let big: Vec<&str> = sql.lines().filter(|line| line.starts_with("INSERT INTO big")).collect();
        let last = |line: &&str| line.rsplit_once("<= ").and_then(|(_, n)| n.trim_end_matches(';').parse::<u64>().ok());
        assert_eq!(1 + big.iter().filter_map(last).sum::<u64>(), rows);
        assert_eq!(sql.matches("CREATE TABLE").count(), 5);
    }

    #[test]
    fn a_narrow_table_is_filled_to_its_last_row() {
        let sql = filling_narrow(Engine::Mariadb, 1_000);
        let last = |line: &str| line.rsplit_once("<= ").and_then(|(_, n)| n.trim_end_matches(';').parse::<u64>().ok());
        assert_eq!(1 + sql.lines().filter_map(last).sum::<u64>(), 1_000);
    }
}
