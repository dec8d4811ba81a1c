//! What a server that does not run would have, as its own binary says.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::Common;
use crate::command::Command;

const LIMIT: Duration = Duration::from_secs(20);

impl Common {
    /// Version and settings of `server`, started with this option file. It tries in a directory that it can write to how file names
    /// are told apart there; `scratch` is one where its data directory is not there yet.
    pub(crate) async fn at_rest(&mut self, server: &Path, config_file: &Path, scratch: Option<&Path>) {
        let mut file = std::ffi::OsString::from("--defaults-file=");
        file.push(config_file);
        let said = async |command: Command| command.run(LIMIT).await.map(|output| output.stdout).unwrap_or_default();
        self.version = version(&said(Command::new(server).arg("--version")).await);
        let directory = scratch.map(|scratch| {
            let mut option = std::ffi::OsString::from("--datadir=");
            option.push(scratch);
            option
        });
        let help = Command::new(server).arg(file).args(directory).args(["--verbose", "--help"]);
        self.settings = settings(&said(help).await);
    }
}

/// `mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)`
fn version(text: &str) -> String {
    text.split_whitespace().skip_while(|word| *word != "Ver").nth(1).unwrap_or_default().to_owned()
}

/// The table at the end of the help: a name with hyphens, blanks, the value.
fn settings(help: &str) -> BTreeMap<String, String> {
    let table = help.lines().skip_while(|line| !line.starts_with("Variables (--variable-name=value)")).skip(3);
    let row = |line: &str| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        let value = match value.trim() {
            "(No default value)" => "",
            other => other,
        };
        Some((name.replace('-', "_"), value.to_owned()))
    };
    table.take_while(|line| !line.trim().is_empty()).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_s_own_words_are_read() {
        assert_eq!(version("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu"), "10.11.19-MariaDB-0+deb12u1");
        let help = "Usage\n\nVariables (--variable-name=value)\nand boolean options {FALSE|TRUE}  Value (after reading options)\n\
                    --------\nlog-bin      binlog\nlog-slave-updates   FALSE\nsql-mode      A,B\nplugin-dir   (No default value)\n\nTo see";
        let found = settings(help);
        assert_eq!((found["log_bin"].as_str(), found["log_slave_updates"].as_str()), ("binlog", "FALSE"));
        assert_eq!((found["sql_mode"].as_str(), found["plugin_dir"].as_str()), ("A,B", ""));
    }
}
