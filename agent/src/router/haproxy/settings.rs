//! What HAProxy does not tell at run time but a hold depends on, read from its configuration files as far as they can be:
//! `timeout queue` and `on-marked-down`. What cannot be read is said to be unknown, never assumed.

use std::{collections::HashMap, path::PathBuf, time::Duration};

/// Of one backend, with what it inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    timeout_queue: Option<Duration>,
    timeout_connect: Option<Duration>,
    /// Servers whose sessions end when they are marked down or put into maintenance.
    ends_sessions: Vec<String>,
    by_default_ends_sessions: bool,
}

impl Settings {
    /// How long a connection may wait; without `timeout queue`, `timeout connect` counts. `None` = without end.
    pub(super) fn queue(&self) -> Option<Duration> {
        self.timeout_queue.or(self.timeout_connect)
    }

    pub(super) fn ends_sessions_of(&self, server: &str) -> bool {
        self.by_default_ends_sessions || self.ends_sessions.iter().any(|name| name == server)
    }
}

/// The files that HAProxy was started with, from `show env`.
pub(super) fn files(environment: &str) -> Vec<PathBuf> {
    environment
        .lines()
        .find_map(|line| line.strip_prefix("HAPROXY_CFGFILES="))
        .map(|files| files.split(';').filter(|file| !file.is_empty()).map(PathBuf::from).collect())
        .unwrap_or_default()
}

/// `None` = the backend is not in this text.
pub(super) fn of_backend(text: &str, backend: &str) -> Option<Settings> {
    let mut named: HashMap<String, Settings> = HashMap::new();
    let (mut defaults, mut section, mut name) = (Settings::default(), String::new(), String::new());
    let (mut current, mut found) = (Settings::default(), None);
    for line in text.lines() {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [
                kind @ ("global" | "defaults" | "frontend" | "backend" | "listen" | "peers" | "resolvers" | "userlist"
                | "mailers" | "program" | "cache" | "ring" | "log-forward" | "http-errors" | "fcgi-app" | "crt-store"
                | "traces"),
                rest @ ..,
            ] => {
                (section, name) = ((*kind).to_owned(), rest.first().copied().unwrap_or_default().to_owned());
                let from = rest.iter().position(|word| *word == "from").and_then(|at| rest.get(at + 1));
                current = match from {
                    Some(base) => named.get(*base).cloned().unwrap_or_default(),
                    None if section == "defaults" => Settings::default(),
                    None => defaults.clone(),
                };
            }
            ["timeout", "queue", time, ..] => current.timeout_queue = duration(time),
            ["timeout", "connect", time, ..] => current.timeout_connect = duration(time),
            ["default-server", options @ ..] if ends_sessions(options) => current.by_default_ends_sessions = true,
            ["server", server, options @ ..] if ends_sessions(options) => current.ends_sessions.push((*server).to_owned()),
            _ => {}
        }
        match section.as_str() {
            "defaults" => {
                defaults = current.clone();
                named.insert(name.clone(), current.clone());
            }
            "backend" | "listen" if name == backend => found = Some(current.clone()),
            _ => {}
        }
    }
    found
}

fn ends_sessions(options: &[&str]) -> bool {
    options.windows(2).any(|pair| pair == ["on-marked-down", "shutdown-sessions"])
}

/// HAProxy's time format: milliseconds unless a unit follows (Configuration Manual, 2.5 "Time format").
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let micros = match &text[digits..] {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    // 0 stands for no limit.
    (number > 0).then(|| Duration::from_micros(number.saturating_mul(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "global\n  maxconn 100\ndefaults base\n  timeout connect 5s\n  timeout queue 1m # long\n\
        defaults\n  timeout connect 700\n\
        backend a\n  server x 10.0.0.1:1 check on-marked-down shutdown-sessions\n  server y 10.0.0.2:1\n\
        backend b from base\n  default-server check on-marked-down shutdown-sessions\n\
        listen c\n  timeout queue 20000\n  # timeout queue 1s\n\
        backend d\n  timeout queue 0\n  timeout connect 0\n";

    #[test]
    fn a_backend_inherits_and_overrides() {
        let of = |backend| of_backend(TEXT, backend).expect("in the text");
        assert_eq!(of("a").queue(), Some(Duration::from_millis(700)));
        assert!(of("a").ends_sessions_of("x") && !of("a").ends_sessions_of("y"));
        assert_eq!(of("b").queue(), Some(Duration::from_secs(60)));
        assert!(of("b").ends_sessions_of("anything"));
        assert_eq!(of("c").queue(), Some(Duration::from_secs(20)));
        assert_eq!(of("d").queue(), None);
        assert_eq!(of_backend(TEXT, "e"), None);
    }

    #[test]
    fn the_files_are_those_of_the_process() {
        assert_eq!(files("A=1\nHAPROXY_CFGFILES=/etc/haproxy/haproxy.cfg;/etc/haproxy/conf.d/a.cfg\n").len(), 2);
        assert!(files("A=1\n").is_empty());
    }
}
