//! A DROP DATABASE that leaves nothing on the disk, either. A MariaDB that was killed in the middle of a DROP may have forgotten the
//! table and kept its file (seen on 10.11, with a redo log whose size had just been changed); it then refuses the whole database.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use flytt_proto::failure::Failure;

use super::{
    quote::{identifier, literal},
    session::Session,
};

/// `ER_DB_DROP_RMDIR`: all tables that the server knows are gone, and a file of somebody else's stands in the directory.
const NOT_EMPTY: &str = "(error 1010)";

impl Session {
    /// For databases whose whole content is ours.
    pub async fn drop_database(&self, name: &str) -> Result<(), Failure> {
        let drop = format!("drop database if exists {}", identifier(name));
        match self.run(&drop).await {
            Err(failure) if failure.sentence.contains(NOT_EMPTY) => {
                let encoded = self.value(&format!("select cast(convert({} using filename) as binary)", literal(name))).await?;
                let of_it = format!("left(NAME, {}) = {}", encoded.len() + 1, literal(&format!("{encoded}/")));
                let known = format!("select count(*) from information_schema.INNODB_SYS_TABLES where {of_it}");
                let directory = PathBuf::from(self.value("select @@datadir").await?).join(&encoded);
                let is_forgotten = self.value(&known).await.is_ok_and(|count| count == "0");
                let dropped = if is_forgotten && take_away(&directory).is_ok() { self.run(&drop).await } else { Err(failure) };
                let remedy = format!("look at what is in {}, and take it away by hand", directory.display());
                dropped.map_err(|failure| Failure { remedy, ..failure })
            }
            answer => answer,
        }
    }
}

/// Tablespaces only: whatever else is there, nobody knows whose it is.
fn take_away(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ibd") {
            tracing::warn!(file = %path.display(), "a file of no table, left by a server that was killed, is removed");
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
