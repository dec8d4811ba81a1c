//! Where this machine keeps the programs that the stage is made of.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use flytt_proto::failure::Failure;

use super::{mariadb::Mariadb, mysql::Mysql, postgres::Postgres, server::Database};
use crate::spec::Engine;

const HAPROXY: &str = "/usr/sbin/haproxy";

/// The programs, found once.
#[derive(Clone, Debug)]
pub struct Programs {
    pub(super) database: Arc<dyn Database>,
    pub haproxy: PathBuf,
}

impl Programs {
    /// # Errors
    /// `PROGRAM_MISSING`, with the Debian package to install.
    pub fn find(engine: Engine) -> Result<Self, Failure> {
        let haproxy = PathBuf::from(HAPROXY);
        if !haproxy.is_file() {
            return Err(missing("haproxy", &haproxy));
        }
        let database: Arc<dyn Database> = match engine {
            Engine::Postgres => Arc::new(Postgres::find()?),
            Engine::Mariadb => Arc::new(Mariadb::find()?),
            Engine::Mysql => Arc::new(Mysql::find()?),
        };
        Ok(Self { database, haproxy })
    }
}

pub(super) fn missing(package: &str, path: &Path) -> Failure {
    Failure::refused(
        "PROGRAM_MISSING",
        format!("the stage needs {}, which is not installed", path.display()),
        format!("run `apt install {package}`"),
    )
}
