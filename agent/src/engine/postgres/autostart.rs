//! Debian's `start.conf` beside `postgresql.conf`: whether a cluster comes up with its host (pg_createcluster(1), "start.conf").
//!
//! A source that was surrendered must not; the same host, once it is a primary again, must. What stood there is kept in a comment.

use std::path::PathBuf;

use super::{Postgres, failure};
use crate::change::{Change, File};
use flytt_proto::failure::Failure;

const WAS: &str = "# flytt: was ";

impl Postgres {
    /// `None`: no file of that kind, or it says so already.
    pub(super) fn no_autostart(&self) -> Result<Option<Change>, Failure> {
        self.start_conf(off)
    }

    /// `None`: nothing was put off.
    pub(super) fn autostart_again(&self) -> Result<Option<Change>, Failure> {
        self.start_conf(on)
    }

    fn start_conf(&self, to: fn(&str) -> Option<String>) -> Result<Option<Change>, Failure> {
        let Some(path) = self.config_file().parent().map(|parent| parent.join("start.conf")) else { return Ok(None) };
        let had = match std::fs::read_to_string(&path) {
            Ok(had) => had,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failure::file(&path, &error)),
        };
        Ok(to(&had).map(|want| file(path, want, had)))
    }
}

fn file(path: PathBuf, want: String, had: String) -> Change {
    Change::File(File { path, want: Some(want), had: Some(had), mode: 0o644 })
}

/// What the line says, comments apart.
fn word(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

fn off(text: &str) -> Option<String> {
    if text.contains(WAS) || !text.lines().any(|line| word(line) == "auto") {
        return None;
    }
    let lines = text.lines().map(|line| if word(line) == "auto" { format!("manual {WAS}{line}\n") } else { format!("{line}\n") });
    Some(lines.collect())
}

fn on(text: &str) -> Option<String> {
    let was = |line: &str| Some(line.split_once(WAS)?.1.to_owned());
    text.contains(WAS).then(|| text.lines().map(|line| was(line).unwrap_or_else(|| line.to_owned()) + "\n").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_off_comes_back_to_the_byte() {
        for text in ["auto\n", "# auto: starts with the host\n#\n\n  auto # as always\n"] {
            let off = off(text).expect("it starts");
            assert_eq!(off.lines().map(word).filter(|word| !word.is_empty()).collect::<Vec<_>>(), ["manual"], "{off}");
            assert_eq!(super::off(&off), None, "once is enough");
            assert_eq!(on(&off).as_deref(), Some(text));
        }
        for text in ["manual\n", "disabled\n", "# auto\n", ""] {
            assert_eq!((off(text), on(text)), (None, None), "{text:?} is its owner's");
        }
    }
}
