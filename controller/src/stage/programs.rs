//! Where this machine keeps the programs that the stage is made of.

use std::path::{Path, PathBuf};

use flytt_proto::failure::Failure;

const HAPROXY: &str = "/usr/sbin/haproxy";
const POSTGRES: &str = "/usr/lib/postgresql";

/// The programs, found once.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Directory of the newest PostgreSQL's `initdb`, `pg_ctl`, `psql` and `postgres`.
    pub postgres: PathBuf,
    pub haproxy: PathBuf,
}

impl Programs {
    /// # Errors
    /// `PROGRAM_MISSING`, with the Debian package to install.
    pub fn find() -> Result<Self, Failure> {
        Self::find_in(Path::new(POSTGRES), Path::new(HAPROXY))
    }

    fn find_in(postgres: &Path, haproxy: &Path) -> Result<Self, Failure> {
        if !haproxy.is_file() {
            return Err(missing("haproxy", haproxy));
        }
        let versions = std::fs::read_dir(postgres).into_iter().flatten().flatten();
        let complete = |bin: &PathBuf| ["initdb", "pg_ctl", "psql", "postgres"].iter().all(|program| bin.join(program).is_file());
        let newest = versions
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
            .filter(|(_, bin)| complete(bin))
            .max();
        match newest {
            Some((_, postgres)) => Ok(Self { postgres, haproxy: haproxy.to_owned() }),
            None => Err(missing("postgresql", &postgres.join("*/bin/initdb"))),
        }
    }
}

pub(super) fn missing(package: &str, path: &Path) -> Failure {
    Failure::refused(
        "PROGRAM_MISSING",
        format!("the stage needs {}, which is not installed", path.display()),
        format!("run `apt install {package}`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_complete_postgres_is_taken_and_a_missing_package_named() {
        let root = tempfile::tempdir().expect("a directory");
        let haproxy = root.path().join("haproxy");
        let touch = |path: &Path| drop(std::fs::File::create(path).expect("a file"));
        assert!(Programs::find_in(root.path(), &haproxy).expect_err("nothing there").remedy.contains("apt install haproxy"));
        touch(&haproxy);
        assert!(Programs::find_in(root.path(), &haproxy).expect_err("no server").remedy.contains("apt install postgresql"));
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
        assert_eq!(Programs::find_in(root.path(), &haproxy).expect("found").postgres, root.path().join("15/bin"));
    }
}
